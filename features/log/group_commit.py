"""Group commit: tables of many requests in, one transaction for those that wait, each one's own result out once on disk.

A commit is what an append waits for, so tables that arrive together share one. While one group is on its way to the disk
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

import pyarrow as pa

from features.errors import OmniError, StoreError, trace
from features.log.event_log import AppendResult

logger = logging.getLogger(__name__)

MAX_GROUP_ROWS: Final = 5_000
"""Rows that are committed together; a table that is larger is a group by itself."""
MAX_WAITING_ROWS: Final = 200_000
"""Rows that may wait for their turn; whoever brings more is sent away."""

Transaction = Callable[[], AbstractContextManager[object]]
"""Opens a write transaction, or within one a part of it that can be taken back by itself."""


class Appends(Protocol):
    """What one group needs of the event log."""

    def append(self, table: pa.Table) -> AppendResult:
        """Keep the rows of a valid table (EVENT_SCHEMA) in one transaction."""


class AppendsMany(Protocol):
    """What the committer needs of the event log."""

    def append_many(self, tables: Sequence[pa.Table]) -> list[AppendResult | Exception]:
        """One result per table, all of them on disk when this returns."""


class _Waiting(NamedTuple):
    table: pa.Table
    done: "Future[AppendResult]"


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

    def submit(self, table: pa.Table) -> "Future[AppendResult]":
        """Append a valid table (EVENT_SCHEMA); the future has its result once it is durable, or what went wrong with it.

        Raises StoreError where too much waits already, and after `close`.
        """
        done: Future[AppendResult] = Future()
        with self._changed:
            if self._closed:
                raise StoreError("The service is stopping and takes no more events.", repair="Send them again shortly.")
            if self._waiting and self._waiting_rows + table.num_rows > self._max_waiting_rows:
                raise StoreError(
                    f"{self._waiting_rows:,} events wait for the disk already.", repair="Send these again in a moment."
                )
            self._waiting.append(_Waiting(table, done))
            self._waiting_rows += table.num_rows
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
            while self._waiting and (not group or rows + self._waiting[0].table.num_rows <= MAX_GROUP_ROWS):
                group.append(self._waiting.popleft())
                rows += group[-1].table.num_rows
            self._waiting_rows -= rows
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        if not group:
            return
        try:
            results = self._log.append_many([waiting.table for waiting in group])
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
    log: Appends, transaction: Transaction, tables: Sequence[pa.Table]
) -> list[AppendResult | Exception]:
    """What `log.append` of each table answers or raises, one after the other, but on disk all at once.

    Of an event in two of the tables the first one is new and the second a duplicate. An error in one table leaves the
    others; an error of the transaction itself is raised, and then nothing is promised about any of them.
    """
    with transaction():
        if len(tables) > 1:
            results = _append_as_one(log, transaction, tables)
            if results:
                return results
        return [_append_one(log, table) for table in tables]


class _MixedError(Exception):
    """Some rows are duplicates or erased: whose they are is only known one table at a time."""


def _append_as_one(
    log: Appends, transaction: Transaction, tables: Sequence[pa.Table]
) -> list[AppendResult | Exception]:
    """The usual case in one go: every row is new, so the seqs follow each other. Empty, with nothing done, otherwise."""
    try:
        with transaction():
            whole = log.append(pa.concat_tables(tables).combine_chunks())
            if whole.duplicates or whole.erased:
                raise _MixedError
    except Exception:  # noqa: BLE001 - which table it comes from is found out one by one
        return []
    results: list[AppendResult | Exception] = []
    last_seq = whole.last_seq - whole.appended
    for table in tables:
        last_seq += table.num_rows
        results.append(replace(whole, appended=table.num_rows, last_seq=last_seq))
    return results


def _append_one(log: Appends, table: pa.Table) -> AppendResult | Exception:
    try:
        return log.append(table)
    except StoreError:  # the disk or the server, not this table: SQLite may have ended the whole transaction
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer to this table alone
        return error
