"""A table of contracts with a churn flag in, a calibrated blend of splines and small trees out.

For contractual data there is no log: one row per customer, any columns, and whether they left. Both parts see every
column; how strongly the first is shrunk and how the two are mixed is chosen by folds within the rows that are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import SplineTransformer, StandardScaler

from features.arrays import Float32Array, FloatArray
from features.errors import InputError
from training.evaluation.metrics import log_loss
from training.models.boosted import platt

LABEL_NAMES: Final = ("churn", "churned", "label", "exited", "attrition", "left")
"""What a churn column is called where nobody says, whatever the case."""
_POSITIVE: Final = frozenset({"1", "1.0", "yes", "true", "churned", "y", "t"})
_NEGATIVE: Final = frozenset({"0", "0.0", "no", "false", "stayed", "n", "f"})
_N_MAX_LEVELS: Final = 50
_IDS: Final = ("customerid", "customer_id", "id", "rownumber")


class ContractConfig(BaseModel):
    """How the blend is grown and what the inner folds choose among."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inner_folds: int = Field(3, ge=2)
    """Folds within the training rows that choose the settings and calibrate."""
    shrinkage: tuple[float, ...] = (0.005, 0.02, 0.1, 0.5)
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
    lambda_l2: float = Field(5.0, ge=0)
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
class Contracts:
    """One row per customer: their columns, whether they churned (n,), and who they are (n,)."""

    columns: pd.DataFrame
    labels: FloatArray
    customers: NDArray[np.object_]


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


def is_contract_table(columns: Sequence[str], label: str | None = None) -> bool:
    """Whether a file with these columns is a table of contracts rather than a log."""
    return label is not None or ("occurred_at" not in columns and _label_column(columns) is not None)


def read_contracts(table: pd.DataFrame, label: str | None = None) -> Contracts:
    """Split a table into columns, label and customer. Raises InputError for a label that is missing or not yes/no."""
    name = label or _label_column(list(table.columns))
    if name is None or name not in table.columns:
        raise InputError(
            f"There is no churn column {label or 'churn'!r}.", repair=f"Name one of: {', '.join(table.columns)}."
        )
    words = table[name].astype(str).str.strip().str.lower()
    unknown = sorted(set(words) - _POSITIVE - _NEGATIVE)
    if unknown or words.isin(_POSITIVE).nunique() < 2:
        what = f"holds {unknown[0]!r}" if unknown else "has one value only"
        raise InputError(f"The churn column {name!r} {what}.", repair="Write yes and no, or 1 and 0, one per customer.")
    ids = [column for column in table.columns if str(column).lower().replace(" ", "") in _IDS]
    customers = table[ids[0]].astype(str).to_numpy() if ids else table.index.astype(str).to_numpy()
    return Contracts(table.drop(columns=[name, *ids]), words.isin(_POSITIVE).to_numpy().astype(np.float64), customers)


def encode(columns: pd.DataFrame) -> Encoded:
    """Numbers stay numbers, words become one column per level; names, free text and constants are left out.

    Text of which almost all is a number (a blank among amounts) is a number with gaps.
    """
    numeric, levels, names, level_names = [], [], [], []
    for name in columns.columns:
        column = columns[name]
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        distinct = column.nunique()
        if distinct < 2:
            continue
        if numbers.notna().mean() > 0.95 and distinct > 2:
            numeric.append(numbers.to_numpy())
            names.append(str(name))
        elif distinct <= _N_MAX_LEVELS:
            words = column.astype(str)
            for level in sorted(words.unique()):
                levels.append((words == level).to_numpy(float))
                level_names.append(f"{name}={level}")
    empty = np.zeros((len(columns), 0))
    return Encoded(
        np.column_stack(numeric) if numeric else empty,
        np.column_stack(levels) if levels else empty,
        (*names, *level_names),
    )


