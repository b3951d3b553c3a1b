"""Whether answers may use the online store: settings and a log in, what is wrong with the store in a sentence out."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from features.errors import OmniError
from features.log.event_log import EventLog
from features.online.reach import REPAIR, Reach
from features.settings import Settings

EVERY_S: Final = 1.0
"""How often it is looked at: a log that is replaced under a running service is answered from after that long."""


class StoreTrust:
    """Looks now and then whether the store is of the log; safe to use from several threads."""

    def __init__(self, settings: Settings, log: EventLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._reach = Reach(settings)
        self._log = log
        self._clock = clock
        self._problem = ""
        self._next_s = float("-inf")
        self._looking = threading.Lock()

    def problem(self) -> str:
        """Why the store's rows do not count at present; empty where they do. Answers are right either way."""
        if self._clock() < self._next_s:
            return self._problem
        with self._looking:
            if self._clock() >= self._next_s:
                self._problem = store_problem(self._reach, self._log)
                self._next_s = self._clock() + EVERY_S
        return self._problem


def store_problem(reach: Reach, log: EventLog) -> str:
    """Why the online store does not count, with what to do; empty where it does."""
    try:
        if reach.is_of(log):
            return ""
        noted = reach.is_noted()
    except (OmniError, sqlite3.Error) as error:
        return f"Which log the online store is of cannot be read, so answers come from the log: {error}"
    if not noted:
        return f"The online store does not say which log it is of, so answers come from the log. {REPAIR}"
    return (
        "The online store holds what the event log does not, as after a backup was restored, so answers come from the log."
        f" {REPAIR}"
    )
