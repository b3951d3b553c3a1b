"""Features in, expected rewards of every arm out: the forms that what a learner has found may take."""

from collections.abc import Callable
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from features.arrays import Float32Array, FloatArray

Predict = Callable[[Float32Array], FloatArray]
"""Features (n, F) to expected rewards (n, arms)."""


@dataclass(frozen=True)
class Grown:
    """A booster, or a level for everybody where there was too little to grow one on; answers (n,)."""

    booster: lgb.Booster | None
    level: float = 0.0

    def __call__(self, rows: Float32Array) -> FloatArray:
        if self.booster is None:
            return np.full(len(rows), self.level)
        return np.asarray(self.booster.predict(rows, num_threads=1))


@dataclass(frozen=True)
class Trees:
    """A booster per arm."""

    models: tuple[Grown, ...]

    def __call__(self, rows: Float32Array) -> FloatArray:
        return np.column_stack([model(rows) for model in self.models])


@dataclass(frozen=True)
class Linear:
    """Weights (F, arms) and shifts (arms,) for the features, missing ones put to `fill` (F,)."""

    fill: FloatArray
    weights: FloatArray
    shift: FloatArray

    def __call__(self, rows: Float32Array) -> FloatArray:
        return np.asarray(filled(rows, self.fill) @ self.weights + self.shift)


@dataclass(frozen=True)
class WithArm:
    """One booster whose last feature is the arm."""

    model: Grown
    n_arms: int

    def __call__(self, rows: Float32Array) -> FloatArray:
        each = [np.column_stack([rows, np.full(len(rows), arm, np.float32)]) for arm in range(self.n_arms)]
        return np.column_stack([self.model(part) for part in each])


def filled(x: Float32Array, fill: FloatArray) -> FloatArray:
    """Features (n, F) with missing values put to `fill` (F,)."""
    return np.where(np.isfinite(x), x, fill).astype(np.float64)
