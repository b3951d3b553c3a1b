"""The online store and the event log in, the same out with a breaker each: who does not answer is not asked for a while."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import pyarrow as pa

from features.clock import Clock
from features.errors import UnavailableError
from features.log.batches import Events
from features.log.event_log import AppendResult, EventLog
from features.log.group_commit import GroupCommitter
from features.log.reservations import Decided, Held, KeptAnswer, Ledger
from features.online.live import LiveStates, StateReader, StoredState
from features.online.reader import OnlineReader
from features.online.trust import StoreTrust
from features.servers.breaker import TRIAL_S, Breaker
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.event_arrays import Contact

ONLINE_STORE: Final = "online_store"
EVENT_LOG: Final = "event_log"
WRITE_WAIT_S: Final = 20.0
"""How long a write may wait for another process's: an answer has a few seconds more."""
SUSPECT_S: Final = 0.25
"""A write that takes longer has the log tried: whether it is busy or gone."""
T = TypeVar("T")


class Named(Protocol):
    """What answers need of the log to know who is asked about, and to keep decisions."""

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        """Who this is; None where nobody is known by that."""

    def names_of(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        """`resolve` of several customer ids."""

    def append(self, events: Events) -> AppendResult:
        """Keep valid events."""

    def ledger(self) -> Ledger:
        """What decisions have reserved."""


@dataclass(frozen=True)
class GuardedReader:
    """Reads the online store, unless it is known not to answer."""

    reader: StateReader
    breaker: Breaker

    def read_state(self, customer_id: str) -> StoredState | None:
        """Raises UnavailableError, at once where the breaker is open."""
        return self.breaker.call(lambda: self.reader.read_state(customer_id))

    def read_batch(self, customer_ids: Sequence[str]) -> tuple[list[str], StateBatch]:
        """Raises as `read_state` does."""
        return self.breaker.call(lambda: self.reader.read_batch(customer_ids))


@dataclass(frozen=True)
class GuardedLog:
    """Reads the event log, unless it is known not to answer."""

    log: EventLog
    breaker: Breaker

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        """Raises UnavailableError, at once where the breaker is open; so do the other reads."""
        return self._ask(lambda: self.log.resolve(customer_id, identifiers))

    def names_of(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        """`resolve` of several customer ids."""
        return self._ask(lambda: self.log.names_of(customer_ids))

    def whose_is_newer(self, folded: Sequence[tuple[str, int, int]]) -> set[str]:
        """Who of several customers has newer events than their state."""
        return self._ask(lambda: self.log.whose_is_newer(folded))

    def regrouped_seqs(self, customer_ids: Sequence[str]) -> dict[str, int]:
        """`regrouped_seq` of several customers."""
        return self._ask(lambda: self.log.regrouped_seqs(customer_ids))

    def customer_events(self, customer_id: str, after_seq: int = 0, decided_before_us: int | None = None) -> pa.Table:
        """One customer's events in timeline order."""
        return self._ask(lambda: self.log.customer_events(customer_id, after_seq, decided_before_us))

    def contacts(self, customer_id: str) -> list[Contact]:
        """What tells what one customer was contacted about."""
        return self._ask(lambda: self.log.contacts(customer_id))

    def purchases(self, customer_id: str) -> pa.Table:
        """One customer's purchases and returns in timeline order."""
        return self._ask(lambda: self.log.purchases(customer_id))

    def regrouped_seq(self, customer_id: str) -> int:
        """The seq at which the customer was last regrouped; 0 for never."""
        return self._ask(lambda: self.log.regrouped_seq(customer_id))

    def append(self, events: Events) -> AppendResult:
        """Keep valid events."""
        return self.log.append(events)

    def ledger(self) -> "GuardedLedger":
        """What decisions have reserved."""
        return GuardedLedger(self)

    def held(self, customer_id: str, now_us: int) -> Held:
        """What a customer has reserved."""
        return self._ask(lambda: self.log.ledger().held(customer_id, now_us))

    def held_many(self, customer_ids: Sequence[str], now_us: int) -> dict[str, Held]:
        """`held` of several customers."""
        return self._ask(lambda: self.log.ledger().held_many(customer_ids, now_us))

    def used(self, keys: Iterable[str]) -> Mapping[str, float]:
        """How much of counters is taken."""
        return self._ask(lambda: self.log.ledger().used(keys))

    def kept_answers(self, names: Sequence[str], now_us: int) -> dict[str, KeptAnswer]:
        """Answers that were kept under these names."""
        return self._ask(lambda: self.log.ledger().answers(names, now_us))

    def _ask(self, question: Callable[[], T]) -> T:
        def ask() -> T:
            try:
                return question()
            except sqlite3.OperationalError as error:  # what the log has no words for: its file was exchanged, say
                raise UnavailableError(f"The event log cannot be read ({error}).") from error

        return self.breaker.call(ask)


@dataclass(frozen=True)
class GuardedLedger:
    """The ledger of a guarded log."""

    log: GuardedLog

    def held(self, customer_id: str, now_us: int) -> Held:
        """Raises UnavailableError, at once where the breaker is open; so do the others."""
        return self.log.held(customer_id, now_us)

    def held_many(self, customer_ids: Sequence[str], now_us: int) -> dict[str, Held]:
        """`held` of several customers."""
        return self.log.held_many(customer_ids, now_us)

    def used(self, keys: Iterable[str]) -> Mapping[str, float]:
        """How much of counters is taken."""
        return self.log.used(keys)

    def answers(self, names: Sequence[str], now_us: int) -> dict[str, KeptAnswer]:
        """Answers that were kept under these names."""
        return self.log.kept_answers(names, now_us)


@dataclass(frozen=True)
class Reliance:
    """What a service relies on. `states` and `log` do without what does not answer; `close` ends its threads."""

    reader: StateReader
    online: Breaker
    log: GuardedLog
    problem: Callable[[], str] = str
    """Why the online store does not count, whether it answers or not; empty where it does."""

    @classmethod
    def on(cls, settings: Settings, clock: Clock, log: EventLog) -> "Reliance":
        """The online store that the settings name, and that log."""
        timeout_s = settings.timeout_ms / 1000
        trial_s = max(timeout_s, TRIAL_S)
        reader = OnlineReader(settings, clock, timeout_s=timeout_s)
        online = Breaker("The online store", lambda: reader.read_state(""), trial_s=trial_s)
        guarded = GuardedLog(log, Breaker("The event log", log.last_seq, trial_s=trial_s))
        guarded.breaker.suspect()  # so that the thread that tries has its connection before there is trouble
        return cls(reader, online, guarded, StoreTrust(settings, log, wait_s=timeout_s).problem)

    def states(self) -> LiveStates:
        """Customers' states, from both or from the one that answers."""
        return LiveStates(GuardedReader(self.reader, self.online), self.log, self.problem, degrades=True)

    def breakers(self) -> dict[str, Breaker]:
        """Each breaker by the name that answers give what it guards."""
        return {ONLINE_STORE: self.online, EVENT_LOG: self.log.breaker}

    def need_log(self) -> None:
        """Raises UnavailableError where the log is known not to answer."""
        if self.log.breaker.is_open:
            raise UnavailableError(self.log.breaker.trouble() or "The event log is being tried.")

    def close(self) -> None:
        """End the threads that try."""
        for breaker in self.breakers().values():
            breaker.close()


async def append(
    committer: GroupCommitter, reliance: Reliance | None, events: Events, decided: Decided | None = None
) -> AppendResult:
    """Have events appended, in one commit with those of others, and wait until they are durable.

    With them what is `decided` by them is settled: raises OvertakenError or FullError where that has to be made anew. Raises
    UnavailableError where the log does not answer, and does not wait for it then; they may still be kept later.
    """
    if reliance is not None:
        reliance.need_log()
    return await while_log_answers(asyncio.wrap_future(committer.submit(events, decided)), reliance)


async def while_log_answers(writing: "asyncio.Future[T]", reliance: Reliance | None) -> T:
    """Wait for what writes to the log, however long others keep it busy, but not where it has gone."""
    if reliance is None:
        return await writing
    loop = asyncio.get_running_loop()
    gone: UnavailableError | None = None
    timer: asyncio.TimerHandle

    def suspect() -> None:
        nonlocal gone, timer
        reliance.log.breaker.suspect()
        try:
            reliance.need_log()
        except UnavailableError as error:
            gone = error
            writing.cancel()  # what nobody waits for any more, and is not begun, is not written
        else:
            timer = loop.call_later(SUSPECT_S, suspect)

    timer = loop.call_later(SUSPECT_S, suspect)
    try:
        return await writing
    except asyncio.CancelledError:
        if gone is not None:
            raise gone from None
        raise
    finally:
        timer.cancel()
