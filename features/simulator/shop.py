"""A generator in, a shop out: products with prices and promotions, stores, and stock that sells and is filled up."""

import csv
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from features.arrays import BoolArray, FloatArray, IntArray
from features.sources.batch import PRODUCT_SCHEMA
from features.vocabulary import Columns

CATEGORIES: Final = (
    "coffee", "tea", "bread", "dairy", "fruit", "snacks", "pasta", "household", "cosmetics", "toys", "garden", "books",
)  # fmt: skip
N_PRODUCTS: Final = 300
N_STORES: Final = 5
ONLINE: Final = N_STORES
"""The place of stock that web and app sell from, after the stores."""
PROMOTION: Final = 0.25
"""Share taken off the price of a product on promotion."""
CATALOGUE: Final = Path(__file__).with_name("catalogue.csv")
"""Products that a person recognises, as many of every category: category, brand, name and price in EUR."""
STOCK_SCHEMA: Final = pa.schema(
    [
        (Columns.PRODUCT_ID, pa.string()),
        (Columns.STORE_ID, pa.string()),
        ("units", pa.int64()),
        (Columns.AS_OF, pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Named:
    """What a product is called."""

    category: str
    brand: str
    name: str
    price: float


def read_catalogue() -> tuple[Named, ...]:
    """The products of `CATALOGUE`, in the order of `CATEGORIES`."""
    with CATALOGUE.open(encoding="utf-8", newline="") as file:
        rows = [Named(row["category"], row["brand"], row["name"], float(row["price"])) for row in csv.DictReader(file)]
    return tuple(sorted(rows, key=lambda row: CATEGORIES.index(row.category)))


@dataclass
class Shop:
    """Products (P,), their prices and popularity, and units per place (P, stores + online)."""

    category: IntArray
    price: FloatArray
    popularity: FloatArray  # cumulative within each category, plus the category's number: one ascending array
    order: IntArray  # products in the order of `popularity`
    units: IntArray  # (P, places)
    fill_to: IntArray  # (P, places)
    promoted: BoolArray  # (P,)
    history: list[tuple[int, IntArray]] = field(default_factory=list)
    names: tuple[Named, ...] = ()

    @classmethod
    def draw(cls, rng: np.random.Generator, units_per_product: float, names: tuple[Named, ...] = ()) -> "Shop":
        """A shop; `units_per_product` is about what one place holds of a product. `names` (P,) say what it sells."""
        category = np.sort(rng.integers(0, len(CATEGORIES), N_PRODUCTS))
        category[: len(CATEGORIES)] = np.arange(len(CATEGORIES))
        category = np.sort(category)
        if names:
            category = np.array([CATEGORIES.index(product.category) for product in names])
        weight = 1.0 / rng.permutation(np.arange(1, N_PRODUCTS + 1)) ** 0.7
        totals = np.bincount(category, weight)
        within = np.concatenate([np.cumsum(weight[category == c]) / totals[c] for c in range(len(CATEGORIES))])
        level = np.exp(np.log(6.0) + 0.7 * rng.standard_normal(len(CATEGORIES)))
        price = np.round(level[category] * np.exp(0.35 * rng.standard_normal(N_PRODUCTS)), 2)
        if names:
            price = np.array([product.price for product in names])
        share = weight / totals[category]
        fill = np.maximum(2, units_per_product * share[:, None] * rng.uniform(0.5, 2.0, (N_PRODUCTS, N_STORES + 1)))
        fill[:, ONLINE] *= 3
        units = fill.astype(np.int64)
        return cls(
            category,
            price,
            within + category,
            np.arange(N_PRODUCTS),
            units.copy(),
            units,
            np.zeros(N_PRODUCTS, bool),
            names=names,
        )

    def products_of(self) -> list[IntArray]:
        """The products of each category."""
        return [np.flatnonzero(self.category == c) for c in range(len(CATEGORIES))]

    def pick(self, category: IntArray, u: FloatArray) -> IntArray:
        """A product of each category by popularity, from uniform numbers."""
        at = np.searchsorted(self.popularity, category + u * (1 - 1e-9), side="right")
        return self.order[np.minimum(at, N_PRODUCTS - 1)]

    def paid(self, product: IntArray) -> FloatArray:
        """What one unit costs today."""
        return np.asarray(np.round(self.price[product] * np.where(self.promoted[product], 1 - PROMOTION, 1.0), 2))

    def in_stock(self, product: IntArray, place: IntArray) -> BoolArray:
        """Whether the place has the product this morning."""
        return np.asarray(self.units[product, place] > 0)

    def sell(self, product: IntArray, place: IntArray) -> None:
        """Take units out; what is sold beyond the last unit comes out of the next delivery."""
        np.subtract.at(self.units, (product, place), 1)
        np.maximum(self.units, 0, out=self.units)

    def new_day(self, day: int, rng: np.random.Generator) -> None:
        """Deliveries, and on Mondays other promotions and a record of the stock."""
        arrives = (self.units < self.fill_to // 3) & (rng.random(self.units.shape) < 0.35)
        self.units[arrives] = self.fill_to[arrives]
        if day % 7 == 0:
            self.promoted = rng.random(N_PRODUCTS) < 0.1
            self.history.append((day, self.units.copy()))

    def product_table(self) -> pa.Table:
        """The products as ingestion takes them."""
        rows = [
            {
                Columns.PRODUCT_ID: product_id(i),
                Columns.NAME: self.names[i].name if self.names else f"{CATEGORIES[self.category[i]].title()} {i:03d}",
                Columns.CATEGORY: CATEGORIES[self.category[i]],
                Columns.BRAND: self.names[i].brand if self.names else f"brand-{i % 17:02d}",
                Columns.PRICE: float(self.price[i]),
            }
            for i in range(N_PRODUCTS)
        ]
        return pa.Table.from_pylist(rows, schema=PRODUCT_SCHEMA)

    def stock_table(self, start: datetime) -> pa.Table:
        """Units per product, place and Monday; the place without a store is online."""
        days = np.repeat([day for day, _ in self.history], N_PRODUCTS * (N_STORES + 1))
        per_day = np.indices((N_PRODUCTS, N_STORES + 1)).reshape(2, -1)
        product, place = np.tile(per_day, len(self.history))
        ids = np.array([product_id(i) for i in range(N_PRODUCTS)], dtype=object)
        stores = np.array([*(store_id(i) for i in range(N_STORES)), None], dtype=object)
        moments = np.datetime64(start.replace(tzinfo=None), "us") + days * np.timedelta64(1, "D")
        units = np.concatenate([units.ravel() for _, units in self.history])
        return pa.Table.from_arrays(
            [
                pa.array(ids[product]),
                pa.array(stores[place]),
                pa.array(units),
                pa.array(moments).cast(STOCK_SCHEMA.field(Columns.AS_OF).type),
            ],
            schema=STOCK_SCHEMA,
        )


def product_id(number: int) -> str:
    """The id of a product."""
    return f"P{number:04d}"


def store_id(number: int) -> str:
    """The id of a store."""
    return f"S{number + 1}"
