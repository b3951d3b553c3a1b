"""The timeline and the product table come in; Feast's offline source of `product_state` goes out.

A product has a row at the end of every week (Monday 00:00 UTC) in which it was bought, from purchases before that moment
only. Between rows nothing is lost: decayed counts are decayed on to the moment of use, and a quiet week adds nothing.
The newest row may lie days ahead of the last event; decaying it "back" to now is exact, since all of it came before now.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.arrays import FloatArray, IntArray
from features.console import Progress
from features.errors import MissingError
from features.settings import Settings
from features.sql import connect
from features.vocabulary import Columns

POPULARITY: Final[tuple[float, ...]] = (7.0, 30.0, 90.0)
"""Half-lives in days of the decayed purchase counts in `popularity`, in that order."""
SALES: Final[tuple[str, ...]] = ("purchases", "buyers", "last_sold_s")
"""What `sales` holds: purchases and different customers so far, and the last purchase in seconds since the epoch."""
PRODUCT_STATE_SCHEMA: Final = pa.schema(
    [
        (Columns.PRODUCT_ID, pa.string()),
        (Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC")),
        (Columns.PRICE, pa.float64()),
        (Columns.CATEGORY, pa.string()),
        ("popularity", pa.list_(pa.float64())),
        ("sales", pa.list_(pa.float64())),
    ]
)

_DAY_US: Final = 86_400_000_000
_WEEK_US: Final = 7 * _DAY_US
_MONDAY_US: Final = 4 * _DAY_US
"""The first Monday after the epoch, which was a Thursday."""
_PURCHASES: Final = f"""
    CREATE TEMP TABLE purchases AS
    SELECT product_id, customer_id, epoch_us(occurred_at) AS sold_at, quantity, value,
        ((epoch_us(occurred_at) - {_MONDAY_US}) // {_WEEK_US} + 1) * {_WEEK_US} + {_MONDAY_US} AS row_at
    FROM read_parquet($timeline)
    WHERE kind = 'purchase' AND product_id IS NOT NULL
"""
_WEEKS: Final = f"""
    WITH weeks AS (
        SELECT product_id, row_at, count(*) AS purchases, max(sold_at) AS last_sold,
            {", ".join(f"sum(pow(2.0, (sold_at - row_at) / {days * _DAY_US})) AS popularity_{days:g}" for days in POPULARITY)},
            sum(value) FILTER (value > 0 AND quantity > 0) / sum(quantity) FILTER (value > 0 AND quantity > 0) AS paid
        FROM purchases GROUP BY ALL
    ), first_purchases AS (
        SELECT product_id, min(row_at) AS row_at FROM purchases GROUP BY product_id, customer_id
    ), new_buyers AS (
        SELECT product_id, row_at, count(*) AS buyers FROM first_purchases GROUP BY ALL
    )
    SELECT weeks.*, coalesce(buyers, 0) AS buyers
    FROM weeks LEFT JOIN new_buyers USING (product_id, row_at)
    ORDER BY product_id, row_at
"""


def build_product_state(settings: Settings, progress: Progress) -> int:
    """Write `settings.product_state_path` anew; returns the number of rows.

    The price is what was paid per unit in that week, so that a row knows nothing of later prices; where a product was
    never paid for it is the price in the product table. Raises MissingError where there is no timeline.
    """
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline in {settings.timeline_path}.", repair="Run `omni features build`.")
    with connect() as connection:
        parameters = {"timeline": str(settings.timeline_path)}
        connection.execute(_PURCHASES, parameters)
        weeks = connection.sql(_WEEKS).to_arrow_table()
        first = connection.sql(
            "SELECT epoch_us(min(occurred_at)) AS start FROM read_parquet($timeline)", params=parameters
        )
        start = first.fetchall()[0][0] or 0
    catalogue = _catalogue(settings.products_path)
    rows = pa.concat_tables([_sold(weeks, catalogue), _unsold(weeks, catalogue, start)])
    settings.product_state_path.parent.mkdir(parents=True, exist_ok=True)
    partial = settings.product_state_path.with_suffix(".partial")
    pq.write_table(rows, partial, compression="zstd")
    partial.replace(settings.product_state_path)
    progress(f"{rows.num_rows:,} product states")
    return len(rows)


def _catalogue(path: Path) -> pa.Table:
    schema = pa.schema(
        [
            (Columns.PRODUCT_ID, pa.string()),
            (Columns.CATEGORY, pa.string()),
            (Columns.PRICE, pa.float64()),
            (Columns.AVAILABLE_FROM, pa.timestamp("us", tz="UTC")),
        ]
    )
    return pq.read_table(path, columns=schema.names).cast(schema) if path.exists() else schema.empty_table()


def _sold(weeks: pa.Table, catalogue: pa.Table) -> pa.Table:
    """One row per product and week with a purchase; `weeks` is sorted by product and time."""
    encoded = weeks[Columns.PRODUCT_ID].combine_chunks().dictionary_encode()
    product = encoded.indices.to_numpy().astype(np.int64)
    row_at = weeks["row_at"].to_numpy()
    days = row_at / _DAY_US
    popularity = np.stack([weeks[f"popularity_{days:g}"].to_numpy() for days in POPULARITY], axis=1)
    popularity = _carry(product, days, popularity, np.array(POPULARITY))
    counts = np.stack([weeks[name].to_numpy().astype(np.float64) for name in ("purchases", "buyers")], axis=1)
    sales = np.column_stack([_carry(product, days, counts, np.full(2, np.inf)), weeks["last_sold"].to_numpy() / 1e6])
    row_of = {key: row for row, key in enumerate(catalogue[Columns.PRODUCT_ID].to_pylist())}
    of_product = pa.array([row_of.get(key) for key in encoded.dictionary.to_pylist()], pa.int64())
    known = catalogue.take(of_product.take(encoded.indices))
    paid = weeks["paid"].to_numpy(zero_copy_only=False)
    listed = known[Columns.PRICE].to_numpy(zero_copy_only=False)
    return _rows(
        weeks[Columns.PRODUCT_ID],
        row_at,
        np.where(np.isnan(paid), listed, paid),
        known[Columns.CATEGORY],
        popularity,
        sales,
    )


def _unsold(weeks: pa.Table, catalogue: pa.Table, start_us: int) -> pa.Table:
    """One row per product that was never bought, from when it was there on, or else from the beginning."""
    sold = set(weeks[Columns.PRODUCT_ID].unique().to_pylist())
    rest = catalogue.filter(
        pa.array([key not in sold for key in catalogue[Columns.PRODUCT_ID].to_pylist()], pa.bool_())
    )
    since = rest[Columns.AVAILABLE_FROM].cast(pa.int64()).fill_null(start_us).to_numpy()
    sales = np.tile([0.0, 0.0, np.nan], (rest.num_rows, 1))
    popularity = np.zeros((rest.num_rows, len(POPULARITY)))
    price = rest[Columns.PRICE].to_numpy(zero_copy_only=False)
    return _rows(rest[Columns.PRODUCT_ID], since, price, rest[Columns.CATEGORY], popularity, sales)


def _rows(
    product_id: pa.ChunkedArray,
    row_at: IntArray,
    price: FloatArray,
    category: pa.ChunkedArray,
    popularity: FloatArray,
    sales: FloatArray,
) -> pa.Table:
    moments = pa.array(row_at).cast(pa.timestamp("us", tz="UTC"))
    prices = pa.array(price, pa.float64(), from_pandas=True)
    columns = [product_id, moments, prices, category, _lists(popularity), _lists(sales)]
    return pa.Table.from_arrays(columns, schema=PRODUCT_STATE_SCHEMA)


def _lists(matrix: FloatArray) -> pa.Array:
    n, width = matrix.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), pa.array(matrix.reshape(-1)))


def _carry(
    product: IntArray,
    days: FloatArray,
    added: FloatArray,
    half_life_days: FloatArray,
) -> FloatArray:
    """What each row's sums (n, k) are: what the product's row before has become by then, plus what this row adds."""
    out = added.copy()
    starts = np.flatnonzero(np.diff(product, prepend=-1))
    lengths = np.diff(starts, append=len(product))
    for step in range(1, lengths.max(initial=0)):
        rows = starts[lengths > step] + step
        elapsed = (days[rows] - days[rows - 1])[:, None]
        out[rows] += out[rows - 1] * np.exp2(-elapsed / half_life_days)
    return out
