"""A model's products and the product table's in, one range of all of them out, with what is known of each as arrays."""

from collections import deque
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.scoring.item_tables import Companions, Neighbours
from features.scoring.network.halves import SplitNetwork
from features.state.products import POPULARITY_DAYS
from serving.products.catalogue import Catalogue
from serving.products.content import ContentIndex
from serving.products.eligibility import ProductTable, product_table
from serving.scorers.next_product import ProductScorer

_WEEK, _MONTH = (POPULARITY_DAYS.index(days) for days in (7.0, 28.0))
_MORE: Final = 0.05
"""What `popularity.log_counts` adds to every count."""


class ProductRange:
    """Every product (V,) that the table lists, that sold, or that the model knows."""

    def __init__(self, table: ProductTable, model: ProductScorer | None = None) -> None:
        """`table` holds all products of the `model`."""
        self.table = table
        self.model = model
        self.listed: tuple[str, ...] = table.product_ids
        """The products that it was made of, beside the model's."""
        self._lengths: Float32Array | None = None

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Product id to row."""
        return self.table.row_of_id

    @cached_property
    def content(self) -> ContentIndex:
        """How alike products are by what is said of them."""
        return ContentIndex.of(self.table.product_ids, self.table.catalogue)

    @property
    def is_prepared(self) -> bool:
        """Whether what takes long was looked up already."""
        return "content" in vars(self)

    def prepare(self) -> None:
        """Look it up now, off the hot path."""
        _ = self.content, self.own_row, self.model_row

    @cached_property
    def own_row(self) -> IntArray:
        """The row (M,) of each of the model's products."""
        ids = () if self.model is None else self.model.product_ids
        return np.array([self.row_of[product_id] for product_id in ids], np.int64)

    @cached_property
    def model_row(self) -> IntArray:
        """The model's row of each product (V,), from 1 on; 0 for what it does not know."""
        rows = np.zeros(len(self), np.int64)
        rows[self.own_row] = np.arange(len(self.own_row)) + 1
        return rows

    def learned_likeness(self, row: int) -> tuple[FloatArray, BoolArray]:
        """The cosine (V,) of what a network learned of one product to what it learned of each, and of which (V,) it did.

        Nothing is learned of newcomers, nor by a model that is no such network.
        """
        cosine, known = np.zeros(len(self)), np.zeros(len(self), np.bool_)
        if self.model is None or not isinstance(self.model.files.session, SplitNetwork):
            return cosine, known
        n_known, own = self.model.files.n_known, self.model_row
        if not 0 < own[row] <= n_known:
            return cosine, known
        vectors: Float32Array = self.model.files.session.weights.item[: n_known + 1]
        norms = self._norms(vectors)
        known = (own > 0) & (own <= n_known)
        cosine[known] = ((vectors @ vectors[own[row]]) / (norms * norms[own[row]]))[own[known]]
        return cosine, known

    def _norms(self, vectors: Float32Array) -> Float32Array:
        """Lengths (M + 1,) of the model's vectors, found once."""
        if self._lengths is None or len(self._lengths) != len(vectors):
            lengths = np.linalg.norm(vectors, axis=1)
            self._lengths = np.where(lengths > 0, lengths, 1.0).astype(np.float32)
        return self._lengths

    @property
    def companions(self) -> Companions | None:
        """The model's own table of what goes together."""
        return None if self.model is None else self.model.companions

    def ties(self, neighbours: Neighbours, row: int) -> FloatArray:
        """How strongly a product is tied to every other one (V,), by one of the tables of `companions`."""
        ties = np.zeros(len(self))
        item, weight = neighbours.item[self.model_row[row]], neighbours.weight[self.model_row[row]]
        known = item > 0
        ties[self.own_row[item[known] - 1]] = weight[known]
        return ties

    def sales_of(self, days: float) -> FloatArray | None:
        """Purchases (V,) that fade with a half-life of 7 or 28 days; None where no model keeps them."""
        if self.companions is None:
            return None
        column = {7.0: _WEEK, 28.0: _MONTH}[days]
        counts = np.zeros(len(self))
        counts[self.own_row] = np.maximum(np.exp(self.companions.popularity[1:, column]) - _MORE, 0.0)
        return counts


_RANGES: Final[deque[ProductRange]] = deque(maxlen=2)


def product_range(product_ids: tuple[str, ...], model: ProductScorer | None, catalogue: Catalogue) -> ProductRange:
    """The range of these products and the model's others, made once per range, catalogue and model.

    A model that only learned what is popular now keeps all that was looked up of the same products.
    """
    own_ids = () if model is None else model.product_ids
    for made in tuple(_RANGES):
        known_ids = () if made.model is None else made.model.product_ids
        if made.table.catalogue is catalogue and known_ids is own_ids and made.listed is product_ids:
            if made.model is model:
                return made
            renewed = copy(made)
            renewed.model = model
            break
    else:
        others = set(own_ids) - set(product_ids)
        every = product_ids if not others else (*product_ids, *(name for name in own_ids if name in others))
        renewed = ProductRange(product_table(every, catalogue), model)
        renewed.listed = product_ids
    _RANGES.appendleft(renewed)
    return renewed
