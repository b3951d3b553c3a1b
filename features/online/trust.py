"""Whether answers may use the online store: settings and a log in, what is wrong with the store in a sentence out."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from features.errors import OmniError, StoreError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.reach import REPAIR, Reach
from features.servers.patience import waiting_at_most
from features.settings import Settings

EVERY_S: Final = 1.0
"""How often it is looked at: a log that is replaced under a running service is answered from after that long."""
_AND_REDIS: Final = {"sqlite": "", "redis": " and take another Redis database"}
_UNREADABLE: Final = "Which log the online store is of cannot be read, so answers come from the log: {error}"


class StoreTrust:
    """Looks now and then whether the store is of the log; safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        clock: Callable[[], float] = time.monotonic,
        wait_s: float | None = None,
    ) -> None:
        """`wait_s` is how long a look waits for servers; None: as long as they take."""
        self._reach = Reach(settings, wait_s)
        self._log = log
        self._clock = clock
        self._wait_s = wait_s
        self._problem: str | None = None
        self._next_s = float("-inf")
        self._looking = threading.Lock()

    def problem(self) -> str:
        """Why the store's rows do not count at present; empty where they do. Answers are right either way.

        While the store or the log cannot be read, what was last seen holds: who reads them hears of it anyway.
        """
        if self._clock() < self._next_s:
            return self._problem or ""
        with self._looking:
            if self._clock() >= self._next_s:
                self._look()
                self._next_s = self._clock() + EVERY_S
        return self._problem or ""

    def _look(self) -> None:
        try:
            with nullcontext() if self._wait_s is None else waiting_at_most(self._wait_s):
                self._problem = _difference(self._reach, self._log)
        except (OmniError, sqlite3.Error) as error:
            if self._problem is None:
                self._problem = _UNREADABLE.format(error=error)


def store_problem(reach: Reach, log: EventLog) -> str:
    """Why the online store does not count, with what to do; empty where it does."""
    try:
        return _difference(reach, log)
    except (OmniError, sqlite3.Error) as error:
        return _UNREADABLE.format(error=error)


def open_known_log(settings: Settings, wait_s: float | None = None) -> EventLog:
    """`open_log`, to work with what a home has. Raises StoreError where the log is lost: see `check_log_not_lost`."""
    log = open_log(settings, wait_s)
    try:
        check_log_not_lost(settings, log, wait_s)
    except BaseException:
        log.close()
        raise
    return log


def check_log_not_lost(settings: Settings, log: EventLog, wait_s: float | None = None) -> None:
    """Raises StoreError where the log is empty and the online store was made of one that was not.

    Its file was deleted or emptied, then: to serve from an empty log, or from one of what is ingested next, would be to
    forget everybody, and to empty the store. `wait_s` is how long a read waits for Redis.
    """
    try:
        is_lost = log.last_seq() == 0 and Reach(settings, wait_s).noted_seq() > 0
    except (OmniError, sqlite3.Error):  # who is to be asked about it is away: answers say so
        return
    if is_lost:
        raise StoreError(
            f"The event log {settings.event_log_place} is empty, and the features of this home were made of one that was not.",
            repair="Run: omni restore BACKUP (`omni backup` made it)."
            f" To begin anew, move {settings.feast_dir} away{_AND_REDIS[settings.online_store]} first.",
        )


def _difference(reach: Reach, log: EventLog) -> str:
    if reach.is_of(log):
        return ""
    if not reach.is_noted():
        return f"The online store does not say which log it is of, so answers come from the log. {REPAIR}"
    return (
        "The online store holds what the event log does not, as after a backup was restored, so answers come from the log."
        f" {REPAIR}"
    )
