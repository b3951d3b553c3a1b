"""Erasure in files: erased names in, every Parquet file under OMNI_HOME that holds rows of theirs written anew without them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.arrays import BoolArray
from features.erasure.notes import NOTHING, Note
from features.erasure.texts import Mentions
from features.log.tombstones import Matcher
from features.offline.build_note import fit_note_to_files
from features.offline.files import discard, refresh_moments
from features.settings import Settings
from features.views import CUSTOMER_VIEWS
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

_NAMES: Final = (Columns.CUSTOMER_ID, Columns.RESOLVED_CUSTOMER_ID)
_SOURCE_ROW: Final = "source_row"
_REASON: Final = "reason"
_READ_ROWS: Final = 100_000


@dataclass(frozen=True)
class FilesLeft:
    """What a look at every file came to: rows of erased customers by place, and the files that cannot be read, and why."""

    rows: dict[str, int]
    unreadable: dict[str, str]


def erase_files(settings: Settings, matcher: Matcher, note: Note = NOTHING) -> None:
    """Rewrite the files that hold erased rows, each as a whole or not at all; the caller holds `offline_files`.

    `note` is told of each file how many rows are about to go, and afterwards that they went. The features' note is made to
    fit, so that the stores count as level with the log if they were before. What a build that was cut short left behind
    goes too. A file that cannot be read is left as it is.
    """
    _clear_leftovers(settings)
    rewritten = {path for path in parquet_files(settings) if _rewrite(path, place_of(settings, path), matcher, note)}
    if rewritten:
        _stamp_moments(settings, rewritten)
    fit_note_to_files(settings)


def files_left(settings: Settings, matcher: Matcher) -> FilesLeft:
    """Look at every Parquet file again and count what is there of erased customers; the caller holds `offline_files`."""
    rows: dict[str, int] = {}
    unreadable: dict[str, str] = {}
    for path in parquet_files(settings):
        try:
            n_rows = _count(path, matcher)
        except (OSError, pa.ArrowException) as error:
            unreadable[place_of(settings, path)] = str(error).partition("\n")[0] or type(error).__name__
            continue
        if n_rows:
            rows[place_of(settings, path)] = n_rows
    return FilesLeft(rows, unreadable)


def parquet_files(settings: Settings) -> list[Path]:
    """Every Parquet file under OMNI_HOME."""
    return sorted(path for path in settings.home.rglob("*.parquet") if path.is_file())


def place_of(settings: Settings, path: Path) -> str:
    """A file's name in a receipt."""
    return f"files: {path.relative_to(settings.home)}"


def _count(path: Path, matcher: Matcher) -> int:
    with pq.ParquetFile(path) as file:
        return int(_gone_in(file, _columns(file.schema_arrow), _Judge(matcher)).sum())


