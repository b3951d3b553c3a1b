"""Past snapshots and what was spent after them in, the weight of the recent pace out; expected revenue, measured.

Expected revenue is a mean: of customers who are expected to spend 10, most spend nothing and a few spend much. So it is
right when its errors cancel (bias) and are small when squared (RMSE). The absolute error rewards the median, which for
most customers is nothing; it is reported, not aimed at.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.evaluation.resampling import Metric, Statistic, mean, resample
from features.scoring.churn import ChurnScore, recent_pace
from training.data.labels import REVENUE
from training.data.training_set import TrainingSet

NAIVE: Final = "recent_pace"
ALONE: Final = "gamma_gamma"
GAIN: Final = "revenue_rmse_gain"
"""The root mean square error of going on at the recent pace, less ours, in pairs."""


def pace_weight(score: ChurnScore, known: TrainingSet, weights: FloatArray) -> float:
    """The share of the recent pace in expected revenue, 0 to 1, with the least squared error on past rows.

    Rows count by `weights` (n,) and by the inverse of what is expected of them, since the variance of spending grows with
    its mean; below the median customer it counts as the median's.
    """
    model = score.expected_revenue(known.features)
    if model is None:
        return 0.0
    away = recent_pace(known.features, score.horizon_days) - model
    share = weights / np.maximum(model, max(float(np.median(model)), 1e-9))
    missed = known.entities[REVENUE].to_numpy(np.float64) - model
    size = float(share @ away**2)
    return float(np.clip(share @ (away * missed) / size, 0.0, 1.0)) if size > 0 else 0.0


def measure_revenue(
    score: ChurnScore, test: TrainingSet, groups: NDArray[np.object_], seed: int
) -> tuple[dict[str, Metric], dict[str, dict[str, Metric]]]:
    """RMSE, MAE and bias per customer, in money, of expected revenue; and of the recent pace and Gamma-Gamma alone.

    Nothing where no values were ever seen.
    """
    expected = score.expected_revenue(test.features)
    alone = replace(score, pace=0.0).expected_revenue(test.features)
    if expected is None or alone is None:
        return {}, {}
    spent = test.entities[REVENUE].to_numpy(np.float64)
    ways = {"": expected, NAIVE: recent_pace(test.features, score.horizon_days), ALONE: alone}
    statistics = {
        f"{way}|{name}": error
        for way, expected_of_way in ways.items()
        for name, error in _errors(spent, expected_of_way).items()
    }
    sampled = resample(statistics, groups, seed=seed)
    tables = {
        way: {key.split("|")[1]: error.metric() for key, error in sampled.items() if key.split("|")[0] == way}
        for way in ways
    }
    ours = tables.pop("")
    ours[GAIN] = sampled[f"{NAIVE}|revenue_rmse"].minus(sampled["|revenue_rmse"]).metric()
    return ours, tables


def _errors(spent: FloatArray, expected: FloatArray) -> Mapping[str, Statistic]:
    missed = expected - spent
    squares = mean(missed**2)
    return {
        "revenue_rmse": lambda w: float(np.sqrt(squares(w))),
        "revenue_mae": mean(np.abs(missed)),
        "revenue_bias": mean(missed),
    }
