"""Off-policy evaluation: logged decisions with their chances (`pscore`) and a policy in, what it would have earned out.

The estimators and where they come from: IPS (Horvitz and Thompson 1952), self-normalised (Swaminathan and Joachims
2015), direct method, doubly robust (Dudik, Langford and Li 2011), self-normalised doubly robust, switch (Wang, Agarwal
and Dudik 2017) and clipped weights (Ionides 2008: at the square root of n).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.arrays import BoolArray, FloatArray, IntArray
from features.errors import InputError
from features.evaluation.intervals import intervals
from features.evaluation.resampling import Metric, Statistic, mean, resample

MIN_EFFECTIVE_ROWS: Final = 20.0
"""Fewer effective rows than this cannot carry a 95 % interval."""
MAX_UNSEEN_CHANCE: Final = 1e-9
"""Chance that a policy may give, on average, to arms that the log never took."""
CONTRADICTION_Z: Final = 5.0
"""Standard errors by which the mean weight may miss 1 before the pscores are said to contradict the log."""


class NoOverlapError(InputError):
    """The log cannot say what the policy would have earned; the message says why."""


@dataclass(frozen=True)
class DecisionLog:
    """n decisions: the arm taken as a number from 0, the chance it had, and what came of it.

    Raises InputError for a chance outside (0, 1], a number that is not finite or an arm outside the range.
    """

    action: IntArray
    pscore: FloatArray
    reward: FloatArray
    n_arms: int
    groups: NDArray[np.generic] | None = None
    """The customer of every row, resampled as a whole; None: every row is somebody else."""

    def __post_init__(self) -> None:
        if not len(self.action) == len(self.pscore) == len(self.reward) or not len(self.action):
            raise InputError("A log needs rows, each with an action, a pscore and a reward.")
        _refuse(~((self.pscore > 0) & (self.pscore <= 1)), "pscore", self.pscore, "a chance above 0 and up to 1")
        _refuse(~np.isfinite(self.reward), "reward", self.reward, "a finite number")
        _refuse((self.action < 0) | (self.action >= self.n_arms), "action", self.action, "one of the arms")

    def __len__(self) -> int:
        return len(self.action)

    def taken(self) -> tuple[IntArray, IntArray]:
        """Index of (row, arm taken) into an array (n, arms)."""
        return np.arange(len(self)), self.action

    def members(self) -> NDArray[np.generic]:
        """The customer of every row."""
        return np.arange(len(self)) if self.groups is None else self.groups

    def select(self, rows: BoolArray | IntArray) -> "DecisionLog":
        """Some of the rows."""
        groups = None if self.groups is None else self.groups[rows]
        return DecisionLog(self.action[rows], self.pscore[rows], self.reward[rows], self.n_arms, groups)


@dataclass(frozen=True)
class Support:
    """How much of a log speaks about a policy."""

    effective_rows: float
    """Kish's effective sample size, (sum w)^2 / sum w^2."""
    largest_weight: float
    mean_weight: float
    """1 where the pscores are what the log really did."""
    unseen_chance: float
    """Mean chance that the policy gives to arms which the log never took."""
    refusal: str
    """Why the log cannot answer, or nothing."""
    warning: str
    """What makes the answer doubtful, or nothing."""

    def to_dict(self) -> dict[str, float | str]:
        """The form that reports hold."""
        words = {"refusal": self.refusal, "warning": self.warning}
        return {
            "effective_rows": self.effective_rows,
            "largest_weight": self.largest_weight,
            "mean_weight": self.mean_weight,
            **{name: text for name, text in words.items() if text},
        }


@dataclass(frozen=True)
class PolicyValue:
    """The estimates of a policy's mean reward per decision, and how much of the log speaks about it."""

    estimates: Mapping[str, Metric]
    support: Support


