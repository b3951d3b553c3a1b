"""A small world for the tests of the feature store: timelines of a few customers, folded and registered with Feast."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.events.schema import EVENT_SCHEMA
from features.settings import Settings
from features.state.batch import Ragged, StateBatch
from features.state.encoding import PRODUCTS_SCHEMA, STATE_SCHEMA
from features.state.event_arrays import product_code
from features.state.fold import fold_timeline
from features.state.product_blocks import N_BLOCKS, ProductBlocks
from features.state.products import ProductStates, fold_purchases
from features.store.feature_store import Store

START = datetime(2017, 1, 2, tzinfo=UTC)


class Happening(NamedTuple):
    """One event of a test's timeline."""

    customer: str
    day: float
    kind: str
    channel: str = "store"
    product: str | None = None
    value: float | None = None


def at(day: float) -> datetime:
    """A moment, in days after the test world's beginning."""
    return START + timedelta(days=day)


def to_timeline(happenings: list[Happening]) -> pa.Table:
    """The timeline of `happenings`, whose seqs count from 1 in the order given."""
    table = pa.table(
        {
            "customer_id": pa.array([h.customer for h in happenings], pa.string()),
            "occurred_at": pa.array([at(h.day) for h in happenings], pa.timestamp("us", "UTC")),
            "kind": [h.kind for h in happenings],
            "channel": [h.channel for h in happenings],
            "product_code": product_code([h.product or "" for h in happenings]),
            "quantity": pa.array([1.0 for _ in happenings], pa.float64()),
            "value": pa.array([h.value for h in happenings], pa.float64()),
            "detail": pa.nulls(len(happenings), pa.float64()),
            "order_code": pa.array([0] * len(happenings), pa.int64()),
            "seq": pa.array(range(1, len(happenings) + 1), pa.int64()),
        }
    )
    return table.sort_by([("customer_id", "ascending"), ("occurred_at", "ascending"), ("seq", "ascending")])


def to_events(happenings: list[Happening], prefix: str = "e") -> pa.Table:
    """`happenings` as rows for the event log."""
    rows = [
        {
            "event_id": f"{prefix}{number}",
            "occurred_at": at(h.day),
            "kind": h.kind,
            "channel": h.channel,
            "customer_id": h.customer,
            "product_id": h.product,
            "quantity": 1.0,
            "value": h.value,
        }
        for number, h in enumerate(happenings)
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def make_store(
    home: Path, happenings: list[Happening], engines: Mapping[str, str] | None = None
) -> tuple[Store, Settings]:
    """A store whose offline sources hold the folded timeline and what it sold; the clock stands after its end.

    `engines` are settings of the environment that say which stores to use.
    """
    settings = Settings.from_env({"OMNI_HOME": str(home), "OMNI_CLOCK_START": at(100).isoformat(), **(engines or {})})
    settings.customer_state_path.parent.mkdir(parents=True)
    pieces = list(fold_timeline(to_timeline(happenings)))
    states = pa.concat_tables([STATE_SCHEMA.empty_table(), *(states for states, _ in pieces)])
    products = pa.concat_tables([PRODUCTS_SCHEMA.empty_table(), *(products for _, products in pieces)])
    pq.write_table(states, settings.customer_state_path)
    pq.write_table(products, settings.customer_products_path)
    sold = [h for h in happenings if h.kind == "purchase" and h.product]
    sales = fold_purchases(
        ProductStates.empty(), product_code([h.product for h in sold]), np.array([at(h.day).timestamp() for h in sold])
    )
    blocks = ProductBlocks(sales, np.full(N_BLOCKS, len(happenings))).rows()
    pq.write_table(blocks, settings.product_sales_path)
    store = Store(settings)
    store.apply()
    return store, settings


def random_happenings(seed: int, customers: int, events: int) -> list[Happening]:
    """Any events of any customers, with ties in time."""
    rng = np.random.default_rng(seed)
    kinds, channels = ("purchase", "view", "send", "open", "add_to_cart"), ("store", "web", "email")
    return [
        Happening(
            customer=f"r{rng.integers(customers)}",
            day=float(rng.integers(1, 60) / 2),
            kind=kinds[rng.integers(len(kinds))],
            channel=channels[rng.integers(len(channels))],
            product=f"p{rng.integers(5)}",
            value=float(rng.integers(1, 9)),
        )
        for _ in range(events)
    ]


WORLD = [
    Happening("anna", 1, "purchase", product="p1", value=2.0),
    Happening("anna", 2, "view", channel="web", product="p2"),
    Happening("anna", 3, "purchase", product="p3", value=5.0),
    Happening("bert", 2, "send", channel="email"),
    *random_happenings(seed=7, customers=6, events=80),
]


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """The helpers of this file, which tests cannot import."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Settings]:
    """A store over `WORLD`, materialized; read it, do not change it."""
    store, settings = make_store(tmp_path_factory.mktemp("world") / "home", WORLD)
    store.materialize(lambda _: None)
    return store, settings


@pytest.fixture
def entity_rows() -> Callable[..., pd.DataFrame]:
    """Entity rows from (customer, day) pairs."""

    def make(*pairs: tuple[str, float]) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "customer_id": [customer for customer, _ in pairs],
                "as_of": pd.DatetimeIndex([at(day) for _, day in pairs], tz="UTC").as_unit("us"),
            }
        )

    return make


def assert_same_states(left: StateBatch, right: StateBatch) -> None:
    """Equal in every field, bit for bit; the log rows they come from may differ."""
    assert len(left) == len(right)
    for name, mine in vars(left).items():
        theirs = getattr(right, name)
        if isinstance(mine, Ragged):
            np.testing.assert_array_equal(mine.offsets, theirs.offsets, err_msg=name)
            np.testing.assert_array_equal(mine.values, theirs.values, err_msg=name)
        elif name != "last_seq":
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
