"""The best-channel benchmark: logged decisions in, a learned policy's value beside simple policies', cross-fitted, out.

Every row is judged by a policy, a best single arm and a reward model that were fitted on the other folds.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.evaluation.intervals import gain, intervals
from features.evaluation.off_policy import (
    DecisionLog,
    NoOverlapError,
    Support,
    single_arm,
    statistics,
    support,
)
from features.evaluation.resampling import Metric, Sampled, Statistic, mean, resample
from features.vocabulary import Task
from training.benchmarks.report import BenchmarkReport
from training.data.decisions import Decisions, read_decisions
from training.evaluation.qini import qini, rank_within
from training.models.uplift.cross_fitting import fold_numbers
from training.models.uplift.meta_learners import EffectConfig, reward_model
from training.models.uplift.policy import BEST_SINGLE_ARM, EffectPolicy, learn_policy
from training.models.uplift.shrinkage import best_eligible
from training.models.uplift.two_part import Parts
from training.task import Progress

N_FOLDS: Final = 5
N_BOOTSTRAP: Final = 500
MANY_ROWS: Final = 200_000
"""With more rows 200 resamples are enough, and quicker."""
MAX_ARMS_SHOWN: Final = 20
"""With more arms, `always_<arm>` is left out of the baselines."""
PROMISED: Final = ("dr", "snips", "ips", "dm")
"""The estimators that every policy is judged by; the learned one and its first rival are judged by all."""
NEVER_TAKEN: Final = -1e9
"""Stands for the effect of an arm that the learning rows say too little of."""
LOGGING_POLICY: Final = "logging_policy"
UNGATED: Final = "always_personalised"
LEARNED: Final = "learned"


@dataclass(frozen=True)
class Judged:
    """What is needed to judge policies on n rows: each fitted without the row that it is used on."""

    chances: Mapping[str, FloatArray]  # policy -> (n, arms)
    rewards: FloatArray  # (n, arms)
    effects: FloatArray  # (n, arms)
    folds: IntArray  # (n,)
    policies: tuple[EffectPolicy, ...]
    """One per fold."""
    fit_s: float
    predict_s: float


def benchmark(
    path: Path, *, seed: int = 0, config: EffectConfig | None = None, progress: Progress = lambda _: None
) -> BenchmarkReport:
    """The report for a file; see training.data.decisions for its columns. Raises InputError where it cannot be judged."""
    return judge_decisions(read_decisions(path), seed=seed, config=config, progress=progress)


def judge_decisions(
    decisions: Decisions, *, seed: int = 0, config: EffectConfig | None = None, progress: Progress = lambda _: None
) -> BenchmarkReport:
    """The same for decisions in memory."""
    started = time.perf_counter()
    log = decisions.log
    _refuse_if_deterministic(log)
    judged = cross_fit(decisions, config or EffectConfig(), seed, progress)
    supports = {name: support(log, chances) for name, chances in judged.chances.items()}
    if supports[LEARNED].refusal:
        raise NoOverlapError(supports[LEARNED].refusal, repair="Log decisions that explore all arms.")
    progress("best-channel: resampling")
    found = _sampled(decisions, judged, supports, seed)
    ours = found.pop(LEARNED)
    gains = {name: gain(ours["policy_value_dr"], values["policy_value_dr"]) for name, values in found.items()}
    return BenchmarkReport(
        task=Task.BEST_CHANNEL,
        metrics=intervals(ours, _metric("")),
        baselines={name: intervals(values, _metric("")) for name, values in found.items()},
        gains=gains,
        seconds={"fit": judged.fit_s, "predict": judged.predict_s, "total": time.perf_counter() - started},
        protocol=_protocol(decisions, judged, supports, gains),
        rows={
            "decisions": len(log),
            **{f"action/{arm}": _count(log, i) for i, arm in enumerate(decisions.arms)},
            **{f"not_delivered/{arm}": n for arm, n in decisions.not_delivered.items()},
        },
        seed=seed,
    )


def cross_fit(
    decisions: Decisions,
    config: EffectConfig,
    seed: int,
    progress: Progress = lambda _: None,
    n_folds: int = N_FOLDS,
) -> Judged:
    """Policies, rewards and effects of every row from the other folds; customers stay together."""
    log, x, eligible = decisions.log, decisions.x, decisions.eligible
    n, k = len(log), log.n_arms
    parts = Parts.of(decisions.arms, decisions.reference_arm())
    folds = fold_numbers(log.members(), n_folds, seed)
    rewards, effects = np.empty((n, k)), np.empty((n, k))
    chosen = {name: np.zeros(n, np.int64) for name in (LEARNED, BEST_SINGLE_ARM, UNGATED)}
    policies = []
    fit_s = predict_s = 0.0
    for fold in range(n_folds):
        progress(f"best-channel: learning without part {fold + 1} of {n_folds}")
        started = time.perf_counter()
        mine = folds == fold
        known, here = (None, None) if eligible is None else (eligible[~mine], eligible[mine])
        policy = learn_policy(x[~mine], log.select(~mine), config, seed=seed + fold, eligible=known, parts=parts)
        expected = reward_model(x[~mine], log.select(~mine), config, seed + fold)
        fitted = time.perf_counter()
        rewards[mine] = expected(x[mine])
        effects[mine] = np.maximum(policy.effects(x[mine]), NEVER_TAKEN)
        chosen[LEARNED][mine] = policy.arms(x[mine], eligible=here)
        chosen[BEST_SINGLE_ARM][mine] = policy.base_arm
        chosen[UNGATED][mine] = best_eligible(effects[mine], here)
        policies.append(policy)
        fit_s += fitted - started
        predict_s += time.perf_counter() - fitted
    chances = {name: single_arm(n, k, arms) for name, arms in chosen.items()}
    chances["random"] = np.full((n, k), 1.0 / k)
    if k <= MAX_ARMS_SHOWN:
        chances |= {f"always_{name}": single_arm(n, k, arm) for arm, name in enumerate(decisions.arms)}
    return Judged(chances, rewards, effects, folds, tuple(policies), fit_s, predict_s)


def qini_rival(decisions: Decisions, arm: int) -> int | None:
    """What an arm's Qini compares it with: the arm that does nothing, or (None) all the others in equal parts."""
    reference = decisions.reference_arm()
    return None if reference == arm else reference


