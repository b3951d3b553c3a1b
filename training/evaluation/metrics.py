"""Metrics of yes/no predictions, each a function of row weights; features/evaluation/resampling.py makes intervals of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import betaincc

from features.arrays import FloatArray
from features.evaluation.resampling import N_BOOTSTRAP, Metric, Statistic, bootstrap, mean, resample

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


def bootstrap_mean(
    values: ArrayLike, groups: ArrayLike | None = None, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> Metric:
    """The mean of per-row values (n,), e.g. a hit per customer; without `groups` every row is a customer."""
    data = np.asarray(values, dtype=np.float64)
    members = np.arange(len(data)) if groups is None else groups
    return bootstrap(mean(data), members, n_bootstrap=n_bootstrap, seed=seed)


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
