"""A home's timeline and log in, what needs no model and knows everybody's numbers of now out; off the hot path."""

import logging
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

from features.clock import Clock
from features.errors import OmniError
from features.log.event_log import EventLog
from features.meter import release_memory
from features.offline.build_note import BuildNote, is_of_log, read_note
from features.settings import Settings
from features.vocabulary import Columns
from serving.fallback.choice import Fallback
from serving.fallback.counting import Buyers, Counting, timeline_batches
from serving.fallback.population import ChurnRate, Population
from serving.products.catalogue import Catalogue

logger = logging.getLogger(__name__)

EVERY_S: Final = 60.0
"""How often, at most, newer events are counted."""
ANEW_S: Final = 3600.0
"""How often everything is counted anew where there is no build: who came back is told by whole lives only."""
WHOLE_LOG: Final = 500_000
"""Events up to which a log without a build is counted anew for that; of a longer one the first count stays."""
BATCHES: Final = 10
"""Parts of the log that one look takes in, of BATCH_ROWS: what is left comes with the next."""
BATCH_ROWS: Final = 50_000


class Census:
    """Counts for one worker; `now` tells seconds that pass."""

    def __init__(
        self, settings: Settings, log: EventLog, clock: Clock, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._log, self._clock, self._now = settings, log, clock, now
        self._counting: Counting | None = None
        self._population = Population()
        self._churn: ChurnRate | None = None
        self._build: BuildNote | None = None
        self._done_seq = 0
        self._next_s = self._anew_s = -float("inf")
        self._told = ""

    def up_to_date(self, fallback: Fallback | None, catalogue: Catalogue) -> Fallback:
        """What answers without models, with everybody as of now; the very same where nothing changed."""
        before = self._population
        try:
            self._look()
            self._told = ""
        except OmniError as error:
            if str(error) != self._told:
                logger.warning("What everybody does stays as it was counted: %s", error)
            self._told = str(error)
        if fallback is not None and fallback.catalogue is catalogue and before is self._population:
            return fallback
        return Fallback.of(self._population, catalogue, fallback)

    def _look(self) -> None:
        now_s = self._now()
        if now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        build = self._build_of_log()
        grown = build is None and now_s >= self._anew_s and self._log.count() <= WHOLE_LOG
        is_new = self._counting is None or build != self._build or grown
        changed = self._count_newer() if not is_new else self._count_all(build, now_s)
        if changed and self._counting is not None:
            self._population = self._counting.population(self._churn)
        if is_new:
            release_memory()  # a whole timeline went through

    def _build_of_log(self) -> BuildNote | None:
        """The build whose timeline counts."""
        note = read_note(self._settings)
        usable = note is not None and self._settings.timeline_path.exists() and is_of_log(note, self._log)
        return note if usable else None

    def _count_all(self, build: BuildNote | None, now_s: float) -> bool:
        at_s = self._clock.now().timestamp()
        counting, buyers = Counting(at_s), []
        if build is None:
            done_seq = 0
            for events in islice(self._log.read(0, BATCH_ROWS), WHOLE_LOG // BATCH_ROWS + 1):
                counting.add(events)
                buyers.append(Buyers.of(events, Columns.RESOLVED_CUSTOMER_ID))
                done_seq = int(events[Columns.SEQ][-1].as_py())
        else:
            done_seq = build.last_seq
            for events in timeline_batches(self._settings.timeline_path):
                counting.add(events)
                buyers.append(Buyers.of(events, Columns.CUSTOMER_ID))
        self._churn = Buyers.together(buyers).churn(min(at_s, counting.newest_s)) if buyers else None
        self._counting, self._build, self._done_seq, self._anew_s = counting, build, done_seq, now_s + ANEW_S
        self._count_newer()
        return True

    def _count_newer(self) -> bool:
        """Take in what the log holds beyond what was counted; whether there was anything."""
        assert self._counting is not None
        before = self._done_seq
        for events in islice(self._log.read(self._done_seq, BATCH_ROWS), BATCHES):
            self._counting.add(events)
            self._done_seq = int(events[Columns.SEQ][-1].as_py())
        return self._done_seq != before
