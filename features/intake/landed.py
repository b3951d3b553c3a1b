"""What the log holds already, for a source that asks and for an ingest that keeps nothing: the log is only read.

A log that is not there yet holds nothing, and is not made by asking.
"""

from collections.abc import Mapping, Sequence

from features.log.engines import has_log, open_log
from features.log.event_log import EventLog
from features.settings import Settings


class LandedEvents:
    """What has come in before; opens the log when it is asked for the first time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log: EventLog | None = None
        self._currency: str | None = None

    def find(self, beginning: str) -> Mapping[str, float | None]:
        """The ids that begin so, and the values of their events."""
        log = self._opened()
        return {} if log is None else log.kept_under(beginning)

    def currency(self) -> str | None:
        """What the home counts in, or would once this came in."""
        log = self._opened()
        return self._currency or (None if log is None else log.currency())

    def settle_currency(self, code: str) -> str:
        """As if it were settled."""
        self._currency = self.currency() or code
        return self._currency

    def known_ids(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the log holds."""
        log = self._opened()
        return set() if log is None else log.known_ids(event_ids)

    def _opened(self) -> EventLog | None:
        if self._log is None and has_log(self._settings):
            self._log = open_log(self._settings)
        return self._log

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
