"""A product, a category or a brand in, each customer's chance that it is what they buy next out."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray
from features.errors import InputError
from features.state.batch import StateBatch
from serving.products.catalogue import Catalogue
from serving.products.eligibility import ProductTable, product_table
from serving.scorers.next_product import BLOCK, ProductScorer

COLUMN: Final = "likely_to_buy"
"""The chance that the customer's next purchase is one of these products, as the network sees it."""
_KINDS: Final = ("product", "category", "brand")


@dataclass(frozen=True)
class Wanted:
    """Products by their id, category or brand."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """From `category:WINE`. Raises InputError for anything else."""
        kind, _, name = text.partition(":")
        if kind not in _KINDS or not name:
            raise InputError(
                f"--likely-to-buy is {text!r}, which names no products.",
                repair="Write product:ID, category:NAME or brand:NAME.",
            )
        return cls(kind, name)

    def rows(self, scorer: ProductScorer, catalogue: Catalogue) -> BoolArray:
        """Which of the model's products these are (V,). Raises InputError where it knows none."""
        rows = self._among(product_table(scorer.product_ids, catalogue))
        if not rows.any():
            raise InputError(
                f"The next-product model knows no {self.kind} {self.name!r}.",
                repair="Names are those of the product table; train the model again where it is new.",
            )
        return rows

    def _among(self, table: ProductTable) -> BoolArray:
        if self.kind == "product":
            rows = np.zeros(len(table), np.bool_)
            if self.name in table.row_of_id:
                rows[table.row_of_id[self.name]] = True
            return rows
        names = table.category if self.kind == "category" else table.brand
        return np.asarray(names == self.name.casefold(), np.bool_)


def chances(scorer: ProductScorer, states: StateBatch, as_of_s: FloatArray, rows: BoolArray) -> FloatArray:
    """The chance (n,) that what each customer buys next is one of `rows` (V,): the softmax that the network is trained by."""
    found = np.empty(len(states))
    for start in range(0, len(states), BLOCK):
        part = np.arange(start, min(start + BLOCK, len(states)))
        scores = scorer.score(states.take(part), as_of_s[part]).scores[:, 1:].astype(np.float64)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[part] = weights[:, rows].sum(axis=1) / weights.sum(axis=1)
    return found
