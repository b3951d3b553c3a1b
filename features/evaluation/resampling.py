"""Statistics with 95 % bootstrap intervals: whole customers are resampled, never single rows.

Every statistic is a function of row weights, so one resample serves any number of statistics and a difference of two
models or policies is taken on the same resample (paired).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from features.arrays import FloatArray

Statistic = Callable[[FloatArray], float]
"""Row weights (n,) to the statistic's value on the sample weighted so."""

N_BOOTSTRAP: Final = 500


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


def mean(values: ArrayLike) -> Statistic:
    """The weighted mean of values (n,)."""
    data = np.asarray(values, dtype=np.float64)
    return lambda w: float(w @ data / w.sum()) if w.sum() > 0 else float("nan")
