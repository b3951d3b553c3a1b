"""The check of the feature stores and of the data in them: settings and limits come in, one finding per rule goes out.

What `omni features check` shows. The rules are asked in DuckDB, straight from the Parquet files, so that a long history
costs seconds and little memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from features.checks.doctor import Check, Examination, Status, check_features
from features.clock import Clock
from features.config import Config, load_own
from features.console import Progress
from features.moments import utc
from features.offline import files
from features.offline.timeline import TIMELINE_SCHEMA
from features.settings import Settings
from features.sql import connect
from features.state.encoding import PRODUCTS_SCHEMA, STATE_SCHEMA
from features.vocabulary import CHANNELS, DAY_S, KINDS, Columns, EventKind

OWN_CONFIG: Final = "quality.toml"
"""The file under OMNI_HOME that replaces defaults."""


class QualityConfig(Config):
    """Limits of `omni features check`; write those that should differ into OMNI_HOME/quality.toml."""

    max_age_days: float = Field(7.0, gt=0)
    """The newest event may be this old."""
    future_minutes: float = Field(5.0, ge=0)
    """Events may be this far ahead of the clock, as they may when they come in."""
    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    """No event is from before this moment: older ones are usually a lost date."""
    max_value: float = Field(100_000.0, gt=0)
    """The most money that one event is about, in the home's currency."""
    max_quantity: float = Field(10_000.0, gt=0)
    """The most units of one event."""
    max_gap_days: float = Field(3.0, gt=0)
    """A channel may be silent for this many days …"""
    gap_factor: float = Field(3.0, ge=1)
    """… or for this many times the silence that 95 % of its own earlier ones did not exceed, whichever is longer."""
    recent_days: int = Field(7, ge=1)
    """The last days, whose volume is compared with the periods of the same length before them."""
    history_periods: int = Field(8, ge=2)
    """How many such periods a channel is compared with; gaps are looked for in the same stretch of time."""
    min_volume_share: float = Field(0.5, gt=0, le=1)
    """A drop: less than this share of the median period, and less than the smallest of them."""
    min_period_events: int = Field(50, ge=1)
    """Channels whose median period has fewer events are too small to tell a drop from chance."""
    max_rejected_share: float = Field(0.01, ge=0, le=1)
    """Rejected rows, as a share of all rows that came in."""


@dataclass(frozen=True)
class QualityReport:
    """Findings, and the figures behind them by rule and channel; `failed` where one is not `ok`."""

    as_of: datetime
    checks: tuple[Check, ...]
    failed: bool
    figures: Mapping[str, Mapping[str, float]]

    def __rich__(self) -> Any:
        """One line per finding."""
        return Examination(self.checks, self.failed).__rich__()


@dataclass(frozen=True)
class _Data:
    """What a rule looks at: a connection with the view `timeline`, the limits, and the moment of the check."""

    connection: duckdb.DuckDBPyConnection
    config: QualityConfig
    as_of: datetime
    settings: Settings

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters or None).fetchall()


Finding = tuple[Check, dict[str, float]]


def load_quality_config(settings: Settings, path: Path | None = None) -> QualityConfig:
    """The limits in `path`, else in OMNI_HOME/quality.toml, else the defaults. Raises InputError for a bad file."""
    return load_own(QualityConfig, settings.home / OWN_CONFIG, path)


def parse_as_of(text: str | None, settings: Settings) -> datetime:
    """A moment as given on the command line, in UTC where it names no zone; the clock's now where none is given."""
    return Clock.from_settings(settings).now() if text is None else utc(text)


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


def check_quality(settings: Settings, config: QualityConfig, as_of: datetime) -> QualityReport:
    """Ask every rule about the built timeline, as of a moment (aware); rules need a timeline with the right columns."""
    figures: dict[str, dict[str, float]] = {}
    checks = [_schema(settings)]
    if checks[0].status is Status.OK:
        with connect("1GB") as connection:
            connection.read_parquet(str(settings.timeline_path)).create_view("timeline")
            data = _Data(connection, config, as_of, settings)
            for name, rule in RULES.items():
                for check, numbers in rule(data):
                    checks.append(check)
                    figures.setdefault(name, {}).update(numbers)
    return QualityReport(as_of, tuple(checks), any(check.status is not Status.OK for check in checks), figures)


def _schema(settings: Settings) -> Check:
    schemas = {
        settings.timeline_path: TIMELINE_SCHEMA,
        settings.customer_state_path: STATE_SCHEMA,
        settings.customer_products_path: PRODUCTS_SCHEMA,
    }
    wrong = [f"{path.name}: {problem}" for path, schema in schemas.items() for problem in _differences(path, schema)]
    if wrong:
        return Check("schema", Status.FAIL, f"{'; '.join(wrong)}.", "Run omni features build --force.")
    return Check("schema", Status.OK, f"{len(schemas)} files have the columns they should have.")


