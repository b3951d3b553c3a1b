"""Calibrated LightGBM boosters: features and yes/no labels in, a booster out; shared by churn and best-channel.

The Platt calibration `sigmoid(slope * raw + shift)` is written into the trees' leaves, so that the plain
`Booster.predict` of the saved file is the calibrated probability and its contributions still add up.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import lightgbm as lgb
import numpy as np
from pydantic import Field
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from features.arrays import Float32Array, FloatArray
from features.config import Config
from features.scoring.log_linear import filled_logarithms

logger = logging.getLogger(__name__)

RoundCallback = Callable[[int, float], None]
"""Gets the boosting round and the validation log-loss; may raise to stop a hopeless trial."""


SHAP_ROWS: Final = 1_000
"""Test rows whose contributions a summary shows; exact ones are far slower than predictions."""
LIGHTGBM_NAMES: Final = {"l2": "lambda_l2", "n_threads": "num_threads"}
"""Our names of parameters that LightGBM calls otherwise; the rest is called the same, see training/README.md."""


class BoosterConfig(Config):
    """Size and pace of a booster."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "lambda_l2": "l2",
        "early_stopping_rounds": "patience",
        "num_threads": "n_threads",
    }

    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of each tree that is added."""
    num_leaves: int = Field(8, ge=2)
    """Leaves of a tree; small trees, because positives are few."""
    min_data_in_leaf: int = Field(100, ge=1)
    """Fewest rows in a leaf."""
    l2: float = Field(10.0, ge=0)
    """Shrinks leaf values."""
    feature_fraction: float = Field(0.5, gt=0, le=1)
    """Share of the signals that a tree may look at."""
    bagging_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the rows that a tree is grown on."""
    max_rounds: int = Field(400, ge=1)
    """Most trees."""
    patience: int = Field(40, ge=1)
    """Trees without a gain on the validation period after which growing stops."""
    max_bin: int = Field(63, ge=2, le=255)
    """Steps that a signal is rounded to; few are quicker and no worse on noisy data."""
    refit: bool = True
    """Grow the same number of trees again on training and validation rows together; the calibration stays as found."""
    raises: tuple[str, ...] = ()
    """Signals of which more can only raise the prediction (a monotone constraint)."""
    lowers: tuple[str, ...] = ()
    """Signals of which more can only lower the prediction."""
    n_threads: int = Field(1, ge=1)
    """Threads. One is nearly as quick on this much data, and far quicker on a machine that is busy with other work."""


@dataclass(frozen=True)
class Fitted:
    """A calibrated booster and how it came about."""

    booster: lgb.Booster
    slope: float
    shift: float
    history: tuple[float, ...]
    """Validation log-loss after each round, before calibration."""


def fit_calibrated(
    train: tuple[Float32Array, FloatArray],
    valid: tuple[Float32Array, FloatArray],
    names: Sequence[str],
    config: BoosterConfig,
    seed: int,
    on_round: RoundCallback | None = None,
) -> Fitted:
    """Grow trees on `train` until `valid` stops gaining, calibrate on `valid`, fold the calibration into the leaves.

    With `config.refit` the trees are then grown again on both; the calibration is still the one of trees that had
    not seen `valid`.
    """
    dataset = lgb.Dataset(train[0], train[1], feature_name=list(names), free_raw_data=True)
    evaluations: dict[str, dict[str, list[float]]] = {}
    callbacks: list[Callable[..., Any]] = [
        lgb.early_stopping(config.patience, verbose=False),
        lgb.record_evaluation(evaluations),
    ]
    if on_round is not None:
        callbacks.append(_reporter(on_round))
    booster = lgb.train(
        parameters(config, seed, names),
        dataset,
        num_boost_round=config.max_rounds,
        valid_sets=[lgb.Dataset(valid[0], valid[1], reference=dataset)],
        valid_names=["valid"],
        callbacks=callbacks,
    )
    kept = lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    slope, shift = platt(predict(kept, valid[0], raw=True), valid[1])
    if config.refit:
        rows = lgb.Dataset(
            np.concatenate([train[0], valid[0]]),
            np.concatenate([train[1], valid[1]]),
            feature_name=list(names),
        )
        kept = lgb.train(parameters(config, seed, names), rows, num_boost_round=kept.num_trees())
    history = tuple(evaluations["valid"]["binary_logloss"])
    return Fitted(fold_calibration(kept, slope, shift), slope, shift, history)


