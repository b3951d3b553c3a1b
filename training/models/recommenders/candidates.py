"""Fitted recommenders and histories in, a table of candidate items per customer with what speaks for each out.

A candidate is whatever some part puts among its best. What speaks for it: every part's score and the candidate's place by
it, how the customer took the item before (how often, how many baskets ago, whether it is due), and how popular it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, IntArray
from training.data.interactions import Interactions, Recommender
from training.evaluation.ranking import Targets, hit_matrix, top_k
from training.models.recommenders.baselines import SCORE_BATCH, Popularity

HISTORY_FEATURES: Final = ("times", "baskets_ago", "usual_gap", "overdue", "n_baskets", "repeat_share", "basket_size")
ITEM_FEATURES: Final = ("popularity", "recent_popularity", "rebought")
NEVER: Final = -1.0
"""Stands for a gap or an age that does not exist."""


@dataclass(frozen=True)
class Candidates:
    """Items (n, C) of n customers, 0 where a customer has fewer; `features` (n, C, F) in the order of `names`.

    Bit j of `origin` (n, C) says that the j-th of `parts` put the item among its best.
    """

    items: IntArray
    features: Float32Array
    origin: IntArray
    names: tuple[str, ...]
    parts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: IntArray) -> "Candidates":
        """The candidates of some of the customers."""
        return Candidates(self.items[rows], self.features[rows], self.origin[rows], self.names, self.parts)

    def of_parts(self, kept: Sequence[str]) -> "Candidates":
        """As if only these parts existed."""
        bits = sum(1 << j for j, name in enumerate(self.parts) if name in kept)
        own = {f"{kind}_{part}" for part in self.parts if part not in kept for kind in ("score", "place")}
        columns = [j for j, name in enumerate(self.names) if name not in own]
        return Candidates(
            np.where(self.origin & bits, self.items, 0),
            self.features[:, :, columns],
            self.origin,
            tuple(self.names[j] for j in columns),
            self.parts,
        )

    def labels(self, targets: Targets) -> BoolArray:
        """Which candidates (n, C) are among the customers' targets."""
        return hit_matrix(self.items, targets)

    def best(self, scores: NDArray[np.floating], k: int) -> IntArray:
        """The k items (n, k) of the highest scores (n, C), 0 where there are fewer."""
        order = np.argsort(np.where(self.items > 0, -scores, np.inf), axis=1, kind="stable")[:, :k]
        found = np.zeros((len(self), k), np.int64)
        found[:, : order.shape[1]] = np.take_along_axis(self.items, order, axis=1)
        return found


