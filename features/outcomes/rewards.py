"""The rewards of logged decisions: the timeline in, one row each with the arm, its pscore and what came of it out.

Like training.data.labels it looks past the moment of the row: the reward is counted in [as_of, as_of + window_days).
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from features.config import Config
from features.evaluation.off_policy import DecisionLog
from features.ids import id_series
from features.outcomes.named import ANSWERED, ARM, ASKER, CONTACTED, sql_arm_pscore, sql_asker, sql_named
from features.sql import connect_bounded, scan, sql_days, sql_list, sql_refusal
from features.vocabulary import RESPONSE_KINDS, Columns, EventKind

PSCORE = "pscore"
SENT = "sent"


class RewardConfig(Config):
    """What a decision is worth once its window is over."""

    counts: Literal["engagement", "purchase", "margin"] = "margin"
    """1 for an open, click or outcome; 1 for a purchase; or the margin of the purchases, in money."""
    window_days: float = Field(3.0, gt=0)
    """Days in which it counts."""
    margin_share: float = Field(0.3, gt=0, le=1)
    """Margin of a purchase as a share of its value."""
    attributed: bool = False
    """Count only events that carry the decision's id; fair only where those after `nothing` carry it too."""
    costs: bool = True
    """Subtract the arm's cost where something was sent."""
    unsubscribe_penalty: float = Field(0.0, ge=0)
    """Subtracted for an unsubscribe in the window."""


def decision_entities(
    timeline: Path, reward: RewardConfig, costs: dict[str, float], data_end: datetime
) -> pd.DataFrame:
    """customer_id, as_of, arm, pscore, label (the reward), sent, key, asker, contacted, answered: a row per decision.

    Taken are decisions whose window ends by `data_end`; which of them anybody sent says features.outcomes.delivery.

    Decisions are events of that kind whose properties hold `arm` and `pscore`; others are left out, and so are those of
    customers in a hold-out: nothing was all that could happen to them, so they are no draw between the arms, and their
    chance of 1 would count too little for every other arm. `costs` maps an arm to the money that sending it takes.
    """
    ours = "AND r.decision_id = d.decision_id" if reward.attributed else ""
    responses = sql_list([kind.value for kind in RESPONSE_KINDS])
    counted = {
        "engagement": f"max((r.kind IN ({responses}) AND r.decision_id = d.decision_id)::INT)",
        "purchase": f"max((r.kind = '{EventKind.PURCHASE}' {ours})::INT)",
        "margin": f"sum(r.value) FILTER (r.kind = '{EventKind.PURCHASE}' {ours}) * {float(reward.margin_share)}",
    }[reward.counts]
    lost = f"coalesce(max({sql_refusal('r')}::INT), 0)" if reward.unsubscribe_penalty else "0"
    with connect_bounded() as connection:
        rows = connection.execute(
            f"""
            WITH d AS (
                SELECT customer_id, occurred_at, event_id, decision_id, {sql_asker("properties")} AS {ASKER},
                       json_extract_string(properties, '$.arm') AS arm,
                       {sql_arm_pscore("properties")} AS pscore
                FROM {scan(timeline)}
                WHERE kind = '{EventKind.DECISION}' AND occurred_at + {sql_days(reward.window_days)} <= $end
                  AND coalesce(json_extract_string(properties, '$.holdout.held_out'), 'false') <> 'true'
            ), named AS ({sql_named(scan(timeline))})
            SELECT d.customer_id, d.occurred_at AS as_of, d.arm AS {ARM}, d.pscore AS {PSCORE},
                   coalesce({counted}, 0.0)::DOUBLE AS earned,
                   coalesce(max((r.kind = '{EventKind.SEND}' AND r.decision_id = d.decision_id)::INT), 0) AS {SENT},
                   {lost} AS lost, d.event_id AS key, d.{ASKER}, coalesce(any_value(n.{CONTACTED}), false) AS {CONTACTED},
                   coalesce(any_value(n.{ANSWERED}), false) AS {ANSWERED}
            FROM d LEFT JOIN named n ON n.customer_id = d.customer_id AND n.decision_id = d.decision_id
            LEFT JOIN {scan(timeline)} r
              ON r.customer_id = d.customer_id AND r.occurred_at >= d.occurred_at
             AND r.occurred_at < d.occurred_at + {sql_days(reward.window_days)} AND r.event_id <> d.event_id
            WHERE d.arm IS NOT NULL AND d.pscore > 0 AND d.pscore <= 1
            GROUP BY d.customer_id, d.occurred_at, d.arm, d.pscore, d.event_id, d.{ASKER}
            ORDER BY as_of, key
            """,
            {"end": data_end},
        ).df()
    cost = rows[ARM].map(costs).fillna(0.0) * rows[SENT] if reward.costs else 0.0
    label = rows["earned"] - cost - reward.unsubscribe_penalty * rows["lost"]
    return as_entities(rows.assign(**{Columns.LABEL: label.astype(float)}).drop(columns=["earned", "lost"]))


def decision_log(rows: pd.DataFrame, arms: tuple[str, ...]) -> DecisionLog:
    """The rows of `decision_entities` as a log; `arms` numbers them."""
    codes = rows[ARM].map({name: i for i, name in enumerate(arms)})
    return DecisionLog(
        np.asarray(codes, dtype=np.int64),
        rows[PSCORE].to_numpy(float),
        rows[Columns.LABEL].to_numpy(float),
        len(arms),
        rows[Columns.CUSTOMER_ID].to_numpy(str),
    )


def as_entities(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a query with `as_of` as aware moments in microseconds and customers as text."""
    moments = pd.to_datetime(rows[Columns.AS_OF], utc=True).astype("datetime64[us, UTC]")
    return rows.assign(as_of=moments, customer_id=id_series(rows[Columns.CUSTOMER_ID]))