def fit_predict(
    data: Encoded,
    labels: FloatArray,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    config: ContractConfig,
    seed: int,
) -> FloatArray:
    """Probabilities (m,) of the rows `test`, everything learned and chosen on the rows `train`."""
    folds = list(StratifiedKFold(config.inner_folds, shuffle=True, random_state=seed).split(train, labels[train]))
    y = labels[train]
    ones = np.ones(len(train))
    linear = {strength: np.empty(len(train)) for strength in config.shrinkage}
    trees = np.empty((config.max_rounds // _EVERY, len(train)))
    for inner, held in folds:
        known, asked = train[inner], train[held]
        for strength, scores in zip(
            config.shrinkage, spline_scores(data, labels, known, asked, config.shrinkage, config.n_knots), strict=True
        ):
            linear[strength][held] = scores
        trees[:, held] = tree_scores(data, labels, known, asked, config, seed)
    strength = min(linear, key=lambda one: log_loss(y, expit(linear[one]))(ones))
    step = min(range(len(trees)), key=lambda at: log_loss(y, expit(trees[at]))(ones))
    weight = min(_WEIGHTS, key=lambda w: log_loss(y, expit(w * linear[strength] + (1 - w) * trees[step]))(ones))
    slope, shift = platt(weight * linear[strength] + (1 - weight) * trees[step], y)
    raw = weight * spline_scores(data, labels, train, test, (strength,), config.n_knots)[0]
    raw = raw + (1 - weight) * tree_scores(data, labels, train, test, config, seed)[step]
    return np.asarray(expit(slope * raw + shift))


_EVERY: Final = 25
"""Trees between two sizes that are compared."""
_WEIGHTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the spline regression in the blend that are compared."""


def spline_scores(
    data: Encoded,
    labels: FloatArray,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    strengths: Sequence[float],
    n_knots: int,
) -> list[FloatArray]:
    """Log-odds (m,) per inverse penalty of a logistic regression on cubic splines of the numbers and on the levels."""
    parts = [(data.levels[train], data.levels[test])]
    for i in range(data.numeric.shape[1]):
        column = data.numeric[:, [i]]
        middle = np.nanmedian(column[train])
        column = np.where(np.isfinite(column), column, middle)
        spline = SplineTransformer(n_knots=n_knots, degree=3, knots="quantile", extrapolation="linear")
        if len(np.unique(column[train])) < n_knots:
            parts.append((column[train], column[test]))
            continue
        spline.fit(column[train])
        parts.append((spline.transform(column[train]), spline.transform(column[test])))
    scaler = StandardScaler().fit(np.column_stack([known for known, _ in parts]))
    known, asked = (scaler.transform(np.column_stack(side)) for side in zip(*parts, strict=True))
    return [
        np.asarray(LogisticRegression(C=strength, max_iter=500).fit(known, labels[train]).decision_function(asked))
        for strength in strengths
    ]


def tree_scores(
    data: Encoded,
    labels: FloatArray,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    config: ContractConfig,
    seed: int,
) -> FloatArray:
    """Log-odds (sizes, m) of boosted trees after every 25th round."""
    flat = data.flat
    signs = {**dict.fromkeys(config.raises_risk, 1), **dict.fromkeys(config.lowers_risk, -1)}
    parameters = {
        **config.model_dump(
            include={
                *("learning_rate", "num_leaves", "min_data_in_leaf", "lambda_l2"),
                *("feature_fraction", "bagging_fraction"),
            }
        ),
        "objective": "binary",
        "bagging_freq": 1,
        "verbosity": -1,
        "num_threads": 1,
        "seed": seed,
        "monotone_constraints": [signs.get(name, 0) for name in data.names],
        "deterministic": True,
        "force_row_wise": True,
    }
    booster = lgb.train(parameters, lgb.Dataset(flat[train], labels[train]), config.max_rounds)
    rows = flat[test]
    pieces = [
        booster.predict(rows, raw_score=True, start_iteration=start, num_iteration=_EVERY)
        for start in range(0, config.max_rounds - _EVERY + 1, _EVERY)
    ]
    return np.cumsum(np.asarray(pieces, dtype=np.float64), axis=0)


def _label_column(columns: Sequence[str]) -> str | None:
    return next((name for name in columns if str(name).strip().lower() in LABEL_NAMES), None)
