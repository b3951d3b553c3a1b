"""The service's idea of now: real time, or replayed time that starts at a given moment and runs at normal speed."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from features.settings import Settings


@dataclass(frozen=True)
class Clock:
    """`start` is what `now()` answered when the monotonic clock stood at `origin_s`; None means real time."""

    start: datetime | None = None
    origin_s: float = 0.0

    @classmethod
    def from_settings(cls, settings: Settings) -> "Clock":
        """A clock that starts at `settings.clock_start`, or real time where that is not set."""
        return cls(start=settings.clock_start, origin_s=time.monotonic())

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        if self.start is None:
            return datetime.now(UTC)
        return self.start + timedelta(seconds=time.monotonic() - self.origin_s)
