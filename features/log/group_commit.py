"""Group commit: events of many requests in, one transaction for those that wait, each one's own result out once on disk.

A commit is what an append waits for, so events that arrive together share one. While one group is on its way to the disk
the next one gathers: under load a group is large, alone nobody waits for others.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from features.errors import OmniError, StoreError, trace
from features.log.batches import Events, joined
from features.log.event_log import AppendResult
from features.log.reservations import Decided

logger = logging.getLogger(__name__)

MAX_GROUP_ROWS: Final = 5_000
"""Events that are committed together; a batch that is larger is a group by itself."""
MAX_WAITING_ROWS: Final = 200_000
"""Events that may wait for their turn; whoever brings more is sent away."""

Transaction = Callable[[], AbstractContextManager[object]]
"""Opens a write transaction, or within one a part of it that can be taken back by itself."""


class Appends(Protocol):
    """What one group needs of the event log."""

    def append(self, events: Events, decided: Sequence[Decided] = ()) -> AppendResult:
        """Keep a batch of events, and what is decided by them, in one transaction."""

    def settle(self, decided: Sequence[Decided]) -> Sequence[Exception | None]:
        """Reserve what decisions claim: why each is refused, or None."""


class AppendsMany(Protocol):
    """What the committer needs of the event log."""

    def append_many(
        self, batches: Sequence[Events], decided: Sequence[Decided | None] = ()
    ) -> list[AppendResult | Exception]:
        """One result per batch, all of them on disk when this returns."""


class _Waiting(NamedTuple):
    events: Events
    done: "Future[AppendResult]"
    decided: Decided | None = None


class Commit(NamedTuple):
    """How a group ended, and when (monotonic, seconds)."""

    at_s: float
    error: OmniError | None = None


class GroupCommitter:
    """One thread that appends what waits, in order of arrival; safe to use from several threads."""

    def __init__(self, log: AppendsMany, max_waiting_rows: int = MAX_WAITING_ROWS) -> None:
        self._log = log
        self._max_waiting_rows = max_waiting_rows
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._closed = False
        self.last_commit = Commit(-math.inf)
        """How the newest group ended."""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="omni-committer", daemon=True)
        self._thread.start()

    def submit(self, events: Events, decided: Decided | None = None) -> "Future[AppendResult]":
        """Append a batch of events; the future has its result once it is durable, or what went wrong with it.

        With what is `decided` by them it is OvertakenError or FullError where it has to be decided again. Raises StoreError
        where too much waits already, and after `close`.
        """
        done: Future[AppendResult] = Future()
        with self._changed:
            if self._closed:
                raise StoreError("The service is stopping and takes no more events.", repair="Send them again shortly.")
            if self._waiting and self._waiting_rows + len(events) > self._max_waiting_rows:
                raise StoreError(
                    f"{self._waiting_rows:,} events wait for the disk already.", repair="Send these again in a moment."
                )
            self._waiting.append(_Waiting(events, done, decided))
            self._waiting_rows += len(events)
            self._changed.notify()
        return done

    def close(self) -> None:
        """Take nothing more, and return when everything that waits is done with."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._commit([waiting for waiting in group if waiting.done.set_running_or_notify_cancel()])

    def _next_group(self) -> list[_Waiting]:
        """What is committed next; empty after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            group: list[_Waiting] = []
            rows = 0
            while self._waiting and (not group or rows + len(self._waiting[0].events) <= MAX_GROUP_ROWS):
                group.append(self._waiting.popleft())
                rows += len(group[-1].events)
            self._waiting_rows -= rows
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        if not group:
            return
        try:
            batches = [waiting.events for waiting in group]
            decided = [waiting.decided for waiting in group]
            results = self._log.append_many(batches, decided) if any(decided) else self._log.append_many(batches)
            self.last_commit = Commit(time.monotonic())
        except OmniError as error:
            self.last_commit = Commit(time.monotonic(), error)
            logger.warning("A group of %d appends failed: %s", len(group), error)
            results = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            logger.error("A group of %d appends failed\n%s", len(group), trace(error))
            results = [error] * len(group)
        for waiting, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                waiting.done.set_exception(result)
            else:
                waiting.done.set_result(result)


def append_together(
    log: Appends, transaction: Transaction, batches: Sequence[Events], decided: Sequence[Decided | None] = ()
) -> list[AppendResult | Exception]:
    """What `log.append` of each batch answers or raises, one after the other, but on disk all at once.

    Of an event in two of the batches the first one is new and the second a duplicate. An error in one batch leaves the
    others; an error of the transaction itself is raised, and then nothing is promised about any of them.
    """
    with transaction():
        of_batch = decided or [None] * len(batches)
        if len(batches) > 1:
            results = _append_as_one(log, transaction, batches, of_batch)
            if results:
                return results
        return [_append_one(log, batch, one) for batch, one in zip(batches, of_batch, strict=True)]


class _MixedError(Exception):
    """Some events are duplicates or erased: whose they are is only known one batch at a time."""


def _append_as_one(
    log: Appends, transaction: Transaction, batches: Sequence[Events], decided: Sequence[Decided | None]
) -> list[AppendResult | Exception]:
    """The usual case in one go: every event is new, so the seqs follow each other. Empty, with nothing done, otherwise."""
    try:
        with transaction():
            refusals = _settled(log, decided)
            kept = [batch for batch, refusal in zip(batches, refusals, strict=True) if refusal is None]
            whole = log.append(joined(kept)) if kept else AppendResult(0, 0, 0)
            if whole.duplicates or whole.erased:
                raise _MixedError
    except Exception:  # noqa: BLE001 - which batch it comes from is found out one by one
        return []
    results: list[AppendResult | Exception] = []
    last_seq = whole.last_seq - whole.appended
    for batch, refusal in zip(batches, refusals, strict=True):
        if refusal is not None:
            results.append(refusal)
            continue
        last_seq += len(batch)
        results.append(replace(whole, appended=len(batch), last_seq=last_seq))
    return results


def _settled(log: Appends, decided: Sequence[Decided | None]) -> list[Exception | None]:
    """Why what each batch decides is refused; None where it is not, or decides nothing."""
    found = iter(log.settle([one for one in decided if one is not None]) if any(decided) else ())
    return [None if one is None else next(found) for one in decided]


def _append_one(log: Appends, batch: Events, decided: Decided | None) -> AppendResult | Exception:
    try:
        return log.append(batch) if decided is None else log.append(batch, (decided,))
    except StoreError:  # the disk or the server, not this batch: SQLite may have ended the whole transaction
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer to this batch alone
        return error
