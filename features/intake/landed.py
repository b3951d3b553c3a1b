"""The beginning of an id comes in; the ids of the log that begin so go out, with their values: what a source may ask the log.

A log that is not there yet holds nothing, and is not made by asking.
"""

from collections.abc import Mapping

from features.log.engines import has_log, open_log
from features.log.event_log import EventLog
from features.settings import Settings


class LandedEvents:
    """What has come in before; opens the log when it is asked for the first time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log: EventLog | None = None

    def find(self, beginning: str) -> Mapping[str, float | None]:
        """The ids that begin so, and the values of their events."""
        if self._log is None:
            if not has_log(self._settings):
                return {}
            self._log = open_log(self._settings)
        return self._log.kept_under(beginning)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
