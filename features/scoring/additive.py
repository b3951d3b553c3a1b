"""Columns in, the log-odds of an additive logistic regression out: a cubic spline or a straight line per column.

Training fits it, training and serving evaluate it; it travels inside models, so it imports nothing of ours.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
        begins, coefficients = self._pieces
        at = np.searchsorted(begins[1:], x, side="right")
        away, c = x - begins[at], coefficients[at].T
        return np.asarray(((c[3] * away + c[2]) * away + c[1]) * away + c[0])

    @cached_property
    def _pieces(self) -> tuple[Floats, Floats]:
        """The spline as polynomials: where each counts from (p,), and its coefficients by ascending power (p, 4).

        The first and the last are the straight lines beyond the ends; the first reaches up to where the second begins.
        """
        knots, inner = np.array(self.knots), np.unique(self.knots[DEGREE:-DEGREE])
        pieces = [_piece(knots, self.weights, begin) for begin in inner[:-1]]
        last, width = pieces[-1], inner[-1] - inner[-2]
        value = float(np.polynomial.polynomial.polyval(width, last))
        slope = float(np.polynomial.polynomial.polyval(width, np.polynomial.polynomial.polyder(last)))
        first = np.array([pieces[0][0], pieces[0][1], 0.0, 0.0])
        begins = np.concatenate([inner[:1], inner[:-1], inner[-1:]])
        return begins, np.array([first, *pieces, np.array([value, slope, 0.0, 0.0])])


def _piece(knots: Floats, weights: tuple[float, ...], begin: float) -> Floats:
    """Coefficients (4,) in x - `begin` of the spline from the knot `begin` to the next: de Boor's recursion (1972)."""
    at = int(np.searchsorted(knots, begin, side="right")) - 1
    parts = [np.array([weights[at - DEGREE + i]]) for i in range(DEGREE + 1)]
    for level in range(1, DEGREE + 1):
        for i in range(DEGREE, level - 1, -1):
            left, right = knots[at - DEGREE + i], knots[at + 1 + i - level]
            share = np.array([begin - left, 1.0]) / (right - left)
            grown = np.convolve(share, parts[i] - parts[i - 1])
            parts[i] = grown + np.pad(parts[i - 1], (0, 1))
    return parts[DEGREE]


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
