"""Ranking metrics: ranked items and target sets in, figures per customer out; nothing is filtered or sampled.

Items are row numbers from 1; 0 in a ranking means that the ranker had nothing to say at that place, which never hits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.arrays import BoolArray, FloatArray, IntArray
from features.evaluation.resampling import Metric, mean, resample
from training.evaluation.metrics import bootstrap_mean

DEFAULT_KS: Final = (5, 10, 20)


@dataclass(frozen=True)
class Targets:
    """The items that n customers really took: customer i's are `items[indptr[i]:indptr[i + 1]]`, distinct."""

    indptr: IntArray
    items: IntArray

    @classmethod
    def from_lists(cls, lists: Sequence[ArrayLike]) -> "Targets":
        """One list of item rows per customer; repeated items count once."""
        distinct = [np.unique(np.asarray(items, dtype=np.int64)) for items in lists]
        sizes = np.array([len(items) for items in distinct], dtype=np.int64)
        flat = np.concatenate(distinct) if distinct else np.empty(0, np.int64)
        return cls(np.concatenate(([0], np.cumsum(sizes))), flat)

    @classmethod
    def from_pairs(cls, customers: ArrayLike, items: ArrayLike, n_customers: int) -> "Targets":
        """Parallel arrays of customer numbers in [0, n_customers) and item rows, in any order."""
        pairs = np.unique(np.column_stack((np.asarray(customers, np.int64), np.asarray(items, np.int64))), axis=0)
        sizes = np.bincount(pairs[:, 0], minlength=n_customers)
        return cls(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64), pairs[:, 1])

    @property
    def sizes(self) -> IntArray:
        """How many items each customer took (n,)."""
        return np.diff(self.indptr)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def owners(self) -> IntArray:
        """The customer number of each entry of `items`."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, rows: Sequence[int] | IntArray) -> "Targets":
        """Those of the customers `rows` (m,)."""
        return Targets.from_lists([self.items[self.indptr[row] : self.indptr[row + 1]] for row in rows])

    def keep(self, mask: BoolArray) -> "Targets":
        """The same customers with only the entries where `mask` (parallel to `items`) holds."""
        return Targets.from_pairs(self.owners()[mask], self.items[mask], len(self))


def hit_matrix(top: IntArray, targets: Targets) -> BoolArray:
    """Which of the ranked items (n, K) are among the customer's targets (n, K)."""
    if len(top) != len(targets):
        raise ValueError(f"{len(top)} rankings for {len(targets)} customers")
    width = int(max(top.max(initial=0), targets.items.max(initial=0))) + 1
    wanted = np.sort(targets.owners() * width + targets.items)
    if not len(wanted):
        return np.zeros(top.shape, dtype=bool)
    asked = np.arange(len(top))[:, None] * width + top
    place = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
    return (wanted[place] == asked) & (top > 0)


def ranking_values(top: IntArray, targets: Targets, ks: Sequence[int] = DEFAULT_KS) -> dict[str, FloatArray]:
    """Every metric's value per customer, name -> (n,); the mean over customers is the (macro) metric.

    `top` (n, K) holds distinct item rows, best first, with K at least the largest k. `recall@k` is the share of the
    targets that were found, `hr@k` whether any was, `mrr@k` one over the rank of the first, `ndcg@k` as in Jarvelin
    and Kekalainen (2002) with binary gains, the ideal ranking cut at k. Customers without targets get NaN.
    """
    if top.shape[1] < max(ks):
        raise ValueError(f"rankings of length {top.shape[1]} are too short for k={max(ks)}")
    hits = hit_matrix(top, targets).astype(np.float64)
    sizes = targets.sizes.astype(np.float64)
    discounts = 1.0 / np.log2(np.arange(2, top.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))
    nothing = sizes == 0
    values: dict[str, FloatArray] = {}
    for k in ks:
        found = hits[:, :k].sum(axis=1)
        first = hits[:, :k].argmax(axis=1) + 1
        best = ideal[np.minimum(sizes, k).astype(np.int64)]
        values[f"hr@{k}"] = np.where(found > 0, 1.0, 0.0)
        values[f"recall@{k}"] = found / np.maximum(sizes, 1)
        values[f"ndcg@{k}"] = hits[:, :k] @ discounts[:k] / np.maximum(best, 1e-12)
        values[f"mrr@{k}"] = np.where(found > 0, 1.0 / first, 0.0)
    for array in values.values():
        array[nothing] = np.nan
    return values


def coverage_at_k(top: IntArray, n_items: int, k: int) -> float:
    """The share of the catalogue that appears in somebody's first k."""
    shown = np.unique(top[:, :k])
    return float((shown > 0).sum() / max(n_items, 1))


def top_k(scores: NDArray[np.floating], k: int) -> IntArray:
    """The k best columns of each row (n, k), best first, ties by the smaller column; column 0 (padding) never.

    Columns that score minus infinity are answered as 0.
    """
    scores = scores[:, 1:]
    k_found = min(k, scores.shape[1])
    candidates = np.sort(np.argpartition(scores, -k_found, axis=1)[:, -k_found:], axis=1)
    _settle_ties(scores, candidates)
    values = np.take_along_axis(scores, candidates, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    columns = np.take_along_axis(candidates, order, axis=1)
    usable = np.isfinite(np.take_along_axis(values, order, axis=1))
    top = np.zeros((len(scores), k), dtype=np.int64)
    top[:, :k_found] = np.where(usable, columns + 1, 0)
    return top


def _settle_ties(scores: NDArray[np.floating], candidates: NDArray[np.intp]) -> None:
    """Of columns that tie with the last of the candidates (n, k) take the smallest, where a partition takes any."""
    border = np.take_along_axis(scores, candidates, axis=1).min(axis=1, keepdims=True)
    tied = (scores == border).sum(axis=1) > (np.take_along_axis(scores, candidates, axis=1) == border).sum(axis=1)
    for row in np.flatnonzero(tied & np.isfinite(border[:, 0])):
        above, level = np.flatnonzero(scores[row] > border[row]), np.flatnonzero(scores[row] == border[row])
        candidates[row] = np.sort(np.concatenate([above, level[: candidates.shape[1] - len(above)]]))


def with_intervals(values: Mapping[str, FloatArray], seed: int = 0) -> dict[str, Metric]:
    """The means of per-customer values with 95 % bootstrap intervals; customers without a value are left out.

    All arrays must leave out the same customers.
    """
    kept = {name: array[np.isfinite(array)] for name, array in values.items()}
    n = len(next(iter(kept.values())))
    sampled = resample({name: mean(array) for name, array in kept.items()}, np.arange(n), seed=seed)
    return {name: one.metric() for name, one in sampled.items()}


def paired_gain(ours: FloatArray, theirs: FloatArray, seed: int = 0) -> Metric:
    """Mean of `ours - theirs` over the same customers, with its 95 % interval."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    return bootstrap_mean(ours[both] - theirs[both], seed=seed)