@dataclass(frozen=True)
class Histories:
    """What each customer took before, per pair of customer and item, and how each item fares; see `of`."""

    key: IntArray
    width: int
    times: Float32Array
    baskets_ago: Float32Array
    usual_gap: Float32Array
    n_baskets: Float32Array
    repeat_share: Float32Array
    basket_size: Float32Array
    item_features: Float32Array

    @classmethod
    def of(cls, data: Interactions, popularity: Float32Array, recent_popularity: Float32Array) -> "Histories":
        """Gaps and ages count baskets; the popularities are (n_items + 1,)."""
        number = np.concatenate(([0], np.cumsum(data.basket[1:] != data.basket[:-1])))
        last = np.zeros(data.n_customers, np.int64)
        first = np.full(data.n_customers, np.iinfo(np.int64).max)
        np.maximum.at(last, data.customer, number)
        np.minimum.at(first, data.customer, number)
        width = data.n_items + 1
        key, place, times = np.unique(data.customer * width + data.item, return_inverse=True, return_counts=True)
        newest, oldest = np.zeros(len(key), np.int64), np.full(len(key), np.iinfo(np.int64).max)
        np.maximum.at(newest, place, number)
        np.minimum.at(oldest, place, number)
        gap = np.where(times > 1, (newest - oldest) / np.maximum(times - 1, 1), NEVER)
        n_lines = np.bincount(data.customer, minlength=data.n_customers)
        n_distinct = np.bincount(key // width, minlength=data.n_customers)
        n_baskets = np.where(n_lines > 0, last - first + 1, 0)
        takers = np.bincount(key % width, minlength=width)
        again = np.bincount(key % width, times > 1, minlength=width)
        item_features = np.column_stack((np.log1p(popularity), np.log1p(recent_popularity), again / (takers + 5.0)))
        return cls(
            key=key,
            width=width,
            times=times.astype(np.float32),
            baskets_ago=(last[key // width] - newest).astype(np.float32),
            usual_gap=gap.astype(np.float32),
            n_baskets=n_baskets.astype(np.float32),
            repeat_share=(1 - n_distinct / np.maximum(n_lines, 1)).astype(np.float32),
            basket_size=(n_lines / np.maximum(n_baskets, 1)).astype(np.float32),
            item_features=item_features.astype(np.float32),
        )

    def features(self, customers: IntArray, items: IntArray) -> Float32Array:
        """HISTORY_FEATURES and ITEM_FEATURES of items (n, C) for customers (n,): (n, C, 10)."""
        wanted = customers[:, None] * self.width + items
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        known = self.key[place] == wanted
        ago = np.where(known, self.baskets_ago[place], NEVER)
        gap = np.where(known, self.usual_gap[place], NEVER)
        own = (
            np.where(known, self.times[place], 0),
            ago,
            gap,
            np.where(gap > 0, (ago + 1) / np.maximum(gap, 1e-6), NEVER),
            np.broadcast_to(self.n_baskets[customers][:, None], items.shape),
            np.broadcast_to(self.repeat_share[customers][:, None], items.shape),
            np.broadcast_to(self.basket_size[customers][:, None], items.shape),
        )
        return np.concatenate((np.stack(own, axis=2), self.item_features[items]), axis=2).astype(np.float32)


def collect(
    parts: Mapping[str, Recommender], histories: Histories, customers: IntArray, n_candidates: int
) -> Candidates:
    """The `n_candidates` best items of each part for customers (n,), every item once, with its features."""
    names = [f"{kind}_{part}" for part in parts for kind in ("score", "place")]
    chunks = []
    for first in range(0, len(customers), SCORE_BATCH):
        asked = customers[first : first + SCORE_BATCH]
        scored = [part.scores(asked) for part in parts.values()]
        items, origin = _union(
            [_top(part, scores, n_candidates) for part, scores in zip(parts.values(), scored, strict=True)]
        )
        columns = []
        for scores in scored:
            value = np.take_along_axis(scores, items, axis=1)
            columns += [value - value.max(axis=1, keepdims=True), _places(np.where(items > 0, value, -np.inf))]
        own = histories.features(asked, items)
        chunks.append((items, origin, np.concatenate((np.stack(columns, axis=2), own), axis=2, dtype=np.float32)))
    every = (*names, *HISTORY_FEATURES, *ITEM_FEATURES)
    if not chunks:
        nobody = np.zeros((0, 0), np.int64)
        return Candidates(nobody, np.zeros((0, 0, len(every)), np.float32), nobody, every, tuple(parts))
    items, origin, features = (np.concatenate(part) for part in zip(*chunks, strict=True))
    return Candidates(items, features, origin, every, tuple(parts))


def _top(part: Recommender, scores: Float32Array, k: int) -> IntArray:
    if isinstance(part, Popularity):  # the same for everybody
        return np.tile(top_k(scores[:1], k), (len(scores), 1))
    return top_k(scores, k)


def _union(tops: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Several rankings (n, k) as one set per customer (n, C), 0 in place of repetitions, and where each item is from."""
    items = np.concatenate(tops, axis=1)
    bit = np.repeat(1 << np.arange(len(tops)), [top.shape[1] for top in tops])
    order = np.argsort(items, axis=1, kind="stable")
    items, bits = np.take_along_axis(items, order, axis=1), bit[order]
    repeated = np.concatenate((np.zeros((len(items), 1), bool), items[:, 1:] == items[:, :-1]), axis=1)
    group = np.cumsum(~repeated, axis=1) - 1 + np.arange(len(items))[:, None] * items.shape[1]
    joined = np.bincount(group.ravel(), bits.ravel(), minlength=items.size).astype(np.int64)
    return np.where(repeated, 0, items), np.where(repeated, 0, joined[group])


def _places(scores: NDArray[np.floating]) -> Float32Array:
    """One over the place (from 1) of each score in its row."""
    order = np.argsort(-scores, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(scores.shape[1])[None], axis=1)
    return (1.0 / (1.0 + place)).astype(np.float32)
