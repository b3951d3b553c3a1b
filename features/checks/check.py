"""Settings in; one report on the feature stores and on the data in them out: what `omni features check` shows."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from features.checks.doctor import Status, check_features
from features.checks.quality import QualityReport, check_quality, load_quality_config
from features.clock import Clock
from features.console import Progress
from features.moments import utc
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
    return Clock.from_settings(settings).now() if text is None else utc(text)
