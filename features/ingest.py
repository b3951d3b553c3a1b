"""A source comes in; its valid events are in the log, its products in the product table, its bad rows in a file."""

import hashlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.clock import Clock
from features.errors import InputError
from features.events.placeholders import Placeholders
from features.events.schema import REJECTED_SCHEMA, validate_table
from features.identity.identifiers import Identifiers
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.identity import identity_rules
from features.settings import Settings
from features.sources import SOURCES, SourceBatch, load_source
from features.sources.batch import merge_products
from features.sources.mapping import MappingConfig, load_mapped, read_mapping
from features.sources.plain import load_plain
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

APPEND_ROWS: Final = 100_000
"""Events per transaction of the log."""


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
    erased: int
    rejected: int
    rejected_by_field: dict[str, int]
    rejected_path: str | None
    products: int
    currencies: dict[str, int]
    """Events with a value, by currency ("" where none is named); sums add values up as they are, whatever their currency."""
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
    started = time.perf_counter()
    batches = open_source(source, sample=sample, path=path, mapping=mapping)
    now = max(Clock.from_settings(settings).now(), datetime.now(UTC))  # replayed data may be of our future or past
    rows = appended = duplicates = erased = products = 0
    log = open_log(settings)
    identity = identity_rules(settings)
    currencies: Counter[str] = Counter()
    rejects = _RejectedFile(settings.rejected_dir / f"{_file_name(source, path)}.parquet", identity.identifiers)
    try:
        for batch in batches:
            new, old, gone = _keep(batch, log, rejects, now, identity.config.nobody)
            currencies.update(_currencies(batch.events))
            rows, appended, duplicates = rows + batch.rows_total, appended + new, duplicates + old
            erased += gone
            if batch.products is not None:
                products += batch.products.num_rows
                merge_products(settings.products_path, batch.products)
            progress(f"{rows:,} rows read, {appended:,} events new")
        rejects.finish()
        _warn_of_currencies(currencies)
        if mapping is not None and appended and duplicates:
            _warn_of_equal_rows(read_mapping(mapping), duplicates)
    finally:
        rejects.discard()
        log.close()
    return IngestReport(
        source=source,
        rows=rows,
        events=appended + duplicates + erased,
        appended=appended,
        duplicates=duplicates,
        erased=erased,
        rejected=rejects.rows,
        rejected_by_field=dict(rejects.fields.most_common()),
        rejected_path=str(rejects.path) if rejects.rows else None,
        products=products,
        currencies=dict(currencies.most_common()),
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
    seq = _read_notes(settings).get(_key(settings, source, sample, path))
    if seq is None:
        return False
    log = open_log(settings)
    try:
        return log.last_seq() >= seq
    finally:
        log.close()


def note_ingested(settings: Settings, source: str, sample: float | None, path: Path | None) -> None:
    """Remember that the log holds this source, whole."""
    log = open_log(settings)
    try:
        notes = {**_read_notes(settings), _key(settings, source, sample, path): log.last_seq()}
    finally:
        log.close()
    atomic.write_text(_notes_path(settings), json.dumps(notes, indent=2))


class _RejectedFile:
    """Rejected rows as they come, in a file that appears under its name only when it is whole."""

    def __init__(self, path: Path, identifiers: Identifiers) -> None:
        self.path = path
        self._identifiers = identifiers
        self.rows = 0
        self.fields: Counter[str] = Counter()
        self._part: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        if table.num_rows == 0:
            return
        if self._writer is None:
            self._part = atomic.part_of(self.path)
            self._writer = pq.ParquetWriter(self._part, REJECTED_SCHEMA)
        self._writer.write_table(self._without_secrets(table))
        self.rows += table.num_rows
        self.fields.update(table.column("field").to_pylist())

    def finish(self) -> None:
        """Put the file in its place; with nothing rejected, take the one of an earlier run away."""
        if self._writer is None or self._part is None:
            self.path.unlink(missing_ok=True)
            return
        self._writer.close()
        self._writer = None
        atomic.put_in_place(self._part, self.path)
        logger.warning("%d rows were rejected; the reasons are in %s", self.rows, self.path)

    def _without_secrets(self, table: pa.Table) -> pa.Table:
        """Where addresses are only kept as hashes, so they are here, and the row as it came is not kept."""
        if not self._identifiers.key:
            return table
        place = table.schema.get_field_index("source_row")
        hidden = pa.nulls(table.num_rows, pa.string())
        return self._identifiers.kept_table(table).set_column(place, table.schema.field(place), hidden)

    def discard(self) -> None:
        """Leave nothing half written behind."""
        if self._writer is not None and self._part is not None:
            self._writer.close()
            self._part.unlink(missing_ok=True)


def _keep(
    batch: SourceBatch, log: EventLog, rejects: _RejectedFile, now: datetime, nobody: Placeholders
) -> tuple[int, int, int]:
    """Rows appended, rows that were there already, and rows of erased customers."""
    if batch.rejected is not None:
        rejects.add(batch.rejected)
    appended = duplicates = erased = 0
    for start in range(0, batch.events.num_rows, APPEND_ROWS):
        good, rejected = validate_table(batch.events.slice(start, APPEND_ROWS), now, nobody)
        if rejected.num_rows:
            places = rejected.column("index").to_numpy() + start
            numbers = places if batch.row_numbers is None else batch.row_numbers[places]
            rejects.add(rejected.set_column(0, "index", pa.array(numbers, pa.int64())))
        result = log.append(good)
        appended, duplicates = appended + result.appended, duplicates + result.duplicates
        erased += result.erased
    return appended, duplicates, erased


def _currencies(events: pa.Table) -> dict[str, int]:
    valued = events.filter(pc.is_valid(events.column(Columns.VALUE))).column(Columns.CURRENCY)
    counts = pc.value_counts(pc.fill_null(valued.cast(pa.string()), ""))
    return {row["values"]: row["counts"] for row in counts.to_pylist()}


def _warn_of_currencies(currencies: Counter[str]) -> None:
    named = sorted(name for name in currencies if name)
    if len(named) > 1:
        logger.warning(
            "The values are in %d currencies (%s) and are added up as they are: convert them to one and ingest that into"
            " a new OMNI_HOME, or what customers spend is wrong.",
            len(named),
            ", ".join(named),
        )


def _warn_of_equal_rows(config: MappingConfig, duplicates: int) -> None:
    """Where the whole row names itself, two equal sales look like one that came twice."""
    if config.duplicates == "drop" and not config.event_id_from and Columns.EVENT_ID not in config.columns:
        logger.warning(
            "%d rows are in the log already or equal another row in every column, and count once. If they are sales of their"
            ' own, name what tells them apart in event_id_from, or set duplicates = "keep", and ingest into a new OMNI_HOME.',
            duplicates,
        )


def _file_name(source: str, path: Path | None) -> str:
    """A name for this source's rejected rows: readable, and different for files of one name in two folders."""
    if source in SOURCES:
        return source
    digest = hashlib.sha256(str(Path(source).resolve()).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(source).name)}-{digest}"


def _key(settings: Settings, source: str, sample: float | None, path: Path | None) -> str:
    changed = path.stat().st_mtime_ns if path is not None and path.exists() else None
    return json.dumps([source, sample, str(path), changed, settings.event_log_place])


def _read_notes(settings: Settings) -> dict[str, int]:
    file = _notes_path(settings)
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _notes_path(settings: Settings) -> Path:
    return settings.home / "ingested.json"
