"""States, signals and churn scores of customers in, the columns that audiences are chosen by out.

lifecycle           prospect (never bought, never had a contract), new, active, due, at_risk, lapsed: by the time since the
                    last purchase against the customer's own usual gap, or everybody's where they have none
value_decile        1 to 10 among those who ever bought, by expected revenue within the model's horizon, or by money spent
                    lately; 10 is the most, who is worth the same shares a decile, and prospects have none
churn_probability   and expectations are empty for prospects
purchase_path       channels of the purchases that are remembered, in the order of their first use: 'store>web'
win_back_uplift     how much likelier a contact makes a lapsing customer's return; empty for the others
win_back_advice     contact or leave alone
contract_days       how long the running contract runs, contract_days_left until it ends by itself; empty without one
subscription_state  subscribed, unsubscribed or never_asked, over all channels

What attributes.toml declares is a column of its name each (features/attributes/declared.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray
from features.attributes.columns import readable
from features.attributes.declared import declared
from features.online.live import LiveState
from features.signals import signal_names
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.vocabulary import CHANNELS, Columns
from serving.offers.columns import (
    DEFAULT_GAP_DAYS,
    NUMBERS,
    SAME_MONEY,
    purchase_path,
    stages,
    subscription_states,
)
from serving.scorers.churn import ChurnScorer
from serving.scorers.win_back import WinBackScorer

CHURN_COLUMNS: Final = ("churn_probability", "expected_purchases", "expected_revenue")
"""Columns that only the churn model knows."""
WIN_BACK_COLUMNS: Final = ("win_back_uplift", "win_back_advice")
"""Columns that only the win-back model knows."""


def segment_table(
    lives: Sequence[LiveState],
    signals: Float32Array,
    churn: ChurnScorer | None,
    win_back: WinBackScorer | None = None,
) -> pd.DataFrame:
    """One row per customer (n) with signals (n, F) of what models may look at; see the module's words.

    Deciles are not known before everybody is: see `add_deciles`.
    """
    column = {name: signals[:, i].astype(np.float64) for i, name in enumerate(signal_names())}
    table: dict[str, object] = {
        Columns.CUSTOMER_ID: [live.customer_id for live in lives],
        "may_profile": np.array([live.may_profile for live in lives], dtype=np.bool_),
    }
    if churn is not None:
        table["churn_probability"] = churn.probability(signals)
        purchases, revenue = churn.expectations(signals) or (None, None)
        if purchases is not None:
            table["expected_purchases"] = purchases
        if revenue is not None:
            table["expected_revenue"] = revenue
    if win_back is not None:
        table["win_back_uplift"] = win_back.score.uplift(signals)
        table["win_back_advice"] = win_back.score.advice(win_back.score.uplift(signals))
    table |= {name: column[signal] for name, signal in NUMBERS.items()}
    table["purchase_path"] = [purchase_path(live.scored) for live in lives]
    states = StateBatch.concat([live.state for live in lives])
    table["subscription_state"] = subscription_states(states)
    consents = states.channels[:, :, layout.CONSENT]  # (n, channels)
    table |= {f"consent_{channel.value}": consents[:, i] == 1 for i, channel in enumerate(CHANNELS)}
    return pd.DataFrame(table | attribute_columns(lives, column))


def attribute_columns(lives: Sequence[LiveState], signals: Mapping[str, FloatArray]) -> dict[str, NDArray[Any]]:
    """What is declared of n customers in attributes.toml, as a person reads it, and how old they are by a birthday."""
    known = declared()
    if not known.columns:
        return {}
    said = Ragged.concat([live.scored.attributes for live in lives])
    columns = readable(said.rows(), said.values, len(lives), known)
    ages = {
        column.name: signals[column.name] for column in known.columns if column.name not in columns and not column.value
    }
    return columns | ages


def add_deciles(table: pd.DataFrame) -> pd.DataFrame:
    """The table of everybody with `lifecycle` and `value_decile`, which compare a customer with the others."""
    gap = table["usual_gap_days"]
    usual = float(gap.median()) if gap.notna().any() else DEFAULT_GAP_DAYS
    by = "expected_revenue" if "expected_revenue" in table.columns else "spend_365d"
    value = table[by].fillna(0.0)
    return table.assign(
        lifecycle=lifecycle(table, usual), value_decile=deciles(value[table["days_since_purchase"].notna()])
    )


def deciles(values: "pd.Series[float]") -> "pd.Series[int]":
    """1 to 10 by value, in about equal parts; equal values share the decile of the middle one of them."""
    rank = values.round(SAME_MONEY).rank(method="average")
    return (rank * 10 / max(len(values), 1)).apply(np.ceil).astype("Int64")


def lifecycle(table: pd.DataFrame, usual_gap_days: float) -> NDArray[np.object_]:
    """The stage (n,) of each customer; a table of before there were contracts has none."""
    nothing = pd.Series(np.nan, index=table.index)
    known = [
        table["days_since_purchase"],
        table["usual_gap_days"],
        table["n_purchases"],
        table.get("contract_days", nothing),
        table.get("n_contracts", nothing),
    ]
    columns = [np.asarray(column, np.float64) for column in known]
    return stages(*columns, usual_gap_days=usual_gap_days)
