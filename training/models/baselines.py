"""Past interactions in, ranked items per customer out: the simple methods that a model must beat.

All see the same interactions as the model, rank the whole catalogue and filter nothing. A basket is the unit of time:
where every event is its own basket (leave-one-out), the sequence rules are item-to-item rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.ranking_metrics import IntArray, Targets, ranking_values, top_k

SECONDS_PER_DAY: Final = 86_400.0
_BATCH: Final = 128
_TIE_BREAK: Final = 1e-6
_TIE_BREAK_HALF_LIFE_DAYS: Final = 14.0

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Interactions:
    """What customers took, one line per (customer, basket, item), sorted by customer and then time.

    `customer` in [0, n_customers), `item` rows from 1 to n_items, `basket` numbers that grow over a customer's time
    and are not shared by customers, `time` in seconds.
    """

    customer: IntArray
    item: IntArray
    basket: IntArray
    time: NDArray[np.float64]
    n_customers: int
    n_items: int

    def before(self, moment: float) -> "Interactions":
        """What happened strictly before `moment` (seconds)."""
        return self.select(self.time < moment)

    def select(self, mask: NDArray[np.bool_]) -> "Interactions":
        """The lines where `mask` holds."""
        return Interactions(
            self.customer[mask], self.item[mask], self.basket[mask], self.time[mask], self.n_customers, self.n_items
        )

    def since(self, moment: float) -> "Interactions":
        """What happened at or after `moment` (seconds)."""
        return self.select(self.time >= moment)

    def decay(self, half_life_days: float, now: float) -> NDArray[np.float64]:
        """`2^(-age / half-life)` of each line at `now`; an infinite half-life counts all lines alike."""
        return np.exp2(-(now - self.time) / SECONDS_PER_DAY / half_life_days)


class Recommender(Protocol):
    """A fitted method."""

    def scores(self, customers: IntArray) -> Scores:
        """Scores (n, n_items + 1) of the whole catalogue for customers (n,); column 0 is padding."""
        ...


def recommend(model: Recommender, customers: IntArray, k: int) -> IntArray:
    """The k best items (n, k) for each customer, scored in batches."""
    parts = [top_k(model.scores(customers[i : i + _BATCH]), k) for i in range(0, len(customers), _BATCH)]
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)


@dataclass(frozen=True)
class Popularity:
    """The same list for everybody: items by decayed count."""

    score: Scores

    @classmethod
    def fit(cls, data: Interactions, now: float, half_life_days: float = np.inf) -> "Popularity":
        """A short half-life makes it "popular lately"."""
        count = np.bincount(data.item, data.decay(half_life_days, now), data.n_items + 1)
        return cls(count.astype(np.float32))

    def scores(self, customers: IntArray) -> Scores:
        return np.tile(self.score, (len(customers), 1))


@dataclass(frozen=True)
class PersonalFrequency:
    """How often the customer took the item, decayed; what they never took follows by recent popularity."""

    profile: sparse.csr_array
    filler: Scores

    @classmethod
    def fit(cls, data: Interactions, now: float, half_life_days: float = 60.0) -> "PersonalFrequency":
        return cls(_profile(data, now, half_life_days), _tie_break(data, now))

    def scores(self, customers: IntArray) -> Scores:
        return self.profile[customers].toarray() + self.filler


@dataclass(frozen=True)
class SequenceRules:
    """What is taken 1, 2, … baskets after an item, decayed by that distance and normalised like a cosine.

    The form of Ludewig and Jannach (2018), "Evaluation of session-based recommendation algorithms", section 3.1.2,
    with the last baskets of the customer as antecedents, each decayed by how long ago in baskets it was.
    """

    antecedents: sparse.csr_array
    rules: sparse.csr_array
    filler: Scores

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
    ) -> "SequenceRules":
        """`normalisation` is the power of both items' counts that divides a rule.

        Rules of a decayed count below `min_weight` are dropped; only baskets of the last `window_days` make rules.
        """
        recent = data.since(now - window_days * SECONDS_PER_DAY)
        baskets, owner = _basket_matrix(recent)
        counts = sparse.csr_array((data.n_items + 1, data.n_items + 1), dtype=np.float32)
        for distance in range(1, max_distance + 1):
            same = owner[distance:] == owner[:-distance]
            earlier, later = baskets[:-distance][same], baskets[distance:][same]
            counts = counts + np.float32(distance_decay ** (distance - 1)) * (earlier.T @ later)
        size = np.bincount(recent.item, minlength=data.n_items + 1)
        scale = np.power(np.maximum(size, 1.0), -normalisation)
        rules = _kept(counts, min_weight, lambda row, column, count: count * scale[row] * scale[column])
        return cls(_recent_profile(data, n_recent, recent_decay), rules, _tie_break(data, now))

    def scores(self, customers: IntArray) -> Scores:
        return _scaled((self.antecedents[customers] @ self.rules).toarray()) + self.filler


@dataclass(frozen=True)
class ItemKnn:
    """Items taken in the same baskets as the customer's own (cosine over baskets, shrunk), summed over their profile."""

    profile: sparse.csr_array
    similarity: sparse.csr_array
    self_weight: float
    filler: Scores

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
        baskets, _ = _basket_matrix(data.since(now - window_days * SECONDS_PER_DAY), by_customer=by_customer)
        counts = sparse.csr_array(baskets.T @ baskets)
        size = counts.diagonal()

        def cosine(row: IntArray, column: IntArray, count: Scores) -> Scores:
            value = count / (np.sqrt(size[row] * size[column]) + shrinkage)
            return np.where(row == column, 0.0, value)

        return cls(
            _profile(data, now, half_life_days), _kept(counts, min_count, cosine), self_weight, _tie_break(data, now)
        )

    def scores(self, customers: IntArray) -> Scores:
        own = self.profile[customers]
        return _scaled((own @ self.similarity + self.self_weight * own).toarray()) + self.filler


