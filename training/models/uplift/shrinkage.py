"""Shrunk levels of arms: scores by row in; levels, their errors and the best eligible arm of each row out."""

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, FloatArray, IntArray


def arm_levels(score: FloatArray, eligible: BoolArray | None = None, prior: FloatArray | None = None) -> FloatArray:
    """Mean score of every arm, (arms,), each pulled towards its prior by how unsure it is (empirical Bayes).

    The prior (arms,) is what a model of all arms says; without it, the mean of all. How far arms lie from it is what
    their means vary by beyond their errors, and at least a hundredth of those. With `eligible` (n, arms) an arm's mean is
    over the rows in which it could have been taken.
    """
    rows = np.ones(score.shape) if eligible is None else eligible.astype(np.float64)
    n = np.maximum(rows.sum(axis=0), 1.0)
    means = (rows * score).sum(axis=0) / n
    errors = (rows * (score - means) ** 2).sum(axis=0) / n**2
    start = np.zeros(len(means)) if prior is None else prior
    apart = means - start
    spread = max(float(apart.var(ddof=1) - errors.mean()), 0.01 * float(errors.mean()), 1e-300)
    centre = float(np.average(apart, weights=1 / (spread + errors)))
    return np.asarray(start + centre + (apart - centre) * spread / (spread + errors))


def eligible_means(values: FloatArray, eligible: BoolArray | None) -> FloatArray:
    """Mean of every column of values (n, arms), each over the rows in which the arm can be taken: (arms,)."""
    if eligible is None:
        return np.asarray(values.mean(axis=0))
    rows = eligible.astype(np.float64)
    return np.asarray((rows * values).sum(axis=0) / np.maximum(rows.sum(axis=0), 1.0))


def best_eligible(values: FloatArray, eligible: BoolArray | None) -> IntArray:
    """Column of the highest of the eligible values (n, arms), (n,); of all where a row has none or none are given."""
    if eligible is None:
        return np.argmax(values, axis=1)
    allowed = eligible | ~eligible.any(axis=1, keepdims=True)
    return np.argmax(np.where(allowed, values, -np.inf), axis=1)


def clustered_error(values: FloatArray, groups: NDArray[np.generic]) -> float:
    """Standard error of the mean of values (n,) whose rows belong to customers."""
    _, member = np.unique(groups, return_inverse=True)
    totals = np.bincount(member, values - values.mean())
    return float(np.sqrt((totals**2).sum()) / len(values))
