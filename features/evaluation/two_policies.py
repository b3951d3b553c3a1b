"""Two policies on one log: what each would have earned and what changing over brings, with intervals; from chances, not trials.

Doubly robust with the mean reward of each way as the model of rewards, from customers that are not in the row's fold: it needs
no model that saw these rows, and takes out what ways differ in on the whole, which is most of what weights let vary.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import FloatArray
from features.errors import InputError
from features.evaluation.intervals import gain, skew_corrected
from features.evaluation.off_policy import DecisionLog, Support, statistics, support
from features.evaluation.resampling import Metric, resample

N_FOLDS: Final = 5
THIN_SHARE: Final = 0.1
"""Where fewer of a log's rows than this count, its answer hangs on few of them."""


@dataclass(frozen=True)
class TwoPolicies:
    """Mean reward per decision of the old and the new policy, and new minus old on the same resamples, 95 %."""

    old: Metric
    new: Metric
    difference: Metric
    old_support: Support
    new_support: Support
    warnings: tuple[str, ...]
    """What makes the answer doubtful, in sentences."""


def compare_policies(
    log: DecisionLog, old: FloatArray, new: FloatArray, *, n_bootstrap: int = 500, seed: int = 0
) -> TwoPolicies:
    """The values of two policies by their chances (n, arms) in the logged moments.

    Raises InputError, saying why, where the log cannot tell of one of them, and for chances that are none.
    """
    supports = {name: support(log, chances) for name, chances in (("old", old), ("new", new))}
    for name, found in supports.items():
        if found.refusal:
            raise InputError(f"The log says nothing about the {name} policy. {found.refusal}")
    rewards = mean_rewards(log, seed=seed)
    wanted = {name: statistics(log, chances, rewards)["dr"] for name, chances in (("old", old), ("new", new))}
    sampled = resample(wanted, log.members(), n_bootstrap=n_bootstrap, seed=seed)
    return TwoPolicies(
        skew_corrected(sampled["old"]),
        skew_corrected(sampled["new"]),
        gain(sampled["new"], sampled["old"]),
        supports["old"],
        supports["new"],
        tuple(_doubts(log, supports)),
    )


def mean_rewards(log: DecisionLog, n_folds: int = N_FOLDS, seed: int = 0) -> FloatArray:
    """The mean reward of each arm (n, arms) in the folds that the row's customer is not in, weighted by 1 / pscore.

    A way that nobody outside the fold was drawn for has everybody's mean.
    """
    _, member = np.unique(log.members(), return_inverse=True)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(int(member.max()) + 1)[member] % n_folds
    weight = 1.0 / log.pscore
    cell = fold * log.n_arms + log.action
    shape = (n_folds, log.n_arms)
    weights = np.bincount(cell, weight, n_folds * log.n_arms).reshape(shape)
    earned = np.bincount(cell, weight * log.reward, n_folds * log.n_arms).reshape(shape)
    others = weights.sum(axis=0) - weights
    everybody = float((weight @ log.reward) / weight.sum())
    means = np.divide(earned.sum(axis=0) - earned, others, out=np.full(shape, everybody), where=others > 0)
    return np.asarray(means[fold])


def _doubts(log: DecisionLog, supports: dict[str, Support]) -> list[str]:
    doubts = []
    for name, found in supports.items():
        if found.warning:
            doubts.append(f"The {name} policy: {found.warning}")
        if found.effective_rows < THIN_SHARE * len(log):
            doubts.append(
                f"The {name} policy agrees with few of the logged decisions: they count as {found.effective_rows:,.0f} of "
                f"{len(log):,}, the heaviest of them {found.largest_weight:,.0f} times. More exploration would tell more."
            )
    return doubts
