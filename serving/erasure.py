"""A customer's name comes in; they are erased from everything that the settings name, and the receipt goes out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from features.console import Progress
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.errors import InputError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.receipt import LearntModel, Receipt
from features.settings import Settings
from serving.scorers.registry import registered_models

logger = logging.getLogger(__name__)


def erase(settings: Settings, name: str, progress: Progress) -> Receipt:
    """Erase one customer completely; raises InputError where nobody is or was known by this name."""
    log = open_log(settings)
    try:
        progress("log and online store")
        receipt = begin_erasure(settings, log, name)
        if receipt is None:
            raise InputError(
                "Nobody is known by that name.", repair="Name a customer by id, or an identifier of theirs."
            )
        return finish_erasure(settings, log, receipt, _models(settings), progress)
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

    def finish(self) -> None:
        """Do what is pending."""
        finish_all(self.settings, self.log)


def finish_all(settings: Settings, log: EventLog, progress: Progress = logger.info) -> list[Receipt]:
    """Finish every erasure that was begun and has steps left."""
    return [finish_erasure(settings, log, receipt, _models(settings), progress) for receipt in pending_erasures(log)]


def _models(settings: Settings) -> Callable[[], list[LearntModel]]:
    return lambda: registered_models(settings)
