"""Histories in, dense item-to-item weights out: the regression of every item on all others, solved in closed form.

Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data". Time and memory grow with the catalogue's third and
second power, so callers ask `fits` first.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import torch
from scipy import sparse

from features.arrays import Float32Array, IntArray
from training.data.interactions import Interactions, basket_matrix, recent_profile, scaled, tie_break

MAX_ITEMS: Final = 15_000
"""The largest catalogue that is solved: 1 GB, and about a minute on one core."""


def fits(n_items: int) -> bool:
    """Whether a catalogue of this size is solved in reasonable time and memory."""
    return n_items <= MAX_ITEMS


@dataclass(frozen=True)
class Ease:
    """An item's score is the sum of the weights from the customer's recent items, each decayed by baskets ago."""

    profile: sparse.csr_array
    weights: Float32Array
    filler: Float32Array
    n_recent: int
    recent_decay: float

    @classmethod
    def fit(
        cls,
        data: Interactions,
        now: float,
        l2: float = 200.0,
        n_recent: int = 50,
        recent_decay: float = 0.7,
    ) -> "Ease":
        """`l2` is added to the diagonal of the items' Gram matrix (lambda in the paper)."""
        baskets, _ = basket_matrix(data, by_customer=True)
        gram = torch.from_numpy((baskets.T @ baskets).toarray().astype(np.float32))
        gram.diagonal().add_(l2)
        torch.linalg.cholesky(gram, out=gram)
        precision = torch.cholesky_inverse(gram, out=gram)
        weights = precision.div_(-precision.diagonal().clone())
        weights.diagonal().zero_()
        # LAPACK answers by columns; a sparse product with that copies the whole matrix at every call.
        by_rows = np.ascontiguousarray(weights.numpy())
        profile = recent_profile(data, n_recent, recent_decay)
        return cls(profile, by_rows, tie_break(data, now), n_recent, recent_decay)

    def scores(self, customers: IntArray) -> Float32Array:
        return scaled(self.profile[customers] @ self.weights) + self.filler

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        new = replace(self, **asked)
        return replace(new, profile=recent_profile(data, new.n_recent, new.recent_decay))
