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
from training.models.effects import EffectConfig, Features, Predict, candidates, reward_model
from training.policy_value import DecisionLog, IntArray, scores

BEST_SINGLE_ARM: Final = "best_single_arm"
GATE_Z: Final = 2.24
"""Standard errors by which the slope must be above 0: four learners compete, so 5 % in all is 1.25 % each."""
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
    means: FloatArray  # (arms,) scores relative to the base arm's
    _effects: Predict | None
    _centre: FloatArray  # (arms,)

    def effects(self, x: Features) -> FloatArray:
        """Expected reward of every arm less the base arm's, (n, arms), whether proven or not."""
        if self._effects is None:
            return np.tile(self.means, (len(x), 1))
        found = self._effects(x)
        found = found - found[:, [self.base_arm]]
        return np.asarray(self.means + self.slope * (found - self._centre))

    def arms(self, x: Features) -> IntArray:
        """The arm to take, (n,): the one with the highest expected reward, or for everybody the best single arm."""
        return np.argmax(self.effects(x), axis=1) if self.personal else np.full(len(x), self.base_arm)

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
    x: Features, log: DecisionLog, config: EffectConfig, *, seed: int, n_folds: int = 3, gate_z: float = GATE_Z
) -> EffectPolicy:
    """The policy for features x (n, F). Nothing outside these rows is looked at."""
    folds = fold_numbers(log.members(), n_folds, seed)
    rewards = crossed(lambda rows: reward_model(x[rows], log.select(rows), config, seed), x, folds)
    score = scores(log, rewards)
    base = best_arm(log, score)
    means = (score - score[:, [base]]).mean(axis=0)
    if x.shape[1] == 0:
        return EffectPolicy(base, log.n_arms, False, "", 0.0, 0.0, 0.0, 0.0, means, None, np.zeros(log.n_arms))
    known = candidates(log.n_arms, config)
    judged = []
    for name, learner in known.items():
        found = crossed(lambda rows, fit=learner: fit(x[rows], log.select(rows), score[rows], config, seed), x, folds)
        judged.append(_judge(name, found, score, base, means, log))
    proven = [one for one in judged if one.slope_z > gate_z and one.gain > 0]
    best = max(proven or judged, key=lambda one: (one.gain, one.slope_z))
    final = known[best.learner](x, log, score, config, seed)
    return EffectPolicy(
        base, log.n_arms, bool(proven), best.learner, best.gain, best.error, best.slope, best.slope_z, means, final,
        best.centre,
    )  # fmt: skip


def best_arm(log: DecisionLog, score: FloatArray) -> int:
    """The arm with the highest mean score among those that the log took."""
    seen = np.bincount(log.action, minlength=log.n_arms) > 0
    return int(np.argmax(np.where(seen, score.mean(axis=0), -np.inf)))


def _judge(
    name: str, found: FloatArray, score: FloatArray, base: int, means: FloatArray, log: DecisionLog
) -> _Candidate:
    contrast = found - found[:, [base]]
    centre = contrast.mean(axis=0)
    moved = contrast - centre
    target = score - score[:, [base]] - means
    spread = float((moved**2).sum())
    raw = float((moved * target).sum()) / spread if spread > 0 else 0.0
    misses = (moved * (target - raw * moved)).sum(axis=1)
    error = clustered_error(misses, log.members()) * len(misses) / spread if spread > 0 else np.inf
    slope = float(np.clip(raw, 0.0, MAX_SLOPE))
    chosen = np.argmax(means + slope * moved, axis=1)
    gains = score[np.arange(len(score)), chosen] - score[:, base]
    return _Candidate(name, slope, raw / error, centre, float(gains.mean()), clustered_error(gains, log.members()))


def clustered_error(values: FloatArray, groups: NDArray[np.generic]) -> float:
    """Standard error of the mean of values (n,) whose rows belong to customers."""
    _, member = np.unique(groups, return_inverse=True)
    totals = np.bincount(member, values - values.mean())
    return float(np.sqrt((totals**2).sum()) / len(values))
