"""Many customers' live states at once: who has done nothing since the last build is read in bulk, everybody else one by one.

The answers are those of `LiveStates.get`, which stays what says what a live state is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from features.log.event_log import EventLog
from features.offline.build_note import is_of_log, layout, read_note
from features.offline.timeline_rows import TimelineRows
from features.online.live import LiveState, LiveStates
from features.online.many import LiveBatch, joined
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.bought import bought_products
from features.state.exposed import all_exposures
from features.vocabulary import EventKind

_AT_ONCE: Final = 10_000
"""Events of the log that are looked at together."""
_NEVER_US: Final = 2**62


class BatchReader(Protocol):
    """Reads the online store in bulk."""

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """Those of the customers who have a stored state, and their states (n,) in that order."""


@dataclass(frozen=True)
class SettledStates:
    """Live states in bulk, as of a build and the log's newer events."""

    states: LiveStates
    reader: BatchReader
    rows: TimelineRows
    log: EventLog
    problem: Callable[[], str]
    newer: "_Newer"

    @classmethod
    def open(
        cls,
        settings: Settings,
        states: LiveStates,
        reader: BatchReader,
        log: EventLog,
        problem: Callable[[], str] = str,
    ) -> "SettledStates | None":
        """None where the last build is not of this log, or its files are another version's: then nobody is settled."""
        note = read_note(settings)
        if note is None or note.layout != layout() or not is_of_log(note, log):
            return None
        rows = TimelineRows(settings.timeline_path)
        return cls(states, reader, rows, log, problem, _Newer(log, note.last_seq))

    def get(self, customer_ids: Sequence[str]) -> LiveBatch:
        """The states of those of whom anything is known, in order. Asked in the order of names it is quick."""
        settled = LiveBatch((), StateBatch.empty(0), self._live)
        if not self.problem():
            self.newer.look()
            asked = [customer_id for customer_id in customer_ids if customer_id not in self.newer.changed]
            names, batch = self.reader.read_batch(asked)
            ends = zip(names, batch.last_seq.tolist(), batch.scalar("last_event").tolist(), strict=True)
            rows = [row for row, (name, *upto) in enumerate(ends) if self.newer.leaves(name, *upto)]
            settled = LiveBatch(names, batch, self._live).take(np.array(rows, np.int64))
        known = set(settled.names)
        others = (self.states.get(name) for name in customer_ids if name not in known)
        return joined(customer_ids, settled, [live for live in others if live is not None])

    def _live(self, name: str, state: StateBatch, version: str) -> LiveState:
        return LiveState(
            customer_id=name,
            state=state,
            updated_at=None,
            fresh_events=0,
            version=version,
            bought=lambda: bought_products(self.rows.purchases_of(name)),
            exposed=lambda: all_exposures(self.rows.of(name)),
            contacted=lambda: self.rows.of(name),
        )


class _Newer:
    """What the log tells of after a build; looked at again before every answer."""

    def __init__(self, log: EventLog, since_seq: int) -> None:
        self._log = log
        self._seq = since_seq
        self._regrouped: Mapping[str, int] = log.regrouped_since(0)
        self.changed: set[str] = {name for name, seq in self._regrouped.items() if seq > since_seq}
        self._decided_us: dict[str, int] = {}

    def look(self) -> None:
        """Take in what came since the last time."""
        regrouped = self._log.regrouped_since(self._seq)
        self._regrouped = {**self._regrouped, **regrouped} if regrouped else self._regrouped
        self.changed |= set(regrouped)
        while arrivals := self._log.arrivals(self._seq, _AT_ONCE):
            for seq, name, kind, occurred_us in arrivals:
                if kind != EventKind.DECISION:
                    self.changed.add(name)
                elif occurred_us < self._decided_us.get(name, _NEVER_US):
                    self._decided_us[name] = occurred_us
                self._seq = seq

    def leaves(self, name: str, last_seq: int, last_event_s: float) -> bool:
        """Whether a stored state, folded up to `last_seq`, is the one of now.

        A decision that became known later tells what messages after it were about.
        """
        decided_us = self._decided_us.get(name)
        is_later = decided_us is None or decided_us / 1e6 >= last_event_s
        return is_later and last_seq >= self._regrouped.get(name, 0)
