"""The two-part learner, for few decisions and rare answers: features and a decision log in, a `TwoPart` of all arms out.

Whether anything comes of a decision is far easier to learn than how much money does, so the two are learned apart. And
arms have much in common: that something is sent at all, the channel, the part of the day. An arm's weights are a sum
over what it has in common with others (the parts of its name: `email_morning` is `email` and `morning`) and of what all
arms share, each pulled towards 0 as a normal prior does. So an arm with few rows answers much like its relatives, and a
customer much like everybody.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.evaluation.off_policy import DecisionLog
from features.scoring.log_linear import signed_log1p
from features.scoring.two_part import TwoPart

USUAL_SHARE: Final = 0.5
"""An arm's most frequent reward is its usual one where more than this share of its decisions had it."""
MIN_RESPONSES: Final = 20
"""With fewer responses nothing is learned of who responds."""
_PRIOR_COMMON: Final = 0.3
"""Prior standard deviations, in log-odds per standard deviation of a feature: of what all arms share,"""
_PRIOR_PART: Final = 0.1
"""of what a part of the name adds,"""
_PRIOR_LEVELS: Final = 1.0
"""of a part's level,"""
_PRIOR_OWN_LEVEL: Final = 0.3
"""and of an arm's own level beside its parts."""


@dataclass(frozen=True)
class Parts:
    """What arms are made of: memberships (arms, P) for levels, and (arms, Q) for weights."""

    levels: FloatArray
    level_priors: FloatArray  # (P,)
    weights: FloatArray
    reference: int | None
    """The arm that does nothing, and that an arm is worth by which a customer cannot be reached."""

    @classmethod
    def of(cls, arms: Sequence[str], reference: int | None) -> "Parts":
        """From the arms' names; the reference arm, which does nothing, has no parts."""
        words = [set(re.findall(r"[^\W_]+", arm.lower())) if i != reference else set() for i, arm in enumerate(arms)]
        named = np.array([[word in have for word in sorted(set().union(*words))] for have in words], dtype=np.float64)
        anything = np.array([[float(i != reference)] for i in range(len(arms))])
        shared = np.unique(np.column_stack([anything, named]), axis=1)
        shared = shared[:, (shared.sum(axis=0) > 0) & (shared.sum(axis=0) < len(arms))]
        own = np.eye(len(arms))[:, [i for i in range(len(arms)) if i != reference]]
        priors = np.array([_PRIOR_LEVELS] * shared.shape[1] + [_PRIOR_OWN_LEVEL] * own.shape[1])
        return cls(np.column_stack([shared, own]), priors, shared, reference)


@dataclass(frozen=True)
class _Rows:
    """Rows in the order of their arms: z (n, F) with a slice per arm."""

    z: FloatArray
    order: IntArray
    slices: tuple[slice, ...]

    @classmethod
    def of(cls, z: FloatArray, action: IntArray, n_arms: int) -> "_Rows":
        order = np.argsort(action, kind="stable")
        ends = np.cumsum(np.bincount(action, minlength=n_arms)).tolist()
        return cls(z[order], order, tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)))


Loss = Callable[[FloatArray, FloatArray], tuple[float, FloatArray]]
"""Linear predictor (n,) and target (n,) to the summed loss and its derivative (n,)."""