def _differences(path: Path, wanted: pa.Schema) -> Iterator[str]:
    there = files.part_files(path)
    if not there:
        yield "is not there"
        return
    schema = pq.read_schema(there[0])
    for field in wanted:
        if field.name not in schema.names:
            yield f"{field.name} is missing"
        elif _plain(schema.field(field.name).type) != _plain(field.type):
            yield f"{field.name} is {schema.field(field.name).type} instead of {field.type}"


def _plain(kind: pa.DataType) -> str:
    """A type's name without what differs between writers of the same thing: the names of list items, large offsets."""
    return f"list<{_plain(kind.value_type)}>" if pa.types.is_list(kind) else str(kind).removeprefix("large_")


def _ranges(data: _Data) -> Iterator[Finding]:
    config = data.config
    (totals,) = data.rows(
        f"""SELECT count(*),
            count(*) FILTER ({Columns.CUSTOMER_ID} IS NULL OR {Columns.EVENT_ID} IS NULL OR occurred_at IS NULL),
            count(*) FILTER (NOT list_contains($kinds, kind)),
            count(*) FILTER (NOT list_contains($channels, channel)),
            count(*) FILTER (occurred_at < $earliest),
            count(*) FILTER (abs(value) > $max_value OR NOT isfinite(value)),
            count(*) FILTER (quantity < 0 OR quantity > $max_quantity OR NOT isfinite(quantity))
        FROM timeline""",
        kinds=[kind.value for kind in KINDS],
        channels=[channel.value for channel in CHANNELS],
        earliest=config.earliest,
        max_value=config.max_value,
        max_quantity=config.max_quantity,
    )
    total, *counts = totals
    names = (
        "without customer, event id or time",
        "of an unknown kind",
        "on an unknown channel",
        f"from before {config.earliest:%Y-%m-%d}",
        f"with a value beyond {config.max_value:,.0f}",
        f"with a quantity below 0 or beyond {config.max_quantity:,.0f}",
    )
    bad = [f"{count:,} {name}" for name, count in zip(names, counts, strict=True) if count]
    figures = {"events": float(total), "out_of_range": float(sum(counts))}
    if bad:
        repair = f"Mend the source, or raise the limit in {OWN_CONFIG} if such events are right."
        yield Check("ranges", Status.FAIL, f"of {total:,} events {', '.join(bad)}.", repair), figures
    else:
        yield Check("ranges", Status.OK, f"{total:,} events are within the limits."), figures


def _freshness(data: _Data) -> Iterator[Finding]:
    newest = _newest(data)
    if newest is None:
        yield Check("freshness", Status.FAIL, "there is no event.", "Run omni ingest and omni features build."), {}
        return
    age_days = (data.as_of - newest) / timedelta(days=1)
    age = f"the newest event is from {newest:%Y-%m-%d %H:%M}, {max(age_days, 0.0):,.1f} days ago"
    figures = {"age_days": age_days}
    if age_days <= data.config.max_age_days:
        yield Check("freshness", Status.OK, f"{age}."), figures
    else:
        repair = "See whether the sources still send. For data that ends in the past: --as-of, or OMNI_CLOCK_START."
        yield Check("freshness", Status.FAIL, f"{age}; {data.config.max_age_days:g} are allowed.", repair), figures


def _future(data: _Data) -> Iterator[Finding]:
    latest = data.as_of + timedelta(minutes=data.config.future_minutes)
    counts = data.rows(
        "SELECT channel, count(*) FROM timeline WHERE occurred_at > $latest GROUP BY 1 ORDER BY 1", latest=latest
    )
    figures = {str(channel): float(count) for channel, count in counts}
    if counts:
        words = ", ".join(f"{count:,} on {channel}" for channel, count in counts)
        repair = "Look at the clock or the time zone of the source (time_zone in its mapping)."
        yield Check("future", Status.FAIL, f"events from the future: {words}.", repair), figures
    else:
        yield Check("future", Status.OK, "no event is from the future."), figures


def _gaps(data: _Data) -> Iterator[Finding]:
    newest = _newest(data)
    if newest is None:
        return
    config = data.config
    begin = newest - timedelta(days=config.recent_days * (config.history_periods + 1))
    gaps = data.rows(
        """WITH days AS (SELECT DISTINCT channel, occurred_at::DATE AS day FROM timeline WHERE occurred_at <= $newest),
            steps AS (
                SELECT channel, day, lead(day, 1, $newest::DATE + 1) OVER (PARTITION BY channel ORDER BY day) AS next
                FROM days
            ),
            gaps AS (SELECT channel, day, next - day - 1 AS silent, next > $begin::DATE AS recent FROM steps)
        SELECT channel,
            coalesce(quantile_cont(silent, 0.95) FILTER (NOT recent), 0),
            max(silent) FILTER (recent),
            arg_max(day, silent) FILTER (recent)
        FROM gaps GROUP BY channel ORDER BY channel""",
        newest=newest,
        begin=begin,
    )
    figures = {str(channel): float(longest) for channel, _, longest, _ in gaps}
    bad = [
        f"{channel} {longest:.0f} days after {day:%Y-%m-%d} (usual: up to {usual:.0f})"
        for channel, usual, longest, day in gaps
        if longest > max(config.max_gap_days, config.gap_factor * usual)
    ]
    if bad:
        repair = "See whether the source of the channel was down, and ingest what is missing."
        yield Check("gaps", Status.FAIL, f"channels were silent: {'; '.join(bad)}.", repair), figures
    else:
        yield Check("gaps", Status.OK, f"no channel of {len(gaps)} was silent for unusually long."), figures


