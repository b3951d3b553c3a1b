"""Live states: a customer's id in, their state with every acknowledged event out (online row and the log's newer events)."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Final, Literal, Protocol

import numpy as np
import pyarrow as pa

from features.errors import MissingError, StoreError
from features.log.reservations import NOTHING_HELD, Held
from features.state import layout
from features.state.batch import StateBatch, blank
from features.state.bought import BoughtProducts, bought_products
from features.state.event_arrays import Contact, contact_arrays, named_by_decisions
from features.state.exposed import Exposures, all_exposures
from features.state.fold import changes_state, customer_arrays, fold_arrays, fold_customer, fold_newer, with_said
from features.state.layout import EventArrays
from features.state.order import in_order
from features.vocabulary import KIND_CODES, EventKind

_PROFILE: Final = KIND_CODES[EventKind.PROFILE]
_KEPT: Final = 4_096
"""Customers of whom everything that they bought, or were contacted about, stays at hand."""


class StoredState(Protocol):
    """What the online store holds of one customer."""

    @property
    def state(self) -> StateBatch:
        """The state, n = 1."""

    @property
    def last_seq(self) -> int:
        """The newest log row that is folded in."""

    @property
    def updated_at(self) -> datetime:
        """When the row was written, aware UTC."""


class StateReader(Protocol):
    """Reads the online store."""

    def read_state(self, customer_id: str) -> StoredState | None:
        """The stored state, or None where there is none."""

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """Those of the customers who have a stored state, and their states (n,) in that order."""


class NobodyStored:
    """An online store that holds nobody: all are folded from the log."""

    def read_state(self, customer_id: str) -> None:
        """Nobody's."""

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """None of them."""
        return [], StateBatch.empty(0)


class CustomerEvents(Protocol):
    """What is needed of the event log."""

    def regrouped_seq(self, customer_id: str) -> int:
        """The log row at which events of others were joined to the customer's, or theirs taken away; 0 for never."""

    def regrouped_seqs(self, customer_ids: Sequence[str]) -> Mapping[str, int]:
        """`regrouped_seq` of those of several customers who were regrouped."""

    def whose_is_newer(self, folded: Sequence[tuple[str, int, int]]) -> set[str]:
        """Those of several customers who have events after a log row, later decisions (microseconds) aside."""

    def contacts(self, customer_id: str) -> list[Contact]:
        """What tells what the customer was contacted about, ordered by (occurred_at, event_id)."""

    def purchases(self, customer_id: str) -> pa.Table:
        """The customer's purchases and returns, ordered by (occurred_at, event_id)."""

    def customer_events(self, customer_id: str, after_seq: int = 0, decided_before_us: int | None = None) -> pa.Table:
        """A customer's events after a place in the log, ordered by (occurred_at, event_id), without later decisions."""


@dataclass(frozen=True)
class LiveState:
    """A customer's state now."""

    customer_id: str
    state: StateBatch  # n = 1
    updated_at: datetime | None
    """When the online row was written; None where the state comes from the log alone."""
    fresh_events: int
    """Events that the online row did not hold yet."""
    version: str
    """Changes with the customer's behaviour and with nothing else: the same on every worker, whatever its lag."""
    bought: Callable[[], BoughtProducts] | None = None
    """Asks the log for everything that they ever bought: more than the state holds of who bought many products."""
    exposed: Callable[[], Exposures] | None = None
    """Asks the log for everything that they were ever contacted about, likewise."""
    without: Literal["online_store", "event_log"] | None = None
    """What did not answer. Without the online store the state is as right as ever; without the log it may be stale."""
    held: Held = NOTHING_HELD
    """What decisions about them have reserved; only who decides has it read."""
    contacted: Callable[[], EventArrays] | None = None
    """Asks the log for the contacts themselves, in order, each with what its decision was about."""

    @property
    def may_profile(self) -> bool:
        """False where the customer refused profiling; who was never asked may be profiled."""
        return bool(self.state.scalar("profiling")[0] != 0.0)

    @property
    def scored(self) -> StateBatch:
        """What models may look at (n = 1): the state, or nobody's where the customer refused profiling."""
        return self.state if self.may_profile else blank()

    @property
    def last_event_s(self) -> float:
        """Time of the newest behaviour, in seconds since the epoch; NaN where there is none."""
        return float(self.state.scalar("last_event")[0])


