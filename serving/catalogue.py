"""The product table in, a product's name, category and price out."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.state import product_code
from features.vocabulary import Columns

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProductInfo:
    """What a person wants to see of a product."""

    product_id: str
    name: str | None = None
    category: str | None = None
    price: float | None = None


@dataclass(frozen=True)
class Catalogue:
    """All products, by id and by the code that states hold."""

    by_id: Mapping[str, ProductInfo] = field(default_factory=dict)
    id_by_code: Mapping[int, str] = field(default_factory=dict)

    def get(self, product_id: str) -> ProductInfo:
        """What is known of a product; for an unknown one only its id."""
        return self.by_id.get(product_id) or ProductInfo(product_id)

    def by_code(self, code: int) -> ProductInfo | None:
        """The product behind a state's code; None where it is not in the table."""
        product_id = self.id_by_code.get(code)
        return None if product_id is None else self.by_id[product_id]

    def codes_in(self, categories: Collection[str]) -> NDArray[np.int64]:
        """Codes of the products of these categories (in any case of letters)."""
        wanted = {category.casefold() for category in categories}
        codes = [code for code, pid in self.id_by_code.items() if (self.by_id[pid].category or "").casefold() in wanted]
        return np.array(codes, dtype=np.int64)


def load_catalogue(path: Path) -> Catalogue:
    """Read the product table (PRODUCT_SCHEMA); an empty catalogue where there is no file."""
    if not path.exists():
        return Catalogue()
    table = pq.read_table(path)
    ids = table[Columns.PRODUCT_ID].to_pylist()
    names, categories, prices = (_column(table, name) for name in (Columns.NAME, Columns.CATEGORY, Columns.PRICE))
    by_id = {
        product_id: ProductInfo(product_id, name, category, price if price is not None and isfinite(price) else None)
        for product_id, name, category, price in zip(ids, names, categories, prices, strict=True)
    }
    codes = product_code(ids).tolist()
    logger.info("%d products in the catalogue", len(ids))
    return Catalogue(by_id, dict(zip(codes, ids, strict=True)))


def _column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
