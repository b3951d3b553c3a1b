"""A next-product model's network and trees, customers' states in, an order of the products that are allowed out."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.scoring.item_tables import Companions
from features.scoring.model_inputs import CodeRows, model_inputs
from features.scoring.next_product import ProductFiles
from features.scoring.popularity import ProductFacts
from features.scoring.ranking.top_k import top_k, without
from features.scoring.rerank import Inputs, Pool, candidate_pool, rerank
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.state.products import ProductStates
from serving.scorers.model_card import ModelCard

BLOCK: Final = 32
"""Customers whose scores of all products are held at once."""


@dataclass(frozen=True)
class Scored:
    """What the network says of n customers (n, V + 1), column 0 for nothing, and what it was asked with."""

    scores: Float32Array
    inputs: Inputs = field(default_factory=dict)

    def one(self, row: int) -> "Scored":
        """One of the customers."""
        return Scored(self.scores[row : row + 1], {name: array[row : row + 1] for name, array in self.inputs.items()})


@dataclass(frozen=True)
class Ranked:
    """Scores (V,) of one customer's products, which of them are allowed, and what they came from."""

    scores: Float32Array
    inputs: Inputs
    companions: Companions | None = None
    ordered: Pool | None = None
    """The candidates that trees ordered; None for a model without trees."""
    allowed: BoolArray | None = None
    """What may be answered (V,), whatever it scores; None: everything."""

    @cached_property
    def pool(self) -> Pool | None:
        """The candidates, made once and only when asked for where no trees needed them; None without companions."""
        if self.ordered is not None or self.companions is None:
            return self.ordered
        return candidate_pool(without(self.scores, self.allowed)[None], self.inputs, self.companions)

    def best(self, k: int) -> IntArray:
        """Columns of the k best that are allowed, best first, ties by the smaller column; fewer where there are fewer."""
        columns: IntArray = top_k(self.scores[None], k, self.allowed)[0]
        return columns[: np.count_nonzero(columns >= 0)]


@dataclass(frozen=True)
class RankedBlock:
    """`Ranked` of a few customers."""

    scores: Float32Array  # (n, V + 1), column 0 for nothing
    inputs: Inputs
    companions: Companions | None
    ordered: Pool | None
    allowed: BoolArray | None  # (V,) or (n, V)

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, k: int) -> IntArray:
        """Columns (n, k) of each one's best that are allowed, best first; -1 where there are fewer."""
        return top_k(self.scores, k, self.allowed, first=1)

    def at(self, columns: IntArray) -> Float32Array:
        """The scores of columns (n, k); of -1 that of nothing: minus infinity."""
        return np.take_along_axis(self.scores, columns + 1, axis=1)

    def one(self, row: int) -> Ranked:
        """One of the customers."""
        own = slice(row, row + 1)
        inputs = {name: array[own] for name, array in self.inputs.items()}
        pool = None if self.ordered is None else Pool(self.ordered.items[own], self.ordered.features[own])
        allowed = self.allowed if self.allowed is None or self.allowed.ndim == 1 else self.allowed[row]
        return Ranked(self.scores[row, 1:], inputs, self.companions, pool, allowed)


class ProductScorer:
    """A score for every product of the vocabulary, and for some that were first sold later."""

    def __init__(self, card: ModelCard, files: ProductFiles) -> None:
        """`files` may lack trees; these need companions, which without trees only give reasons."""
        self.card = card
        self.files = files
        self.companions = files.companions
        self.trees = files.trees
        self.product_ids = files.product_ids
        self.codes = product_code(files.product_ids)
        self.row_of = {product_id: row for row, product_id in enumerate(files.product_ids)}
        self.rows = CodeRows(files.product_ids)
        self.says: Callable[[int], str] | None = None
        """What is said of the product in a row that a customer never had; None: what speaks for it is looked for."""

    def __len__(self) -> int:
        return len(self.product_ids)

    def as_of(
        self, states: ProductStates, facts: ProductFacts, at_s: float, *, take_newcomers: bool = True
    ) -> "ProductScorer":
        """The same model with what is popular at a moment; without `take_newcomers` it ranks the products that this one does.

        This one stays as it is, for answers that are under way. A model that brings its popularity along is answered itself.
        """
        newcomers = None if take_newcomers else self.product_ids[self.files.n_known :]
        files = self.files.as_of(states, facts, at_s, newcomers)
        if files is self.files:
            return self
        if files.companions is not None:
            _ = files.companions.popular  # found now rather than by the first who asks
        if files.product_ids is not self.product_ids:
            return ProductScorer(self.card, files)
        found = copy(self)
        found.files, found.companions = files, files.companions
        return found

    def rank_blocks(
        self, states: StateBatch, as_of_s: FloatArray, allowed: BoolArray | None = None
    ) -> Iterator[RankedBlock]:
        """What `rank` answers about each of n customers, some of them at a time: blocks of them fit into caches.

        `allowed` is (V,) for everybody or (n, V).
        """
        inputs = model_inputs(states, as_of_s, self.rows)
        for first in range(0, len(states), BLOCK):
            rows = slice(first, first + BLOCK)
            mask = allowed if allowed is None or allowed.ndim == 1 else allowed[rows]
            block = {name: array[rows] for name, array in inputs.items()}
            scores = self.files.scores(block)
            if self.trees is None or self.companions is None:
                yield RankedBlock(scores, block, self.companions, None, mask)
                continue
            if mask is not None:
                scores[:, 1:][~np.broadcast_to(mask, (len(scores), len(self)))] = -np.inf
            ranked, pool = rerank(scores, block, self.companions, self.trees.score)
            yield RankedBlock(ranked, block, self.companions, pool, mask)

    def score(self, states: StateBatch, as_of_s: FloatArray) -> Scored:
        """The network's word on states (n,) at moments (n,), in seconds since the epoch."""
        inputs = model_inputs(states, as_of_s, self.rows)
        return Scored(self.files.scores(inputs), inputs)

    def rank(self, scored: Scored, allowed: BoolArray | None = None) -> Ranked:
        """One customer's order (n = 1) among the products that `allowed` (V,) leaves; what is not allowed is nowhere."""
        scores = scored.scores[0, 1:]
        if self.trees is None or self.companions is None:
            return Ranked(scores, scored.inputs, self.companions, allowed=allowed)
        ranked, pool = rerank(without(scores, allowed)[None], scored.inputs, self.companions, self.trees.score)
        return Ranked(ranked[0, 1:], scored.inputs, self.companions, pool, allowed)