def _volume(data: _Data) -> Iterator[Finding]:
    newest = _newest(data)
    if newest is None:
        return
    config = data.config
    volumes = data.rows(
        """WITH numbered AS (
                SELECT channel, floor(epoch($newest::TIMESTAMPTZ - occurred_at) / $period_s)::INT AS period
                FROM timeline WHERE occurred_at <= $newest
            ),
            first AS (SELECT channel, max(period) AS oldest FROM numbered GROUP BY channel),
            counts AS (
                SELECT channel, p.period, count(n.period) AS events
                FROM first JOIN range($periods + 1) p(period) ON p.period <= 0 OR p.period < oldest
                LEFT JOIN numbered n USING (channel, period) GROUP BY ALL
            )
        SELECT channel, max(events) FILTER (period = 0), median(events) FILTER (period > 0), min(events) FILTER (period > 0)
        FROM counts GROUP BY channel HAVING count(*) > 2 ORDER BY channel""",
        newest=newest,
        period_s=config.recent_days * DAY_S,
        periods=config.history_periods,
    )
    judged = [row for row in volumes if row[2] >= config.min_period_events]
    figures = {str(channel): recent / usual for channel, recent, usual, _ in judged}
    bad = [
        f"{channel} {recent:,} (usual: {usual:,.0f}, never below {least:,})"
        for channel, recent, usual, least in judged
        if recent < config.min_volume_share * usual and recent < least
    ]
    if bad:
        words = f"events of the last {config.recent_days} days have dropped: {'; '.join(bad)}."
        yield Check("volume", Status.FAIL, words, "See whether the source of the channel sends everything."), figures
    else:
        yield Check("volume", Status.OK, f"no drop on {len(judged)} channels with enough history."), figures


def _rejected(data: _Data) -> Iterator[Finding]:
    files = sorted(data.settings.rejected_dir.glob("*.parquet"))
    rejected = {path.stem: pq.read_metadata(path).num_rows for path in files}
    ((kept,),) = data.rows("SELECT count(*) FROM timeline")
    n_rejected = sum(rejected.values())
    share = n_rejected / max(1, n_rejected + kept)
    words = f"{n_rejected:,} rows of {n_rejected + kept:,} were rejected ({share:.2%})"
    figures = {"share": share, **{name: float(rows) for name, rows in rejected.items()}}
    if share > data.config.max_rejected_share:
        worst = max(rejected, key=lambda name: rejected[name])
        repair = f"The reasons are in {data.settings.rejected_dir}, most of them in {worst}.parquet."
        words = f"{words}; {data.config.max_rejected_share:.2%} are allowed."
        yield Check("rejected", Status.FAIL, words, repair), figures
    else:
        yield Check("rejected", Status.OK, f"{words}."), figures


def _newest(data: _Data) -> datetime | None:
    """The newest event that is not from the future."""
    latest = data.as_of + timedelta(minutes=data.config.future_minutes)
    ((newest,),) = data.rows(
        "SELECT max(epoch_us(occurred_at)) FROM timeline WHERE occurred_at <= $latest", latest=latest
    )
    return None if newest is None else datetime.fromtimestamp(newest / 1e6, UTC)


def _erasures(data: _Data) -> Iterator[Finding]:
    """An event that asks for an erasure goes with its customer: one that is still there was not carried out."""
    ((waiting, first),) = data.rows(
        f"SELECT count(DISTINCT {Columns.CUSTOMER_ID}), arg_min({Columns.CUSTOMER_ID}, occurred_at) "
        "FROM timeline WHERE kind = $kind",
        kind=EventKind.ERASE.value,
    )
    figures = {"customers": float(waiting)}
    if waiting:
        words = f"an event of kind erase erases nobody; customers with one who are still there: {waiting:,}."
        yield Check("erasures", Status.FAIL, words, f"Run, for each of them: omni erase {first}"), figures
    else:
        yield Check("erasures", Status.OK, "no event asks for an erasure that was not carried out."), figures


RULES: Final[Mapping[str, Callable[[_Data], Iterator[Finding]]]] = {
    "ranges": _ranges,
    "freshness": _freshness,
    "future": _future,
    "gaps": _gaps,
    "volume": _volume,
    "rejected": _rejected,
    "erasures": _erasures,
}
"""Every rule but the schema, which comes first: the others need its columns."""