def parameters(config: BoosterConfig, seed: int, names: Sequence[str] = ()) -> dict[str, object]:
    """LightGBM's parameters: the config plus what makes a run repeatable; `names` are needed for constraints."""
    signs = {**dict.fromkeys(config.raises, 1), **dict.fromkeys(config.lowers, -1)}
    constraints = [signs.get(name, 0) for name in names]
    return {
        **lightgbm_parameters(config.model_dump(exclude={"max_rounds", "patience", "refit", "raises", "lowers"})),
        **({"monotone_constraints": constraints} if any(constraints) else {}),
        "objective": "binary",
        "metric": "binary_logloss",
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def lightgbm_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by our names as LightGBM takes them."""
    return {LIGHTGBM_NAMES.get(name, name): value for name, value in values.items()}


def predict(booster: lgb.Booster, features: Float32Array, *, raw: bool = False) -> FloatArray:
    """Probabilities, or log-odds with `raw`, of features (n, F): shape (n,)."""
    return np.asarray(booster.predict(features, raw_score=raw), dtype=np.float64)


def contributions(booster: lgb.Booster, features: Float32Array) -> FloatArray:
    """What each signal adds to the log-odds (n, F) of features (n, F), exactly (TreeSHAP); without the expected value."""
    return np.asarray(booster.predict(features, pred_contrib=True), dtype=np.float64)[:, :-1]


def platt(
    raw: FloatArray, labels: FloatArray, prior_strength: float = 100.0, weights: FloatArray | None = None
) -> tuple[float, float]:
    """Slope and shift of `sigmoid(slope * raw + shift)` by penalised maximum likelihood (Platt 1999).

    The penalty pulls towards "leave it as it is" (1, 0) with the weight of about `prior_strength` rows; the slope is
    never negative, so calibration does not turn the ranking around. Rows count by `weights` (n,), whose scale does not
    matter.
    """
    share = np.ones(len(raw)) if weights is None else weights / np.mean(weights)
    centre = float(np.average(raw, weights=share))
    design = np.column_stack([raw - centre, np.ones(len(raw))])
    start = np.array([1.0, centre])
    found = start.copy()
    for _ in range(50):
        p = expit(design @ found)
        curvature = p * (1 - p) * share
        penalty = prior_strength * max(float(np.mean(curvature)), 1e-6)
        gradient = design.T @ ((p - labels) * share) + penalty * (found - start)
        hessian = (design * curvature[:, None]).T @ design + penalty * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    if found[0] < 0:
        return 0.0, float(logit(np.clip(np.average(labels, weights=share), 1e-6, 1 - 1e-6)))
    return float(found[0]), float(found[1] - found[0] * centre)


def level_shift(log_odds: FloatArray, mean: float) -> float:
    """What to add to log-odds (n,) so that their probabilities have this mean; a mean of 0 or 1 is kept just off it."""
    target = min(max(mean, 1e-6), 1 - 1e-6)
    reach = float(np.abs(log_odds).max()) + 20.0
    return float(brentq(lambda shift: float(expit(log_odds + shift).mean()) - target, -reach, reach))


def fold_calibration(booster: lgb.Booster, slope: float, shift: float) -> lgb.Booster:
    """The same booster with every leaf multiplied by `slope` and `shift` added to the leaves of the first tree."""
    folded = lgb.Booster(model_str=booster.model_to_string())
    for tree, described in enumerate(folded.dump_model()["tree_info"]):
        for leaf in range(_n_leaves(described["tree_structure"])):
            value = folded.get_leaf_output(tree, leaf) * slope + (shift if tree == 0 else 0.0)
            folded.set_leaf_output(tree, leaf, value)
    return lgb.Booster(model_str=folded.model_to_string())


def constant_booster(rate: float, names: Sequence[str]) -> lgb.Booster:
    """A booster that answers `rate` whatever the features; for arms with too few answers to learn from."""
    labels = np.array([0.0, 1.0])
    dataset = lgb.Dataset(
        np.zeros((2, len(names)), dtype=np.float32),
        labels,
        feature_name=list(names),
        params={"min_data_in_bin": 1, "feature_pre_filter": False},
    )
    booster = lgb.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, dataset, num_boost_round=1)
    target = float(logit(np.clip(rate, 1e-6, 1 - 1e-6)))
    return fold_calibration(booster, 0.0, target)


def shrunk_rate(labels: FloatArray, prior_rate: float, prior_strength: float = 100.0) -> float:
    """The share of positives, pulled towards `prior_rate` with the weight of `prior_strength` rows."""
    return float((labels.sum() + prior_rate * prior_strength) / (len(labels) + prior_strength))


def logistic_scores(train: tuple[Float32Array, FloatArray], test: Float32Array) -> FloatArray:
    """Probabilities (n,) on `test` of a logistic regression on the log of the (non-negative) features.

    A missing value is put where the largest known one is: "never" is at least as long ago as anything seen.
    """
    fill = np.nanmax(np.where(np.isfinite(train[0]), train[0], 0.0), axis=0)
    prepared = [filled_logarithms(rows, fill) for rows in (train[0], test)]
    scaler = StandardScaler().fit(prepared[0])
    model = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(prepared[0]), train[1])
    scores: FloatArray = model.predict_proba(scaler.transform(prepared[1]))[:, 1]
    return scores


def _n_leaves(node: dict[str, Any]) -> int:
    if "leaf_value" in node:
        return 1
    return sum(_n_leaves(node[side]) for side in ("left_child", "right_child"))


def _reporter(on_round: RoundCallback) -> Callable[[lgb.callback.CallbackEnv], None]:
    def callback(env: lgb.callback.CallbackEnv) -> None:
        on_round(env.iteration, float((env.evaluation_result_list or [])[0][2]))

    return callback
