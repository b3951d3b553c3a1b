"""Intervals of policy values: resamples in, 95 % out that hold the truth also where few rewards make them skewed."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from scipy.stats import norm, skew

from features.evaluation.resampling import Metric, Sampled

MAX_SKEWNESS: Final = 1.5
"""More than this is taken for this: the correction is the first term of a series that holds for little skewness."""


def intervals(sampled: Mapping[str, Sampled], prefix: str = "") -> dict[str, Metric]:
    """Every estimate with its 95 % interval; the policy values are those whose names begin with `prefix`.

    What a model says on resampled rows does not vary with how wrong the model is. So the interval of dm is that of dr,
    which corrects the model by what it missed, stretched to hold the estimate itself.
    """
    found = {
        name: skew_corrected(value) if name.startswith(prefix) else value.metric() for name, value in sampled.items()
    }
    model, robust = found.get(f"{prefix}dm"), found.get(f"{prefix}dr")
    if model is not None and robust is not None:
        low, high = min(model.value, robust.low), max(model.value, robust.high)
        found[f"{prefix}dm"] = Metric(model.value, low, high)
    return found


def gain(ours: Sampled, theirs: Sampled) -> Metric:
    """The paired difference of two policies that were estimated on the same resamples."""
    return skew_corrected(ours.minus(theirs))


def skew_corrected(sampled: Sampled) -> Metric:
    """A mean's 95 % interval from quantiles of its resamples that are moved by their skewness.

    Where a few conversions carry a mean, plain percentiles miss a high truth more often than a low one. BCa (Efron 1987)
    moves them by a bias z0 and an acceleration a, which for a mean both are a sixth of the skewness of its resamples.
    Of n ordered resamples the k-th stands at k / (n + 1) (Weibull): between the outermost k / n would promise too much.
    """
    usable = sampled.draws[np.isfinite(sampled.draws)]
    if len(usable) == 0 or np.ptp(usable) <= 1e-12 * max(1.0, abs(sampled.point)):
        return sampled.metric()
    sixth = float(np.clip(skew(usable), -MAX_SKEWNESS, MAX_SKEWNESS)) / 6
    moved = sixth + norm.ppf([0.025, 0.975])
    low, high = np.quantile(usable, norm.cdf(sixth + moved / (1 - sixth * moved)), method="weibull")
    return Metric(sampled.point, float(low), float(high))
