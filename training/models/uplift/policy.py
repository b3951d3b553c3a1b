"""A policy from effects: features and a decision log in, the best single arm out unless the log proves a gain over it.

Every candidate's effects are calibrated on rows that it did not see and shrunk by what they say: those of the two-part
model by whether it foretells who responds (two_part_fit.py), the others' by the slope of the doubly robust scores on the
predictions (the best linear predictor of Chernozhukov et al. 2018). Where no slope is beyond doubt above zero, so that
customers are not proven to differ, or the policy loses on those rows, everybody gets what is best on the whole. Of those
that are proven the steadiest is taken whose gain is not behind the best one's by more than its standard error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.evaluation.off_policy import DecisionLog, known_arms, scores
from training.models.uplift.cross_fitting import crossed, fold_numbers
from training.models.uplift.meta_learners import LEARNERS, TWO_PART, EffectConfig, candidates, reward_model
from training.models.uplift.predictors import Predict
from training.models.uplift.shrinkage import arm_levels, best_eligible, clustered_error, eligible_means
from training.models.uplift.two_part import Parts
from training.models.uplift.two_part_fit import CrossedTwoPart, cross_two_part, final_two_part

BEST_SINGLE_ARM: Final = "best_single_arm"
GATE_Z: Final = 2.4
"""Standard errors by which a slope must be above 0: six learners compete, so 5 % in all is 0.8 % each."""
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

    def effects(self, x: Float32Array, trust: FloatArray | None = None) -> FloatArray:
        """Expected reward of every arm less the base arm's, (n, arms), whether proven or not.

        `trust` (n,) in [0, 1] is how much of a customer's own difference counts: 0 gives the population's answer.
        """
        if self.predict is None:
            return np.tile(self.means, (len(x), 1))
        found = self.predict(x)
        own = self.slope * (found - found[:, [self.base_arm]] - self.centre)
        return np.asarray(self.means + (own if trust is None else trust[:, None] * own))

    def arms(self, x: Float32Array, trust: FloatArray | None = None, eligible: BoolArray | None = None) -> IntArray:
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
    gains: FloatArray  # (n,) score of the arm chosen less that of the arm that is best on the whole
    error: float
    final: Callable[[], Predict]

    @property
    def gain(self) -> float:
        return float(self.gains.mean())


@dataclass(frozen=True)
class _Judge:
    """What candidates are judged by: rows with their scores (n, arms) and what is best on the whole."""

    x: Float32Array
    log: DecisionLog
    folds: IntArray
    score: FloatArray
    base: int
    means: FloatArray
    trust: FloatArray | None
    eligible: BoolArray | None

    def learned(self, name: str, config: EffectConfig, seed: int) -> _Candidate:
        """One of LEARNERS, its effects multiplied by the slope of the scores on them."""

        def fit(rows: BoolArray) -> Predict:
            return LEARNERS[name](self.x[rows], self.log.select(rows), self.score[rows], config, seed)

        found = crossed(fit, self.x, self.folds)
        contrast = found - found[:, [self.base]]
        centre = contrast.mean(axis=0)
        moved = self._trusted(contrast - centre)
        target = self.score - self.score[:, [self.base]]
        target = target - target.mean(axis=0)
        spread = float((moved**2).sum())
        raw = float((moved * target).sum()) / spread if spread > 0 else 0.0
        misses = (moved * (target - raw * moved)).sum(axis=1)
        error = clustered_error(misses, self.log.members()) * len(misses) / spread if spread > 0 else np.inf
        slope = float(np.clip(raw, 0.0, MAX_SLOPE))
        return self._candidate(name, slope, raw / error, centre, slope * moved, lambda: fit(np.ones(len(self.x), bool)))

    def two_part(self, crossed_found: CrossedTwoPart, parts: Parts, seed: int) -> _Candidate:
        """The two-part model, whose differences between customers are multiplied by their slope already."""
        contrast = crossed_found.found - crossed_found.found[:, [self.base]]
        centre = eligible_means(contrast, self.eligible)
        moved = self._trusted(contrast - centre)
        slope = crossed_found.slope
        return self._candidate(
            TWO_PART,
            1.0,
            crossed_found.slope_z,
            centre,
            moved,
            lambda: final_two_part(self.x, self.log, parts, self.eligible, seed, slope),
        )

    def _trusted(self, moved: FloatArray) -> FloatArray:
        return moved if self.trust is None else self.trust[:, None] * moved

    def _candidate(
        self, name: str, slope: float, slope_z: float, centre: FloatArray, own: FloatArray, final: Callable[[], Predict]
    ) -> _Candidate:
        rows = np.arange(len(self.score))
        chosen = best_eligible(self.means + own, self.eligible)
        plain = best_eligible(np.tile(self.means, (len(self.score), 1)), self.eligible)
        gains = self.score[rows, chosen] - self.score[rows, plain]
        return _Candidate(name, slope, slope_z, centre, gains, clustered_error(gains, self.log.members()), final)


def learn_policy(
    x: Float32Array,
    log: DecisionLog,
    config: EffectConfig,
    *,
    seed: int,
    trust: FloatArray | None = None,
    eligible: BoolArray | None = None,
    parts: Parts | None = None,
    n_folds: int = 3,
    gate_z: float = GATE_Z,
) -> EffectPolicy:
    """The policy for features x (n, F); `trust` and `eligible` as in EffectPolicy. No other rows are looked at.

    `parts` say what the arms have in common; left out, each is a thing of its own.
    """
    parts = parts or Parts.of([str(arm) for arm in range(log.n_arms)], None)
    folds = fold_numbers(log.members(), n_folds, seed)
    rewards = crossed(lambda rows: reward_model(x[rows], log.select(rows), config, seed), x, folds)
    score = scores(log, rewards)
    together = cross_two_part(x, log, parts, folds, eligible, seed)
    seen = known_arms(log)
    everybody = arm_levels(score, prior=_if_taken(together.found, eligible, parts.reference).mean(axis=0))
    base = int(np.argmax(np.where(seen, everybody, -np.inf)))
    levels = arm_levels(score, eligible, prior=eligible_means(together.found, eligible))
    means = np.where(seen, levels - levels[base], -np.inf)
    if x.shape[1] == 0:
        return EffectPolicy(base, log.n_arms, False, "", 0.0, 0.0, 0.0, 0.0, means, np.zeros(log.n_arms), None)
    judge = _Judge(x, log, folds, score, base, means, trust, eligible)
    judged = [
        judge.two_part(together, parts, seed) if name == TWO_PART else judge.learned(name, config, seed)
        for name in candidates(log.n_arms, config)
    ]
    proven = [one for one in judged if one.slope_z > gate_z and one.gain > -one.error]
    best = _steadiest(proven, log) if proven else max(judged, key=lambda one: one.slope_z)
    return EffectPolicy(
        base, log.n_arms, bool(proven), best.learner, best.gain, best.error, best.slope, best.slope_z, means,
        best.centre, best.final(),
    )  # fmt: skip


def _steadiest(proven: Sequence[_Candidate], log: DecisionLog) -> _Candidate:
    """The first candidate whose gain is not behind the highest by more than the standard error of the difference."""
    best = max(proven, key=lambda one: one.gain)
    behind = ((one, best.gains - one.gains) for one in proven)
    return next(one for one, less in behind if less.mean() <= clustered_error(less, log.members()))


def _if_taken(found: FloatArray, eligible: BoolArray | None, reference: int | None) -> FloatArray:
    """Rewards (n, arms) if the arm is taken though the customer may not be reached by it: then nothing is done."""
    if eligible is None or reference is None:
        return found
    return np.where(eligible, found, found[:, [reference]])
