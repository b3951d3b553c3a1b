"""The gates of promotion, from mlflow/gates.toml: figures of challenger and champion in, a verdict with its reasons out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from pydantic import Field

from features.config import Config, load_toml
from features.evaluation.resampling import Metric, Statistic, mean
from features.vocabulary import Columns, Task
from training.evaluation import metrics
from training.evaluation.metrics import BINARY, better, bootstrap, lower_is_better
from training.run import metric_key

GATES_FILE: Final = Path(__file__).resolve().parent.parent / "mlflow" / "gates.toml"
BASELINE_PREFIX: Final = "baseline."


class Gates(Config):
    """The rules for one task; the file explains each."""

    primary: str
    """The metric that decides."""
    beat_baselines: bool = True
    """The first champion must beat every baseline of its own run."""
    min_gain: float = 0.0
    """The paired gain's lower bound must be above this."""
    max_loss_if_newer: float = Field(0.0, ge=0, lt=1)
    """Share of the champion's value that a challenger with newer data may lose; it is allowed wherever gains are judged."""
    max_slice_loss_se: float = 1.0
    """Most standard errors that a slice may lose to the champion."""
    max_ece_increase: float | None = None
    """Most that the calibration error may grow beyond one standard error of the difference; None: not looked at."""
    floors: dict[str, float] = Field(default_factory=dict)
    """Smallest allowed values of other metrics."""
    min_policy_gain: float | None = None
    """Lowest lower end of the policy's paired gain in value, where there is a policy; None: not looked at."""


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may be promoted, and the figures behind each rule."""

    passed: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class PolicyGain:
    """How a challenger's policy compares with `rival` on later decisions: doubly robust, paired, mean per decision."""

    rival: str
    champion: int | None
    """The champion's version when the two were compared."""
    refusal: str = ""
    """Why the log could not tell, or nothing."""
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    rival_value: float = float("nan")
    """What the rival itself earns per decision."""


def load_gates(task: Task, path: Path = GATES_FILE) -> Gates:
    """The rules for a task. Raises InputError when the file lacks the task or has unknown keys."""
    return load_toml(Gates, path, section=task.value)


def judge_first(gates: Gates, found: Mapping[str, float], policy: PolicyGain | None = None) -> Verdict:
    """Without a champion: the challenger's run (`found`: stored metric keys) against its own baselines."""
    rules = [*_floors(gates, found), *_baseline_rules(gates, found)]
    if policy is not None and policy.refusal:
        rules += _policy_rules(gates, policy, None, 0.0)
    return _verdict(rules)


def judge_against(
    gates: Gates,
    found: Mapping[str, float],
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    policy: PolicyGain | None = None,
    champion_version: int | None = None,
    newer_data: bool = False,
    other_features: bool = False,
) -> Verdict:
    """Against a champion: both evaluations (see TrainedModel) hold the same keys and are compared in pairs.

    On the same data a challenger must be better. One that knows `newer_data` need only be no worse, by a stated margin
    (non-inferiority): what the champion knows of products and habits ages. Likewise one with `other_features`, made since the
    feature code changed: the champion is given signals now that it did not learn from. So that a chain of such steps leads
    nowhere bad, it must then also beat every baseline of its own run.
    """
    ours = challenger.set_index("key").sort_index()
    theirs = champion.set_index("key").sort_index()
    if not ours.index.equals(theirs.index):
        return Verdict(False, ("the challenger and the champion were not scored on the same rows",))
    groups = ours[Columns.CUSTOMER_ID].to_numpy()
    loss_share = gates.max_loss_if_newer if newer_data or other_features else 0.0
    because = "it knows newer data" if newer_data else "the feature code has changed since the champion"
    gain = _gain(gates.primary, ours, theirs, groups)
    needed = gates.min_gain - loss_share * abs(_value(gates.primary, theirs))
    why = f" ({loss_share:.1%} less than the champion: {because})" if loss_share else ""
    rules = [
        *_floors(gates, found),
        (gain.low > needed, f"{gates.primary} gain over the champion {gain}, needs > {needed:.4g}{why}"),
    ]
    if loss_share and not gain.low > gates.min_gain:
        rules += _baseline_rules(gates, found)
    for part in sorted(ours["part"].unique()) if ours["part"].nunique() > 1 else []:
        rows = (ours["part"] == part).to_numpy()
        slice_gain = _gain(gates.primary, ours[rows], theirs[rows], groups[rows])
        allowed = gates.max_slice_loss_se * _error(slice_gain) + loss_share * abs(_value(gates.primary, theirs[rows]))
        fine = not slice_gain.value < -allowed
        rules.append((fine, f"{part}: gain {slice_gain}"))
    if gates.max_ece_increase is not None:
        ours_ece, theirs_ece = _value("ece", ours), _value("ece", theirs)
        allowed = gates.max_ece_increase + _error(_gain("ece", ours, theirs, groups))
        text = f"calibration error {ours_ece:.4f}, the champion's {theirs_ece:.4f}, may grow by {allowed:.4f}"
        rules.append((ours_ece <= theirs_ece + allowed, text))
    if policy is not None:
        rules += _policy_rules(gates, policy, champion_version, loss_share)
    return _verdict(rules)


