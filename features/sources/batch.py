"""What every source hands over: a batch of events and products, and small helpers to make one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandas.util import hash_array

from features import atomic
from features.arrays import IntArray
from features.events.rules import TEXT_COLUMNS
from features.events.schema import EVENT_SCHEMA
from features.ids import id_column, with_text_ids
from features.vocabulary import Columns

PRODUCT_SCHEMA: Final = pa.schema(
    [
        (Columns.PRODUCT_ID, pa.string()),
        (Columns.CATEGORY, pa.string()),
        (Columns.BRAND, pa.string()),
        (Columns.PRICE, pa.float64()),
        (Columns.ATTRIBUTES, pa.string()),
        (Columns.AVAILABLE_FROM, pa.timestamp("us", "UTC")),
        (Columns.NAME, pa.string()),
    ]
)
"""The product table; `attributes` is JSON text."""
ID_COLUMNS: Final = (Columns.EVENT_ID, *TEXT_COLUMNS)
"""Columns of an event that hold an id."""


@dataclass(frozen=True)
class SourceBatch:
    """Some of a source: `events` still to be validated, `rejected` rows that cannot become events, and their count.

    `rows_total` counts the source's own rows behind this batch, rejected ones included. `row_numbers` (n_events,)
    says which row of the source each event came from; None where events are not rows.
    """

    events: pa.Table
    products: pa.Table | None = None
    rejected: pa.Table | None = None
    rows_total: int = 0
    row_numbers: IntArray | None = None


def read_query(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """The result of a query, whole."""
    table: pa.Table = connection.sql(query).to_arrow_table()
    return table


def stream_query(connection: duckdb.DuckDBPyConnection, query: str, batch_rows: int) -> Iterator[pa.Table]:
    """The result of a query in tables of about `batch_rows` rows, so that it never lies in memory whole."""
    relation = connection.sql(query)
    open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader  # DuckDB 2, DuckDB 1
    for batch in open_reader(batch_rows):
        yield pa.Table.from_batches([batch])


def to_event_table(columns: dict[str, pa.Array | pa.ChunkedArray | str | None], n_rows: int) -> pa.Table:
    """A table of EVENT_SCHEMA from some of its columns; a text stands for the same value in every row."""
    arrays = []
    for field in EVENT_SCHEMA:
        value = columns.get(field.name)
        if value is None:
            arrays.append(pa.nulls(n_rows, field.type))
        elif isinstance(value, str):
            arrays.append(pa.repeat(pa.scalar(value, field.type), n_rows))
        else:
            arrays.append(id_column(value) if field.name in ID_COLUMNS else value.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=EVENT_SCHEMA)


def to_product_table(columns: dict[str, pa.Array | pa.ChunkedArray], n_rows: int) -> pa.Table:
    """A table of PRODUCT_SCHEMA from some of its columns."""
    given = with_text_ids(pa.table(columns), (Columns.PRODUCT_ID,))
    arrays = [
        given.column(field.name).cast(field.type) if field.name in columns else pa.nulls(n_rows, field.type)
        for field in PRODUCT_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=PRODUCT_SCHEMA)


def read_products(path: Path) -> pa.Table:
    """The product table (PRODUCT_SCHEMA) in a file, whatever type its ids have; InputError for ids that lost digits."""
    table = pq.read_table(path)
    return to_product_table({name: table.column(name) for name in table.column_names}, table.num_rows)


def sampled(customer_ids: pa.Array | pa.ChunkedArray, share: float | None) -> pa.Array:
    """Which rows (booleans) belong to a deterministic `share` of the customers; null ids stay in."""
    if share is None or share >= 1:
        return pa.repeat(True, len(customer_ids))
    texts = pd.Series(pc.fill_null(id_column(customer_ids), "").to_pandas(), dtype=object)
    places = hash_array(texts.to_numpy()) / 2.0**64  # in [0, 1), the same on every machine
    return pa.array((places < share) | texts.eq("").to_numpy())


def merge_products(path: Path, products: pa.Table) -> None:
    """Put products into the product table at `path`: a product that is there already is replaced."""
    old = read_products(path) if path.exists() else PRODUCT_SCHEMA.empty_table()
    kept = old.filter(
        pc.invert(pc.is_in(old.column(Columns.PRODUCT_ID), value_set=products.column(Columns.PRODUCT_ID)))
    )
    merged = pa.concat_tables([kept, products]).sort_by(Columns.PRODUCT_ID)
    with atomic.replacing(path) as part:
        pq.write_table(merged, part)
