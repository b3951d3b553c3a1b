"""The two-part model of rewards: features in, the chance of a response times what one brings out, for every arm.

Arithmetic that training and serving share, so they cannot disagree.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.scoring.log_linear import expit, signed_log1p


@dataclass(frozen=True)
class TwoPart:
    """E[reward | x, arm] = usual + 1 / (1 + exp(-(z w + a))) * max(z v + b, 0).

    `usual` is what the arm brings where nothing comes of it (its cost, below 0), z is the logarithm of each feature in
    standard deviations from its mean, missing ones at the mean. Where no arm has a usual reward the chance is 1.
    """

    fill: FloatArray  # (F,) the logarithm that stands for a missing value
    mean: FloatArray  # (F,)
    scale: FloatArray  # (F,)
    usual: FloatArray  # (arms,)
    response_weights: FloatArray | None  # (F, arms) w; None: the chance is 1
    response_shift: FloatArray | None  # (arms,) a
    amount_weights: FloatArray  # (F, arms) v
    amount_shift: FloatArray  # (arms,) b

    def standardised(self, rows: NDArray[Any]) -> FloatArray:
        """Features (n, F) to z (n, F)."""
        logs = signed_log1p(rows)
        return np.asarray((np.where(np.isfinite(logs), logs, self.fill) - self.mean) / self.scale)

    def responses(self, z: FloatArray) -> FloatArray | None:
        """Chance of a response (n, arms) from z (n, F); None where it is 1."""
        if self.response_weights is None or self.response_shift is None:
            return None
        return expit(z @ self.response_weights + self.response_shift)

    def __call__(self, rows: NDArray[Any]) -> FloatArray:
        """Features (n, F) to expected rewards (n, arms)."""
        z = self.standardised(rows)
        amount = z @ self.amount_weights + self.amount_shift
        chance = self.responses(z)
        if chance is None:
            return np.asarray(self.usual + amount)
        return np.asarray(self.usual + chance * np.maximum(amount, 0.0))

    def described(self) -> dict[str, Any]:
        """A plain form for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if value is None else value.tolist() for name, value in values.items()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "TwoPart":
        """The inverse of `described`."""
        values: dict[str, Any] = {name: None if value is None else np.array(value) for name, value in plain.items()}
        return cls(**values)
