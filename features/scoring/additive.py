"""Columns in, the log-odds of an additive logistic regression out: a cubic spline or a straight line per column.

Training fits it, training and serving evaluate it; it travels inside models, so it imports nothing of ours.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Floats = NDArray[np.float64]
DEGREE: Final = 3


@dataclass(frozen=True)
class Term:
    """What one column adds: a B-spline (`knots`, `weights`), straight beyond its ends; without knots `weights[0]` times it.

    A missing value is put to `fill`.
    """

    name: str
    fill: float
    weights: tuple[float, ...]
    knots: tuple[float, ...] = ()

    def __call__(self, column: Floats) -> Floats:
        """Values (n,) to log-odds (n,)."""
        x = np.where(np.isfinite(column), column, self.fill)
        if not self.knots:
            return np.asarray(self.weights[0] * x)
        spline = BSpline(np.array(self.knots), np.array(self.weights), DEGREE)
        ends = np.array([self.knots[DEGREE], self.knots[-DEGREE - 1]])
        inside = np.clip(x, *ends)
        beyond = np.where(x < ends[0], spline(ends[0], nu=1), spline(ends[1], nu=1)) * (x - inside)
        return np.asarray(spline(inside) + beyond)


@dataclass(frozen=True)
class AdditiveLogit:
    """A term per column, and the intercept."""

    terms: tuple[Term, ...]
    intercept: float

    def parts(self, columns: NDArray[Any]) -> Floats:
        """Columns (n, terms), in the terms' order, to what each adds to the log-odds (n, terms)."""
        values = np.asarray(columns, dtype=np.float64)
        return np.column_stack([term(values[:, i]) for i, term in enumerate(self.terms)])

    def log_odds(self, columns: NDArray[Any]) -> Floats:
        """Columns (n, terms) to log-odds (n,)."""
        return np.asarray(self.parts(columns).sum(axis=1) + self.intercept)

    def to_plain(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return asdict(self)

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "AdditiveLogit":
        """The inverse of `to_plain`, also after JSON has turned tuples into lists."""
        terms = (
            Term(term["name"], term["fill"], tuple(term["weights"]), tuple(term["knots"])) for term in plain["terms"]
        )
        return cls(tuple(terms), float(plain["intercept"]))
