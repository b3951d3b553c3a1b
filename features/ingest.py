"""A source comes in; its valid events are in the log, its products in the product table, its bad rows in a file."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import atomic
from features.arrays import IntArray
from features.clock import Clock
from features.errors import InputError
from features.events.placeholders import Placeholders
from features.events.rules import Problem
from features.events.schema import rejected_table, validate_table
from features.log.engines import open_log
from features.log.event_log import AppendResult, EventLog
from features.log.identity import identity_rules
from features.log.marks import Anchor
from features.money.home import HomeCurrency
from features.online.trust import open_known_log
from features.rejects import RejectedFile, file_name
from features.settings import Settings
from features.sources import SOURCES, SourceBatch, load_source
from features.sources.batch import ProductLines
from features.sources.mapping import MappingConfig, load_mapped, read_mapping
from features.sources.plain import load_plain
from features.sources.product_table import merge_products, newest_values
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

APPEND_ROWS: Final = 100_000
"""Events per transaction of the log."""
CONFLICTS_TOLD: Final = 20
"""How many of the events whose id another one has the report names."""


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
    rejected_path: str | None
    products: int
    currencies: dict[str, int]
    """Events with a value that were not rejected, by the currency that they came in ("" where none is named)."""
    currency: str | None
    """What this home counts in: values of other currencies were converted, and rejected where there was no rate."""
    seconds: float


def ingest(
    source: str,
    settings: Settings,
    *,
    sample: float | None = None,
    path: Path | None = None,
    mapping: Path | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> IngestReport:
    """Bring a built-in source, or a Parquet, CSV or JSONL file, into the log.

    Each event goes in once: doing it again appends nothing. A run that was cut short is finished by running it
    again. Rejected rows of this source are in one Parquet file (REJECTED_SCHEMA) that a later run replaces.
    Raises InputError where the source cannot be read at all.
    """
    batches = open_source(source, sample=sample, path=path, mapping=mapping)
    return ingest_batches(source, batches, settings, mapping=mapping, progress=progress)


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
    now = max(Clock.from_settings(settings).now(), datetime.now(UTC))  # replayed data may be of our future or past
    log = open_known_log(settings)
    identity = identity_rules(settings)
    name = source if source in SOURCES else file_name(source)
    rejects = RejectedFile(settings.rejected_dir / f"{name}.parquet", identity.identifiers)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="omni-ingest") as writer:
            intake = _Intake(log, HomeCurrency(settings, log), rejects, now, identity.config.nobody, writer)
            rows = 0
            for batch in batches:
                intake.keep(batch)
                rows += batch.rows_total
                progress(f"{rows:,} rows read, {intake.appended:,} events new")
            intake.finish()
        products = intake.write_products(settings.products_path)
        rejects.finish()
        intake.warn()
        if mapping is not None and intake.appended and intake.duplicates:
            _warn_of_equal_rows(read_mapping(mapping), intake.duplicates)
    finally:
        rejects.discard()
        log.close()
    return IngestReport(
        source=source,
        rows=rows,
        events=intake.appended + intake.duplicates + intake.erased,
        appended=intake.appended,
        duplicates=intake.duplicates,
        conflicts=intake.conflicts,
        conflicting=tuple(intake.conflicting),
        erased=intake.erased,
        rejected=rejects.rows,
        rejected_by_field=dict(rejects.fields.most_common()),
        rejected_path=str(rejects.path) if rejects.rows else None,
        products=products,
        currencies=dict(intake.currencies.most_common()),
        currency=intake.currency,
        seconds=round(time.perf_counter() - started, 3),
    )


def open_source(
    source: str, *, sample: float | None = None, path: Path | None = None, mapping: Path | None = None
) -> Iterator[SourceBatch]:
    """The batches of a built-in source or of a file; raises InputError for what is neither."""
    if source in SOURCES:
        if mapping is not None:
            raise InputError(
                f"{source!r} is a built-in source.", repair="Leave --mapping out; it is for your own files."
            )
        return load_source(source, sample, path)
    file = Path(source).expanduser()
    if not file.exists():
        raise InputError(
            f"There is no source and no file {source!r}.",
            repair=f"Use one of {', '.join(SOURCES)}, or the path of a Parquet, CSV or JSONL file.",
        )
    return load_plain(file, sample) if mapping is None else load_mapped(file, mapping, sample)


def is_ingested(settings: Settings, source: str, sample: float | None, path: Path | None) -> bool:
    """Whether `note_ingested` was called for the same source, and the log still is the one that took it."""
    anchor = Anchor.parse(str(_read_notes(settings).get(_key(settings, source, sample, path), "")))
    if anchor is None:
        return False
    log = open_log(settings)
    try:
        return log.holds(anchor)
    finally:
        log.close()


def note_ingested(settings: Settings, source: str, sample: float | None, path: Path | None) -> None:
    """Remember that the log holds this source, whole."""
    log = open_log(settings)
    try:
        anchor = str(log.anchor())
    finally:
        log.close()
    with atomic.locked(_notes_path(settings)):
        notes = {**_read_notes(settings), _key(settings, source, sample, path): anchor}
        atomic.write_text(_notes_path(settings), json.dumps(notes, indent=2))


class _Intake:
    """Batches as they come: good events into the log, others into the file of rejects, products in hand until the end.

    While the writer's thread brings some events into the log, the next ones are read and checked.
    """

    def __init__(
        self,
        log: EventLog,
        home: HomeCurrency,
        rejects: RejectedFile,
        now: datetime,
        nobody: Placeholders,
        writer: ThreadPoolExecutor,
    ) -> None:
        """`writer` has one thread: events go into the log in their order."""
        self._log, self._home, self._rejects, self._now, self._nobody = log, home, rejects, now, nobody
        self._products: list[pa.Table] = []
        self._clear: tuple[str, ...] = ()
        self.appended = self.duplicates = self.erased = self.conflicts = 0
        self.conflicting: list[str] = []
        self.currencies: Counter[str] = Counter()
        self.currency: str | None = home.code
        self._writer = writer
        self._writing: Future[AppendResult] | None = None

    def keep(self, batch: SourceBatch) -> None:
        """Take what is good of a batch, and note what is not."""
        if batch.rejected is not None:
            self._rejects.add(batch.rejected)
        bad: set[int] = set()
        for start in range(0, batch.events.num_rows, APPEND_ROWS):
            events = batch.events.slice(start, APPEND_ROWS)
            numbers = np.arange(start, start + events.num_rows)
            numbers = numbers if batch.row_numbers is None else batch.row_numbers[numbers]
            bad |= self._append(events, numbers, batch)
        if batch.products is not None:
            self._take_products(batch.products, batch.product_lines, bad)
            self._clear = batch.clear

    def _append(self, events: pa.Table, numbers: IntArray, batch: SourceBatch) -> set[int]:
        """Append the good rows, numbered (n,) as in the source; returns the numbers of the others."""
        good, rejected = validate_table(events, self._now, self._nobody)
        wrong = rejected.column("index").to_numpy()
        self._rejects.add(rejected.set_column(0, "index", pa.array(numbers[wrong], pa.int64())))
        left = np.delete(numbers, wrong)
        came_in = good[Columns.CURRENCY]
        screened = self._home.screen(good)
        problems = {**self._price_problems(batch, left), **screened.problems}
        if problems:
            places = sorted(problems)
            rows, reasons = good.take(pa.array(places)), [problems[place] for place in places]
            self._rejects.add(rejected_table(rows, left[places].tolist(), reasons))
        kept = np.delete(np.arange(good.num_rows), list(problems))
        converted = np.delete(np.arange(good.num_rows), list(screened.problems))  # the places of the screened rows
        table = screened.table.filter(pa.array(np.isin(converted, kept)))
        self.currencies.update(_count(table[Columns.VALUE], came_in.take(pa.array(kept))))
        self.finish()
        self._writing = self._writer.submit(self._log.append, table)
        return {*numbers[wrong].tolist(), *left[list(problems)].tolist()}

    def finish(self) -> None:
        """Wait until the log has what was given to it, and count it. Raises what the log raised."""
        if self._writing is None:
            return
        result, self._writing = self._writing.result(), None
        self.appended, self.duplicates = self.appended + result.appended, self.duplicates + result.duplicates
        self.erased += result.erased
        self.conflicts += len(result.conflicts)
        for conflict in result.conflicts[: CONFLICTS_TOLD - len(self.conflicting)]:
            self.conflicting.append(f"{conflict.event_id}: {', '.join(conflict.fields)}")

    def _price_problems(self, batch: SourceBatch, numbers: IntArray) -> dict[int, Problem]:
        """By place among the rows `numbers`: prices in a currency without a rate."""
        if batch.products is None or batch.product_lines is None:
            return {}
        lines = batch.product_lines
        of_these = np.isin(lines.numbers, numbers)
        screened = self._home.screen_prices(
            batch.products.filter(pa.array(of_these)), lines.moments.filter(pa.array(of_these))
        )
        places = np.searchsorted(numbers, lines.numbers[of_these])
        return {int(places[row]): problem for row, problem in screened.problems.items()}

    def _take_products(self, products: pa.Table, lines: ProductLines | None, bad: set[int]) -> None:
        """Keep what rows without a fault say of products, and all that no row says; prices in the home's currency."""
        moments = None
        if lines is not None:
            usable = pa.array(~np.isin(lines.numbers, list(bad)))
            products, moments = products.filter(usable), lines.moments.filter(usable)
        screened = self._home.screen_prices(products, moments)
        if screened.problems:  # of a source's own table of products
            problem = next(iter(screened.problems.values()))
            logger.warning("%d products are left out: the %s %s", len(screened.problems), problem.field, problem.reason)
        self._products.append(newest_values(screened.table))

    def write_products(self, path: Path) -> int:
        """Merge what was said of products into the table; returns of how many."""
        if not any(part.num_rows for part in self._products):
            return 0
        products = newest_values(pa.concat_tables(self._products))
        merge_products(path, products, self._clear)
        return int(products.num_rows)

    def warn(self) -> None:
        """Say of values that name no currency what they count as, and of events that were not kept for another's id."""
        if self.conflicts:
            logger.warning(
                "%d events have the id of another event and are not kept: give each event an id of its own and bring them"
                " again (the report names the first).",
                self.conflicts,
            )
        self.currency = self._home.code
        if self.appended and self.currencies[""]:
            logger.warning(
                "%d values name no currency and count as %s.",
                self.currencies[""],
                self.currency or "what this home counts in, which no value has named yet: name it in OMNI_CURRENCY",
            )


def _count(values: pa.ChunkedArray, currencies: pa.ChunkedArray) -> dict[str, int]:
    """How many values there are by currency, "" for none."""
    valued = currencies.filter(values.is_valid())
    return {row["values"]: row["counts"] for row in pc.value_counts(pc.fill_null(valued, "")).to_pylist()}


def _warn_of_equal_rows(config: MappingConfig, duplicates: int) -> None:
    """Where the whole row names itself, two equal sales look like one that came twice."""
    if config.duplicates == "drop" and not config.event_id_from and Columns.EVENT_ID not in config.columns:
        logger.warning(
            "%d rows are in the log already or equal another row in every column, and count once. If they are sales of their"
            ' own, name what tells them apart in event_id_from, or set duplicates = "keep", and ingest into a new OMNI_HOME.',
            duplicates,
        )


def _key(settings: Settings, source: str, sample: float | None, path: Path | None) -> str:
    changed = path.stat().st_mtime_ns if path is not None and path.exists() else None
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
