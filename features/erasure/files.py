"""Erasure in files: erased names in, every Parquet file under OMNI_HOME that holds rows of theirs written anew without them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features import atomic
from features.arrays import BoolArray
from features.log.tombstones import Matcher
from features.offline.build_note import fit_note_to_files
from features.offline.files import discard, refresh_moments
from features.settings import Settings
from features.views import CUSTOMER_VIEWS
from features.vocabulary import Columns

_NAMES: Final = (Columns.CUSTOMER_ID, Columns.RESOLVED_CUSTOMER_ID)
_SOURCE_ROW: Final = "source_row"
_READ_ROWS: Final = 100_000


def erase_files(settings: Settings, matcher: Matcher) -> dict[str, int]:
    """Rewrite the files that hold erased rows, each as a whole or not at all; the caller holds `offline_files`.

    The features' note is made to fit, so that the stores count as level with the log if they were before. What a build
    that was cut short left behind goes too. Returns rows removed by file.
    """
    _clear_leftovers(settings)
    removed: dict[str, int] = {}
    rewritten: set[Path] = set()
    for path in sorted(path for path in settings.home.rglob("*.parquet") if path.is_file()):
        n_rows = _rewrite(path, matcher)
        if n_rows:
            rewritten.add(path)
            place = f"files: {path.relative_to(settings.home)}"
            removed[place] = n_rows
    if rewritten:
        _stamp_moments(settings, rewritten)
    fit_note_to_files(settings)
    return removed


def _rewrite(path: Path, matcher: Matcher) -> int:
    """Rows taken out of one file; 0 where there are none, and then the file is left as it is."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        wanted = [name for name in (*_NAMES, Columns.IDENTIFIERS, _SOURCE_ROW) if name in schema.names]
        if not wanted or not any(name in schema.names for name in _NAMES):
            return 0
        n_gone = sum(int(_gone(batch, matcher).sum()) for batch in file.iter_batches(_READ_ROWS, columns=wanted))
        if n_gone == 0:
            return 0
        groups = (file.read_row_group(number) for number in range(file.num_row_groups))
        compression = file.metadata.row_group(0).column(0).compression
        with (
            atomic.replacing(path) as part,
            pq.ParquetWriter(part, schema, compression=compression, use_dictionary=_dictionaries(file)) as writer,
        ):
            for group in groups:
                kept = group.filter(pa.array(~_gone(group, matcher)))
                if kept.num_rows:
                    writer.write_table(kept)
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum of the file as it was
    return n_gone


def _gone(rows: pa.Table | pa.RecordBatch, matcher: Matcher) -> BoolArray:
    """Which rows (n,) are of erased customers."""
    gone = np.zeros(rows.num_rows, np.bool_)
    for name in (name for name in _NAMES if name in rows.schema.names):
        column = pa.chunked_array([rows.column(name)]) if isinstance(rows, pa.RecordBatch) else rows.column(name)
        erased = matcher.customers(column.unique().to_pylist())
        if erased:
            gone |= np.array([value in erased for value in column.to_pylist()], np.bool_)
    if Columns.IDENTIFIERS in rows.schema.names:
        for row, pairs in enumerate(rows.column(Columns.IDENTIFIERS).to_pylist()):
            gone[row] |= bool(pairs) and matcher.has_identifier(dict(pairs))
    if _SOURCE_ROW in rows.schema.names:
        for row, text in enumerate(rows.column(_SOURCE_ROW).to_pylist()):
            gone[row] |= bool(text) and matcher.has_value(_texts(json.loads(text)))
    return gone


def _texts(value: Any) -> Iterator[str]:
    """Every text and number in a JSON value, as text."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value).strip()


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
        for pattern in ("**/*.part", "*.partial", "*.old", "*.arrived.parquet", "sort"):
            for path in list(folder.glob(pattern)):
                discard(path)
