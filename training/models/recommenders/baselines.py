"""Past interactions in, ranked items per customer out: the simple methods that a model must beat.

All see the same interactions as the model, rank the whole catalogue and filter nothing. A basket is the unit of time:
where every event is its own basket (leave-one-out), the sequence rules are item-to-item rules.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from scipy import sparse

from features.arrays import Float32Array, IntArray
from training.data.interactions import (
    SECONDS_PER_DAY,
    Interactions,
    Recommender,
    basket_matrix,
    decayed_profile,
    recent_profile,
    scaled,
    tie_break,
)
from training.evaluation.ranking import top_k
from training.models.recommenders.ease import Ease
from training.models.recommenders.tifu_knn import TifuKnn

SCORE_BATCH: Final = 128


def recommend(model: Recommender, customers: IntArray, k: int, *, without: sparse.csr_array | None = None) -> IntArray:
    """The k best items (n, k) for each customer, scored in batches; none of those that `without` (all, V + 1) holds."""
    parts = []
    for start in range(0, len(customers), SCORE_BATCH):
        asked = customers[start : start + SCORE_BATCH]
        scores = model.scores(asked)
        if without is not None:
            scores = np.where(without[asked].toarray() > 0, -np.inf, scores)
        parts.append(top_k(scores, k))
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)


@dataclass(frozen=True)
class Popularity:
    """The same list for everybody: items by decayed count."""

    score: Float32Array

    @classmethod
    def fit(cls, data: Interactions, now: float, half_life_days: float = np.inf) -> "Popularity":
        """A short half-life makes it "popular lately"."""
        count = np.bincount(data.item, data.decay(half_life_days, now), data.n_items + 1)
        return cls(count.astype(np.float32))

    def scores(self, customers: IntArray) -> Float32Array:
        return np.tile(self.score, (len(customers), 1))

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        return self


@dataclass(frozen=True)
class PersonalFrequency:
    """How often the customer took the item, decayed; what they never took follows by recent popularity."""

    profile: sparse.csr_array
    filler: Float32Array
    half_life_days: float

    @classmethod
    def fit(cls, data: Interactions, now: float, half_life_days: float = 60.0) -> "PersonalFrequency":
        return cls(decayed_profile(data, now, half_life_days), tie_break(data, now), half_life_days)

    def scores(self, customers: IntArray) -> Float32Array:
        return self.profile[customers].toarray() + self.filler

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        new = replace(self, **asked)
        return replace(new, profile=decayed_profile(data, now, new.half_life_days))


@dataclass(frozen=True)
class SequenceRules:
    """What is taken 1, 2, … baskets after an item, decayed by that distance and normalised like a cosine.

    The form of Ludewig and Jannach (2018), "Evaluation of session-based recommendation algorithms", section 3.1.2,
    with the last baskets of the customer as antecedents, each decayed by how long ago in baskets it was.
    """

    antecedents: sparse.csr_array
    rules: sparse.csr_array
    filler: Float32Array
    n_recent: int
    recent_decay: float
    half_life_days: float | None = None

    @classmethod
    def fit(
        cls,
        data: Interactions,
        now: float,
        max_distance: int = 2,
        distance_decay: float = 0.7,
        n_recent: int = 20,
        recent_decay: float = 0.9,
        normalisation: float = 0.5,
        min_weight: float = 0.0,
        window_days: float = np.inf,
        normalisation_to: float | None = None,
        shrinkage: float = 0.0,
        backward: float = 0.0,
        half_life_days: float | None = None,
    ) -> "SequenceRules":
        """`normalisation` is the power of both items' counts that divides a rule; `normalisation_to` of the second's.

        `shrinkage` is added to every item's count first, so that what was seen a few times makes no strong rules.
        `backward` is the weight of a rule in the other direction: what comes before an item points to it, too. Rules of
        a decayed count below `min_weight` are dropped; only baskets of the last `window_days` make rules. With
        `half_life_days` antecedents fade with their age, not with how many baskets ago they were.
        """
        recent = data.since(now - window_days * SECONDS_PER_DAY)
        baskets, owner = basket_matrix(recent)
        counts = sparse.csr_array((data.n_items + 1, data.n_items + 1), dtype=np.float32)
        for distance in range(1, max_distance + 1):
            same = owner[distance:] == owner[:-distance]
            earlier, later = baskets[:-distance][same], baskets[distance:][same]
            counts = counts + np.float32(distance_decay ** (distance - 1)) * (earlier.T @ later)
        if backward:
            counts = sparse.csr_array(counts + np.float32(backward) * counts.T)
        size = np.maximum(np.bincount(recent.item, minlength=data.n_items + 1) + shrinkage, 1.0)
        scale = np.power(size, -normalisation)
        scale_to = scale if normalisation_to is None else np.power(size, -normalisation_to)
        rules = _kept(counts, min_weight, lambda row, column, count: count * scale[row] * scale_to[column])
        profile = _antecedents(data, now, n_recent, recent_decay, half_life_days)
        return cls(profile, rules, tie_break(data, now), n_recent, recent_decay, half_life_days)

    def scores(self, customers: IntArray) -> Float32Array:
        return scaled((self.antecedents[customers] @ self.rules).toarray()) + self.filler

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        new = replace(self, **asked)
        profile = _antecedents(data, now, new.n_recent, new.recent_decay, new.half_life_days)
        return replace(new, antecedents=profile)


@dataclass(frozen=True)
class ItemKnn:
    """Items taken in the same baskets as the customer's own (cosine over baskets, shrunk), summed over their profile."""

    profile: sparse.csr_array
    similarity: sparse.csr_array
    self_weight: float
    filler: Float32Array
    half_life_days: float

    @classmethod
    def fit(
        cls,
        data: Interactions,
        now: float,
        half_life_days: float = 60.0,
        shrinkage: float = 10.0,
        self_weight: float = 0.0,
        min_count: float = 0.0,
        window_days: float = np.inf,
        by_customer: bool = False,
    ) -> "ItemKnn":
        """`self_weight` is an item's similarity to itself: 0 does not repeat. `by_customer` pools all baskets of one.

        Pairs seen together fewer than `min_count` times are dropped; only the last `window_days` make pairs.
        """
        baskets, _ = basket_matrix(data.since(now - window_days * SECONDS_PER_DAY), by_customer=by_customer)
        counts = sparse.csr_array(baskets.T @ baskets)
        size = counts.diagonal()

        def cosine(row: IntArray, column: IntArray, count: Float32Array) -> Float32Array:
            value = count / (np.sqrt(size[row] * size[column]) + shrinkage)
            return np.where(row == column, 0.0, value)

        return cls(
            decayed_profile(data, now, half_life_days),
            _kept(counts, min_count, cosine),
            self_weight,
            tie_break(data, now),
            half_life_days,
        )

    def scores(self, customers: IntArray) -> Float32Array:
        own = self.profile[customers]
        return scaled((own @ self.similarity + self.self_weight * own).toarray()) + self.filler

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        new = replace(self, **asked)
        return replace(new, profile=decayed_profile(data, now, new.half_life_days))


