"""What is kept of everybody's numbers in, what answers without models out; newer events are counted by one worker for all."""

import logging
import time
from collections.abc import Callable
from typing import Final

from features.arrays import FloatArray
from features.clock import Clock
from features.errors import OmniError
from features.log.event_log import EventLog
from features.log.marks import Anchor
from features.offline.build_note import BuildNote
from features.settings import Settings
from serving.decision.send_time import hour_shares
from serving.fallback.choice import Fallback
from serving.fallback.kept import Kept, kept_path, read, stamp_of, turn, write
from serving.fallback.population import Population
from serving.fallback.whole import APART, build_of_log, count_all, count_apart, count_newer
from serving.products.catalogue import Catalogue

logger = logging.getLogger(__name__)

EVERY_S: Final = 60.0
"""How often, at most, newer events are counted."""
ANEW_S: Final = 3600.0
"""How often everything is counted anew where there is no build: who came back is told by whole lives only."""
WHOLE_LOG: Final = 500_000
"""Events up to which a log without a build is counted anew for that; of a longer one the first count stays."""


class Census:
    """Everybody's numbers for one worker; `now` tells seconds that pass."""

    def __init__(
        self, settings: Settings, log: EventLog, clock: Clock, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._log, self._clock, self._now = settings, log, clock, now
        self._path = kept_path(settings)
        self._kept: Kept | None = None
        self._stamp: tuple[int, int] | None = None
        self._population = Population()
        self._next_s = -float("inf")
        self._told = ""

    def up_to_date(self, fallback: Fallback | None, catalogue: Catalogue) -> Fallback:
        """What answers without models, with everybody as of now; the very same where nothing changed."""
        before = self._population
        try:
            self._look()
            self._told = ""
        except (OmniError, OSError) as error:
            if str(error) != self._told:
                logger.warning("What everybody does stays as it was counted: %s", error)
            self._told = str(error)
        if fallback is not None and fallback.catalogue is catalogue and before is self._population:
            return fallback
        return Fallback.of(self._population, catalogue, fallback)

    def hours(self) -> FloatArray | None:
        """`population_hours` of the timeline as it lies there; None where it was not counted yet."""
        self._take_kept()
        stamp = stamp_of(self._settings.timeline_path)
        counted = self._kept is not None and stamp is not None and self._kept.basis.timeline == stamp
        return hour_shares(self._kept.hours) if self._kept is not None and counted else None

    def _look(self) -> None:
        self._take_kept()
        if self._now() < self._next_s:
            return
        self._next_s = self._now() + EVERY_S
        if self._is_done():
            return
        with turn(self._path, wait=self._kept is None) as mine:
            if mine and not self._take_kept():  # else another worker has just counted
                self._count()

    def _take_kept(self) -> bool:
        """Whether there was something new in the file, and it was taken in."""
        stamp = stamp_of(self._path)
        if stamp is None or stamp == self._stamp:
            return False
        self._stamp, kept = stamp, read(self._path)
        if kept is None:
            return False
        self._use(kept)
        return True

    def _use(self, kept: Kept) -> None:
        if self._kept is not None:  # a worker that starts does not know how long the file has lain there
            self._next_s = self._now() + EVERY_S
        self._kept, self._population = kept, kept.population

    def _is_done(self) -> bool:
        """Whether there is nothing that was not counted."""
        build = build_of_log(self._settings, self._log)
        return (
            not self._is_stale(build) and self._kept is not None and self._log.last_seq() <= self._kept.basis.done_seq
        )

    def _is_stale(self, build: BuildNote | None) -> bool:
        """Whether everything is to be counted anew: of a new build, of another log, and of none for a while."""
        if self._kept is None:
            return True
        basis = self._kept.basis
        anchor = Anchor.parse(basis.log)
        if basis.build != ("" if build is None else build.anchor) or anchor is None or not self._log.holds(anchor):
            return True
        is_old = not 0 <= self._clock.now().timestamp() - basis.counted_s < ANEW_S
        return build is None and is_old and self._log.count() <= WHOLE_LOG

    def _count(self) -> None:
        build = build_of_log(self._settings, self._log)
        if not self._is_stale(build):
            assert self._kept is not None
            self._keep(count_newer(self._kept, self._log))
        elif (self._log.count() if build is None else build.events) <= APART:
            self._keep(count_all(self._settings, self._log, self._clock))
        else:
            count_apart(self._settings)
            self._take_kept()

    def _keep(self, kept: Kept) -> None:
        self._use(kept)
        write(self._path, kept)
        self._stamp = stamp_of(self._path)