def _sampled(
    decisions: Decisions, judged: Judged, supports: Mapping[str, Support], seed: int
) -> dict[str, dict[str, Sampled]]:
    log = decisions.log
    wanted: dict[str, Statistic] = {}
    for name, chances in judged.chances.items():
        if not supports[name].refusal:
            found = statistics(log, chances, judged.rewards)
            keys = found if name in (LEARNED, BEST_SINGLE_ARM) else PROMISED
            wanted |= {f"{name}\n{_metric(key)}": found[key] for key in keys}
    wanted |= {f"{LOGGING_POLICY}\n{_metric(key)}": mean(log.reward) for key in ("ips", "snips", "dr")}
    wanted[f"{LOGGING_POLICY}\n{_metric('dm')}"] = mean(judged.rewards[log.taken()])
    for arm, name in enumerate(decisions.arms):
        rival = qini_rival(decisions, arm)
        others = [i for i in range(log.n_arms) if i != arm] if rival is None else [rival]
        effect = judged.effects[:, arm] - judged.effects[:, others].mean(axis=1)
        wanted[f"{LEARNED}\nqini_{name}"] = qini(log, rank_within(effect, judged.folds), arm, rival)
    n_bootstrap = N_BOOTSTRAP if len(log) <= MANY_ROWS else 200
    sampled = resample(wanted, log.members(), n_bootstrap=n_bootstrap, seed=seed)
    parts: dict[str, dict[str, Sampled]] = {}
    for key, value in sampled.items():
        policy, metric = key.split("\n", 1)
        parts.setdefault(policy, {})[metric] = value
    return parts


def _metric(name: str) -> str:
    return f"policy_value_{name}"


def _protocol(
    decisions: Decisions, judged: Judged, supports: Mapping[str, Support], gains: Mapping[str, Metric]
) -> dict[str, Any]:
    reference = decisions.reference_arm()
    return {
        "folds": N_FOLDS,
        "folds_by": "row" if decisions.log.groups is None else "customer_id",
        "arms": list(decisions.arms),
        "features": len(decisions.names),
        "qini_against": "the other arms in equal parts" if reference is None else decisions.arms[reference],
        "policy_per_fold": [policy.name for policy in judged.policies],
        "best_single_arm_per_fold": [decisions.arms[policy.base_arm] for policy in judged.policies],
        "inner_gain_per_fold": [
            {"learner": policy.learner, "gain": policy.gain, "slope": policy.slope, "slope_z": policy.slope_z}
            for policy in judged.policies
        ],
        "support": {name: found.to_dict() for name, found in supports.items()},
        "conclusion": conclusion(judged, gains[BEST_SINGLE_ARM]),
    }


def conclusion(judged: Judged, over_best: Metric) -> str:
    """What can and what cannot be claimed, in a sentence."""
    if not any(policy.personal for policy in judged.policies):
        return (
            "Customers are not proven to differ in what the arms do to them, so the learned policy is the best single "
            "arm for everybody (of those that the customer can be reached by)."
        )
    if over_best.low > 0:
        return f"The learned policy beats the best single arm: gain {over_best} per decision (doubly robust, paired)."
    return f"The learned policy is not shown to beat the best single arm: gain {over_best} per decision."


def _refuse_if_deterministic(log: DecisionLog) -> None:
    if bool(np.all(log.pscore == 1.0)):
        raise NoOverlapError(
            "Every decision has the pscore 1: nothing else could have happened, so no other policy can be judged.",
            repair="Log decisions that explore all arms, with the chance that each had.",
        )


def _count(log: DecisionLog, arm: int) -> int:
    return int((log.action == arm).sum())
