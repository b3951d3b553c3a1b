"""Rows of stock come in; the stock table with them in it goes out, one writer at a time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features import atomic
from features.errors import InputError
from features.ids import read_ids
from features.sources.tables import STOCK_SCHEMA
from features.vocabulary import Columns

_KEY = [Columns.PRODUCT_ID, Columns.STORE_ID, Columns.AS_OF]


def merge_stock(path: Path, rows: pa.Table) -> None:
    """Put rows of STOCK_SCHEMA into the table at `path`: in place of those of the same product, store and moment.

    Other rows stay. Raises InputError for a table that cannot be read.
    """
    with atomic.locked(path):
        merged = pa.concat_tables([_read(path), rows])
        keys = merged.select(_KEY).to_pandas()
        kept = (~keys.duplicated(keep="last")).to_numpy()
        merged = merged.filter(pa.array(kept)).sort_by([(name, "ascending") for name in reversed(_KEY)])
        with atomic.replacing(path) as part:
            pq.write_table(merged, part)


def _read(path: Path) -> pa.Table:
    if not path.exists():
        return STOCK_SCHEMA.empty_table()
    try:
        table = pq.read_table(path)
        columns = [
            read_ids(table[field.name], field.name)
            if pa.types.is_string(field.type)
            else table[field.name].cast(field.type)
            for field in STOCK_SCHEMA
        ]
    except (OSError, KeyError, pa.ArrowException, InputError) as error:
        why = str(error).strip("'").splitlines()[0].rstrip(".")
        raise InputError(
            f"{path} cannot be merged with: {why}.", repair="Mend it or move it away, and ingest again."
        ) from error
    return pa.Table.from_arrays(columns, schema=STOCK_SCHEMA)
