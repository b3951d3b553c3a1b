"""Receipts and 20.9 million rows of store promotions come in; which household passed which promoted habit goes out.

Joining everything takes a minute and a half in a database. Here the few million (product, store, week) triples that
a household with a habit came past become sorted 64-bit keys, and the promotions stream by them once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays import IntArray

_STREAM_ROWS: Final = 1_000_000
_HABITS: Final = """
CREATE TEMP TABLE habits AS
WITH bought AS (SELECT DISTINCT household_id, product_id, week FROM transactions
                WHERE quantity > 0 OR sales_value <> 0),
     first AS (SELECT household_id, product_id, min(week) AS week FROM bought GROUP BY ALL)
SELECT bought.household_id, bought.product_id, min(bought.week) AS second_week
FROM bought JOIN first ON bought.household_id = first.household_id AND bought.product_id = first.product_id
     AND bought.week > first.week
GROUP BY ALL"""
_VISITS: Final = """
CREATE TEMP TABLE visits AS
SELECT household_id, store_id, week, min(transaction_timestamp) AT TIME ZONE 'UTC' - INTERVAL 1 SECOND AS seen_at
FROM transactions GROUP BY ALL"""
_PASSED: Final = """
SELECT habits.product_id, visits.store_id, visits.week, visits.household_id, epoch_us(visits.seen_at) AS seen_us
FROM visits JOIN habits ON habits.household_id = visits.household_id AND visits.week > habits.second_week"""


def find_exposures(connection: duckdb.DuckDBPyConnection, promotions: Path) -> pa.Table:
    """One row per household, week, store, habitual product and placement, in time order.

    `connection` knows the table `transactions`. Columns: household_id, product_id, store_id, week (int64), placement
    ("display" or "mailer"), location (the code in the file), seen_at (UTC).
    """
    connection.execute(_HABITS)
    connection.execute(_VISITS)
    passed = {name: np.asarray(column) for name, column in connection.execute(_PASSED).fetchnumpy().items()}
    keys = _pack(passed["product_id"], passed["store_id"], passed["week"])  # (n,)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    households, seen_us = passed["household_id"][order].astype(np.int64), passed["seen_us"][order]
    del passed, order
    parts = []
    for placement, promoted, locations in _stream(promotions, keys):
        left = np.searchsorted(keys, promoted, side="left")
        counts = np.searchsorted(keys, promoted, side="right") - left  # (m,) households that came past each promotion
        rows = np.repeat(left - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        product, store, week = _unpack(keys[rows])
        parts.append(
            pa.table(
                {
                    "household_id": households[rows],
                    "product_id": product,
                    "store_id": store,
                    "week": week,
                    "placement": pa.repeat(placement, len(rows)),
                    "location": locations.take(pa.array(np.repeat(np.arange(len(promoted)), counts))),
                    "seen_at": pa.array(seen_us[rows], pa.timestamp("us", "UTC")),
                }
            )
        )
    return _first_of_each(pa.concat_tables(parts))


def _stream(promotions: Path, keys: IntArray) -> Iterator[tuple[str, IntArray, pa.Array]]:
    """The promotions that somebody came past, by placement: (placement, keys (m,), location codes (m,))."""
    product, store, week = _unpack(keys)
    is_habit = np.zeros(int(product.max(initial=0)) + 1, np.bool_)  # two look-ups spare most rows the search
    is_habit[product] = True
    is_visited = np.zeros((int(store.max(initial=0)) + 1, 64), np.bool_)
    is_visited[store, week] = True
    columns = ["product_id", "store_id", "week", "display_location", "mailer_location"]
    for batch in pq.ParquetFile(promotions).iter_batches(_STREAM_ROWS, columns=columns, use_threads=False):
        whole = (batch.column(place).cast(pa.int64()) for place in range(3))  # saved anew they may be fractions or text
        product, store, week = (column.to_numpy(zero_copy_only=False) for column in whole)
        keep = np.flatnonzero((product < len(is_habit)) & (store < len(is_visited)))
        keep = keep[is_habit[product[keep]]]
        keep = keep[is_visited[store[keep], week[keep]]]
        packed = _pack(product[keep], store[keep], week[keep])
        place = np.minimum(np.searchsorted(keys, packed), max(len(keys) - 1, 0))
        is_promoted_habit = keys[place] == packed if len(keys) else np.zeros(len(packed), np.bool_)
        keep, packed = keep[is_promoted_habit], packed[is_promoted_habit]
        for placement, column in (("display", 3), ("mailer", 4)):
            locations = batch.column(column).take(pa.array(keep)).cast(pa.string())
            shown = pc.fill_null(pc.not_equal(locations, "0"), False)  # "0" is "not on display", "not in the mailer"
            yield placement, packed[shown.to_numpy(zero_copy_only=False)], locations.filter(shown)


def _first_of_each(exposures: pa.Table) -> pa.Table:
    """In time order; of the few products listed at two places of one kind, the first place in code order."""
    order = [
        (name, "ascending") for name in ("seen_at", "household_id", "store_id", "product_id", "placement", "location")
    ]
    table = exposures.sort_by(order)
    same = np.ones(table.num_rows, np.bool_)
    for name in ("household_id", "week", "store_id", "product_id", "placement"):
        codes = pc.dictionary_encode(table.column(name)).combine_chunks().indices.to_numpy()
        same &= np.append(False, codes[1:] == codes[:-1]) if len(codes) else same
    return table.filter(pa.array(~same))


def _pack(product: IntArray, store: IntArray, week: IntArray) -> IntArray:
    """(product, store < 2^16, week < 2^6) as one ordered number."""
    return (product.astype(np.int64) << 22) | (store.astype(np.int64) << 6) | week.astype(np.int64)


def _unpack(keys: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    return keys >> 22, (keys >> 6) & 0xFFFF, keys & 0x3F
