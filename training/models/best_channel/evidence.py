"""Evidence for a policy: later decisions and the arms it takes in them in, what its choices are worth out, for the gates."""

from pathlib import Path
from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.evaluation.intervals import gain, intervals
from features.evaluation.off_policy import DecisionLog, scores, single_arm, statistics, support
from features.evaluation.resampling import Metric, Sampled, mean, resample
from features.scoring.effects import load_effects
from features.signals import signal_names
from training.data.training_set import TrainingSet
from training.models.uplift.policy import BEST_SINGLE_ARM, EffectPolicy
from training.models.uplift.shrinkage import best_eligible
from training.task import PolicyEvidence

ESTIMATORS: Final = ("dr", "snips", "ips", "dm")
N_BOOTSTRAP: Final = 300


def measure(
    log: DecisionLog, policy: EffectPolicy, taken: IntArray, rewards: FloatArray, seed: int
) -> tuple[dict[str, Metric], dict[str, dict[str, Metric]], dict[str, Metric]]:
    """Values of the policy (name to interval), of simple ones beside it, and its paired gains over these, on `log`.

    `taken` (n,) are the policy's arms, `rewards` (n, arms) expected ones from a model that did not see these rows.
    """
    n, k = len(log), log.n_arms
    chances = {
        "learned": single_arm(n, k, taken),
        BEST_SINGLE_ARM: single_arm(n, k, policy.base_arm),
        "random": np.full((n, k), 1.0 / k),
    }
    usable = {name: chance for name, chance in chances.items() if not support(log, chance).refusal}
    wanted = {
        f"{name}/{key}": stat
        for name, chance in usable.items()
        for key, stat in statistics(log, chance, rewards).items()
        if key in ESTIMATORS
    }
    wanted |= {f"logging_policy/{key}": mean(log.reward) for key in ("dr", "snips", "ips")}
    found = resample(wanted, log.members(), n_bootstrap=N_BOOTSTRAP, seed=seed)
    parts: dict[str, dict[str, Sampled]] = {}
    for key, value in found.items():
        name, estimator = key.split("/")
        parts.setdefault(name, {})[f"policy_value_{estimator}"] = value
    tables = {name: intervals(values, "policy_value_") for name, values in parts.items()}
    ours = tables.pop("learned", {})
    gains = {f"{name}/policy_value_dr": gain(found["learned/dr"], found[f"{name}/dr"]) for name in tables if ours}
    return ours, tables, gains


def no_evidence() -> PolicyEvidence:
    """Where no effects could be learned: a champion that has some is not replaced."""
    nobody = np.zeros(0)
    return PolicyEvidence(
        learned=False,
        refusal="it holds too few decisions with a pscore to learn effects from",
        groups=nobody.astype(str),
        scores=nobody,
        logged=nobody,
        rival=lambda folder: None if load_effects(folder, "The champion") is None else nobody,
    )


def evidence(
    log: DecisionLog,
    taken: IntArray,
    rewards: FloatArray,
    rows: TrainingSet,
    eligible: BoolArray,
    arms: tuple[str, ...],
) -> PolicyEvidence:
    """The policy's doubly robust score in every decision of `log`, and another version's where that has effects."""
    score, at = scores(log, rewards), np.arange(len(log))
    signals = rows.columns(signal_names())

    def rival(folder: Path) -> FloatArray | None:
        scorer = load_effects(folder, "The champion")
        if scorer is None:
            return None
        gains, known = scorer.gains(signals), {name: i for i, name in enumerate(scorer.arms)}
        theirs = np.column_stack([gains[:, known[arm]] if arm in known else np.full(len(log), np.nan) for arm in arms])
        return np.asarray(score[at, best_eligible(np.where(np.isnan(theirs), -np.inf, theirs), eligible)])

    return PolicyEvidence(
        learned=True,
        refusal=support(log, single_arm(len(log), log.n_arms, taken)).refusal,
        groups=log.members().astype(str),
        scores=np.asarray(score[at, taken]),
        logged=log.reward,
        rival=rival,
    )
