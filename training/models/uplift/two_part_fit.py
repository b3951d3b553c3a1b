"""Cross-fitted two-part models: a decision log in, predictions out, and whether customers are proven to differ by them.

Two models are fitted, one in which all customers get the same from an arm (on the scale of log-odds), and one in which they
differ. Rows that neither saw say by how much the differences are to be multiplied, and how sure that is: they predict who
responds, which shows far sooner than in money.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.evaluation.off_policy import DecisionLog
from features.scoring.two_part import TwoPart
from training.models.uplift.two_part import Parts, fit_two_part, usual_rewards

MAX_ROWS: Final = 50_000
"""Of more rows so many, drawn at random, are learned from: differences that only more can show are the trees' business."""
MAX_SLOPE: Final = 2.0
_SPREAD: Final = 0.5


@dataclass(frozen=True)
class CrossedTwoPart:
    """Predictions of every row by models that did not see it, and what they say of the differences between customers."""

    found: FloatArray  # (n, arms)
    slope: float
    """What the differences are multiplied by in `found`."""
    slope_z: float
    """The same before it was bounded, in standard errors."""


def cross_two_part(
    x: Float32Array,
    log: DecisionLog,
    parts: Parts,
    folds: IntArray,
    eligible: BoolArray | None,
    seed: int,
) -> CrossedTwoPart:
    """Fits on the other folds (n,), answers for each."""
    models, rows = [], []
    for fold in np.unique(folds):
        mine = folds == fold
        models.append(_both(x[~mine], log.select(~mine), parts, None if eligible is None else eligible[~mine], seed))
        rows.append(np.flatnonzero(mine))
    slope, error = _slope(x, log, models, rows, eligible)
    used = float(np.clip(slope, 0.0, MAX_SLOPE))
    found = np.empty((len(x), log.n_arms))
    for (same, own), mine in zip(models, rows, strict=True):
        found[mine] = _blend(same, own, used)(x[mine])
    return CrossedTwoPart(found, used, slope / error)


def final_two_part(
    x: Float32Array,
    log: DecisionLog,
    parts: Parts,
    eligible: BoolArray | None,
    seed: int,
    slope: float,
) -> TwoPart:
    """The model of all rows, differences between customers multiplied by `slope`."""
    return _blend(*_both(x, log, parts, eligible, seed), slope)


def _both(
    x: Float32Array, log: DecisionLog, parts: Parts, eligible: BoolArray | None, seed: int
) -> tuple[TwoPart, TwoPart]:
    if len(x) > MAX_ROWS:
        few = np.random.default_rng(seed).choice(len(x), MAX_ROWS, replace=False)
        x, log, eligible = x[few], log.select(few), None if eligible is None else eligible[few]
    return (
        fit_two_part(x, log, parts, eligible=eligible, spread=0.0),
        fit_two_part(x, log, parts, eligible=eligible, spread=_SPREAD),
    )


def _blend(same: TwoPart, own: TwoPart, slope: float) -> TwoPart:
    """The model in which arms differ between customers by `slope` times what they do in `own`."""

    def mixed(level: FloatArray | None, differs: FloatArray | None) -> FloatArray | None:
        if level is None or differs is None:
            return None
        more = differs - level
        common = more.mean(axis=-1, keepdims=True)
        return np.asarray(level + common + slope * (more - common))

    amount = mixed(same.amount_weights, own.amount_weights)
    assert amount is not None
    return replace(own, response_weights=mixed(same.response_weights, own.response_weights), amount_weights=amount)


def _slope(
    x: Float32Array,
    log: DecisionLog,
    models: list[tuple[TwoPart, TwoPart]],
    rows: list[IntArray],
    eligible: BoolArray | None,
) -> tuple[float, float]:
    """Regression of what came of each decision on what the two models say: the weight of the differences, and its error.

    Logistic where responses were told apart in every part, else by least squares. What is said of the customer whatever the
    arm, and every feature, have weights of their own: who the log took an arm for can then not pass for what the arm does.
    """
    logistic = all(same.response_weights is not None and own.response_weights is not None for same, own in models)
    usual = usual_rewards(log) if logistic else None
    level, differs, z = np.empty(len(x)), np.empty(len(x)), np.empty(x.shape)
    for (same, own), mine in zip(models, rows, strict=True):
        plain, apart = (_linear(model, x[mine], logistic) for model in (same, own))
        more = apart - plain
        common = more.mean(axis=1)
        at = np.arange(len(mine)), log.action[mine]
        level[mine] = plain[at] + common
        differs[mine] = more[at] - common
        z[mine] = own.standardised(x[mine])
    target = log.reward if usual is None else (np.abs(log.reward - usual[log.action]) > 1e-9).astype(np.float64)
    reached = np.ones(len(x), bool) if eligible is None else eligible[log.taken()]
    design = np.column_stack([np.ones(len(x)), level, z, differs])[reached]
    return _last_weight(design, target[reached], log.members()[reached], usual is not None)


def _linear(model: TwoPart, x: Float32Array, logistic: bool) -> FloatArray:
    if not logistic:
        return model(x)
    assert model.response_weights is not None and model.response_shift is not None
    return model.standardised(x) @ model.response_weights + model.response_shift


def _last_weight(
    design: FloatArray, target: FloatArray, groups: NDArray[np.generic], logistic: bool
) -> tuple[float, float]:
    """The last weight of a regression and its standard error, rows of a customer counted as one (sandwich)."""
    weights = np.eye(design.shape[1])[1]
    bread: FloatArray = np.eye(len(weights))
    missed = target
    for _ in range(25 if logistic else 1):
        predicted = design @ weights
        chance = expit(predicted) if logistic else predicted
        curve = chance * (1.0 - chance) if logistic else np.ones(len(chance))
        bread = np.asarray(np.linalg.pinv((design * curve[:, None]).T @ design))
        missed = target - chance
        step = bread @ (design.T @ missed)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    if not logistic:
        missed = target - design @ weights
    _, member = np.unique(groups, return_inverse=True)
    totals = np.zeros((int(member.max()) + 1, len(weights)))
    np.add.at(totals, member, design * missed[:, None])
    spread = bread @ (totals.T @ totals) @ bread
    return float(weights[-1]), float(np.sqrt(spread[-1, -1])) or np.inf
