"""A logistic regression on the logarithms of a few columns, and the calibrated sum of several models' log-odds.

Columns in, log-odds out. The file travels inside models, so it imports nothing of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CLIP: Final = 1e-4


@dataclass(frozen=True)
class LogLinear:
    """Inputs are the log of each of the columns `names` (missing ones filled), then two log-odds of another model."""

    names: tuple[str, ...]
    fill: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def standardised(self, columns: NDArray[Any], odds: Floats) -> Floats:
        """Columns (n, len(names)) and `odds` (n, 2) to what the weights count (n, len(names) + 2)."""
        fill, mean, scale, _ = self._arrays
        return np.asarray((np.column_stack([filled_logarithms(columns, fill), odds]) - mean) / scale)

    def score(self, columns: NDArray[Any], odds: Floats) -> Floats:
        """Columns (n, len(names)) and `odds` (n, 2) to the regression's log-odds (n,)."""
        return np.asarray(self.standardised(columns, odds) @ self._arrays[3] + self.intercept)

    @cached_property
    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        return np.array(self.fill), np.array(self.mean), np.array(self.scale), np.array(self.weights)


def weighted_sum(mix: Sequence[float], trees: Floats, linear: Floats | None, silence: Floats) -> Floats:
    """Log-odds (n,) of trees, of a linear part (None: it has no say) and of BG/NBD's two forms (n, 2), by `mix`."""
    raw = mix[0] * np.asarray(trees, dtype=np.float64) + mix[2] * silence[:, 1]
    return np.asarray(raw if linear is None else raw + mix[1] * linear)


def clipped_log_odds(chances: Floats) -> Floats:
    """Log-odds of chances of any shape, kept off 0 and 1."""
    kept = np.clip(chances, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(kept / (1 - kept)))


def expit(log_odds: Floats) -> Floats:
    """Chances of log-odds of any shape: SciPy's, whose import takes more memory than a model."""
    with np.errstate(over="ignore"):  # of what is far below 0 the chance is 0
        return np.asarray(1 / (1 + np.exp(-log_odds)))


def filled_logarithms(columns: NDArray[Any], fill: Floats) -> Floats:
    """Signed log(1 + |x|) of columns (n, k), missing values put to `fill` (k,) before."""
    return signed_log1p(np.where(np.isfinite(columns), columns, fill))


def signed_log1p(values: NDArray[Any]) -> Floats:
    """sign(x) log(1 + |x|), elementwise; missing stays missing."""
    values = np.asarray(values, dtype=np.float64)
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
