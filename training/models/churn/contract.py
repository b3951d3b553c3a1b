"""Columns of contracts with a churn flag in, a calibrated blend of splines and small trees out.

For contractual data a customer either has a contract or has not. Both parts see every column; how strongly the first is
shrunk and how the two are mixed is chosen by folds within the rows that are given. `omni train churn` fits it on the log's
contracts, `omni benchmark churn` on a table of anybody's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import SplineTransformer, StandardScaler

from features.arrays import Float32Array, FloatArray, IntArray
from features.config import Config
from features.scoring.additive import DEGREE, AdditiveLogit, Term
from training.evaluation.metrics import log_loss
from training.models.boosted import lightgbm_parameters, platt

_EVERY: Final = 25
"""Trees between two sizes that are compared."""
_MIN_KNOTS: Final = 3
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the spline regression in the blend that are compared."""


class ContractConfig(Config):
    """How the blend is grown and what the inner folds choose among."""

    RENAMED: ClassVar[Mapping[str, str]] = {"lambda_l2": "l2", "shrinkage": "inverse_l2"}

    inner_folds: int = Field(3, ge=2)
    """Folds within the training rows that choose the settings and calibrate."""
    inverse_l2: tuple[float, ...] = (0.005, 0.02, 0.1, 0.5)
    """Candidate inverse penalties of the spline regression."""
    n_knots: int = Field(6, ge=3)
    """Knots per numeric column, at its quantiles."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of each tree that is added."""
    num_leaves: int = Field(4, ge=2)
    """Leaves of a tree."""
    max_rounds: int = Field(500, ge=1)
    """Most trees; the inner folds choose how many."""
    min_data_in_leaf: int = Field(30, ge=1)
    """Fewest rows in a leaf."""
    l2: float = Field(5.0, ge=0)
    """Shrinks leaf values."""
    feature_fraction: float = Field(0.5, gt=0, le=1)
    """Share of the columns that a tree may look at."""
    bagging_fraction: float = Field(0.7, gt=0, le=1)
    """Share of the rows that a tree is grown on."""
    raises_risk: tuple[str, ...] = ()
    """Numeric columns of which more can only raise the risk (a constraint on the trees)."""
    lowers_risk: tuple[str, ...] = ()
    """Numeric columns of which more can only lower the risk."""


@dataclass(frozen=True)
class Encoded:
    """The columns as numbers: `numeric` (n, a) with NaN for unknown, `levels` (n, b) of zeros and ones."""

    numeric: FloatArray
    levels: FloatArray
    names: tuple[str, ...]

    @property
    def flat(self) -> Float32Array:
        """All columns (n, a + b), for trees."""
        return np.column_stack([self.numeric, self.levels]).astype(np.float32)

    def rows(self, index: NDArray[np.intp]) -> "Encoded":
        """Some of the rows."""
        return Encoded(self.numeric[index], self.levels[index], self.names)


@dataclass(frozen=True)
class ContractModel:
    """A fitted blend: log-odds are `share` of the regression's and the rest of the trees', then calibrated."""

    additive: AdditiveLogit
    booster: lgb.Booster
    share: float
    slope: float
    shift: float
    curve: tuple[float, ...]
    """Log-loss of the trees on the inner folds' held-out rows after every 25th round."""

    def probability(self, columns: Float32Array | FloatArray) -> FloatArray:
        """Chance of churn (n,) from all columns (n, a + b)."""
        raw = self.share * self.additive.log_odds(columns)
        raw = raw + (1 - self.share) * _raw(self.booster, columns)
        return np.asarray(expit(self.slope * raw + self.shift))