def _baseline_rules(gates: Gates, found: Mapping[str, float]) -> list[tuple[bool, str]]:
    primary = metric_key(gates.primary)
    ours = found.get(primary, float("nan"))
    rules = []
    for key, theirs in sorted(found.items()):
        if gates.beat_baselines and key.startswith(BASELINE_PREFIX) and key.endswith(f".{primary}"):
            name = key.removeprefix(BASELINE_PREFIX).removesuffix(f".{primary}")
            rules.append((better(gates.primary, ours, theirs), f"{gates.primary} {ours:.4f}, {name} has {theirs:.4f}"))
    return rules


def _policy_rules(gates: Gates, policy: PolicyGain, champion: int | None, loss_share: float) -> list[tuple[bool, str]]:
    if gates.min_policy_gain is None:
        return []
    if policy.refusal:
        return [(False, f"what its choices are worth cannot be told from the log: {policy.refusal}")]
    if policy.champion != champion:
        return [(False, f"its choices were compared with another champion (version {policy.champion}): train it again")]
    gain = Metric(policy.value, policy.low, policy.high)
    text = f"value of its choices over {policy.rival}'s {gain} per decision (doubly robust, paired)"
    needed = gates.min_policy_gain
    if loss_share and np.isfinite(policy.rival_value):
        needed -= loss_share * abs(policy.rival_value)
    return [(policy.low >= needed, f"{text}, needs >= {needed:.4g}")]


def _gain(name: str, ours: pd.DataFrame, theirs: pd.DataFrame, groups: np.ndarray) -> Metric:
    sign = -1.0 if lower_is_better(name) else 1.0
    one, two = _statistic(name, ours), _statistic(name, theirs)
    return bootstrap(lambda w: sign * (one(w) - two(w)), groups)


def _error(gain: Metric) -> float:
    """The standard error that belongs to a 95 % interval."""
    return (gain.high - gain.low) / 3.92


def _value(name: str, evaluation: pd.DataFrame) -> float:
    return float(_statistic(name, evaluation)(np.ones(len(evaluation))))


def _statistic(name: str, evaluation: pd.DataFrame) -> Statistic:
    if evaluation["label"].isna().all():
        return mean(evaluation["score"])
    parts = evaluation["part"].to_numpy()
    rows = [np.flatnonzero(parts == part) for part in np.unique(parts)]
    labels, scores = evaluation["label"].to_numpy(float), evaluation["score"].to_numpy(float)
    return metrics.macro_mean([BINARY[name](labels[index], scores[index]) for index in rows], rows)


def _floors(gates: Gates, found: Mapping[str, float]) -> list[tuple[bool, str]]:
    values = {name: found.get(metric_key(name), float("nan")) for name in gates.floors}
    return [(values[n] >= floor, f"{n} {values[n]:.4f}, floor {floor:g}") for n, floor in gates.floors.items()]


def _verdict(rules: list[tuple[bool, str]]) -> Verdict:
    return Verdict(
        all(fine for fine, _ in rules), tuple(f"{'ok' if fine else 'refused'}: {text}" for fine, text in rules)
    )
