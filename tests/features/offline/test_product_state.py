"""Weekly product states: decayed counts are exact, causal, and worth the same at any later moment."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import MissingError
from features.offline.product_state import POPULARITY, build_product_state
from features.sources import PRODUCT_SCHEMA

MONDAY = datetime(2017, 1, 2, tzinfo=UTC)


def write_world(settings, purchases, products=(), kind="purchase"):
    """`purchases` are (product, customer, day, quantity, value)."""
    settings.timeline_path.parent.mkdir(parents=True, exist_ok=True)
    names = ("product_id", "customer_id", "occurred_at", "quantity", "value")
    rows = [
        dict(zip(names, (product, customer, MONDAY + timedelta(days=day), quantity, value), strict=True))
        | {"kind": kind}
        for product, customer, day, quantity, value in purchases
    ]
    types = {"quantity": pa.float64(), "value": pa.float64(), "occurred_at": pa.timestamp("us", "UTC")}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in (*names, "kind")])
    pq.write_table(pa.Table.from_pylist(rows, schema), settings.timeline_path)
    pq.write_table(pa.Table.from_pylist(list(products), PRODUCT_SCHEMA), settings.products_path)


def build(settings):
    build_product_state(settings, lambda _: None)
    rows = pq.read_table(settings.product_state_path).to_pylist()
    return {(row["product_id"], (row["event_timestamp"] - MONDAY) / timedelta(days=1)): row for row in rows}


PURCHASES = [
    ("tea", "a", 0, 1.0, 2.0),
    ("tea", "b", 3.5, 3.0, 12.0),
    ("tea", "a", 20.999, 1.0, 5.0),
    ("milk", "a", 7, 2.0, 2.0),
    ("milk", "a", 8, None, None),
]


def test_a_row_at_the_end_of_every_week_with_a_purchase(settings):
    write_world(settings, PURCHASES)

    assert sorted(build(settings)) == [("milk", 14), ("tea", 7), ("tea", 21)]


def test_counts_decay_to_the_moment_of_the_row(settings):
    write_world(settings, PURCHASES)

    rows = build(settings)

    for position, half_life in enumerate(POPULARITY):
        assert rows["tea", 7]["popularity"][position] == pytest.approx(2 ** (-7 / half_life) + 2 ** (-3.5 / half_life))
        expected = sum(2 ** (-(21 - day) / half_life) for day in (0, 3.5, 20.999))
        assert rows["tea", 21]["popularity"][position] == pytest.approx(expected)
        expected = 2 ** (-7 / half_life) + 2 ** (-6 / half_life)
        assert rows["milk", 14]["popularity"][position] == pytest.approx(expected)


def test_sales_count_purchases_and_different_buyers_so_far(settings):
    write_world(settings, PURCHASES)

    rows = build(settings)

    assert rows["tea", 7]["sales"] == [2, 2, (MONDAY + timedelta(days=3.5)).timestamp()]
    assert rows["tea", 21]["sales"] == [3, 2, (MONDAY + timedelta(days=20.999)).timestamp()]
    assert rows["milk", 14]["sales"][:2] == [2, 1]


def test_the_price_is_what_was_paid_that_week_and_else_the_listed_one(settings):
    products = [{"product_id": "tea", "price": 9.0, "category": "drinks"}, {"product_id": "gift", "price": 1.5}]
    write_world(settings, [*PURCHASES, ("gift", "a", 1, 1.0, 0.0)], products)

    rows = build(settings)

    assert rows["tea", 7]["price"] == pytest.approx(14 / 4)
    assert rows["tea", 21]["price"] == 5.0
    assert rows["milk", 14]["price"] == 1.0
    assert rows["gift", 7]["price"] == 1.5
    assert rows["tea", 7]["category"] == "drinks"
    assert rows["milk", 14]["category"] is None


def test_a_product_nobody_bought_is_there_from_its_beginning(settings):
    products = [
        {"product_id": "old", "price": 1.0, "category": "x"},
        {"product_id": "new", "price": None, "available_from": MONDAY + timedelta(days=30)},
    ]
    write_world(settings, PURCHASES, products)

    rows = build(settings)

    assert rows["old", 0]["popularity"] == [0, 0, 0]
    assert rows["old", 0]["sales"][:2] == [0, 0]
    assert rows["new", 30]["price"] is None


def test_later_events_change_no_earlier_row(settings):
    write_world(settings, PURCHASES)
    before = build(settings)
    later = [("tea", "c", 21, 1.0, 7.0), ("milk", "c", 30, 1.0, 7.0)]

    write_world(settings, [*PURCHASES, *later])
    after = build(settings)

    assert {key: after[key] for key in before} == before
    assert sorted(set(after) - set(before)) == [("milk", 35), ("tea", 28)]


def test_only_purchases_count(settings):
    write_world(settings, PURCHASES, kind="view")

    assert build(settings) == {}


def test_without_a_timeline_it_says_what_to_do(settings):
    with pytest.raises(MissingError, match="omni features build"):
        build_product_state(settings, lambda _: None)
