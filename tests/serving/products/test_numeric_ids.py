"""Stock and products whose ids are numbers: they are those of the events."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import StoreError
from serving.products.catalogue import load_catalogue, load_stock
from training.models.next_product.item_tables import product_facts

NOW = datetime(2024, 5, 1, tzinfo=UTC)
TYPES: dict[str, Any] = {
    "int64": pa.array([12, None]),
    "float64": pa.array([12.0, None]),
    "decimal": pa.array([Decimal("12.00"), None]),
    "text": pa.array(["12", None]),
    "category": pa.array([12.0, None]).dictionary_encode(),
    "pandas Int64": pa.Array.from_pandas(pd.Series([12, None], dtype="Int64")),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_store_that_is_a_number_is_the_store_of_the_events(tmp_path: Path, kind: str) -> None:
    products = pa.array([100.0, 101.5]) if kind == "float64" else pa.array(["100", "101.5"])
    table = pa.table({"product_id": products, "store_id": TYPES[kind], "units": [3, 0], "as_of": [NOW, NOW]})
    pq.write_table(table, tmp_path / "stock.parquet")
    assert load_stock(tmp_path / "stock.parquet") == {"12": {"100": 3.0}, None: {"101.5": 0.0}}


def test_a_catalogue_with_numeric_ids(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    pd.DataFrame(
        {"product_id": [100, 101], "name": ["tea", "pot"], "category": "a", "brand": "b", "price": 1.0}
    ).to_parquet(path)
    catalogue = load_catalogue(path)
    assert (catalogue.product_ids, catalogue.get("101").name) == (("100", "101"), "pot")
    assert list(product_facts(path).product_ids) == ["100", "101"]


def test_ids_that_lost_their_digits_are_no_stock(tmp_path: Path) -> None:
    table = pa.table({"product_id": ["a"], "store_id": [1e20], "units": [3], "as_of": [NOW]})
    pq.write_table(table, tmp_path / "stock.parquet")
    with pytest.raises(StoreError, match=r"store_id: row 1 is 1e\+20, a number with too many digits"):
        load_stock(tmp_path / "stock.parquet")
