"""The log's decisions in, moments at which a contact was possible out, with signals of that moment and what came of it."""

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from pydantic import Field

from features.arrays import BoolArray
from features.attributes.declared import declared
from features.errors import InputError
from features.outcomes.delivery import Delivery, delivery
from features.outcomes.named import ARM
from features.outcomes.rewards import PSCORE
from features.scoring.win_back import Lapsing, effect_inputs
from features.vocabulary import CUSTOMER_KINDS, NOTHING, Columns, EventKind, Task
from training.data.contacts import CHANCE, HELD_OUT, contact_moments
from training.data.labels import data_span
from training.data.training_set import TrainingSet, build_training_set
from training.models.win_back.learner import Contacts, LearnerConfig, assemble
from training.task import TrainContext

logger = logging.getLogger(__name__)

SIGNALS: Final = (
    *("actions_", "purchases_", "response_rate_", "consent_", "contacts_30_days", "occasions_30d", "occasions_90d"),
    *("occasion_trend", "spend_90d", "basket_value", "days_since_occasion", "days_since_action", "tenure_days"),
    *("overdue_ratio", "weekend_share", "hour_sine", "hour_cosine"),
)
"""Beginnings of the names of the signals that effects are learned from: few, because effects are weak."""


class WinBackConfig(LearnerConfig):
    """What is learned from, who is advised about, and the learner's own keys; `training/configs/win-back.toml`."""

    return_kinds: tuple[EventKind, ...] = CUSTOMER_KINDS
    """Kinds of event that show that a customer is back."""
    lapsing_after: float = Field(1.0, gt=0)
    """Lapsing: no purchase for this many times the customer's own usual gap."""
    lapsing_days: float = Field(30.0, gt=0)
    """Lapsing, where the customer has no usual gap yet: no purchase for this many days."""
    signals: tuple[str, ...] = SIGNALS
    """Beginnings of signal names."""
    n_max_moments: int = Field(100_000, ge=100)
    """Most decisions that are learned from; of more, a fixed sample."""

    @property
    def lapsing(self) -> Lapsing:
        """Who is advised about."""
        return Lapsing(self.lapsing_after, self.lapsing_days)


@dataclass(frozen=True)
class Moments:
    """n moments of customers who could be reached: as the learner wants them, who of them was lapsing, and their signals.

    Effects are learned from all of them, because a customer's way of taking a contact does not begin with lapsing, and
    measured on those who were lapsing.
    """

    contacts: Contacts
    lapsing: BoolArray
    rows: TrainingSet
    signals: tuple[str, ...]
    end: pd.Timestamp
    delivery: Delivery


def load_moments(ctx: TrainContext) -> Moments:
    """Every decision of the log whose window is over. Raises InputError where there is none or nobody was left alone."""
    config: WinBackConfig = ctx.config
    kinds = [kind.value for kind in config.return_kinds]
    span = data_span(ctx.settings.timeline_path, kinds)
    ctx.progress("win-back: finding the decisions and who came back")
    window = (config.wait_days, config.horizon_days)
    table = contact_moments(ctx.settings.timeline_path, kinds, *window, span.end, config.n_max_moments, ctx.seed)
    if table.empty:
        raise InputError(
            f"The log holds no decision with an arm and a pscore that is {sum(window):g} days old.",
            repair="Win-back learns from logged decisions: serve (POST /v1/decide) or bring them, and wait that long.",
        )
    whole = build_training_set(table, Task.WIN_BACK, ctx.store, "contacts", progress=ctx.progress)
    reachable = reachable_arms(whole)
    chance = whole.entities[CHANCE].to_numpy(np.float64)
    held_out = whole.entities[HELD_OUT].to_numpy(bool)
    pscore = whole.entities[PSCORE].to_numpy(np.float64)
    # Where nothing else could have happened there is nothing to compare with, but for hold-outs, who were drawn.
    certain = ((chance <= 0) | (chance >= 1) | (pscore >= 1)) & ~held_out
    sent = _delivered(whole, reachable)
    usable = reachable.any(axis=1).to_numpy(bool) & ~certain & sent.kept
    rows, reachable = whole.select(usable), reachable[usable].reset_index(drop=True)
    names = tuple(name for name in rows.feature_names if name.startswith(config.signals) or name in declared().words)
    if not names:
        raise InputError("No signal begins with a name in signals.", repair="See features/signals.py.")
    contacts = assemble(
        effect_inputs(rows.columns(names)),
        rows.entities[ARM].to_numpy(object),
        reachable,
        rows.labels,
        rows.entities[Columns.CUSTOMER_ID].to_numpy(object),
        config,
        ctx.seed,
        pscore=pscore[usable],
        chance=chance[usable],
        held_out=held_out[usable],
    )
    return Moments(contacts, config.lapsing.rows(rows.features), rows, names, pd.Timestamp(span.end), sent)


def _delivered(whole: TrainingSet, reachable: pd.DataFrame) -> Delivery:
    """Which decisions came about; an action that could not reach the customer left them alone."""
    reached = np.ones(len(whole.entities), bool)
    for arm in reachable.columns:
        reached &= reachable[arm].to_numpy(bool) | (whole.entities[ARM] != arm).to_numpy(bool)
    found = delivery(whole.entities, reached)
    if found.words():
        logger.warning("win-back: %s", found.words())
    return found


def reachable_arms(rows: TrainingSet) -> pd.DataFrame:
    """Whom each arm of the log would have reached (n, arms): not who had refused its channel by then."""
    sent = rows.entities[rows.entities[ARM] != NOTHING]
    channels = sent.groupby(ARM)[Columns.CHANNEL].agg(lambda named: named.mode().iloc[0])
    return pd.DataFrame(
        {arm: rows.column(f"consent_{channel}") != 0.0 for arm, channel in channels.items()},
        index=rows.entities.index,
    )
