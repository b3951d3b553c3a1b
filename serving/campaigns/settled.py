"""Many customers' live states at once: who has done nothing since the last build is read in bulk, everybody else one by one.

The answers are those of `LiveStates.get`, which stays what says what a live state is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.log.event_log import EventLog
from features.offline.build_note import is_of_log, layout, read_note
from features.offline.timeline_rows import TimelineRows
from features.online.live import LiveState, LiveStates, state_version
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.bought import BoughtProducts, bought_products
from features.state.exposed import Exposures, all_exposures
from features.state.layout import EventArrays
from features.vocabulary import Columns, EventKind


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
        return cls(states, reader, TimelineRows(settings.timeline_path), log, problem, _Newer(log, note.last_seq))

    def get(self, customer_ids: Sequence[str]) -> "Lives":
        """The states of those of whom anything is known, in order. Asked in the order of names it is quick."""
        settled: dict[str, LiveState] = {}
        batch = StateBatch.empty(0)
        if not self.problem():
            self.newer.look()
            asked = [customer_id for customer_id in customer_ids if customer_id not in self.newer.changed]
            names, batch = self.reader.read_batch(asked)
            ends = zip(names, batch.last_seq.tolist(), batch.scalar("last_event").tolist(), strict=True)
            rows = [row for row, (name, *upto) in enumerate(ends) if self.newer.leaves(name, *upto)]
            batch = batch if len(rows) == len(batch) else batch.take(np.array(rows, np.int64))
            settled = {names[row]: self._live(names[row], batch.one(place)) for place, row in enumerate(rows)}
        found = ((settled.get(name) or self.states.get(name)) for name in customer_ids)
        return Lives.of([live for live in found if live is not None], list(settled), batch)

    def _live(self, name: str, state: StateBatch) -> LiveState:
        past = _Past(self.rows, name)
        return LiveState(
            customer_id=name,
            state=state,
            updated_at=None,
            fresh_events=0,
            version=state_version(state),
            bought=past.bought,
            exposed=past.exposed,
        )


@dataclass(frozen=True, eq=False)
class _Past:
    """What the timeline tells of one customer, read when somebody asks."""

    rows: TimelineRows
    name: str

    def bought(self) -> BoughtProducts:
        """Everything that they ever bought."""
        return bought_products(self._events)

    def exposed(self) -> Exposures:
        """Everything that they were ever contacted about."""
        return all_exposures(self._events)

    @cached_property
    def _events(self) -> EventArrays:
        return self.rows.of(self.name)


@dataclass(frozen=True)
class Lives:
    """Customers' live states (n,), and what models may look at of all of them (n,) in one batch."""

    lives: Sequence[LiveState]
    scored: StateBatch | None = None
    """None where nobody has put it together."""

    @classmethod
    def of(cls, lives: Sequence[LiveState], names: Sequence[str], batch: StateBatch) -> "Lives":
        """Of customers some of whom are the `names` (m,) whose states are in a batch (m,)."""
        place = {name: row for row, name in enumerate(names)}
        others = [live for live in lives if live.customer_id not in place or not live.may_profile]
        if not others and len(lives) == len(batch):
            return cls(lives, batch)
        place |= {live.customer_id: len(batch) + row for row, live in enumerate(others)}
        joined = StateBatch.concat([batch, *(live.scored for live in others)])
        return cls(lives, joined.take(np.array([place[live.customer_id] for live in lives], np.int64)))


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
        for batch in self._log.read(after_seq=self._seq):
            names = batch[Columns.RESOLVED_CUSTOMER_ID].cast(pa.string())
            decides = pc.equal(batch[Columns.KIND].cast(pa.string()), EventKind.DECISION.value)
            self.changed.update(pc.unique(names.filter(pc.invert(decides))).to_pylist())
            moments = batch[Columns.OCCURRED_AT].cast(pa.int64())
            decided = pa.table({"name": names.filter(decides), "at_us": moments.filter(decides)})
            for first in decided.group_by("name").aggregate([("at_us", "min")]).to_pylist():
                at_us = self._decided_us.get(first["name"], first["at_us_min"])
                self._decided_us[first["name"]] = min(at_us, first["at_us_min"])
            self._seq = batch[Columns.SEQ][-1].as_py()

    def leaves(self, name: str, last_seq: int, last_event_s: float) -> bool:
        """Whether a stored state, folded up to `last_seq`, is the one of now.

        A decision that became known later tells what messages after it were about.
        """
        decided_us = self._decided_us.get(name)
        is_later = decided_us is None or decided_us / 1e6 >= last_event_s
        return is_later and last_seq >= self._regrouped.get(name, 0)
