"""Live states of many customers in arrays: who they are and what they did so far in, what models and rules may look at out.

One customer's `LiveState` is made of it only where somebody asks for that one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.log.reservations import Held
from features.online.live import LiveState, state_versions
from features.state.batch import StateBatch, blank


@dataclass(frozen=True, eq=False)
class LiveBatch:
    """The live states of n customers, in order."""

    names: Sequence[str]
    states: StateBatch  # (n,)
    make: Callable[[str, StateBatch, str], LiveState]
    """One customer's live state, of their name, their state (n = 1) and its version."""
    made: Mapping[int, LiveState] = field(default_factory=dict)
    """Rows of which it is there already."""
    held: Mapping[str, Held] = field(default_factory=dict)
    """What decisions about them have reserved, of those of whom anything is, by name."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, lives: Sequence[LiveState]) -> "LiveBatch":
        """Of live states that were read one by one."""
        if len(lives) == 1:  # a question about one customer: nothing is to be put together
            states = lives[0].state
        else:
            states = StateBatch.concat([live.state for live in lives]) if lives else StateBatch.empty(0)
        return cls([live.customer_id for live in lives], states, _never, dict(enumerate(lives)))

    def with_held(self, held: Mapping[str, Held]) -> "LiveBatch":
        """With what decisions about them have reserved."""
        return replace(self, held=held) if held else self

    @cached_property
    def reserving(self) -> frozenset[str]:
        """Names of those who are to be contacted by decisions that were not sent yet."""
        return frozenset(name for name, held in self.held.items() if any(not one.sent for one in held.reservations))

    @cached_property
    def may_profile(self) -> BoolArray:
        """False where a customer refused profiling (n,)."""
        return np.asarray(self.states.scalar("profiling") != 0.0)

    @cached_property
    def scored(self) -> StateBatch:
        """What models may look at (n,): the states, and nobody's of those who refused profiling."""
        if self.may_profile.all():
            return self.states
        rows = np.where(self.may_profile, np.arange(len(self)), len(self))
        return StateBatch.concat([self.states, blank()]).take(rows)

    @cached_property
    def versions(self) -> list[str]:
        """The name of each one's behaviour; see `state_version`."""
        return state_versions(self.states)

    @property
    def last_event_s(self) -> FloatArray:
        """Time of each one's newest behaviour, in seconds since the epoch (n,)."""
        return self.states.scalar("last_event")

    def live(self, row: int) -> LiveState:
        """One customer's live state."""
        live = self.made.get(row) or self.make(self.names[row], self.states.one(row), self.versions[row])
        held = self.held.get(self.names[row])
        return live if held is None else replace(live, held=held)

    def take(self, rows: IntArray) -> "LiveBatch":
        """Some of them, in that order."""
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        made = {place: self.made[row] for place, row in enumerate(rows.tolist()) if row in self.made}
        taken = LiveBatch(
            [self.names[row] for row in rows.tolist()], self.states.take(rows), self.make, made, self.held
        )
        if "versions" in vars(self):
            vars(taken)["versions"] = [self.versions[row] for row in rows.tolist()]
        return taken


def joined(names: Sequence[str], batch: LiveBatch, others: Sequence[LiveState]) -> LiveBatch:
    """Those of the `names` who are in a batch or among the others, in the order of the names."""
    if not others and list(names) == list(batch.names):
        return batch
    whole = StateBatch.concat([batch.states, *(live.state for live in others)])
    row_of = {name: row for row, name in enumerate([*batch.names, *(live.customer_id for live in others)])}
    made = {len(batch) + row: live for row, live in enumerate(others)} | dict(batch.made)
    everybody = LiveBatch(list(row_of), whole, batch.make, made)
    return everybody.take(np.array([row_of[name] for name in names if name in row_of], np.int64))


def _never(name: str, state: StateBatch, version: str) -> LiveState:
    raise AssertionError("every row of such a batch is made already")
