"""Boosters as functions from features to expected rewards of every arm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from features.arrays import Float32Array, FloatArray
from features.scoring.effects import TreeEffects

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
class WithArm:
    """One booster whose last feature is the arm."""

    model: Grown
    n_arms: int

    def __call__(self, rows: Float32Array) -> FloatArray:
        each = [np.column_stack([rows, np.full(len(rows), arm, np.float32)]) for arm in range(self.n_arms)]
        return np.column_stack([self.model(part) for part in each])


def per_arm(models: Sequence[Grown]) -> TreeEffects:
    """Boosters, one an arm, as what they predict together."""
    texts = tuple(None if model.booster is None else model.booster.model_to_string() for model in models)
    return TreeEffects(texts, np.array([model.level for model in models]))
