"""Effects of the arms: the timeline's logged decisions in, what every arm does to a customer out, proven on later ones.

Effects are in the reward's unit and relative to doing nothing. Learning sees decisions whose windows end before the
test period; the policy's value is measured on the decisions of the test period.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from pydantic import Field

from features.arrays import BoolArray, FloatArray
from features.attributes.declared import declared
from features.config import Config
from features.errors import InputError, OmniError
from features.evaluation.off_policy import known_arms
from features.evaluation.resampling import Metric
from features.outcomes.delivery import delivery
from features.outcomes.named import ARM
from features.outcomes.rewards import RewardConfig, decision_entities, decision_log
from features.scoring.effects import EffectScorer, LinearEffects, TreeEffects
from features.scoring.two_part import TwoPart
from features.signals import signal_index
from features.vocabulary import DAY_S, NOTHING, Channel, Columns, Task
from training.data.splits import TimeSplit
from training.data.training_set import TrainingSet, build_training_set
from training.models.best_channel.evidence import evidence, measure
from training.models.uplift.meta_learners import EffectConfig, reward_model
from training.models.uplift.policy import BEST_SINGLE_ARM, EffectPolicy, learn_policy
from training.models.uplift.two_part import Parts
from training.task import PolicyEvidence, TrainContext

logger = logging.getLogger(__name__)

SIGNALS: Final = (
    "response_rate_", "consent_", "unanswered_", "days_since_response_", "sends_", "actions_", "contacts_",
    "occasions_", "spend_30d", "spend_90d", "basket_value", "days_since_occasion", "days_since_action", "tenure_days",
    "overdue_ratio", "hour_", "weekend_share", "cart_products",
)  # fmt: skip
"""Beginnings of the names of the signals that effects are learned from: few, because effects are weak."""


class EffectsConfig(Config):
    """What effects are learned from and how; the section `[effects]` of best-channel.toml."""

    RENAMED: ClassVar[Mapping[str, str]] = {"history_prior": "prior_strength"}

    reward: RewardConfig = RewardConfig()
    """What a decision is worth."""
    signals: tuple[str, ...] = SIGNALS
    """Beginnings of signal names."""
    min_decisions: int = Field(500, ge=50)
    """With fewer logged decisions before the test period no effects are learned."""
    prior_strength: float = Field(3.0, ge=0)
    """A customer's own difference counts n / (n + this) after n active moments: nobody known gets the population's answer."""
    learner: EffectConfig = EffectConfig(learners=("two_part", "dr_linear", "dr_trees", "t_linear", "t_learner"))
    """The learners and their size."""


@dataclass(frozen=True)
class Effects:
    """A learned policy over arms, nothing first, and what it earned on later decisions."""

    arms: tuple[str, ...]
    policy: EffectPolicy
    signals: tuple[str, ...]
    history_prior: float
    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]
    rows: dict[str, int]
    seen: tuple[bool, ...]
    left_out: str
    """Of decisions that nobody sent, in a sentence; empty where all were."""
    evidence: PolicyEvidence

    def scorer(self) -> EffectScorer:
        """What is served of it. Raises OmniError where the best learner's form cannot be served."""
        policy, model = self.policy, self.policy.predict if self.policy.personal else None
        if not isinstance(model, (TwoPart, LinearEffects, TreeEffects, NoneType)):
            raise OmniError(
                f"Effects of the learner {policy.learner!r} cannot be served.",
                repair="Take it out of effects.learner.learners.",
            )
        return EffectScorer(
            arms=self.arms,
            seen=self.seen,
            population=np.where(self.seen, policy.means, 0.0),
            columns=signal_index(self.signals),
            history_prior=self.history_prior,
            slope=policy.slope,
            centre=policy.centre,
            base=policy.base_arm,
            model=model,
        )

    def write(self, folder: Path) -> None:
        """Write it as files that `features.scoring.effects.load_effects` reads."""
        self.scorer().write(folder, self.policy.name)