Fit = Callable[..., Recommender]

METHODS: Final[dict[str, Fit]] = {
    "popularity": Popularity.fit,
    "recent_popularity": Popularity.fit,
    "personal_frequency": PersonalFrequency.fit,
    "sequence_rules": SequenceRules.fit,
    "item_knn": ItemKnn.fit,
    "ease": Ease.fit,
    "tifu_knn": TifuKnn.fit,
}
"""Every baseline by the name it has in reports."""

ASKED: Final[dict[str, frozenset[str]]] = {
    "personal_frequency": frozenset({"half_life_days"}),
    "sequence_rules": frozenset({"n_recent", "recent_decay", "half_life_days"}),
    "item_knn": frozenset({"half_life_days", "self_weight"}),
    "ease": frozenset({"n_recent", "recent_decay"}),
    "tifu_knn": frozenset({"n_neighbors", "own_share"}),
}
"""Settings of `METHODS` that only say how a customer's history is read: changing them needs no new fit."""


def _antecedents(
    data: Interactions, now: float, n_recent: int, recent_decay: float, half_life_days: float | None
) -> sparse.csr_array:
    if half_life_days is None:
        return recent_profile(data, n_recent, recent_decay)
    return decayed_profile(data, now, half_life_days)


def _kept(
    counts: sparse.csr_array, at_least: float, value: Callable[[IntArray, IntArray, Float32Array], Float32Array]
) -> sparse.csr_array:
    """The entries of at least a count, as `value(row, column, count)`."""
    pairs = counts.tocoo()
    mask = pairs.data >= at_least
    row, column = (part[mask] for part in pairs.coords)
    values = value(row, column, pairs.data[mask]).astype(np.float32)
    return sparse.csr_array((values, (row, column)), shape=counts.shape)
