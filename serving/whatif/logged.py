"""The log's own decisions in, what they would have earned under two sets of rules out, from the chances they were drawn with.

Each decision's customer is taken as they were at its moment, from the offline store, and weighed by both sets of rules with
the models of today. What came of the decision counts as often as the rules would have taken it, over as often as it was taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.errors import InputError, MissingError
from features.evaluation.two_policies import TwoPolicies, compare_policies
from features.online.live import LiveState
from features.online.many import LiveBatch
from features.outcomes.delivery import delivery
from features.outcomes.named import ARM
from features.outcomes.rewards import PSCORE, RewardConfig, decision_entities, decision_log
from features.settings import Settings
from features.signals import compute_signals
from features.sql import connect_bounded, scan
from features.state import layout
from features.state.batch import StateBatch
from features.store.feature_store import Store
from features.vocabulary import CHANNELS, NOTHING, Columns, EventKind, Task
from serving.answers import Knowledge
from serving.decision.arm_weighing import WeighedArms
from serving.decision.many_arms import ManyArms
from serving.decision.rules import Arm, Rules
from serving.decision.send_window import SendWindow
from serving.schemas.what_if import Estimate, LoggedEvidence, Reward

AT_ONCE: Final = 2_000
"""Decisions whose states are held together; one takes about 10 KB."""
SAME: Final = 1e-3
"""A chance that is nearer to the logged one than this is the same."""
_JUST_AFTER: Final = timedelta(microseconds=1)
"""A decision sees what happened up to its moment; the store tells what was before one."""
_REWARDS: Final = {
    "engagement": "responses that name the decision, each worth response_value of the rules in force, less its cost",
    "purchase": "1 for a purchase in the window, less its cost",
    "margin": "margin of the purchases in the window, less its cost",
}


@dataclass(frozen=True)
class Replayed:
    """Logged decisions (n) and the chances (n, arms) that two sets of rules give the arms then."""

    rows: pd.DataFrame
    arms: tuple[str, ...]
    old: FloatArray
    new: FloatArray


def logged_evidence(
    settings: Settings,
    known: Knowledge,
    old: Rules,
    new: Rules,
    reward: Reward,
    window_days: float,
    most: int,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[LoggedEvidence, list[str]]:
    """The evidence of up to `most` decisions, and what makes it doubtful. Raises InputError where the log cannot tell."""
    config = RewardConfig(counts=reward, window_days=window_days)
    arms = known.bundle.need_channel().arms
    rows = logged_rows(settings, config, arms, old, most, seed)
    found = replay(settings, known, rows, old, new, progress)
    left_out = found.rows["left_out"].to_numpy(bool)
    kept = found.rows[~left_out].reset_index(drop=True)
    if not len(kept):
        raise InputError("None of the logged decisions was delivered: no send, deliver or impression names one.")
    log = decision_log(kept, found.arms)
    policies = compare_policies(log, found.old[~left_out], found.new[~left_out], seed=seed)
    return _evidence(policies, kept, log.action, found.old[~left_out], reward), list(policies.warnings)


def logged_rows(
    settings: Settings, config: RewardConfig, arms: Sequence[Arm], rules: Rules, most: int, seed: int
) -> pd.DataFrame:
    """Up to `most` decisions whose window is over, whole customers, with their reward in money, `when` and `campaign_id`."""
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run: omni features build")
    worth = rules.response_value if config.counts == "engagement" else 1.0
    with connect_bounded() as connection:
        source = scan(settings.timeline_path)
        end = connection.execute(f"SELECT max(occurred_at) FROM {source}").fetchall()[0][0]
        asked = connection.execute(
            f"SELECT event_id AS key, json_extract_string(properties, '$.when') AS asked_when FROM {source} "
            f"WHERE kind = '{EventKind.DECISION}'"
        ).df()
    names = [NOTHING, *(arm.name for arm in arms)]
    rows = pd.DataFrame()
    if end is not None:
        data_end = pd.Timestamp(end).tz_convert("UTC").to_pydatetime()
        costs = {arm.name: arm.cost / worth for arm in arms}
        rows = decision_entities(settings.timeline_path, config, costs, data_end)
        rows = rows[rows[ARM].isin(names)]
    if not len(rows):
        raise InputError("The log holds no decision of today's ways whose outcome is known yet.")
    customers = rows[Columns.CUSTOMER_ID].unique()
    order = np.random.default_rng(seed).permutation(len(customers))
    sizes = rows.groupby(Columns.CUSTOMER_ID).size().reindex(customers).to_numpy()[order]
    taken = customers[order][: max(1, int(np.searchsorted(np.cumsum(sizes), most, side="right")))]
    rows = rows[rows[Columns.CUSTOMER_ID].isin(set(taken))].merge(asked, on="key", how="left")
    label = rows[Columns.LABEL] * worth
    return rows.assign(**{Columns.LABEL: label}).sort_values([Columns.CUSTOMER_ID, Columns.AS_OF], ignore_index=True)


def replay(
    settings: Settings,
    known: Knowledge,
    rows: pd.DataFrame,
    old: Rules,
    new: Rules,
    progress: Callable[[str], None] = lambda _: None,
) -> Replayed:
    """Both sets of rules asked at each decision's moment; `rows` gain `left_out`: what nobody sent."""
    channel = known.bundle.need_channel()
    names = (NOTHING, *(arm.name for arm in channel.arms))
    store, sides = Store(settings), [ManyArms(channel.arms, known.population_hours, rules) for rules in (old, new)]
    chances = np.zeros((2, len(rows), len(names)))
    consented = np.ones((len(rows), len(names)), bool)
    for start in range(0, len(rows), AT_ONCE):
        part = rows.iloc[start : start + AT_ONCE]
        at = slice(start, start + len(part))
        moments = part[[Columns.CUSTOMER_ID, Columns.AS_OF]].assign(as_of=part[Columns.AS_OF] + _JUST_AFTER)
        states = store.training_states(moments.reset_index(drop=True), Task.BEST_CHANNEL)
        consented[at] = _consented(states, channel.arms)
        for place, many in enumerate(sides):
            weighed = _weigh(many, known, part, states)
            chances[place, at] = [[one.chances.get(name, 0.0) for name in names] for one in weighed]
        progress(f"{start + len(part):,} of {len(rows):,} logged decisions")
    numbers = rows[ARM].map({name: number for number, name in enumerate(names)}).to_numpy(np.int64)
    kept = delivery(rows, consented[np.arange(len(rows)), numbers]).kept
    return Replayed(rows.assign(left_out=~kept), names, chances[0], chances[1])