Fit = Callable[..., Recommender]

METHODS: Final[dict[str, Fit]] = {
    "popularity": Popularity.fit,
    "recent_popularity": Popularity.fit,
    "personal_frequency": PersonalFrequency.fit,
    "sequence_rules": SequenceRules.fit,
    "item_knn": ItemKnn.fit,
}
"""Every baseline by the name it has in reports."""


def tune(
    name: str,
    grid: Sequence[Mapping[str, Any]],
    data: Interactions,
    now: float,
    customers: IntArray,
    targets: Targets,
    metric: str = "ndcg@10",
) -> tuple[dict[str, Any], float]:
    """The settings of the grid that rank best on the (validation) targets of customers (n,), and their value."""
    k = int(metric.split("@")[1])
    best: tuple[dict[str, Any], float] = ({}, -np.inf)
    for settings in grid:
        top = recommend(METHODS[name](data, now, **settings), customers, k)
        value = float(np.nanmean(ranking_values(top, targets, (k,))[metric]))
        if value > best[1]:
            best = (dict(settings), value)
    return best


def _profile(data: Interactions, now: float, half_life_days: float) -> sparse.csr_array:
    weight = data.decay(half_life_days, now).astype(np.float32)
    shape = (data.n_customers, data.n_items + 1)
    return sparse.coo_array((weight, (data.customer, data.item)), shape=shape).tocsr()


def _recent_profile(data: Interactions, n_recent: int, decay: float) -> sparse.csr_array:
    number = np.concatenate(([0], np.cumsum(data.basket[1:] != data.basket[:-1])))
    last = np.zeros(data.n_customers, np.int64)
    np.maximum.at(last, data.customer, number)
    back = last[data.customer] - number
    kept = back < n_recent
    shape = (data.n_customers, data.n_items + 1)
    weight = np.power(decay, back[kept]).astype(np.float32)
    return sparse.coo_array((weight, (data.customer[kept], data.item[kept])), shape=shape).tocsr()


def _basket_matrix(data: Interactions, by_customer: bool = False) -> tuple[sparse.csr_array, IntArray]:
    unit = data.customer if by_customer else data.basket
    new = np.concatenate(([True], unit[1:] != unit[:-1])) if len(unit) else np.empty(0, bool)
    number = np.cumsum(new) - 1
    shape = (int(new.sum()), data.n_items + 1)
    matrix = sparse.coo_array((np.ones(len(number), np.float32), (number, data.item)), shape=shape).tocsr()
    matrix.data[:] = 1.0
    return matrix, data.customer[new]


def _tie_break(data: Interactions, now: float) -> Scores:
    popularity = Popularity.fit(data, now, _TIE_BREAK_HALF_LIFE_DAYS).score
    return popularity / max(float(popularity.max()), 1e-12) * np.float32(_TIE_BREAK)


def _scaled(scores: Scores) -> Scores:
    return scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-12)


def _kept(
    counts: sparse.csr_array, at_least: float, value: Callable[[IntArray, IntArray, Scores], Scores]
) -> sparse.csr_array:
    """The entries of at least a count, as `value(row, column, count)`."""
    pairs = counts.tocoo()
    mask = pairs.data >= at_least
    row, column = (part[mask] for part in pairs.coords)
    values = value(row, column, pairs.data[mask]).astype(np.float32)
    return sparse.csr_array((values, (row, column)), shape=counts.shape)