class LiveStates:
    """Joins the online store and the log, so that an acknowledged event counts in the very next answer."""

    def __init__(
        self, reader: StateReader, log: CustomerEvents, problem: Callable[[], str] = str, *, degrades: bool = False
    ) -> None:
        """While `problem` answers anything, what is stored does not count, and customers are folded from the log.

        Where it `degrades`, one of the two that does not answer is done without, and the state says so. Whoever writes
        states, or acts on what they say, must not have it so: a state may then lack the newest events.
        """
        self._reader = reader
        self._log = log
        self._problem = problem
        self._degrades = degrades
        self._bought = lru_cache(maxsize=_KEPT)(self._read_bought)
        self._exposed = lru_cache(maxsize=_KEPT)(self._read_exposed)

    def get(self, customer_id: str) -> LiveState | None:
        """The state with every event in the log, or None for somebody of whom nothing is known.

        An event that is older than the online row cannot be folded on top of it, and a row from before the customer was
        joined with another one is of other events: then the customer is folded afresh.
        """
        without: Literal["online_store", "event_log"] | None = None
        try:
            stored = None if self._problem() else self._reader.read_state(customer_id)
        except (StoreError, MissingError):
            if not self._degrades:
                raise
            stored, without = None, "online_store"
        try:
            state, n_fresh = self._up_to_date(customer_id, stored)
        except StoreError:
            if not self._degrades or stored is None:  # then nothing is known of them: not even that there is nothing
                raise
            return _as_stored(customer_id, stored)
        if np.isnan(state.scalar("last_event")[0]):
            return None
        live = self.live_of(customer_id, state, state_version(state))
        updated_at = stored.updated_at if stored is not None else None
        return replace(live, updated_at=updated_at, fresh_events=n_fresh, without=without)

    def level(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """Those whose stored state has every event in the log, and their states (n,), in one go; who is left is for `get`."""
        try:
            names, states = self._reader.read_batch(customer_ids) if not self._problem() else ([], StateBatch.empty(0))
            micros = np.nan_to_num(np.round(states.scalar("last_event") * 1e6)).astype(np.int64).tolist()
            newer = self._log.whose_is_newer(list(zip(names, states.last_seq.tolist(), micros, strict=True)))
            # asked after the events, as for one of them; who was ever regrouped may have events by a common address, too
            left = newer | self._log.regrouped_seqs(names).keys()
        except (StoreError, MissingError):
            if not self._degrades:
                raise
            return [], StateBatch.empty(0)
        left |= {name for name, at_us in zip(names, micros, strict=True) if at_us == 0}
        rows = [row for row, name in enumerate(names) if name not in left]
        if len(rows) == len(names):
            return names, states
        return [names[row] for row in rows], states.take(np.array(rows, np.int64))

    def live_of(self, customer_id: str, state: StateBatch, version: str) -> LiveState:
        """The live state of a customer whose state (n = 1) has every event in the log."""
        return LiveState(
            customer_id=customer_id,
            state=state,
            updated_at=None,
            fresh_events=0,
            version=version,
            bought=partial(self._bought, customer_id, version),
            exposed=partial(self._exposed, customer_id, version),
            contacted=partial(self._contacted, customer_id),
        )

    def stored(self, customer_id: str) -> LiveState | None:
        """The state as the online store holds it, without the log; None for somebody of whom it holds none."""
        stored = self._reader.read_state(customer_id)
        return None if stored is None else _as_stored(customer_id, stored)

    def forget(self) -> None:
        """Have nothing of any customer at hand: one of them was erased."""
        self._bought.cache_clear()
        self._exposed.cache_clear()

    def _up_to_date(self, customer_id: str, stored: StoredState | None) -> tuple[StateBatch, int]:
        """The state with every event in the log, and how many of them the online row did not hold."""
        if stored is not None:
            # later decisions change nothing, and there may be many of them: the stream leaves them for some time
            events = self._log.customer_events(customer_id, stored.last_seq, _last_event_us(stored.state))
            # asked after the events: a regrouping in between must not leave those that it gave or took unseen
            if stored.last_seq >= self._log.regrouped_seq(customer_id):
                if events.num_rows == 0:
                    return stored.state, 0
                fresh = customer_arrays(events)
                newer = fold_newer(stored.state, fresh)
                if newer is None:
                    newer = fold_customer(self._log.customer_events(customer_id))
                elif _tells(fresh):
                    newer = with_said(newer, events)
                return newer, int(np.count_nonzero(changes_state(fresh)))
        events = self._log.customer_events(customer_id)
        fresh = customer_arrays(events)
        state = fold_arrays(StateBatch.empty(1), fresh)
        return with_said(state, events) if _tells(fresh) else state, int(np.count_nonzero(changes_state(fresh)))

    def _read_bought(self, customer_id: str, version: str) -> BoughtProducts:
        """What the customer bought by a version of their state, which names the answer for as long as it is kept."""
        return bought_products(customer_arrays(self._log.purchases(customer_id)))

    def _read_exposed(self, customer_id: str, version: str) -> Exposures:
        """What the customer was contacted about by a version of their state."""
        return all_exposures(self._contacted(customer_id))

    def _contacted(self, customer_id: str) -> EventArrays:
        """What the customer was contacted about, one by one."""
        contacts = contact_arrays(self._log.contacts(customer_id))  # in half the time of all of their events
        return in_order(named_by_decisions(contacts))


def _tells(events: EventArrays) -> bool:
    """Whether one of them says something of the customer: only then their properties are looked at."""
    return bool((events.kind == _PROFILE).any())


def _last_event_us(state: StateBatch) -> int | None:
    """Microseconds since the epoch of the newest behaviour in a state (n = 1); None where there is none."""
    last_event_s = float(state.scalar("last_event")[0])
    return None if np.isnan(last_event_s) else round(last_event_s * 1e6)


def _as_stored(customer_id: str, stored: StoredState) -> LiveState:
    version = state_version(stored.state)
    return LiveState(customer_id, stored.state, stored.updated_at, 0, version, without="event_log")


def state_version(state: StateBatch) -> str:
    """A short name of what the customer has done so far (n = 1): event counts by channel and kind, the last moment,
    and by what they are known.
    """
    return state_versions(state)[0]


def state_versions(states: StateBatch) -> list[str]:
    """`state_version` of n customers."""
    codes = states.pair_codes.values
    order = np.argsort(codes, kind="stable") if len(states) == 1 else np.lexsort((codes, states.pair_codes.rows()))
    moments = states.scalar("last_event").tobytes()
    pairs = codes[order].astype(np.int32).tobytes()
    totals = states.pair_stats.values[order, layout.PAIR_TOTAL].tobytes()
    identified, versions, begin = states.scalar("identified"), [], 0
    for row, end in enumerate(states.pair_codes.offsets[1:].tolist()):
        digest = hashlib.blake2b(moments[8 * row : 8 * row + 8], digest_size=8)
        digest.update(pairs[4 * begin : 4 * end])
        digest.update(totals[8 * begin : 8 * end])
        if identified[row]:  # nothing of who never had an identifier: their version stays what it was
            digest.update(identified[row].tobytes())
        versions.append(digest.hexdigest())
        begin = end
    return versions
