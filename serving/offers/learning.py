"""The log in, what it tells of responses to offers out, followed by each worker for itself; off the hot path.

What is counted hangs on the log alone (response_fold.py): a worker that is started anew, and every other one, counts the same.
"""

import logging
from itertools import islice
from typing import Final

from features.errors import OmniError
from features.log.event_log import EventLog
from features.vocabulary import Columns
from serving.offers.response import NOTHING_COUNTED, Counts
from serving.offers.response_fold import ResponseFold

logger = logging.getLogger(__name__)

BATCHES: Final = 10
"""Parts of the log that one look takes in, of BATCH_ROWS: what is left comes with the next."""
BATCH_ROWS: Final = 50_000


class ResponseLearner:
    """Counts for one worker; nothing is read as long as there are no offers."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._fold = ResponseFold()
        self._done_seq = 0
        self._told = ""

    def up_to_date(self, *, has_offers: bool, whole: bool = False) -> Counts:
        """What is known now, of the `whole` log at once where that may take its time; as it was where it does not answer."""
        if not has_offers:
            return NOTHING_COUNTED
        try:
            self._look(None if whole else BATCHES)
            self._told = ""
        except OmniError as error:
            if str(error) != self._told:
                logger.warning("What offers bring stays as it was counted: %s", error)
            self._told = str(error)
        return self._fold.counts

    def _look(self, batches: int | None) -> None:
        if self._log.last_seq() < self._done_seq:  # another log stands in its place
            self._fold, self._done_seq = ResponseFold(), 0
        for events in islice(self._log.read(self._done_seq, BATCH_ROWS), batches):
            self._fold.add(events)
            self._done_seq = int(events[Columns.SEQ][-1].as_py())