def evaluate(
    log: DecisionLog,
    chances: FloatArray,
    rewards: FloatArray | None = None,
    *,
    max_weight: float | None = None,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> PolicyValue:
    """Every estimator of the value of the policy `chances` (n, arms), with 95 % bootstrap intervals over customers.

    `rewards` (n, arms) are a model's expected rewards, cross-fitted: for row i from a model that did not see it; without
    them only the weighting estimators are there. `max_weight` bounds the clipped and switch variants (default: the
    square root of n). Raises NoOverlapError where the log cannot answer.
    """
    found = support(log, chances)
    if found.refusal:
        raise NoOverlapError(found.refusal, repair="Log decisions that explore all arms, with their pscore.")
    wanted = statistics(log, chances, rewards, max_weight=max_weight)
    sampled = resample(wanted, log.members(), n_bootstrap=n_bootstrap, seed=seed)
    return PolicyValue(intervals(sampled), found)


def statistics(
    log: DecisionLog, chances: FloatArray, rewards: FloatArray | None = None, *, max_weight: float | None = None
) -> dict[str, Statistic]:
    """The estimators as functions of row weights, for `metrics.resample`; names and arguments as in `evaluate`.

    ips: mean of w r. snips: sum of w r / sum of w. dm: mean of sum_a pi(a) q(a). dr: dm + mean of w (r - q(taken)).
    sndr: dm + sum of w (r - q(taken)) / sum of w. switch_dr: dr without the correction where w > max_weight.
    clipped_ips, clipped_dr: w bounded by max_weight.
    """
    w = weights(log, chances)
    bound = float(np.sqrt(len(log))) if max_weight is None else max_weight
    clipped = np.minimum(w, bound)
    found = {
        "ips": mean(w * log.reward),
        "snips": ratio(w * log.reward, w),
        "clipped_ips": mean(clipped * log.reward),
    }
    if rewards is None:
        return found
    direct = np.einsum("na,na->n", chances, rewards)
    missed = log.reward - rewards[log.taken()]
    found |= {
        "dm": mean(direct),
        "dr": mean(direct + w * missed),
        "switch_dr": mean(direct + np.where(w <= bound, w, 0.0) * missed),
        "clipped_dr": mean(direct + clipped * missed),
    }
    plain, correction = found["dm"], ratio(w * missed, w)
    return found | {"sndr": lambda counts: plain(counts) + correction(counts)}


def weights(log: DecisionLog, chances: FloatArray) -> FloatArray:
    """Chance of the arm taken under the policy over its chance in the log, (n,). Raises InputError for bad chances."""
    if chances.shape != (len(log), log.n_arms):
        raise InputError(f"The policy's chances have shape {chances.shape}, not {(len(log), log.n_arms)}.")
    _refuse(np.abs(chances.sum(axis=1) - 1) > 1e-6, "chances", chances.sum(axis=1), "1 in total")
    return np.asarray(chances[log.taken()] / log.pscore)


def scores(log: DecisionLog, rewards: FloatArray) -> FloatArray:
    """Doubly robust score of every arm in every row, (n, arms): q(a) + 1[a taken] (r - q(a)) / pscore."""
    found = rewards.copy()
    found[log.taken()] += (log.reward - rewards[log.taken()]) / log.pscore
    return found


def support(log: DecisionLog, chances: FloatArray) -> Support:
    """What the log can say about a policy, and if nothing, why."""
    w = weights(log, chances)
    total, squares = float(w.sum()), float(w @ w)
    effective = total**2 / squares if squares > 0 else 0.0
    seen = np.bincount(log.action, minlength=log.n_arms) > 0
    unseen = float(chances[:, ~seen].sum() / len(log))
    mean_weight = total / len(log)
    wrong = bool(np.all(log.pscore == 1.0)) and bool(np.any(chances[log.taken()] < 1.0))
    refusal = ""
    if wrong:
        refusal = (
            "Every decision of the log had the pscore 1: nothing else could have happened, so nothing else is known."
        )
    elif unseen > MAX_UNSEEN_CHANCE:
        refusal = f"The policy gives a chance of {unseen:.2g} to arms that the log never took: there is no overlap."
    elif effective < MIN_EFFECTIVE_ROWS:
        refusal = (
            f"The policy agrees with the log on too little: {effective:.1f} effective rows of {len(log)}, at least "
            f"{MIN_EFFECTIVE_ROWS:g} are needed."
        )
    error = max(float(w.std()), 1e-12) / np.sqrt(len(log))
    warning = ""
    if not refusal and abs(mean_weight - 1.0) > CONTRADICTION_Z * error + 1e-9:
        warning = (
            f"The mean weight is {mean_weight:.3f} where it should be 1: the pscores are not the chances that the log's "
            "decisions really had, or some customers could never get some arms."
        )
    return Support(effective, float(w.max()), mean_weight, unseen, refusal, warning)


def known_arms(log: DecisionLog) -> BoolArray:
    """Whether the log speaks about each arm, (arms,): at least `MIN_EFFECTIVE_ROWS`; of few rows, all that were taken."""
    inverse = 1.0 / log.pscore
    total = np.bincount(log.action, inverse, log.n_arms)
    squares = np.bincount(log.action, inverse**2, log.n_arms)
    effective = np.divide(total**2, squares, out=np.zeros(log.n_arms), where=squares > 0)
    known = effective >= MIN_EFFECTIVE_ROWS
    return known if known.any() else effective > 0


def single_arm(n: int, n_arms: int, arm: int | IntArray) -> FloatArray:
    """The policy (n, n_arms) that always takes `arm`, or in row i `arm[i]`."""
    chances = np.zeros((n, n_arms))
    chances[np.arange(n), arm] = 1.0
    return chances


def ratio(above: ArrayLike, below: ArrayLike) -> Statistic:
    """Sum of `above` over sum of `below`, both (n,); NaN where the latter is 0."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)

    def statistic(counts: FloatArray) -> float:
        total = float(counts @ bottom)
        return float(counts @ top) / total if total != 0 else float("nan")

    return statistic


def _refuse(bad: BoolArray, name: str, values: NDArray[np.generic], wanted: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{name} is {values[row]} in row {row} ({int(bad.sum())} such rows).", repair=f"It must be {wanted}."
        )
