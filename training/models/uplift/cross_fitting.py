"""Cross-fitting: rows of customers in, predictions of each by a model that did not see its customer out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from training.models.uplift.predictors import Predict


def fold_numbers(groups: NDArray[np.generic], n_folds: int, seed: int) -> IntArray:
    """A fold (n,) for every row, the same for all rows of a group, folds of about equal numbers of groups."""
    _, member = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(member.max()) + 1)
    return np.asarray(order[member] % n_folds, dtype=np.int64)


def crossed(fit: Callable[[BoolArray], Predict], x: Float32Array, folds: IntArray) -> FloatArray:
    """Predictions (n, arms) of every row by a model fitted on the other folds."""
    found: FloatArray | None = None
    for fold in np.unique(folds):
        mine = folds == fold
        part = fit(~mine)(x[mine])
        found = np.empty((len(x), part.shape[1])) if found is None else found
        found[mine] = part
    assert found is not None
    return found
