"""Baskets in, repurchase scores out: a customer's own decayed frequencies, mixed with those of the most similar others.

Hu, He, Gao and Zhang (2020), "Modeling Personalized Item Frequency Information for Next-basket Recommendation".
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy import sparse

from features.arrays import Float32Array, IntArray
from training.data.interactions import Interactions, tie_break


@dataclass(frozen=True)
class TifuKnn:
    """`own` (n_customers, n_items + 1) holds the frequency vectors; `pool` those that neighbours are taken from."""

    own: sparse.csr_array
    pool: sparse.csr_array
    pool_norms: Float32Array
    filler: Float32Array
    n_neighbors: int
    own_share: float
    decays: tuple[int, float, float]

    @classmethod
    def fit(
        cls,
        data: Interactions,
        now: float,
        group_size: int = 7,
        decay_within: float = 0.9,
        decay_across: float = 0.7,
        n_neighbors: int = 300,
        own_share: float = 0.7,
        max_pool: int = 20_000,
    ) -> "TifuKnn":
        """Baskets are grouped by `group_size`, the newest group last; one decay within a group, one across groups.

        The score is `own_share` of the customer's own vector and the rest the mean vector of `n_neighbors`, by Euclidean
        distance, among the first `max_pool` customers.
        """
        decays = (group_size, decay_within, decay_across)
        own = _frequencies(data, *decays)
        pool = own[: min(max_pool, data.n_customers)]
        norms = np.asarray(pool.multiply(pool).sum(axis=1), dtype=np.float32).ravel()
        pool, norms = pool[norms > 0], norms[norms > 0]
        return cls(own, pool, norms, tie_break(data, now), n_neighbors, own_share, decays)

    def scores(self, customers: IntArray) -> Float32Array:
        own = self.own[customers]
        found = own.toarray() * np.float32(self.own_share)
        n_neighbors = min(self.n_neighbors, len(self.pool_norms) - 1)
        if self.own_share < 1 and n_neighbors > 0:
            # The squared distance up to the customer's own norm, which is the same for all neighbours.
            distance = self.pool_norms - 2 * (own @ self.pool.T).toarray()  # (n, pool)
            # One more than asked for: the nearest is the customer, who is in the pool.
            near = np.argpartition(distance, n_neighbors, axis=1)[:, : n_neighbors + 1]
            n = len(customers)
            rows = np.repeat(np.arange(n), near.shape[1])
            mean = sparse.csr_array(
                (np.full(rows.size, 1.0 / near.shape[1], np.float32), (rows, near.ravel())), shape=(n, len(distance.T))
            )
            found += (mean @ self.pool).toarray() * np.float32(1 - self.own_share)
        return found + self.filler

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        return replace(self, own=_frequencies(data, *self.decays), **asked)


def _frequencies(data: Interactions, group_size: int, within: float, across: float) -> sparse.csr_array:
    number = np.concatenate(([0], np.cumsum(data.basket[1:] != data.basket[:-1])))
    last, first = np.zeros(data.n_customers, np.int64), np.full(data.n_customers, np.iinfo(np.int64).max)
    np.maximum.at(last, data.customer, number)
    np.minimum.at(first, data.customer, number)
    back = last[data.customer] - number
    group, place = np.divmod(back, group_size)
    n_baskets = (last - first + 1)[data.customer]
    n_groups = -(-n_baskets // group_size)
    weight = np.power(within, place) * np.power(across, group) / (group_size * n_groups)
    shape = (data.n_customers, data.n_items + 1)
    return sparse.coo_array((weight.astype(np.float32), (data.customer, data.item)), shape=shape).tocsr()
