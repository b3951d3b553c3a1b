"""What each unit of two groups did in, the difference with intervals, checks and sizes out; numpy and formulae alone.

A unit is what was drawn: a customer, or a household with several. Its row holds sums over its customers, and every figure is
per customer: a ratio of sums, whose variance comes from the units (the delta method; Deng, Knoblich and Lu, "Applying the
Delta Method in Metric Analytics", KDD 2018). Where every unit is one customer this is the mean and Welch's variance.

Less noise: what the past tells of the outcome is taken off (CUPED: Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of
Online Controlled Experiments by Utilizing Pre-Experiment Data", WSDM 2013). Who has no past is no customer with a past of
zero: a second covariate says who has one, so that newcomers are compared with newcomers.

Looks at any time: a confidence sequence, which holds the truth at all looks together with the chance that an interval has at
one. It is the normal mixture of Robbins (1970), as in mixture SPRT (Johari, Koomen, Pekelis and Walsh, "Always Valid
Inference", Operations Research 2022), and holds for means of any units once there are some hundred (Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from features.arrays import FloatArray

ALPHA: Final = 0.05
POWER: Final = 0.8
MISMATCH_P: Final = 0.001
"""A split that is rarer than this is no chance (Fabijan et al., "Diagnosing Sample Ratio Mismatch", KDD 2019)."""


@dataclass(frozen=True)
class Group:
    """The units (n,) of one variant."""

    customers: FloatArray
    """How many customers a unit has."""
    total: FloatArray
    """What they did, summed over them."""
    past: FloatArray
    """What they had done before they entered, summed over those who have a past; 0 where none has."""
    with_past: FloatArray
    """How many of them have a past."""

    def __len__(self) -> int:
        return len(self.customers)


@dataclass(frozen=True)
class Difference:
    """Variant less control, per customer."""

    control: float
    variant: float
    value: float
    """Of the adjusted means where the past helps, else of the means above."""
    variance: float
    degrees: float
    """Of freedom, for an interval at one look (Welch and Satterthwaite)."""
    explained: float = 0.0
    """Share of the variance that the past took away."""

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """For one look, at a moment that was set beforehand; misses the truth with chance `alpha`."""
        return self._around(float(stats.t.ppf(1 - alpha / 2, self.degrees)) * math.sqrt(self.variance))

    def sequence(self, scale: float, alpha: float = ALPHA) -> tuple[float, float]:
        """For any number of looks; `scale` is a difference that was thought worth finding before the first of them.

        The half-width is sqrt(2 V (V + s²) / s² · log(sqrt((V + s²) / V) / alpha)) with the variance V and the scale s of the
        mixture: the interval is narrowest about when a difference of that size can be told.
        """
        v, mixing = self.variance, scale**2
        if not (v > 0 and mixing > 0 and math.isfinite(v)):
            return (-math.inf, math.inf)
        return self._around(math.sqrt(2 * v * (v + mixing) / mixing * math.log(math.sqrt((v + mixing) / v) / alpha)))

    def smallest(self, alpha: float = ALPHA, power: float = POWER) -> float:
        """The smallest difference that an interval at one look would tell from zero with chance `power`."""
        return _reach(alpha, power) * math.sqrt(self.variance)

    def _around(self, half: float) -> tuple[float, float]:
        return self.value - half, self.value + half


def compare(control: Group, variant: Group, *, with_past: bool = True) -> Difference:
    """Variant less control; raises ValueError where one of them has fewer than two units."""
    if min(len(control), len(variant)) < 2:
        raise ValueError("a difference needs two units in each group")
    groups = (control, variant)
    outcomes = [_per_customer(group.total, group.customers) for group in groups]
    plain = _welch(outcomes)
    means = [float(outcome.mean()) for outcome in outcomes]
    if not with_past:
        return Difference(means[0], means[1], means[1] - means[0], *plain)
    covariates = [
        np.column_stack([_per_customer(of, group.customers) for of in (group.past, group.with_past)])  # (n, 2)
        for group in groups
    ]
    slope = _slope(outcomes, covariates)
    adjusted = [outcome - known @ slope for outcome, known in zip(outcomes, covariates, strict=True)]
    variance, degrees = _welch(adjusted)
    explained = 1 - variance / plain[0] if plain[0] > 0 else 0.0
    value = float(adjusted[1].mean() - adjusted[0].mean())
    return Difference(means[0], means[1], value, variance, degrees, explained)


def split_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The chance of a split as uneven as this one, where units fall to variants by `shares` (Pearson's chi-square)."""
    expected = np.asarray(shares, dtype=np.float64) / sum(shares) * sum(counts)
    return float(stats.chisquare(counts, expected).pvalue)


def units_needed(
    deviation: float, effect: float, shares: Sequence[float], alpha: float = ALPHA, power: float = POWER
) -> float:
    """Units in both groups together that tell a difference of `effect` from zero with chance `power`.

    `deviation` is the standard deviation of a unit's outcome per customer, `shares` are the two groups' of all units.
    """
    if effect <= 0:
        return math.inf
    parts = np.asarray(shares, dtype=np.float64) / sum(shares)
    return float((_reach(alpha, power) * deviation / effect) ** 2 * (1 / parts).sum())


def looks_factor(scale: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """How many times as many units a look at any time needs to tell a difference as large as the scale."""

    def is_told(variance: float) -> bool:
        half = Difference(0.0, 0.0, 0.0, variance, math.inf).sequence(scale, alpha)[1]
        return half + float(stats.norm.ppf(power)) * math.sqrt(variance) <= scale

    at_once = (scale / _reach(alpha, power)) ** 2
    low, high = 1.0, 16.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if is_told(at_once / middle) else (middle, high)
    return high


def deviation_of(group: Group) -> float:
    """The standard deviation of a unit's outcome per customer."""
    return float(_per_customer(group.total, group.customers).std(ddof=1))


def _per_customer(total: FloatArray, customers: FloatArray) -> FloatArray:
    """Of each unit (n,) a value whose mean is the ratio of the sums, and whose variance is n times the ratio's."""
    ratio = total.sum() / customers.sum()
    values: FloatArray = ratio + (total - ratio * customers) / customers.mean()
    return values


def _slope(outcomes: Sequence[FloatArray], covariates: Sequence[FloatArray]) -> FloatArray:
    """What to take off per covariate, so that the difference varies least: pooled within the groups, each by its size."""
    spread, shared = np.zeros((2, 2)), np.zeros(2)
    for outcome, known in zip(outcomes, covariates, strict=True):
        centered = known - known.mean(axis=0)
        weight = 1 / (len(outcome) * (len(outcome) - 1))
        spread += weight * centered.T @ centered
        shared += weight * centered.T @ (outcome - outcome.mean())
    slope = np.linalg.lstsq(spread, shared, rcond=1e-10)[0]  # 0 for what is the same for everybody
    return np.asarray(slope, dtype=np.float64)


def _welch(values: Sequence[FloatArray]) -> tuple[float, float]:
    """Variance of the difference of two means, and its degrees of freedom."""
    parts = [float(each.var(ddof=1)) / len(each) for each in values]
    variance = sum(parts)
    if variance == 0:
        return 0.0, math.inf
    return variance, variance**2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, values, strict=True))


def _reach(alpha: float, power: float) -> float:
    """Standard errors between zero and a difference that is told from it with chance `power`."""
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
