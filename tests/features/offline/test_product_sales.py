"""What products sold: the newest rows, and the exact truth of any earlier moment."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import MissingError
from features.offline.product_sales import build_product_sales, product_states_as_of
from features.settings import Settings
from features.state.event_arrays import product_code
from features.state.product_blocks import BLOCK, ProductBlocks
from features.state.products import POPULARITY_DAYS

MONDAY = datetime(2017, 1, 2, tzinfo=UTC)
PURCHASES = [("tea", 0.0), ("tea", 3.5), ("tea", 20.999), ("milk", 7.0), ("milk", 8.0)]


def quiet(_: str) -> None:
    pass


def write_timeline(settings: Settings, purchases: list[tuple[str, float]], kind: str = "purchase") -> None:
    """Purchases as (product, day), and a view of each product."""
    settings.timeline_path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"product_id": product, "product_code": int(product_code([product])[0]), "kind": each, "seq": seq}
        | {"occurred_at": MONDAY + timedelta(days=day)}
        for seq, (product, day) in enumerate(purchases, start=1)
        for each in (kind, "view")
    ]
    schema = pa.schema(
        [
            *(("product_id", pa.string()), ("product_code", pa.int64()), ("kind", pa.string()), ("seq", pa.int64())),
            ("occurred_at", pa.timestamp("us", "UTC")),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), settings.timeline_path)


def test_the_newest_rows_hold_every_purchase(settings: Settings) -> None:
    write_timeline(settings, PURCHASES)
    old = settings.product_sales_path.with_name("product_state.parquet")
    old.write_bytes(b"of an older version")

    assert build_product_sales(settings, 3, quiet) == 2

    rows = pq.read_table(settings.product_sales_path).to_pylist()
    states = ProductBlocks.of_rows((row[BLOCK], row) for row in rows).states
    tea = int(states.rows_of(product_code(["tea"]))[0])
    assert not old.exists()
    assert {row["last_seq"] for row in rows} == {5}  # two came in while the timeline was written
    assert states.last_s[tea] == (MONDAY + timedelta(days=20.999)).timestamp()
    for place, days in enumerate(POPULARITY_DAYS):
        expected = sum(2 ** (-(20.999 - day) / days) for day in (0, 3.5, 20.999))
        assert states.count[tea, place] == pytest.approx(expected)


def test_as_of_a_moment_only_what_came_before_it_is_known(settings: Settings) -> None:
    write_timeline(settings, PURCHASES)

    late, never, at_the_second, first = product_states_as_of(
        settings, [MONDAY + timedelta(days=day) for day in (30, 0, 3.5, 4)]
    )

    assert len(never) == 0
    assert at_the_second.count.tolist() == [[1.0] * len(POPULARITY_DAYS)]
    assert first.count[0] == pytest.approx([1 + 2 ** (-3.5 / days) for days in POPULARITY_DAYS])
    assert sorted(late.code) == sorted(product_code(["tea", "milk"]))
    write_timeline(settings, [*PURCHASES, ("tea", 5.0), ("new", 29.0)])
    (again,) = product_states_as_of(settings, [MONDAY + timedelta(days=4)])
    np.testing.assert_array_equal(again.count, first.count)


def test_only_purchases_count(settings: Settings) -> None:
    write_timeline(settings, PURCHASES, kind="add_to_cart")

    assert build_product_sales(settings, 5, quiet) == 0
    assert pq.read_table(settings.product_sales_path).num_rows == 0


def test_without_a_timeline_it_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(MissingError, match="omni features build"):
        build_product_sales(settings, 0, quiet)
    with pytest.raises(MissingError, match="omni features build"):
        product_states_as_of(settings, [MONDAY])