def _weigh(many: ManyArms, known: Knowledge, rows: pd.DataFrame, states: StateBatch) -> list[WeighedArms]:
    channel = known.bundle.need_channel()
    batch = LiveBatch(rows[Columns.CUSTOMER_ID].tolist(), states, _then)
    as_of_s = rows[Columns.AS_OF].to_numpy("datetime64[us]").astype(np.int64) / 1e6
    signals = compute_signals(batch.scored, as_of_s)
    at_once = (rows["asked_when"] == "now").tolist()
    return many.weigh(
        batch.states,
        batch.scored,
        as_of_s,
        channel.probabilities(signals),
        channel.gains(signals),
        names=batch.names,
        held_out=[False] * len(batch),
        refusals=[None] * len(batch),
        not_before_s=as_of_s,
        windows=[
            SendWindow(at_s, at_once=True, why="as asked") if now else None
            for at_s, now in zip(as_of_s.tolist(), at_once, strict=True)
        ],
    )


def _consented(states: StateBatch, arms: Sequence[Arm]) -> Any:
    """Whether each arm, nothing first, could reach the customers (n, arms): not where its channel was refused."""
    said = states.channels[:, :, layout.CONSENT]
    every = np.ones(len(states), bool)
    reached = [every if arm.channel is None else said[:, CHANNELS.index(arm.channel)] != 0.0 for arm in arms]
    return np.column_stack([every, *reached])


def _then(name: str, state: StateBatch, version: str) -> LiveState:
    return LiveState(name, state, None, 0, version)


def _evidence(
    policies: TwoPolicies, rows: pd.DataFrame, action: Any, old: FloatArray, reward: Reward
) -> LoggedEvidence:
    same = np.abs(old[np.arange(len(rows)), action] - rows[PSCORE].to_numpy(float)) < SAME
    estimates = {name: Estimate(**getattr(policies, name).to_dict()) for name in ("old", "new", "difference")}
    return LoggedEvidence(
        decisions=len(rows),
        customers=int(rows[Columns.CUSTOMER_ID].nunique()),
        reward=_REWARDS[reward],
        effective_decisions=round(policies.new_support.effective_rows, 1),
        largest_weight=round(policies.new_support.largest_weight, 3),
        same_chance=round(float(same.mean()), 4),
        **estimates,
    )