def learn_effects(
    ctx: TrainContext, config: EffectsConfig, costs: dict[str, float], channels: dict[str, Channel], split: TimeSplit
) -> Effects | None:
    """Effects of the arms in `costs` and of nothing, or None where too few decisions were logged to learn from.

    `channels` has the channel of every arm: by one that a customer refused they are not reached.
    """
    rows = decision_entities(ctx.settings.timeline_path, config.reward, costs, split.test_end)
    arms = (NOTHING, *costs)
    rows = rows[rows[ARM].isin(arms)].reset_index(drop=True)
    days = config.reward.window_days
    early = (rows[Columns.AS_OF] + np.timedelta64(round(days * DAY_S), "s") <= split.valid_end).to_numpy()
    late = (rows[Columns.AS_OF] >= split.valid_end).to_numpy()
    if _too_few(rows, early, late, config):
        logger.info("%d decisions with a pscore before the test period: no effects are learned.", early.sum())
        return None
    ctx.progress(f"best-channel: learning effects from up to {int(early.sum()):,} decisions")
    whole = build_training_set(rows, Task.BEST_CHANNEL, ctx.store, "decisions", progress=ctx.progress)
    found = delivery(rows, taken_eligible(eligible_arms(whole, arms, channels), rows, arms))
    if found.words():
        logger.warning("best-channel: %s", found.words())
    rows, whole = rows[found.kept].reset_index(drop=True), whole.select(found.kept)
    early, late = early[found.kept], late[found.kept]
    if _too_few(rows, early, late, config):
        logger.warning(
            "Of the decisions before the test period %d were delivered: no effects are learned.", early.sum()
        )
        return None
    names = tuple(name for name in whole.feature_names if name.startswith(config.signals) or name in declared().words)
    if not names:
        raise InputError("No signal begins with a name in effects.signals.", repair="See features/signals.py.")
    x, trust = whole.columns(names), trust_of(whole, config.prior_strength)
    log = decision_log(rows, arms)
    eligible = eligible_arms(whole, arms, channels)
    policy = learn_policy(
        x[early],
        log.select(early),
        config.learner,
        seed=ctx.seed,
        trust=trust[early],
        eligible=eligible[early],
        parts=Parts.of(arms, arms.index(NOTHING)),
    )
    expected = reward_model(x[early], log.select(early), config.learner, ctx.seed)
    taken = policy.arms(x[late], trust[late], eligible[late])
    metrics, baselines, gains = measure(log.select(late), policy, taken, expected(x[late]), ctx.seed)
    return Effects(
        arms=arms,
        policy=policy,
        signals=names,
        history_prior=config.prior_strength,
        metrics=metrics,
        baselines=baselines,
        gains=gains,
        rows={"train/decisions": int(early.sum()), "test/decisions": int(late.sum()), **found.counts()},
        left_out=found.words(),
        seen=tuple(known_arms(log.select(early)).tolist()),
        evidence=evidence(log.select(late), taken, expected(x[late]), whole.select(late), eligible[late], arms),
    )


def trust_of(rows: TrainingSet, prior: float) -> FloatArray:
    """How much of a customer's own difference counts, (n,): n / (n + prior) after n active moments."""
    n = np.nan_to_num(rows.column("n_action_occasions").astype(np.float64))
    return np.asarray(n / np.maximum(n + prior, 1e-12))


def eligible_arms(rows: TrainingSet, arms: tuple[str, ...], channels: dict[str, Channel]) -> BoolArray:
    """Whether each arm may be sent, (n, arms): not by a channel that the customer had refused by then."""
    every = np.ones(len(rows), bool)
    return np.column_stack(
        [rows.column(f"consent_{channels[arm].value}") != 0.0 if arm in channels else every for arm in arms]
    )


def taken_eligible(eligible: BoolArray, rows: pd.DataFrame, arms: tuple[str, ...]) -> BoolArray:
    """Whether the arm that was decided for could reach the customer, (n,), where `eligible` (n, arms) says it of all."""
    numbers = rows[ARM].map({name: number for number, name in enumerate(arms)}).to_numpy(np.int64)
    return np.asarray(eligible[np.arange(len(rows)), numbers])


def _too_few(rows: pd.DataFrame, early: BoolArray, late: BoolArray, config: EffectsConfig) -> bool:
    return bool(early.sum() < config.min_decisions or not late.any() or rows.loc[early, ARM].nunique() < 2)


def summary(effects: Effects | None) -> str:
    """What the effects can and cannot claim, in a sentence."""
    if effects is None:
        return "No effects: the log holds too few decisions with a pscore."
    told = _proven(effects)
    return f"{told} {effects.left_out}" if effects.left_out else told


def _proven(effects: Effects) -> str:
    over = effects.gains.get(f"{BEST_SINGLE_ARM}/policy_value_dr")
    if not effects.policy.personal:
        return "Customers are not proven to differ in what the arms do to them: everybody gets the best single arm."
    if over is not None and over.low > 0:
        return f"On later decisions the policy beats the best single arm by {over} per decision."
    return f"On later decisions the policy is not shown to beat the best single arm: gain {over}."
