"""The labels of next-product: the timeline in, purchases as numbered baskets and the next basket after a cutoff out.

Beside `training.data.labels` the only code that looks past a cutoff: `next_baskets` reads [cutoff, cutoff + horizon).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.arrays import IntArray
from features.errors import InputError, MissingError
from features.sql import connect_bounded, sql_list
from features.vocabulary import EventKind
from training.data.interactions import Interactions
from training.data.orders import DAY, order_name, with_order_parts
from training.evaluation.ranking import Targets


@dataclass(frozen=True)
class Purchases:
    """All purchases: customer number i is `customer_ids[i]`, item row i + 1 is `product_ids[i]`."""

    lines: Interactions
    customer_ids: NDArray[np.object_]
    product_ids: NDArray[np.object_]


@dataclass(frozen=True)
class NextBaskets:
    """Who bought in the window (n,), and what their first basket in it held."""

    customers: IntArray
    targets: Targets


def load_purchases(timeline: Path, kinds: Sequence[EventKind] = (EventKind.PURCHASE,)) -> Purchases:
    """Every line of the timeline that takes a product, one per (basket, product).

    A basket is an order (see training.data.orders): what one customer bought under one order_id, or in one session without
    a gap, or, where the source has neither, on one UTC day. It is dated at its first line. Raises when the timeline is
    missing or holds no purchase.
    """
    if not timeline.exists():
        raise MissingError(f"{timeline} is not there.", repair="Run: omni features build")
    wanted = sql_list([kind.value for kind in kinds])
    lines = f"""
        SELECT customer_id, product_id, occurred_at AS moment, {order_name(DAY)}
        FROM read_parquet($path) WHERE kind IN ({wanted}) AND product_id IS NOT NULL
    """
    moments = "SELECT DISTINCT customer_id, name, in_session, moment FROM lines"  # far fewer than lines
    with connect_bounded() as connection:
        table = connection.execute(
            f"""
            WITH lines AS ({lines}), parts AS ({with_order_parts(moments)})
            SELECT customer_id, product_id, hash(name, part) AS basket, epoch_us(min(moment)) / 1e6 AS time
            FROM lines JOIN parts USING (customer_id, name, moment) GROUP BY ALL
            """,
            {"path": str(timeline)},
        ).df()
    if table.empty:
        raise InputError(f"{timeline} holds no purchase of a product.", repair="Ingest some: omni ingest SOURCE")
    return number_purchases(table)


def number_purchases(table: pd.DataFrame) -> Purchases:
    """A table with customer_id, product_id, basket (a name that is unique within a customer) and time in seconds."""
    customer, customer_ids = pd.factorize(table["customer_id"], sort=True)
    item, product_ids = pd.factorize(table["product_id"], sort=True)
    name, _ = pd.factorize(table["basket"])
    key, _ = pd.factorize(customer.astype(np.int64) * (int(name.max()) + 1) + name)
    start = np.full(int(key.max()) + 1, np.inf)
    time = table["time"].to_numpy(np.float64)
    np.minimum.at(start, key, time)
    time = start[key]
    order = np.lexsort((item, key, time, customer))
    customer, item, key, time = customer[order], item[order], key[order], time[order]
    new = np.concatenate(([True], key[1:] != key[:-1]))
    lines = Interactions(
        customer=customer.astype(np.int64),
        item=item.astype(np.int64) + 1,
        basket=np.cumsum(new) - 1,
        time=time,
        n_customers=len(customer_ids),
        n_items=len(product_ids),
    )
    return Purchases(lines, np.asarray(customer_ids, dtype=object), np.asarray(product_ids, dtype=object))


def next_baskets(lines: Interactions, cutoff: float, end: float) -> NextBaskets:
    """Each customer's first basket in [cutoff, end), both in seconds; customers without one are left out."""
    inside = np.flatnonzero((lines.time >= cutoff) & (lines.time < end))
    customer, basket = lines.customer[inside], lines.basket[inside]
    first = np.full(lines.n_customers, np.iinfo(np.int64).max)
    np.minimum.at(first, customer, basket)
    chosen = inside[basket == first[customer]]
    customers, number = np.unique(lines.customer[chosen], return_inverse=True)
    return NextBaskets(customers, Targets.from_pairs(number, lines.item[chosen], len(customers)))
