"""Metrics of yes/no predictions with 95 % bootstrap intervals; whole customers are resampled, never single rows.

Every statistic is a function of row weights, so one resample serves any number of statistics and a difference of two
models is taken on the same resample (paired).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import betaincc

from features.arrays import FloatArray

Statistic = Callable[[FloatArray], float]
"""Row weights (n,) to the statistic's value on the sample weighted so."""

N_BOOTSTRAP: Final = 500
ECE_BINS: Final = 10
LOWER_IS_BETTER: Final = frozenset({"log_loss", "brier", "ece", "revenue_rmse", "revenue_mae"})
"""Metrics of which less is more; of every other metric, more is more."""
NEARER_TO_ZERO: Final = frozenset({"revenue_bias"})
"""Metrics that may be missed on either side."""
CUSTOMER_VALUE, OFFER_COST, CONTACT_COST = 200.0, 10.0, 1.0
"""Money that a kept customer is worth, that an accepted offer costs, and that reaching somebody costs."""
ACCEPTS: Final = (6.0, 14.0)
"""The beta distribution of the rate at which churners accept an offer."""
_EPSILON: Final = 1e-7


@dataclass(frozen=True)
class Metric:
    """A value and its 95 % interval (percentile bootstrap over customers)."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The form that reports and benchmark files hold."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Sampled:
    """A statistic on the sample and on every resample; two that come from the same resamples can be paired."""

    point: float
    draws: FloatArray

    def metric(self) -> Metric:
        """The value with its percentile interval; resamples on which it is undefined are left out.

        A calibration error only grows by resampling. Where the median resample is more than their standard deviation away
        from the value, the interval is moved back by that, for it need not even hold the value otherwise.
        """
        usable = self.draws[np.isfinite(self.draws)]
        if not len(usable):
            return Metric(self.point, float("nan"), float("nan"))
        low, high = np.quantile(usable, [0.025, 0.975])
        away = float(np.median(usable)) - self.point
        if abs(away) > usable.std():
            floor = 0.0 if usable.min() >= 0 else -np.inf
            low, high = max(low - away, floor), high - away
        return Metric(self.point, float(low), float(high))

    def minus(self, other: "Sampled") -> "Sampled":
        """The paired difference."""
        return Sampled(self.point - other.point, self.draws - other.draws)


def resample(
    statistics: Mapping[str, Statistic], groups: ArrayLike, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> dict[str, Sampled]:
    """Several statistics on the same resamples; the same groups and seed give the same resamples again.

    `groups` (n,) names the customer of each row; a resample draws customers with replacement and takes all rows
    of each.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(member.max()) + 1 if len(member) else 0
    n_draws = n_bootstrap if n_groups > 1 else 0
    rng = np.random.default_rng(seed)
    ones = np.ones(len(member))
    points = {name: statistic(ones) for name, statistic in statistics.items()}
    draws = {name: np.empty(n_draws) for name in statistics}
    for i in range(n_draws):
        counts = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups).astype(np.float64)
        weights = counts[member]
        for name, statistic in statistics.items():
            draws[name][i] = statistic(weights)
    return {name: Sampled(points[name], draws[name]) for name in statistics}


def average(parts: Sequence[Sampled]) -> Sampled:
    """The plain mean of statistics on the same resamples, e.g. over arms; a part that is nowhere defined is left out."""
    defined = [part for part in parts if np.isfinite(part.point)] or list(parts)
    point = float(np.mean([part.point for part in defined]))
    return Sampled(point, np.mean([part.draws for part in defined], axis=0))


def bootstrap(statistic: Statistic, groups: ArrayLike, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0) -> Metric:
    """One statistic with its interval; see `resample`."""
    return resample({"it": statistic}, groups, n_bootstrap=n_bootstrap, seed=seed)["it"].metric()


