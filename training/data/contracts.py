"""The timeline's contracts and cutoffs in, who was under contract at each cutoff out, and whether they were at the horizon.

A contract begins with a `subscribe` event that names a product and ends with such an `unsubscribe`, or at the `ends_at` of
its properties where nothing has renewed it by then; a subscription without a product is a consent. A customer has one
contract at a time: another `subscribe` renews or changes it. Who left one and has another at the horizon has not churned.

Customers whose contract began before the log does are unknown until something is heard of it; nobody is called a churner,
or none, whose window is not over.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from features.errors import InputError, MissingError
from features.outcomes.rewards import as_entities
from features.sql import connect_bounded, scan, sql_days
from features.vocabulary import Columns, EventKind
from training.data.labels import Span

_CONTRACT_EVENTS: Final = f"""
    SELECT customer_id, occurred_at, event_id, kind = '{EventKind.SUBSCRIBE}' AS begins,
           CASE WHEN isfinite(detail) THEN detail END AS ends_s
    FROM {{timeline}}
    WHERE kind IN ('{EventKind.SUBSCRIBE}', '{EventKind.UNSUBSCRIBE}') AND product_id <> ''
"""


def contract_span(timeline: Path) -> Span:
    """From the first contract's beginning to just after the log's last event of any kind.

    Raises InputError where the log holds no contract and MissingError without a timeline.
    """
    if not timeline.exists():
        raise MissingError(f"{timeline} is not there.", repair="Run: omni features build")
    with connect_bounded() as connection:
        first, last = connection.execute(
            f"""
            SELECT (SELECT min(occurred_at) FROM ({_CONTRACT_EVENTS.format(timeline=scan(timeline))}) WHERE begins),
                   max(occurred_at)
            FROM {scan(timeline)}
            """
        ).fetchall()[0]
    if first is None:
        raise InputError(
            "The log holds no contract: no event of kind subscribe names a product.",
            repair="Bring contracts as subscribe and unsubscribe events with the plan as product_id, or leave kind out.",
        )
    utc = pd.to_datetime([first, last], utc=True)
    return Span(utc[0].to_pydatetime(), (utc[1] + pd.Timedelta(microseconds=1)).to_pydatetime())


def contract_entities(timeline: Path, cutoffs: Sequence[datetime], horizon_days: float) -> pd.DataFrame:
    """customer_id, as_of, label for every cutoff and every customer under contract at it, in that order.

    The label is 1 (churned) where no contract runs `horizon_days` later. The caller sees to it that every window ends
    inside the data.
    """
    with connect_bounded() as connection:
        connection.register("cutoffs", pd.DataFrame({Columns.AS_OF: pd.to_datetime(list(cutoffs), utc=True)}))
        rows = connection.execute(
            f"""
            WITH e AS ({_CONTRACT_EVENTS.format(timeline=scan(timeline))}),
            moments AS (
                SELECT as_of, as_of AS at FROM cutoffs
                UNION SELECT as_of, as_of + {sql_days(horizon_days)} FROM cutoffs
            ),
            last AS (
                SELECT m.as_of, m.at, e.customer_id, e.begins AND coalesce(e.ends_s > epoch(m.at), true) AS runs
                FROM moments m JOIN e ON e.occurred_at < m.at
                QUALIFY row_number() OVER (
                    PARTITION BY m.as_of, m.at, e.customer_id ORDER BY e.occurred_at DESC, e.event_id DESC
                ) = 1
            )
            SELECT now.customer_id, now.as_of, (NOT later.runs)::DOUBLE AS label
            FROM last now JOIN last later
              ON later.customer_id = now.customer_id AND later.as_of = now.as_of AND later.at > later.as_of
            WHERE now.at = now.as_of AND now.runs
            ORDER BY now.as_of, now.customer_id
            """
        ).df()
    return as_entities(rows)
