"""A source comes in; its valid events are in the log, its products in the product table, its bad rows in a file."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from features import atomic
from features.clock import Clock
from features.errors import InputError
from features.intake.appending import Intake
from features.intake.checking import Checker
from features.intake.landed import LandedEvents
from features.intake.preview import Preview, preview
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.identity import identity_rules
from features.log.marks import Anchor
from features.log.twins import twin_share
from features.money.home import HomeCurrency
from features.online.trust import open_known_log
from features.rejects import RejectedFile, file_name
from features.settings import RULES_FILE, Settings
from features.sources import SOURCES, SourceBatch, load_source
from features.sources.mapping import MappingConfig, load_mapped, map_rows, read_mapping
from features.sources.mapping_config import JoinSpec
from features.sources.plain import load_plain
from features.sources.providers.shopify_lines import Landed, nothing_landed
from features.sources.readers import read_query
from features.sources.readers.places import exists
from features.sources.spool import Spool
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

REASONS_TOLD: Final = 3
"""How many of the reasons why rows were rejected the report names."""
TWINS_WARNED_OF: Final = 0.1
"""Share of rows that equal kept events in all but their id, from which on the ingest says so."""


@dataclass(frozen=True)
class IngestReport:
    """What came of one ingest. `events` is appended + duplicates + erased: a row of a source may make none or several.

    `erased` events belong to customers who were erased since they happened; they are not kept.
    """

    source: str
    rows: int
    events: int
    appended: int
    duplicates: int
    conflicts: int
    """Of the duplicates: not the same event again, but another one with the id of an event in the log, which stays."""
    conflicting: tuple[str, ...]
    """The first of their ids, each with the fields that differ."""
    erased: int
    rejected: int
    rejected_by_field: dict[str, int]
    rejected_reasons: dict[str, int]
    """The commonest reasons, with the rows that they hold of."""
    rejected_path: str | None
    skipped: int
    """Rows that the mapping, or the source, does not want."""
    skipped_by_word: dict[str, int]
    """They again, by the word in them that says so."""
    products: int
    currencies: dict[str, int]
    """Events with a value that were not rejected, by the currency that they came in ("" where none is named)."""
    currency: str | None
    """What this home counts in: values of other currencies were converted, and rejected where there was no rate."""
    uncounted: dict[str, int]
    """Values that were kept though there is no rate of their currency, and count as no money until there is one: these are
    the first of the home, in several currencies."""
    seconds: float

    @property
    def nothing_usable(self) -> bool:
        """Whether rows came in and every one of them was rejected."""
        return self.rejected > 0 and self.events == 0 and self.products == 0


def ingest(
    source: str,
    settings: Settings,
    *,
    sample: float | None = None,
    path: str | Path | None = None,
    mapping: Path | None = None,
    join: str | None = None,
    database: str | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> IngestReport:
    """Bring a built-in source, a file, a folder, or with `database` the answer to a query into the log.

    Each event goes in once: doing it again appends nothing. A run that was cut short is finished by running it
    again. Rejected rows of this source are in one Parquet file (REJECTED_SCHEMA) that a later run replaces.
    Raises InputError where the source cannot be read, or is not what its mapping says: then nothing of it is in the log.
    """
    with closing(LandedEvents(settings)) as landed:
        batches = open_source(
            source, sample=sample, path=path, mapping=mapping, join=join, database=database, landed=landed.find
        )
        report = ingest_batches(source, batches, settings, mapping=mapping, progress=progress)
    take_rules(source, settings)
    return report


def ingest_batches(
    source: str,
    batches: Iterator[SourceBatch],
    settings: Settings,
    *,
    mapping: Path | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> IngestReport:
    """Bring what a source handed over into the log; `source` is what it is called in the report. See `ingest`."""
    started = time.perf_counter()
    now = _latest_now(settings)
    log = open_known_log(settings)
    identity = identity_rules(settings)
    name = source if source in SOURCES else file_name(source)
    rejects = RejectedFile(settings.rejected_dir / f"{name}.parquet", identity.identifiers)
    config = None if mapping is None else read_mapping(mapping)
    try:
        with (
            ThreadPoolExecutor(1, thread_name_prefix="omni-ingest") as writer,
            closing(Spool(settings.home)) as spool,
        ):
            checker = Checker(spool, rejects, now, identity.config.nobody, writer)
            for batch in batches:
                checker.take(batch)
                progress(f"{checker.rows:,} rows read")
            checker.finish()
            twins = _warn_of_twins(log, spool, config)
            intake = Intake(log, HomeCurrency(settings, log), rejects, writer, checker.clear)
            intake.begin(checker.currencies)
            for spooled in spool.read():
                intake.keep(spooled)
                progress(f"{checker.rows:,} rows read, {intake.appended:,} events new")
            intake.finish()
        products = intake.write_products(settings.products_path)
        rejects.finish()
        intake.warn()
        if config is not None and intake.appended and intake.duplicates and not twins:
            _warn_of_equal_rows(config, intake.duplicates)
    finally:
        rejects.discard()
        log.close()
    return IngestReport(
        source=source,
        rows=checker.rows,
        events=intake.appended + intake.duplicates + intake.erased,
        appended=intake.appended,
        duplicates=intake.duplicates,
        conflicts=intake.conflicts,
        conflicting=tuple(intake.conflicting),
        erased=intake.erased,
        rejected=rejects.rows,
        rejected_by_field=dict(rejects.fields.most_common()),
        rejected_reasons=dict(rejects.reasons.most_common(REASONS_TOLD)),
        rejected_path=str(rejects.path) if rejects.rows else None,
        skipped=sum(checker.skipped.values()),
        skipped_by_word=dict(checker.skipped.most_common()),
        products=products,
        currencies=dict(intake.currencies.most_common()),
        currency=intake.currency,
        uncounted=dict(intake.uncounted.most_common()),
        seconds=round(time.perf_counter() - started, 3),
    )


def _latest_now(settings: Settings) -> datetime:
    """The later of the settings' clock and the real one: replayed data may be of our future or past."""
    return max(Clock.from_settings(settings).now(), datetime.now(UTC))


