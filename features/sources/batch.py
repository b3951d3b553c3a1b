"""What every source hands over: a batch of events and products, and small helpers to make one."""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.util import hash_array

from features.arrays import IntArray
from features.events.rules import TEXT_COLUMNS, Problem
from features.events.schema import EVENT_SCHEMA, rejected_table
from features.ids import id_column, with_text_ids
from features.sources.readers.rows import RawRows
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
        (Columns.CURRENCY, pa.string()),
    ]
)
"""The product table; `attributes` is JSON text, `currency` is of the price, and null means the home's."""
ID_COLUMNS: Final = (Columns.EVENT_ID, *TEXT_COLUMNS)
"""Columns of an event that hold an id."""


@dataclass(frozen=True)
class ProductLines:
    """Of products that are rows of a file: `numbers` (n,) of the rows, and `moments` (n,) at which they were true."""

    numbers: IntArray
    moments: pa.Array


def without_rows(
    products: pa.Table, lines: ProductLines | None, bad: Collection[int]
) -> tuple[pa.Table, ProductLines | None]:
    """Products and their rows, without what the rows numbered `bad` say; products that are no rows stay."""
    if lines is None or not bad:
        return products, lines
    usable = ~np.isin(lines.numbers, list(bad))
    return products.filter(pa.array(usable)), ProductLines(
        lines.numbers[usable], lines.moments.filter(pa.array(usable))
    )


@dataclass(frozen=True)
class SourceBatch:
    """Some of a source: `events` still to be validated, `rejected` rows that cannot become events, and their count.

    `rows_total` counts the source's own rows behind this batch, rejected ones included. `row_numbers` (n_events,)
    says which row of the source each event came from; None where events are not rows. A product may have several rows:
    of each of its fields the last value counts, and what is null says nothing; `product_lines` says which rows these are,
    where they are rows. `clear` names the fields that become empty for products of this source that hold none.
    """

    events: pa.Table
    products: pa.Table | None = None
    rejected: pa.Table | None = None
    rows_total: int = 0
    row_numbers: IntArray | None = None
    product_lines: ProductLines | None = None
    clear: tuple[str, ...] = ()
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Rows of the source that are not wanted, by the word in them that says so; they are neither events nor rejected."""
    contents: NDArray[np.uint64] | None = None
    """A hash of all that the row behind each event holds, (n_events,); None where events say all there is."""
    repeats: Literal["first", "refuse"] = "first"
    """What to do where rows of one source share an event_id and differ: keep the first, or refuse the source."""


def to_batch(
    events: pa.Table, raw: RawRows, problems: dict[int, Problem], parents: IntArray | None = None
) -> SourceBatch:
    """Events (n, EVENT_SCHEMA) without those that have a problem: these are rejected.

    Each is of one of `raw`'s rows, or of the rows at the places `parents` (n,).
    """
    rows_total = len(raw) + raw.rejected.num_rows
    numbers = raw.numbers if parents is None else raw.numbers[parents]
    if not problems:
        return SourceBatch(events, rejected=raw.rejected, rows_total=rows_total, row_numbers=numbers)
    bad = np.array(sorted(problems))
    good = np.ones(len(numbers), np.bool_)
    good[bad] = False
    shown = raw.select(bad if parents is None else parents[bad]).objects()
    source_rows = [json.dumps(row, default=str, ensure_ascii=False) for row in shown]
    reasons = [problems[place] for place in bad.tolist()]
    rejected = rejected_table(events.take(pa.array(bad)), numbers[bad].tolist(), reasons, source_rows)
    return SourceBatch(
        events.filter(pa.array(good)),
        rejected=pa.concat_tables([raw.rejected, rejected]),
        rows_total=rows_total,
        row_numbers=numbers[good],
    )


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


def to_product_table(
    columns: dict[str, pa.Array | pa.ChunkedArray], n_rows: int, currency: str | None = None
) -> pa.Table:
    """A table of PRODUCT_SCHEMA from some of its columns; `currency` is that of every price."""
    if currency is not None:
        columns = {**columns, Columns.CURRENCY: pa.repeat(pa.scalar(currency, pa.string()), n_rows)}
    given = with_text_ids(pa.table(columns), (Columns.PRODUCT_ID,))
    arrays = [
        given.column(field.name).cast(field.type) if field.name in columns else pa.nulls(n_rows, field.type)
        for field in PRODUCT_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=PRODUCT_SCHEMA)


def sampled(customer_ids: pa.Array | pa.ChunkedArray, share: float | None) -> pa.Array:
    """Which rows (booleans) belong to a deterministic `share` of the customers; null ids stay in."""
    if share is None or share >= 1:
        return pa.repeat(True, len(customer_ids))
    texts = pd.Series(pc.fill_null(id_column(customer_ids), "").to_pandas(), dtype=object)
    places = hash_array(texts.to_numpy()) / 2.0**64  # in [0, 1), the same on every machine
    return pa.array((places < share) | texts.eq("").to_numpy())
