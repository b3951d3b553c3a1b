"""A product table in columns answers what a dictionary of its rows would; of the same product's rows, the last one counts."""

from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.state.event_arrays import product_code
from serving.products.catalogue import Catalogue
from serving.products.product_rows import IdsByCode, Places, ProductColumns, ProductInfo, ProductRows

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("product_id", "name", "category", "brand", "attributes")),
        ("price", pa.float64()),
        ("available_from", pa.timestamp("us", "UTC")),
    ]
)
words = st.one_of(st.none(), st.sampled_from(["", "tea", "Milk", "\u00e9"]))
rows = st.fixed_dictionaries(
    {
        "product_id": st.sampled_from(["1", "2", "01", "a b", "\u00e9", "x"]),
        **dict.fromkeys(("name", "category", "brand", "attributes"), words),
        "price": st.one_of(st.none(), st.floats()),
        "available_from": st.one_of(st.none(), st.just(datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC))),
    }
)


def info(row: dict[str, Any]) -> ProductInfo:
    price, since = row["price"], row["available_from"]
    return ProductInfo(
        row["product_id"],
        row["name"],
        row["category"],
        price if price is not None and np.isfinite(price) else None,
        row["brand"],
        row["attributes"],
        -inf if since is None else since.timestamp(),
    )


def plain(columns: ProductColumns) -> list[Any]:
    return [np.asarray(column).tolist() for column in vars(columns).values()]


@given(st.lists(rows))
def test_rows_are_what_a_dictionary_of_them_would_be(table: list[dict[str, Any]]) -> None:
    expected = {row["product_id"]: info(row) for row in table}
    found = ProductRows(pa.Table.from_pylist(table, schema=SCHEMA))
    assert list(found.items()) == list(expected.items())
    assert (len(found), "nothing" in found, found.get("nothing")) == (len(expected), False, None)
    for asked in (list(expected), ["nothing", *reversed(expected)], ["x", "1", "1"]):
        one_by_one = ProductColumns.of([expected.get(name, ProductInfo(name)) for name in asked])
        np.testing.assert_equal(plain(found.columns(asked)), plain(one_by_one))
        np.testing.assert_equal(plain(Catalogue(found).columns(asked)), plain(Catalogue(expected).columns(asked)))


@given(st.lists(st.text(max_size=3), unique=True))
def test_ids_are_found_by_their_codes(ids: list[str]) -> None:
    expected = dict(zip(product_code(ids).tolist(), ids, strict=True))
    found = IdsByCode(ids)
    assert {code: found[code] for code in expected} == expected
    assert set(found) == set(expected) and len(found) == len(expected)
    assert found.get(-1) is None


def test_products_that_share_a_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places([7, 3, 7, -1])
    assert (places.of(7), places.of(3), places.of(0)) == ([0, 2], [1], [])
    found = ProductRows(pa.Table.from_pylist([{"product_id": "1", "price": nan}, {"product_id": "2"}], schema=SCHEMA))
    monkeypatch.setattr(found, "_places", Places([hash("2"), hash("2")]))
    assert found["2"] == ProductInfo("2")
    with pytest.raises(KeyError):
        found["1"]