def dry_run(
    source: str,
    settings: Settings,
    *,
    sample: float | None = None,
    path: str | Path | None = None,
    mapping: Path | None = None,
    join: str | None = None,
    database: str | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> Preview:
    """What `ingest` of the same would bring, and nothing is kept."""
    now = _latest_now(settings)
    nobody = identity_rules(settings).config.nobody
    with closing(LandedEvents(settings)) as landed:
        batches = open_source(
            source, sample=sample, path=path, mapping=mapping, join=join, database=database, landed=landed.find
        )
        currency = HomeCurrency(settings, landed)
        currency.begin_load({})
        return preview(source, batches, now, nobody, currency.screen, progress)


def open_source(
    source: str,
    *,
    sample: float | None = None,
    path: str | Path | None = None,
    mapping: Path | None = None,
    join: str | None = None,
    database: str | None = None,
    landed: Landed = nothing_landed,
) -> Iterator[SourceBatch]:
    """The batches of a built-in source, of what lies at a path or an address, or of a query's answer from a `database`.

    `join` is FILE:KEY; `landed` says what of an id came in before. Raises InputError for what is none of these.
    """
    second = None if join is None else parse_join(join)
    if database is not None:
        if mapping is None:
            raise InputError("--sql needs --mapping.", repair="Say in a mapping.toml what the query's columns mean.")
        return map_rows(read_query(source, database), "The query", mapping, sample, second)
    if source in SOURCES:
        return load_source(source, sample, path, mapping, second, landed)
    if not exists(source):
        raise InputError(
            f"There is no source and no file {source!r}.",
            repair=f"Use one of {', '.join(SOURCES)}, or the path of a file or folder.",
        )
    if mapping is None:
        if second is not None:
            raise InputError("--join needs --mapping.", repair="Say in a mapping.toml what the columns mean.")
        return load_plain(source, sample)
    return load_mapped(source, mapping, sample, second)


def parse_join(text: str) -> JoinSpec:
    """The file and the column of `FILE:KEY`. Raises InputError."""
    file, _, key = text.rpartition(":")
    if not file or not key:
        raise InputError(f"--join is {text!r}.", repair="Write it as FILE:KEY, with the column that both files have.")
    return JoinSpec(file=file, key=key)


def take_rules(source: str, settings: Settings) -> None:
    """Put the rules of a built-in source's shop into a home that has none of its own."""
    rules = SOURCES[source].rules if source in SOURCES else ""
    own = settings.home / RULES_FILE
    if rules and not own.exists():
        atomic.write_text(own, files("features.sources").joinpath(rules).read_text(encoding="utf-8"))
        logger.info("%s had no rules: those of %s were put there", own, source)


def is_ingested(settings: Settings, source: str, sample: float | None, path: str | Path | None) -> bool:
    """Whether `note_ingested` was called for the same source, and the log still is the one that took it."""
    anchor = Anchor.parse(str(_read_notes(settings).get(_key(settings, source, sample, path), "")))
    if anchor is None:
        return False
    log = open_log(settings)
    try:
        return log.holds(anchor)
    finally:
        log.close()


def note_ingested(settings: Settings, source: str, sample: float | None, path: str | Path | None) -> None:
    """Remember that the log holds this source, whole."""
    log = open_log(settings)
    try:
        anchor = str(log.anchor())
    finally:
        log.close()
    with atomic.locked(_notes_path(settings)):
        notes = {**_read_notes(settings), _key(settings, source, sample, path): anchor}
        atomic.write_text(_notes_path(settings), json.dumps(notes, indent=2))


def _warn_of_equal_rows(config: MappingConfig, duplicates: int) -> None:
    """Where the whole row names itself, two equal sales look like one that came twice."""
    if config.duplicates == "drop" and _names_itself(config):
        logger.warning(
            "%d rows are in the log already or equal another row in every column, and count once. If they are sales of their"
            ' own, name what tells them apart in event_id_from, or set duplicates = "keep", and ingest into a new OMNI_HOME.',
            duplicates,
        )


def _warn_of_twins(log: EventLog, spool: Spool, config: MappingConfig | None) -> bool:
    """Where the whole row names itself, a column that changed later makes the same sale a new event: say so beforehand."""
    if config is None or not _names_itself(config):
        return False
    share = twin_share(log, spool)
    if share < TWINS_WARNED_OF:
        return False
    logger.warning(
        "%.0f %% of the rows look like events that the log holds under another event_id: the same customer, moment, product"
        " and value. The whole row names an event here, so a column that changes later, such as a status, makes it a new one,"
        " and it counts twice. Name what stays the same in event_id_from, and ingest into a new OMNI_HOME.",
        100 * share,
    )
    return True


def _names_itself(config: MappingConfig) -> bool:
    return not (config.event_id_from or config.line_of or Columns.EVENT_ID in config.columns)


def _key(settings: Settings, source: str, sample: float | None, path: str | Path | None) -> str:
    changed = Path(path).stat().st_mtime_ns if path is not None and Path(path).exists() else None
    return json.dumps([source, sample, str(path), changed, settings.event_log_place])


def _read_notes(settings: Settings) -> dict[str, str | int]:
    """By source the end of the log that took it; a number where an older version noted it."""
    file = _notes_path(settings)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:  # then a source is read once more, and nothing goes in twice
        logger.warning("%s cannot be read and counts for nothing (%s)", file, error)
        return {}


def _notes_path(settings: Settings) -> Path:
    return settings.home / "ingested.json"
