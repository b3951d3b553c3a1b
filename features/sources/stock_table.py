"""Rows of stock come in; the stock table with them in it goes out, one writer at a time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features import atomic
from features.errors import InputError
from features.ids import read_ids
from features.sources.parsing import Problems, parse_moments, refuse
from features.sources.tables import STOCK_SCHEMA
from features.vocabulary import Columns

_KEY = [Columns.PRODUCT_ID, Columns.STORE_ID, Columns.AS_OF]


def merge_stock(path: Path, rows: pa.Table) -> None:
    """Put rows of STOCK_SCHEMA into the table at `path`: in place of those of the same product, store and moment.

    Other rows stay. Raises InputError for a table that cannot be read.
    """
    with atomic.locked(path):
        merged = pa.concat_tables([_read(path), rows])
        numbered = merged.select(_KEY).append_column("row", pa.array(range(merged.num_rows), pa.int64()))
        newest = numbered.group_by(_KEY, use_threads=False).aggregate([("row", "max")])
        merged = merged.take(newest["row_max"]).sort_by([(name, "ascending") for name in reversed(_KEY)])
        with atomic.replacing(path) as part:
            pq.write_table(merged, part, write_page_checksum=True)


def _read(path: Path) -> pa.Table:
    if not path.exists():
        return STOCK_SCHEMA.empty_table()
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        columns = [_typed(table[field.name], field) for field in STOCK_SCHEMA]
    except (OSError, KeyError, pa.ArrowException, InputError) as error:
        why = error.message if isinstance(error, InputError) else str(error).strip("'").splitlines()[0]
        raise InputError(
            f"{path} cannot be merged with: {why.rstrip('.')}.", repair="Mend it or move it away, and ingest again."
        ) from error
    return pa.Table.from_arrays(columns, schema=STOCK_SCHEMA)


def _typed(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_string(field.type):
        return read_ids(column, field.name)
    if field.name != Columns.AS_OF:
        return column.cast(field.type)
    problems: Problems = {}
    moments = parse_moments(field.name, column, problems, "UTC")  # a cast would take any number for microseconds
    refuse(problems)
    return moments
