"""A customer's name comes in; they are erased from everything that the settings name, and the receipt goes out.

Of all processes that serve a home, one at a time finishes what was begun: whoever has the turn (features/erasure/turns.py).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from features.backup.catalogue import known_backups
from features.console import Progress
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.erasure.places import CACHES_CLEARED_S
from features.erasure.recall import recall_erasures
from features.erasure.turns import WAIT_S, WORK, turn, turn_if_free
from features.errors import InputError, OmniError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.receipt import Receipt
from features.settings import Settings
from serving.scorers.registry import registered_models

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often each worker looks for erasures that are left to finish, or that others began."""
_SLOWEST_S: Final = 300.0
"""After failures that follow each other, the longest time until the next attempt."""


def erase(settings: Settings, name: str, progress: Progress, wait_s: float = WAIT_S) -> Receipt:
    """Erase one customer completely; raises InputError where nobody is or was known by this name.

    Raises StoreError, which says who, where another process has been finishing erasures for `wait_s`.
    """
    log = open_log(settings)
    try:
        progress("log and online store")
        receipt = begin_erasure(settings, log, name)
        if receipt is None:
            raise InputError(
                "Nobody is known by that name.", repair="Name a customer by id, or an identifier of theirs."
            )
        if receipt.complete:
            return receipt
        progress("waiting for the turn to erase")
        with turn(settings, WORK, wait_s):
            return _finish(settings, log, receipt, progress)
    finally:
        log.close()


@dataclass(frozen=True)
class Eraser:
    """What the service erases with."""

    settings: Settings
    log: EventLog

    def begin(self, name: str) -> Receipt | None:
        """Take a customer out of the log and the online store; None where nobody is or was known by this name."""
        return begin_erasure(self.settings, self.log, name)

    def finish(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Do what is pending, also what comes meanwhile, unless somebody else is doing it."""
        with turn_if_free(self.settings, WORK) as is_mine:
            if is_mine:
                _finish_pending(self.settings, self.log, logger.info, stop)


class ErasureWorker:
    """Threads that see to it that erasures end, whoever began them and whatever became of that process.

    One looks, every `look_s`: it tells `note` what is pending, and has `forget` clear what this process remembers of
    customers, for as long as an answer may still put somebody erased there. The other finishes, when it has the turn.
    """

    def __init__(
        self,
        eraser: Eraser,
        note: Callable[[Sequence[Receipt]], None] = lambda _: None,
        forget: Callable[[], None] = lambda: None,
        look_s: float = LOOK_S,
    ) -> None:
        self._eraser, self._note, self._forget, self._look_s = eraser, note, forget, look_s
        self._stop, self._wanted = threading.Event(), threading.Event()
        self._n_erasures = -1
        self._forget_until = 0.0
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._watch, "omni-erasure-watch"), (self._work, "omni-erasure-work"))
        ]

    def start(self) -> None:
        """Begin with what an earlier process left."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further erasure; the one under way is waited for a while. What is not done then is done later."""
        self._stop.set()
        self._wanted.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def look(self) -> None:
        """Look once."""
        book = self._eraser.log.erasures()
        n_erasures, now = book.count(), time.monotonic()
        if n_erasures != self._n_erasures:
            self._n_erasures, self._forget_until = n_erasures, now + CACHES_CLEARED_S / 2
            self._wanted.set()  # a log with another number of them may be an older one
        if now < self._forget_until:
            self._forget()
        pending = book.pending()
        self._note(pending)
        if pending:
            self._wanted.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except OmniError as error:
                logger.warning("Erasures cannot be looked at: %s", error)
            except Exception:  # it must outlive a bad moment of the log
                logger.exception("Looking at erasures failed; it is tried again in %g s", self._look_s)
            self._stop.wait(self._look_s)

    def _work(self) -> None:
        wait_s = self._look_s
        while True:
            self._wanted.wait()
            if self._stop.is_set():
                return
            self._wanted.clear()
            try:
                self._eraser.finish(self._stop.is_set)
            except (OmniError, OSError) as error:  # a full disk, a registry that is away: it goes on when they are back
                logger.warning("Erasures are not finished yet, and are tried again in %.0f s: %s", wait_s, error)
            except Exception:  # as above
                logger.exception("Finishing erasures failed; it is tried again in %.0f s", wait_s)
            else:
                wait_s = self._look_s
                continue
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _SLOWEST_S)


def finish_all(
    settings: Settings, log: EventLog, progress: Progress = logger.info, wait_s: float = WAIT_S
) -> list[Receipt]:
    """Finish every erasure that was begun and has steps left.

    Raises StoreError, which says who, where another process has been at it for `wait_s`.
    """
    with turn(settings, WORK, wait_s):
        return _finish_pending(settings, log, progress)


def oldest_s(pending: Sequence[Receipt], now: datetime) -> float:
    """How long the oldest of these erasures has been under way, in seconds; 0 where there is none."""
    return max((max(0.0, (now - receipt.erased_at).total_seconds()) for receipt in pending), default=0.0)


def _finish_pending(
    settings: Settings, log: EventLog, progress: Progress, stop: Callable[[], bool] = lambda: False
) -> list[Receipt]:
    """Finish one after the other, until none is left; one that cannot be finished keeps no other one waiting."""
    finished: list[Receipt] = []
    failed: dict[str, Exception] = {}
    try:
        recall_erasures(settings, log)
    except (OmniError, OSError) as error:
        failed["records"] = error
    while not stop():
        pending = [receipt for receipt in pending_erasures(log) if receipt.receipt_id not in failed]
        if not pending:
            break
        try:
            finished.append(_finish(settings, log, pending[0], progress))
        except (OmniError, OSError) as error:
            failed[pending[0].receipt_id] = error
        except Exception as error:
            logger.exception("Erasure %s cannot be finished", pending[0].receipt_id)
            failed[pending[0].receipt_id] = error
    if failed:
        raise next(iter(failed.values()))
    return finished


def _finish(settings: Settings, log: EventLog, receipt: Receipt, progress: Progress) -> Receipt:
    return finish_erasure(
        settings,
        log,
        receipt,
        lambda: registered_models(settings),
        progress,
        lambda: [backup.place for backup in known_backups(settings) if backup.is_there],
    )
