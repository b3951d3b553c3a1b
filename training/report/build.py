"""Settings and a period in, the whole report out: journeys, measured success, and the hold-out, with what it cannot tell."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from features.errors import InputError, MissingError
from features.log.engines import open_log
from features.offline.build_note import check_of_log, read_note
from features.settings import Settings
from training.data.suppressed import suppressed_customers
from training.report.config import ReportConfig
from training.report.deliveries import not_delivered
from training.report.holdout import NO_HOLDOUT, HoldoutReport, compare_with_holdout
from training.report.journeys import JourneyAudit, audit_journeys, default_period
from training.report.scan import Period, timeline_connection
from training.report.success import Success, default_success_period, measure_success
from training.task import Progress


@dataclass(frozen=True)
class Report:
    """What `omni report` answers."""

    journeys: JourneyAudit
    success: Success
    holdout: HoldoutReport | None
    definitions: Mapping[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object: tables become lists of rows, everything else stays as it is named here."""
        return {name: _plain(part) for name, part in asdict(self).items()}

    def __rich__(self) -> Any:
        """Tables for a person."""
        from training.report.tables import as_text

        return as_text(self)


def build_report(
    settings: Settings,
    config: ReportConfig,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    progress: Progress = lambda _: None,
    seed: int = 0,
) -> Report:
    """The report over [start, end); left out, success is of the last whole `period_days` and journeys of all of the log.

    Raises MissingError where the timeline is not built, StoreError where it is of another log, and InputError for a period
    without an event.
    """
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run: omni features build")
    with closing(open_log(settings)) as log:
        check_of_log(settings, log)
    with timeline_connection(settings.timeline_path, suppressed_customers(settings)) as connection:
        first, last = connection.execute("SELECT min(occurred_at), max(occurred_at) FROM timeline").fetchall()[0]
        if first is None:
            raise InputError("The log holds no event.", repair="Ingest some: omni ingest SOURCE")
        log_start, log_end = (pd.Timestamp(moment).tz_convert("UTC").to_pydatetime() for moment in (first, last))
        period = default_success_period(start, end, log_end, config.period_days)
        _check(period, log_start, log_end)
        progress("journeys")
        asked = period if start or end else default_period(log_start, log_end, config)
        journeys = audit_journeys(connection, config, asked, log_end, seed)
        progress("measures of success")
        success = measure_success(connection, config, period, Period(log_start, log_end), seed)
        progress("hold-out")
        holdout = compare_with_holdout(connection, config, period, seed)
    notes = (*_behind(settings), *_notes(journeys, success, holdout, log_end))
    return Report(journeys, success, holdout, _definitions(config), notes)


def _check(period: Period, log_start: datetime, log_end: datetime) -> None:
    if period.start >= period.end:
        raise InputError(
            f"The period begins on {period.start:%Y-%m-%d} and ends on {period.end:%Y-%m-%d}.",
            repair="Give a --from that is before --to.",
        )
    if period.end <= log_start or period.start > log_end:
        raise InputError(
            f"No event is in {period}: the log reaches from {log_start:%Y-%m-%d} to {log_end:%Y-%m-%d}.",
            repair="Name a period with --from and --to (not included).",
        )


def _behind(settings: Settings) -> tuple[str, ...]:
    """A sentence where the log has moved on since the timeline was made."""
    note = read_note(settings)
    if note is None:
        return ()
    log = open_log(settings)
    try:
        newer = log.last_seq() - note.last_seq
    finally:
        log.close()
    if newer <= 0:
        return ()
    return (f"Not in this report: what came after the last build, {newer:,} events. Run: omni features build",)


def _definitions(config: ReportConfig) -> dict[str, str]:
    return {
        "journey": (
            f"a customer's touches from the first one to a purchase, or until they do nothing for {config.silence_days:g} "
            "days; contacts that they do not react to within that time are journeys of their own; counted by its beginning"
        ),
        "touch": f"an event of the kinds {', '.join(config.kinds)}, or a purchase",
        "step": f"a {config.touchpoint.replace('_', ' ')}; the same one in a row is one step, and the purchase's is the last",
        "purchase": "what a customer bought in one session, or without one at one moment",
        "drop-off": "of the journeys with this touchpoint, the share that ends there without a purchase",
        "interval": "95 %, by bootstrap over customers",
    }


def _notes(
    journeys: JourneyAudit, success: Success, holdout: HoldoutReport | None, log_end: datetime
) -> tuple[str, ...]:
    """What the figures cannot tell, in sentences."""
    notes = []
    if success.period.end - timedelta(days=1) > log_end:
        notes.append(f"The log ends on {log_end:%Y-%m-%d}, before the period does: its figures are of a part of it.")
    if journeys.counts["open"]:
        notes.append(
            f"Journeys that are not over at the log's end are in no share: {journeys.counts['open']:,}"
            + ("; conversion reads too high." if journeys.counts["open"] > 0.02 * journeys.counts["journeys"] else ".")
        )
    notes.append(
        "Customers who buy over several channels are others than those who do not: the difference in their revenue says "
        "nothing about what another channel would do."
    )
    unknown, contacts = success.counts["cost_unknown"], success.counts["contacts"]
    if unknown:
        notes.append(
            f"{unknown:,.0f} of {contacts:,.0f} contacts have no known cost and count as free: write [costs] into "
            "report.toml, by arm or channel."
        )
    unsent = not_delivered(success.decisions)
    if unsent:
        notes.append(unsent)
    return (*notes, NO_HOLDOUT) if holdout is None else (*notes, *holdout.cautions)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return value.to_dict("records")
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