def fit_contracts(
    data: Encoded, labels: FloatArray, folds: IntArray, config: ContractConfig, seed: int, *, named: bool = False
) -> ContractModel:
    """The blend of rows (n,) with labels; settings and calibration come from the inner folds (n,), numbered from 0.

    With `named` the booster knows its columns by their names, of which LightGBM takes not all that a table may have.
    """
    ones = np.ones(len(labels))
    linear = {strength: np.empty(len(labels)) for strength in config.inverse_l2}
    trees = np.empty((config.max_rounds // _EVERY, len(labels)))
    for fold in np.unique(folds):
        inside, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        design = Design.fit(data.rows(inside), config.n_knots)
        known, asked = design.matrix(data.rows(inside)), design.matrix(data.rows(held))
        for strength in config.inverse_l2:
            linear[strength][held] = _regression(known, labels[inside], strength).decision_function(asked)
        trees[:, held] = _sizes(_grow(data.rows(inside), labels[inside], config, seed), data.rows(held).flat, config)
    losses = [log_loss(labels, expit(size))(ones) for size in trees]
    strength = min(linear, key=lambda value: log_loss(labels, expit(linear[value]))(ones))
    size = int(np.argmin(losses))
    share = min(
        _SHARES, key=lambda part: log_loss(labels, expit(part * linear[strength] + (1 - part) * trees[size]))(ones)
    )
    slope, shift = platt(share * linear[strength] + (1 - share) * trees[size], labels)
    design = Design.fit(data, config.n_knots)
    additive = design.additive(_regression(design.matrix(data), labels, strength))
    rounds = config.model_copy(update={"max_rounds": (size + 1) * _EVERY})
    booster = _grow(data, labels, rounds, seed, named=named)
    return ContractModel(additive, booster, share, slope, shift, tuple(losses))


@dataclass(frozen=True)
class Design:
    """How columns become the inputs of the regression: cubic splines of the numbers, the levels as they are, scaled."""

    names: tuple[str, ...]
    fill: FloatArray  # (a,)
    splines: tuple[SplineTransformer | None, ...]
    """One per number; None where too few values differ for knots."""
    scaler: StandardScaler

    @classmethod
    def fit(cls, data: Encoded, n_knots: int) -> "Design":
        """Knots at the quantiles of each number, missing ones put to the median."""
        fill = np.array([_median(column) for column in data.numeric.T])
        splines: list[SplineTransformer | None] = []
        for column in np.where(np.isfinite(data.numeric), data.numeric, fill).T:
            # many zeros make equal quantiles, and knots must differ
            knots = np.unique(np.percentile(column, np.linspace(0, 100, n_knots)))
            if len(np.unique(column)) < n_knots or len(knots) < _MIN_KNOTS:
                splines.append(None)
                continue
            spline = SplineTransformer(knots=knots[:, None], degree=DEGREE, extrapolation="linear")
            splines.append(spline.fit(column[:, None]))
        plain = cls(data.names, fill, tuple(splines), StandardScaler())
        plain.scaler.fit(plain._inputs(data))
        return plain

    def matrix(self, data: Encoded) -> FloatArray:
        """Scaled inputs (n, k)."""
        return np.asarray(self.scaler.transform(self._inputs(data)))

    def additive(self, model: LogisticRegression) -> AdditiveLogit:
        """The fitted regression as a function of the columns themselves."""
        weights = np.asarray(model.coef_[0], dtype=np.float64) / self.scaler.scale_
        at = self._n_levels
        terms = []
        for i, spline in enumerate(self.splines):
            width = 1 if spline is None else spline.n_features_out_
            knots = () if spline is None else tuple(spline.bsplines_[0].t.tolist())
            terms.append(Term(self.names[i], float(self.fill[i]), tuple(weights[at : at + width].tolist()), knots))
            at += width
        names = self.names[len(self.splines) :]
        terms += [Term(name, 0.0, (float(weight),)) for name, weight in zip(names, weights, strict=False)]
        return AdditiveLogit(tuple(terms), float(model.intercept_[0] - self.scaler.mean_ @ weights))

    @property
    def _n_levels(self) -> int:
        return len(self.names) - len(self.splines)

    def _inputs(self, data: Encoded) -> FloatArray:
        columns = np.where(np.isfinite(data.numeric), data.numeric, self.fill)
        parts = [data.levels]
        for i, spline in enumerate(self.splines):
            column = columns[:, [i]]
            parts.append(column if spline is None else spline.transform(column))
        return np.column_stack(parts)


def _regression(inputs: FloatArray, labels: FloatArray, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=500).fit(inputs, labels)


def _grow(data: Encoded, labels: FloatArray, config: ContractConfig, seed: int, *, named: bool = False) -> lgb.Booster:
    signs = {**dict.fromkeys(config.raises_risk, 1), **dict.fromkeys(config.lowers_risk, -1)}
    keys = {"learning_rate", "num_leaves", "min_data_in_leaf", "l2", "feature_fraction", "bagging_fraction"}
    parameters: dict[str, Any] = {
        **lightgbm_parameters(config.model_dump(include=keys)),
        "objective": "binary",
        "bagging_freq": 1,
        "verbosity": -1,
        "num_threads": 1,
        "seed": seed,
        "monotone_constraints": [signs.get(name, 0) for name in data.names],
    }
    names: Any = list(data.names) if named else "auto"
    return lgb.train(parameters, lgb.Dataset(data.flat, labels, feature_name=names), config.max_rounds)


def _sizes(booster: lgb.Booster, rows: Float32Array, config: ContractConfig) -> FloatArray:
    """Log-odds (sizes, m) after every 25th round."""
    pieces = [
        booster.predict(rows, raw_score=True, start_iteration=start, num_iteration=_EVERY)
        for start in range(0, config.max_rounds - _EVERY + 1, _EVERY)
    ]
    return np.cumsum(np.asarray(pieces, dtype=np.float64), axis=0)


def _raw(booster: lgb.Booster, columns: Float32Array | FloatArray) -> FloatArray:
    return np.asarray(booster.predict(np.asarray(columns, dtype=np.float32), raw_score=True), dtype=np.float64)


def _median(column: FloatArray) -> float:
    known = column[np.isfinite(column)]
    return float(np.median(known)) if len(known) else 0.0