def _gone_in(file: pq.ParquetFile, columns: list[str], judge: "_Judge") -> BoolArray:
    """Which rows (n,) of a file are of erased customers; none of a file without such columns."""
    if not columns:
        return np.zeros(0, np.bool_)
    parts = [judge.gone(batch) for batch in file.iter_batches(_READ_ROWS, columns=columns)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _columns(schema: pa.Schema) -> list[str]:
    """The columns that may name somebody; none where the file is about no customers."""
    if not any(name in schema.names for name in _NAMES):
        return []
    wanted = [*_NAMES, Columns.IDENTIFIERS, _SOURCE_ROW]
    if _SOURCE_ROW in schema.names:
        wanted += [Columns.PROPERTIES, _REASON]
    return [name for name in wanted if name in schema.names]


def _rewrite(path: Path, place: str, matcher: Matcher, note: Note) -> bool:
    """Take rows out of one file; where there are none, or nothing can be read, it is left as it is."""
    judge = _Judge(matcher)
    try:
        with pq.ParquetFile(path) as file:
            gone = _gone_in(file, _columns(file.schema_arrow), judge)
    except (OSError, pa.ArrowException) as error:
        logger.warning("%s cannot be read, and nothing is erased from it: %s", path, error)
        return False
    n_gone, start = int(gone.sum()), 0
    note.begin(place, n_gone)
    if n_gone == 0:
        return False
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        groups = (file.read_row_group(number) for number in range(file.num_row_groups))
        compression = file.metadata.row_group(0).column(0).compression
        with (
            atomic.replacing(path) as part,
            pq.ParquetWriter(
                part, schema, compression=compression, use_dictionary=_dictionaries(file), write_page_checksum=True
            ) as writer,
        ):
            for group in groups:
                kept = group.filter(pa.array(~gone[start : start + group.num_rows]))
                start += group.num_rows
                if kept.num_rows:
                    writer.write_table(kept)
    note.done(place, n_gone)
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum of the file as it was
    return True


class _Judge:
    """Tells which rows are of erased customers."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._mentions = Mentions(matcher)

    def gone(self, rows: pa.Table | pa.RecordBatch) -> BoolArray:
        """Which rows (n,) are."""
        gone = np.zeros(rows.num_rows, np.bool_)
        for name in (name for name in _NAMES if name in rows.schema.names):
            gone |= self._theirs(rows.column(name))
        if Columns.IDENTIFIERS in rows.schema.names:
            gone |= self._named(rows.column(Columns.IDENTIFIERS))
        if _SOURCE_ROW in rows.schema.names:
            gone |= self._mentioned(rows)
        return gone

    def _theirs(self, column: pa.Array | pa.ChunkedArray) -> BoolArray:
        """Of a column of names, each of which is looked at once."""
        encoded = pc.dictionary_encode(_as_bytes(column))
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        names = [None if name is None else _decoded(name) for name in encoded.dictionary.to_pylist()]
        erased = self._matcher.customers(names)
        is_erased = np.array([name in erased for name in names] + [False], np.bool_)  # the last stands for null
        gone: BoolArray = is_erased[pc.fill_null(encoded.indices, len(names)).to_numpy(zero_copy_only=False)]
        return gone

    def _named(self, column: pa.Array | pa.ChunkedArray) -> BoolArray:
        if not pa.types.is_map(column.type):
            return np.array([text is not None and self._mentions.in_row(text) for text in _texts(column)], np.bool_)
        return np.array([bool(row) and self._matcher.has_identifier(row) for row in _pairs(column)], np.bool_)

    def _mentioned(self, rows: pa.Table | pa.RecordBatch) -> BoolArray:
        """Of rejected rows, which are kept as they came."""
        ways = {
            Columns.CUSTOMER_ID: self._mentions.in_value,  # it may be the reason: with blanks around it, say
            _SOURCE_ROW: self._mentions.in_row,
            Columns.PROPERTIES: self._mentions.in_row,
            _REASON: self._mentions.in_reason,
        }
        gone = np.zeros(rows.num_rows, np.bool_)
        if Columns.IDENTIFIERS in rows.schema.names and pa.types.is_map(rows.column(Columns.IDENTIFIERS).type):
            values = (row.values() for row in _pairs(rows.column(Columns.IDENTIFIERS)))
            gone |= np.array([any(map(self._mentions.in_value, row)) for row in values], np.bool_)
        for name, names_one in ways.items():
            if name in rows.schema.names:
                gone |= np.array([text is not None and names_one(text) for text in _texts(rows.column(name))], np.bool_)
        return gone


def _pairs(column: pa.Array | pa.ChunkedArray) -> list[dict[str, str]]:
    """A column of maps from text to text, without the pairs that have no value."""
    try:
        rows = column.to_pylist()
    except UnicodeDecodeError:
        rows = [
            None if row is None else [[None if text is None else _decoded(text) for text in pair] for pair in row]
            for row in column.cast(pa.map_(pa.binary(), pa.binary())).to_pylist()
        ]
    return [{str(name): str(value) for name, value in row or () if value is not None} for row in rows]


def _texts(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """A column as texts, whatever it is: ids may be numbers in a file of somebody's own, and text may be no UTF-8."""
    return [None if value is None else _decoded(value) for value in _as_bytes(column).to_pylist()]


def _as_bytes(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column of text as bytes, which nobody checks; any other as it is."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    return column.cast(pa.large_binary()) if pa.types.is_large_string(column.type) else column


def _decoded(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _dictionaries(file: pq.ParquetFile) -> list[str] | bool:
    """The columns that the file keeps as dictionaries."""
    group = file.metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return [column.path_in_schema for column in columns if column.has_dictionary_page] or False


def _stamp_moments(settings: Settings, rewritten: set[Path]) -> None:
    """Make the narrow copies of the states' times anew: they carry the date of the files that they are of."""
    for view in CUSTOMER_VIEWS:
        source, target = view.path(settings), view.moments_path(settings)
        if target.exists() and source.exists() and rewritten & {source, target, *source.glob("*.parquet")}:
            refresh_moments(view, source, target)


def _clear_leftovers(settings: Settings) -> None:
    """Take away what killed builds and erasures left half written, in the folders that only they write to."""
    for folder in (settings.timeline_path.parent, settings.feast_dir):
        for pattern in ("**/*.part", "*.partial", "*.old", "*.arrived.*", "sort"):
            for path in list(folder.glob(pattern)):
                discard(path)