def fit_two_part(
    x: Float32Array,
    log: DecisionLog,
    parts: Parts,
    *,
    eligible: BoolArray | None = None,
    spread: float = 1.0,
) -> TwoPart:
    """Maximum a posteriori; `spread` multiplies the prior deviation of customers' differences between arms (0: none).

    Decisions whose arm was not `eligible` (n, arms), which therefore came to nothing, say nothing of the arm and are
    left out.
    """
    if eligible is not None:
        reached = eligible[log.taken()]
        if reached.any():
            x, log = x[reached], log.select(reached)
    logs = signed_log1p(x)
    known = np.isfinite(logs)
    fill = np.where(known, logs, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    full = np.where(known, logs, fill)
    mean, scale = full.mean(axis=0), full.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = (full - mean) / scale
    usual = usual_rewards(log)
    excess = log.reward - (0.0 if usual is None else usual[log.action])
    responded = np.ones(len(log), bool) if usual is None else np.abs(excess) > 1e-9
    if responded.sum() < MIN_RESPONSES:
        usual, responded = None, np.ones(len(log), bool)
        excess = log.reward
    response = None
    if usual is not None:
        response = _fit(_Rows.of(z, log.action, log.n_arms), responded.astype(float), parts, _logistic, spread)
    size = max(float(excess[responded].std()), 1e-9)
    middle = float(excess[responded].mean())
    weights, shift = _fit(
        _Rows.of(z[responded], log.action[responded], log.n_arms),
        (excess[responded] - middle) / size,
        parts,
        _squared,
        spread,
    )
    return TwoPart(
        fill=fill,
        mean=mean,
        scale=scale,
        usual=np.zeros(log.n_arms) if usual is None else usual,
        response_weights=None if response is None else response[0],
        response_shift=None if response is None else response[1],
        amount_weights=size * weights,
        amount_shift=size * shift + middle,
    )


def usual_rewards(log: DecisionLog) -> FloatArray | None:
    """The most frequent reward of every arm, (arms,); None unless it is frequent with most decisions."""
    usual, covered = np.zeros(log.n_arms), 0
    for arm in range(log.n_arms):
        values, counts = np.unique(np.round(log.reward[log.action == arm], 9), return_counts=True)
        if len(counts) and counts.max() > USUAL_SHARE * counts.sum():
            usual[arm] = values[counts.argmax()]
            covered += int(counts.sum())
    return usual if covered > USUAL_SHARE * len(log) else None


def _fit(rows: _Rows, target: FloatArray, parts: Parts, loss: Loss, spread: float) -> tuple[FloatArray, FloatArray]:
    """Weights (F, arms) and shifts (arms,) with the highest posterior."""
    n_features, y = rows.z.shape[1], target[rows.order]
    n_levels, n_weights = parts.levels.shape[1], parts.weights.shape[1]
    deviation = np.concatenate(
        [
            [10.0],
            parts.level_priors,
            np.full(n_features, _PRIOR_COMMON),
            np.full(n_weights * n_features, _PRIOR_PART * spread),
        ]
    )
    ends = np.cumsum([1, n_levels, n_features])

    def unpacked(scaled: FloatArray) -> tuple[FloatArray, FloatArray]:
        shift, levels, common, own = np.split(scaled * deviation, ends)
        weights = common[:, None] + own.reshape(n_features, n_weights) @ parts.weights.T
        return weights, shift + parts.levels @ levels

    def objective(scaled: FloatArray) -> tuple[float, FloatArray]:
        weights, shift = unpacked(scaled)
        predicted = np.empty(len(y))
        for arm, mine in enumerate(rows.slices):
            predicted[mine] = rows.z[mine] @ weights[:, arm] + shift[arm]
        value, slope = loss(predicted, y)
        by_weight = np.column_stack([slope[mine] @ rows.z[mine] for mine in rows.slices])  # (F, arms)
        by_shift = np.array([slope[mine].sum() for mine in rows.slices])
        gradient = np.concatenate(
            [[by_shift.sum()], by_shift @ parts.levels, by_weight.sum(axis=1), (by_weight @ parts.weights).ravel()]
        )
        return value + 0.5 * float(scaled @ scaled), gradient * deviation + scaled

    found = minimize(objective, np.zeros(len(deviation)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return unpacked(found.x)


def _logistic(predicted: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    return float(np.logaddexp(0.0, predicted).sum() - y @ predicted), expit(predicted) - y


def _squared(predicted: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    missed = predicted - y
    return 0.5 * float(missed @ missed), missed
