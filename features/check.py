"""Settings in; one report on the feature stores and on the data in them out: what `omni features check` shows."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from features.clock import Clock
from features.console import Progress
from features.doctor import Status, check_features
from features.errors import InputError
from features.quality import QualityReport, check_quality, load_quality_config
from features.settings import Settings


def check_all(settings: Settings, config: Path | None, as_of: datetime, progress: Progress) -> QualityReport:
    """The state of the stores first; the rules about the data where there is a build that they can be asked about.

    Raises InputError for a file of limits that cannot be used.
    """
    limits = load_quality_config(settings, config)
    stores = check_features(settings).checks
    failed = any(check.status is not Status.OK for check in stores)
    if not settings.timeline_path.exists():
        return QualityReport(as_of, stores, failed, {})
    progress("asking the rules")
    report = check_quality(settings, limits, as_of)
    return replace(report, checks=(*stores, *report.checks), failed=failed or report.failed)


def parse_as_of(text: str | None, settings: Settings) -> datetime:
    """A moment as given on the command line, in UTC where it names no zone; the clock's now where none is given."""
    if text is None:
        return Clock.from_settings(settings).now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"--as-of {text!r} is no moment.", repair="Write it as 2018-01-01 or 2018-01-01T12:00Z."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