def bootstrap_mean(
    values: ArrayLike, groups: ArrayLike | None = None, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> Metric:
    """The mean of per-row values (n,), e.g. a hit per customer; without `groups` every row is a customer."""
    data = np.asarray(values, dtype=np.float64)
    members = np.arange(len(data)) if groups is None else groups
    return bootstrap(mean(data), members, n_bootstrap=n_bootstrap, seed=seed)


def mean(values: ArrayLike) -> Statistic:
    """The weighted mean of values (n,)."""
    data = np.asarray(values, dtype=np.float64)
    return lambda w: float(w @ data / w.sum()) if w.sum() > 0 else float("nan")


def auc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Area under the ROC curve; tied scores count one half."""
    y, rank, n_ranks = _ranked(labels, scores)

    def statistic(w: FloatArray) -> float:
        positive = np.bincount(rank, w * y, n_ranks)
        negative = np.bincount(rank, w * (1 - y), n_ranks)
        pairs = positive.sum() * negative.sum()
        if pairs == 0:
            return float("nan")
        below = np.cumsum(negative) - negative
        return float(positive @ (below + negative / 2) / pairs)

    return statistic


def average_precision(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Precision averaged over the recall steps; tied scores form one step (as in scikit-learn)."""
    y, rank, n_ranks = _ranked(labels, scores)

    def statistic(w: FloatArray) -> float:
        hits = np.bincount(rank, w * y, n_ranks)[::-1]
        total = np.cumsum(np.bincount(rank, w, n_ranks)[::-1])
        if hits.sum() == 0:
            return float("nan")
        precision = np.divide(np.cumsum(hits), total, out=np.zeros_like(total), where=total > 0)
        return float(hits @ precision / hits.sum())

    return statistic


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """Mean negative log-likelihood, natural logarithm."""
    y = np.asarray(labels, dtype=np.float64)
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> Statistic:
    """Mean squared error of the probabilities."""
    difference = np.asarray(probabilities, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    return mean(difference**2)


def ece(labels: ArrayLike, probabilities: ArrayLike, n_bins: int = ECE_BINS) -> Statistic:
    """Expected calibration error over bins of equal mass (edges: quantiles of the whole sample)."""
    y = np.asarray(labels, dtype=np.float64)
    p = np.asarray(probabilities, dtype=np.float64)
    bins = probability_bins(p, n_bins)

    def statistic(w: FloatArray) -> float:
        gap = np.abs(np.bincount(bins, w * (p - y), n_bins))
        return float(gap.sum() / w.sum()) if w.sum() > 0 else float("nan")

    return statistic


def ece_by_chance(probabilities: ArrayLike, n_bins: int = ECE_BINS) -> float:
    """The `ece` that probabilities (n,) are expected to show if they are perfectly right: the luck of n draws.

    A bin's gap is then nearly normal around zero, so its mean size is sqrt(2 / pi) standard deviations.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    variance = np.bincount(probability_bins(p, n_bins), p * (1 - p), n_bins)
    return float(np.sqrt(2 / np.pi) * np.sqrt(variance).sum() / len(p))


def lift(labels: ArrayLike, scores: ArrayLike, fraction: float = 0.1) -> Statistic:
    """Rate of positives among the top `fraction` by score over the rate of all; ties on the border count in part."""
    y, rank, n_ranks = _ranked(labels, scores)

    def statistic(w: FloatArray) -> float:
        hits = np.concatenate(([0.0], np.cumsum(np.bincount(rank, w * y, n_ranks)[::-1])))
        total = np.concatenate(([0.0], np.cumsum(np.bincount(rank, w, n_ranks)[::-1])))
        if hits[-1] == 0:
            return float("nan")
        return float(np.interp(fraction * total[-1], total, hits) / (fraction * hits[-1]))

    return statistic


def max_profit(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    customer_value: float = CUSTOMER_VALUE,
    offer_cost: float = OFFER_COST,
    contact_cost: float = CONTACT_COST,
) -> Statistic:
    """Expected maximum profit per customer of a retention campaign aimed at the highest scores, in money.

    A targeted churner accepts the offer with a probability that is Beta(6, 14) and then stays; the share that is
    targeted is the best one for each acceptance rate (Verbraken, Verbeke and Baesens 2013; defaults are theirs). The
    integral over rates is exact. Who has the same score is targeted together: of a constant score everybody or nobody.
    """
    y, rank, n_ranks = _ranked(labels, scores)
    keeps, loss = customer_value - offer_cost, offer_cost + contact_cost

    def statistic(w: FloatArray) -> float:
        if w.sum() <= 0:
            return float("nan")
        size = np.bincount(rank, w, n_ranks)[::-1]
        churners = np.bincount(rank, w * y, n_ranks)[::-1][size > 0]
        size = size[size > 0]
        # Whatever the rate, the best border lies on the convex hull of the ROC curve, whose slopes are this regression's.
        share = isotonic_regression(churners / size, weights=size, increasing=False).x
        spent = contact_cost * share + loss * (1 - share)  # per targeted customer of the hull's segment
        worth = np.minimum(np.divide(spent, keeps * share, out=np.ones_like(share), where=share > 0), 1.0)
        accepted = (
            ACCEPTS[0] / sum(ACCEPTS) * betaincc(ACCEPTS[0] + 1, ACCEPTS[1], worth)
        )  # mean over rates above `worth`
        return float(size @ (keeps * share * accepted - spent * betaincc(*ACCEPTS, worth)) / w.sum())

    return statistic


def returners_lift(labels: ArrayLike, scores: ArrayLike, fraction: float = 0.1) -> Statistic:
    """Lift of those who return (label 0) among the `fraction` with the lowest scores."""
    return lift(1 - np.asarray(labels, dtype=np.float64), -np.asarray(scores, dtype=np.float64), fraction)


BINARY: Final[dict[str, Callable[[ArrayLike, ArrayLike], Statistic]]] = {
    "auc": auc,
    "average_precision": average_precision,
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
    "lift@10%": lift,
}
"""The metrics of a calibrated yes/no model, by name."""

CHURN: Final = BINARY | {"lift_returners@10%": returners_lift, "max_profit": max_profit}
"""The metrics of a churn model: those of any yes/no model, how well returners are found, and what it is worth."""


def binary_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike,
    *,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
    metrics: Mapping[str, Callable[[ArrayLike, ArrayLike], Statistic]] = BINARY,
) -> dict[str, Metric]:
    """Every metric of `metrics` for labels (n,) in {0, 1}, probabilities (n,) and the customers of the rows (n,)."""
    statistics = {name: make(labels, probabilities) for name, make in metrics.items()}
    found = resample(statistics, groups, n_bootstrap=n_bootstrap, seed=seed)
    return {name: sampled.metric() for name, sampled in found.items()}


def top_share(order: ArrayLike, share: float) -> FloatArray:
    """How much (n,) of each row belongs to the top `share` by `order`: 1, 0, or a part of who ties on the border."""
    values = np.asarray(order, dtype=np.float64)
    _, rank, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    reached = np.cumsum(sizes)
    parts = np.clip((share * len(values) - (reached - sizes)) / sizes, 0.0, 1.0)
    return np.asarray(parts[rank])


def macro_mean(statistics: Sequence[Statistic], rows: Sequence[NDArray[np.intp]]) -> Statistic:
    """The plain mean of statistics that each see their own rows (index arrays into the whole sample's weights)."""

    def statistic(w: FloatArray) -> float:
        return float(np.mean([part(w[index]) for part, index in zip(statistics, rows, strict=True)]))

    return statistic


def better(name: str, ours: float, theirs: float) -> bool:
    """Whether `ours` beats `theirs` strictly on the metric of that name."""
    return badness(name, ours) < badness(name, theirs)


def badness(name: str, value: float) -> float:
    """A number that is the smaller, the better the metric of that name is."""
    if name.split("/")[0] in NEARER_TO_ZERO:
        return abs(value)
    return value if lower_is_better(name) else -value


def lower_is_better(name: str) -> bool:
    """Whether less is more; a part after a slash (an arm, a slice) does not matter."""
    return name.split("/")[0] in LOWER_IS_BETTER


def probability_bins(probabilities: FloatArray, n_bins: int = ECE_BINS) -> NDArray[np.intp]:
    """The bin (n,) of each probability, bins of equal mass; equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(edges, probabilities, side="right")


def _ranked(labels: ArrayLike, scores: ArrayLike) -> tuple[FloatArray, NDArray[np.intp], int]:
    distinct, rank = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    return np.asarray(labels, dtype=np.float64), rank, len(distinct)
