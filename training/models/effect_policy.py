"""Features and a decision log in, a policy out that leaves the best single arm only where the log proves a gain.

A learner's effects are calibrated on rows that it did not see (the slope of the scores on the predictions, as in the
best linear predictor of Chernozhukov et al. 2018) and shrunk by that slope. Where the slope is not beyond doubt above
zero, so that customers are not proven to differ, or the policy gains nothing on those rows, it is the best single arm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.metrics import FloatArray
from training.models.effects import EffectConfig, EffectLearner, Features, Predict, candidates, reward_model
from training.policy_value import DecisionLog, IntArray, known_arms, scores

BEST_SINGLE_ARM: Final = "best_single_arm"
GATE_Z: Final = 2.33
"""Standard errors by which the slope must be above 0: five learners compete, so 5 % in all is 1 % each."""
MAX_SLOPE: Final = 1.5


@dataclass(frozen=True)
class EffectPolicy:
    """Expected rewards per arm relative to the best single arm, whether choices may follow them, and where from."""

    base_arm: int
    n_arms: int
    personal: bool
    """Whether customers were proven to differ, so that choices do."""
    learner: str
    """Who gave the effects; empty where there was nothing to learn from."""
    gain: float
    """Gain over the best single arm on rows that the learner had not seen, mean reward per decision."""
    gain_error: float
    slope: float
    """What the effects are multiplied by."""
    slope_z: float
    """The slope before it was bounded, in standard errors."""
    means: FloatArray  # (arms,) shrunk mean scores less the base arm's; minus infinity where the log says too little
    centre: FloatArray  # (arms,) mean of the predictions relative to the base arm's
    predict: Predict | None

    def effects(self, x: Features, trust: FloatArray | None = None) -> FloatArray:
        """Expected reward of every arm less the base arm's, (n, arms), whether proven or not.

        `trust` (n,) in [0, 1] is how much of a customer's own difference counts: 0 gives the population's answer.
        """
        if self.predict is None:
            return np.tile(self.means, (len(x), 1))
        found = self.predict(x)
        own = self.slope * (found - found[:, [self.base_arm]] - self.centre)
        return np.asarray(self.means + (own if trust is None else trust[:, None] * own))

    def arms(self, x: Features, trust: FloatArray | None = None, eligible: NDArray[np.bool_] | None = None) -> IntArray:
        """The arm to take, (n,): the one with the highest expected reward among the eligible ones (n, arms).

        Where customers are not proven to differ everybody gets the arm that is best on the whole, of those eligible.
        """
        found = self.effects(x, trust) if self.personal else np.tile(self.means, (len(x), 1))
        return best_eligible(found, eligible)

    @property
    def name(self) -> str:
        """The learner that choices follow, or `best_single_arm`."""
        return self.learner if self.personal else BEST_SINGLE_ARM


@dataclass(frozen=True)
class _Candidate:
    learner: str
    slope: float
    slope_z: float
    centre: FloatArray
    gain: float
    error: float


def fold_numbers(groups: NDArray[np.generic], n_folds: int, seed: int) -> IntArray:
    """A fold (n,) for every row, the same for all rows of a group, folds of about equal numbers of groups."""
    _, member = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(member.max()) + 1)
    return np.asarray(order[member] % n_folds, dtype=np.int64)


def crossed(fit: Callable[[NDArray[np.bool_]], Predict], x: Features, folds: IntArray) -> FloatArray:
    """Predictions (n, arms) of every row by a model fitted on the other folds."""
    found: FloatArray | None = None
    for fold in np.unique(folds):
        mine = folds == fold
        part = fit(~mine)(x[mine])
        found = np.empty((len(x), part.shape[1])) if found is None else found
        found[mine] = part
    assert found is not None
    return found


def learn_policy(
    x: Features,
    log: DecisionLog,
    config: EffectConfig,
    *,
    seed: int,
    trust: FloatArray | None = None,
    eligible: NDArray[np.bool_] | None = None,
    n_folds: int = 3,
    gate_z: float = GATE_Z,
) -> EffectPolicy:
    """The policy for features x (n, F); `trust` and `eligible` as in EffectPolicy. No other rows are looked at."""
    folds = fold_numbers(log.members(), n_folds, seed)
    rewards = crossed(lambda rows: reward_model(x[rows], log.select(rows), config, seed), x, folds)
    score = scores(log, rewards)
    levels = arm_levels(score, eligible)
    seen = known_arms(log)
    base = int(np.argmax(np.where(seen, arm_levels(score), -np.inf)))
    means = np.where(seen, levels - levels[base], -np.inf)
    if x.shape[1] == 0:
        return EffectPolicy(base, log.n_arms, False, "", 0.0, 0.0, 0.0, 0.0, means, np.zeros(log.n_arms), None)
    known = candidates(log.n_arms, config)
    judged = []
    for name, learner in known.items():

        def fit(rows: NDArray[np.bool_], learner: EffectLearner = learner) -> Predict:
            return learner(x[rows], log.select(rows), score[rows], config, seed)

        found = crossed(fit, x, folds)
        judged.append(_judge(name, found, score, base, means, log, trust, eligible))
    proven = [one for one in judged if one.slope_z > gate_z and one.gain > 0]
    best = max(proven or judged, key=lambda one: (one.gain, one.slope_z))
    final = known[best.learner](x, log, score, config, seed)
    return EffectPolicy(
        base, log.n_arms, bool(proven), best.learner, best.gain, best.error, best.slope, best.slope_z, means,
        best.centre, final,
    )  # fmt: skip


def best_eligible(values: FloatArray, eligible: NDArray[np.bool_] | None) -> IntArray:
    """Column of the highest of the eligible values (n, arms), (n,); of all where a row has none or none are given."""
    if eligible is None:
        return np.argmax(values, axis=1)
    allowed = eligible | ~eligible.any(axis=1, keepdims=True)
    return np.argmax(np.where(allowed, values, -np.inf), axis=1)


def arm_levels(score: FloatArray, eligible: NDArray[np.bool_] | None = None) -> FloatArray:
    """Mean score of every arm, (arms,), each pulled towards the mean of all by how unsure it is (empirical Bayes).

    The arms' own spread is what their means vary by beyond their errors, and at least a hundredth of those. With
    `eligible` (n, arms) an arm's mean is over the rows in which it could have been taken.
    """
    rows = np.ones(score.shape) if eligible is None else eligible.astype(np.float64)
    n = np.maximum(rows.sum(axis=0), 1.0)
    means = (rows * score).sum(axis=0) / n
    errors = (rows * (score - means) ** 2).sum(axis=0) / n**2
    spread = max(float(means.var(ddof=1) - errors.mean()), 0.01 * float(errors.mean()), 1e-300)
    centre = float(np.average(means, weights=1 / (spread + errors)))
    return np.asarray(centre + (means - centre) * spread / (spread + errors))


def _judge(
    name: str,
    found: FloatArray,
    score: FloatArray,
    base: int,
    means: FloatArray,
    log: DecisionLog,
    trust: FloatArray | None,
    eligible: NDArray[np.bool_] | None,
) -> _Candidate:
    contrast = found - found[:, [base]]
    centre = contrast.mean(axis=0)
    moved = contrast - centre
    if trust is not None:
        moved = trust[:, None] * moved
    target = score - score[:, [base]]
    target = target - target.mean(axis=0)
    spread = float((moved**2).sum())
    raw = float((moved * target).sum()) / spread if spread > 0 else 0.0
    misses = (moved * (target - raw * moved)).sum(axis=1)
    error = clustered_error(misses, log.members()) * len(misses) / spread if spread > 0 else np.inf
    slope = float(np.clip(raw, 0.0, MAX_SLOPE))
    rows = np.arange(len(score))
    chosen = best_eligible(means + slope * moved, eligible)
    plain = best_eligible(np.tile(means, (len(score), 1)), eligible)
    gains = score[rows, chosen] - score[rows, plain]
    return _Candidate(name, slope, raw / error, centre, float(gains.mean()), clustered_error(gains, log.members()))


def clustered_error(values: FloatArray, groups: NDArray[np.generic]) -> float:
    """Standard error of the mean of values (n,) whose rows belong to customers."""
    _, member = np.unique(groups, return_inverse=True)
    totals = np.bincount(member, values - values.mean())
    return float(np.sqrt((totals**2).sum()) / len(values))
