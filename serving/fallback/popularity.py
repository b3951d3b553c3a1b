"""Popularity and what a customer buys again, as a scorer of products: it stands where a next-product model would.

GP-TopFreq of the literature (Li et al. 2023, A Next Basket Recommendation Reality Check, ACM TOIS 41, 4): what a customer
bought again and again comes first, by how often; then what everybody buys. Both fade: habits as states hold them, sales by
half-lives of `counting.HALF_LIFE_DAYS`.
"""

from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.scoring.next_product import ProductFiles
from features.vocabulary import Task
from serving.fallback.population import EVERYWHERE, Sales
from serving.products.catalogue import Catalogue
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer

REBOUGHT: Final = 2
"""How often a product was bought before it is one that the customer buys again."""
ELSEWHERE: Final = 0.01
"""What the sales of everywhere add to those of a place: they order what it never sold."""
IN_RANGE: Final = "in the range"


@dataclass(frozen=True, eq=False)
class TopFrequency:
    """Scores of customers' inputs: the part of onnxruntime.InferenceSession that is used, with no network behind it."""

    popularity: Float32Array  # (V + 1,) below 1, column 0 for nothing

    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> list[Float32Array]:
        """The inputs of n customers to scores (n, V + 1)."""
        items, weights = input_feed["habit_item"], input_feed["habit_weight"]
        again = (input_feed["habit_count"] >= REBOUGHT) & (items > 0)
        scores = np.tile(self.popularity, (len(items), 1))
        customer, habit = np.nonzero(again)
        scores[customer, items[customer, habit]] += 1.0 + weights[customer, habit]
        return [scores]


class Popularity:
    """Scorers of one range of products and one look at its sales, by the place that is asked for."""

    def __init__(self, sales: Sales, catalogue: Catalogue, before: "Popularity | None" = None) -> None:
        """What `before` looked up of the same products is used again: codes of a large range take a while."""
        self._sales, self.catalogue = sales, catalogue
        listed, sold = catalogue.product_ids, sales.product_ids
        n_listed = len(listed)
        plain = None if before is None else before._plain
        if plain is None or plain.product_ids[:n_listed] != listed:
            plain = _plain(listed)
        # asked of rows, not of the catalogue: that makes an object of each product that it is asked for
        unlisted = [name for name in sold if plain.row_of.get(name, n_listed) >= n_listed]
        product_ids = (*listed, *unlisted) if unlisted else listed
        if plain.product_ids != product_ids:
            plain = _plain(product_ids)
        self._plain: ProductScorer = plain
        self._rows = np.array([plain.row_of[name] for name in sold], np.int64)
        self._made: dict[tuple[str | None, str | None], ProductScorer] = {}

    @property
    def product_ids(self) -> tuple[str, ...]:
        """All of its products: those of the table, and what else was sold."""
        return self._plain.product_ids

    def at(self, store_id: str | None = None, channel: str | None = None) -> ProductScorer:
        """What is popular in a store, on a channel, or everywhere where neither is named or nothing was sold there."""
        key = store_id, channel
        if key not in self._made:
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[key] = self._make(store_id, channel)
        return self._made[key]

    def _make(self, store_id: str | None, channel: str | None) -> ProductScorer:
        here = np.zeros(len(self._plain))
        places = [("store", store_id), ("channel", channel)]
        told = []
        for kind, name in places:
            share = self._share(f"{kind}:{name}") if name is not None else None
            if share is not None:
                here += share
                told.append(f"in store {name}" if kind == "store" else f"on {name}")
        everywhere = self._share(EVERYWHERE)
        if everywhere is not None:
            here += everywhere * (ELSEWHERE if told else 1.0)
        sold = here > 0
        popularity = np.concatenate(([-np.inf], here / (1.0 + here.max(initial=0.0)))).astype(np.float32)
        made = copy(self._plain)
        made.files = replace(made.files, session=TopFrequency(popularity))
        words = " ".join(["popular", *told, "now"])
        made.says = lambda row: words if sold[row] else IN_RANGE
        return made

    def _share(self, place: str) -> FloatArray | None:
        """Sales of every product at a place as shares of the best seller's (V,); None where nothing was sold."""
        counts = self._sales.counts(place)
        if not counts.any():
            return None
        share = np.zeros(len(self._plain))
        share[self._rows] = counts / counts.max()
        return share


def _plain(product_ids: tuple[str, ...]) -> ProductScorer:
    """A scorer to which all products are alike."""
    files = ProductFiles(product_ids, TopFrequency(np.zeros(len(product_ids) + 1, np.float32)))
    return ProductScorer(ModelCard(Task.NEXT_PRODUCT, "", ""), files)


_KEPT: Final = 64
"""Places whose scorers stay at hand."""
