"""Erasures that a log forgot: the records beside it and a log that was put back by hand in, the same erasures done again out.

`omni restore` does them again by itself. A file that somebody copied over the log, or a database that its own tools brought
back, is older than some of the records: whoever they erased is there again. That is looked at whenever a service or a build
begins, and by a running service once the number of the log's erasures is another one.
"""

import logging

from features.clock import Clock
from features.erasure.turns import WORK, turn_if_free
from features.errors import OmniError
from features.log.carried import CarryReport, carry_erasures, is_of_log, keep_erasures, unknown_erasures
from features.log.event_log import EventLog
from features.settings import Settings

logger = logging.getLogger(__name__)


def recall_erasures(settings: Settings, log: EventLog) -> CarryReport:
    """Do erasures again that this log, or a later copy of it, knew of; files and the online store are left pending.

    Records of another log are left alone: its customers may have the names of others here. Raises StoreError for a record
    that cannot be read. The caller has the turn to erase.
    """
    forgotten = [erasure for erasure in unknown_erasures(settings, log) if is_of_log(erasure, log)]
    if not forgotten:
        return CarryReport()
    report = carry_erasures(log, forgotten, Clock.from_settings(settings).now())
    keep_erasures(settings, log)
    logger.warning(
        "The event log is older than %d erasures, as after it was restored by hand: they hold again. Customers who were in it"
        " and were erased from it anew: %d",
        report.carried,
        len(report.erased_again),
    )
    return report


def recall_if_possible(settings: Settings, log: EventLog) -> None:
    """The same for who begins a service or a build, unless somebody erases at this moment, who does it too.

    A record that cannot be read is said, and keeps nobody from beginning.
    """
    try:
        with turn_if_free(settings, WORK) as is_mine:
            if is_mine:
                recall_erasures(settings, log)
    except (OmniError, OSError) as error:
        logger.warning("Records of erasures cannot be honoured: %s", error)
