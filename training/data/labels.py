"""Labels, the only code that looks past a cutoff: the timeline and cutoffs in, entity rows with what came after out.

Features of a row come from events strictly before `as_of`, labels from the half-open window [as_of, as_of + horizon).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.errors import InputError, MissingError
from features.outcomes.named import ARM, sql_delivered
from features.outcomes.rewards import as_entities
from features.sql import connect_bounded, scan, sql_contact, sql_days, sql_list, sql_name, sql_text
from features.vocabulary import DAY_US, Columns, EventKind

REVENUE: Final = "revenue"
"""What a customer spent in the label's window."""


@dataclass(frozen=True)
class Span:
    """Half-open extent of the data: `end` is just after the last event."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Arm:
    """One way of contacting a customer, and what counts as an answer to it.

    A contact of the arm is an event of this channel and kind whose properties hold one of the listed values for every
    key of `properties`; a decision is one only where somebody sent it (features/outcomes/delivery.py). It is answered when,
    within `response_days`, the customer has an event of one of the `response_kinds` that agrees with the contact in every
    column of `response_match`.
    """

    name: str
    channel: str
    kind: str
    properties: Mapping[str, Sequence[str]]
    response_kinds: Sequence[str]
    response_match: Sequence[str]
    response_days: float


def data_span(timeline: Path, kinds: Sequence[str] = (EventKind.PURCHASE.value,)) -> Span:
    """From the first to just after the last event of the given kinds. Raises when the timeline is missing or empty."""
    if not timeline.exists():
        raise MissingError(f"{timeline} is not there.", repair="Run: omni features build")
    with connect_bounded() as connection:
        first, last = connection.execute(
            f"SELECT min(occurred_at), max(occurred_at) FROM {scan(timeline)} WHERE kind IN ({sql_list(kinds)})"
        ).fetchall()[0]
    if first is None:
        raise InputError(
            f"{timeline} holds no event of kind {', '.join(kinds)}.",
            repair="Ingest some: omni ingest SOURCE; [kinds] of a mapping.toml says which of your words means that.",
        )
    utc = pd.to_datetime([first, last], utc=True)
    return Span(utc[0].to_pydatetime(), (utc[1] + pd.Timedelta(microseconds=1)).to_pydatetime())


def churn_entities(
    timeline: Path,
    cutoffs: Sequence[datetime],
    horizon_days: float,
    activity_kinds: Sequence[str] = (EventKind.PURCHASE.value,),
    active_within_days: float | None = None,
    min_purchases: int = 1,
) -> pd.DataFrame:
    """customer_id, as_of, label, revenue for every cutoff and every customer eligible at it, in that order.

    The label is 1 (churned) when the customer has no event of `activity_kinds` in [cutoff, cutoff + horizon_days);
    revenue is the value of the purchases in the same window.
    Eligible are customers with such an event in the `active_within_days` before the cutoff (None: ever before), and
    `min_purchases` moments of such events before it.
    The caller sees to it that every window ends inside the data.
    """
    since = f"AND e.occurred_at >= c.as_of - {sql_days(active_within_days)}" if active_within_days else ""
    purchase = sql_text(EventKind.PURCHASE.value)
    with connect_bounded() as connection:
        connection.register("cutoffs", pd.DataFrame({Columns.AS_OF: pd.to_datetime(list(cutoffs), utc=True)}))
        rows = connection.execute(
            f"""
            WITH days AS (
                SELECT customer_id, occurred_at, bool_or(kind IN ({sql_list(activity_kinds)})) AS active,
                       coalesce(sum(value) FILTER (kind = {purchase}), 0)::DOUBLE AS spent
                FROM {scan(timeline)} WHERE kind IN ({sql_list(activity_kinds)}, {purchase})
                GROUP BY ALL
            )
            SELECT e.customer_id, c.as_of,
                   1 - max((e.active AND e.occurred_at >= c.as_of)::INT)::DOUBLE AS label,
                   coalesce(sum(e.spent) FILTER (e.occurred_at >= c.as_of), 0) AS {REVENUE}
            FROM cutoffs c JOIN days e ON e.occurred_at < c.as_of + {sql_days(horizon_days)}
            GROUP BY ALL
            HAVING count(*) FILTER (e.active AND e.occurred_at < c.as_of {since}) > 0
               AND count(*) FILTER (e.active AND e.occurred_at < c.as_of) >= {int(min_purchases)}
            ORDER BY c.as_of, e.customer_id
            """
        ).df()
    return as_entities(rows)


def days_to_next(
    timeline: Path, entities: pd.DataFrame, known_until: datetime, kinds: Sequence[str] = (EventKind.PURCHASE.value,)
) -> FloatArray:
    """Days (n,) from each entity row's `as_of` to the next event of `kinds` before `known_until`; NaN without one."""
    with connect_bounded() as connection:
        rows = entities[[Columns.CUSTOMER_ID, Columns.AS_OF]].assign(row=range(len(entities)))
        connection.register("entities", rows)
        found = connection.execute(
            f"""
            SELECT e.row, epoch_us(min(a.occurred_at)) - epoch_us(any_value(e.as_of)) AS micros
            FROM entities e JOIN {scan(timeline)} a ON a.customer_id = e.customer_id AND a.occurred_at >= e.as_of
            WHERE a.kind IN ({sql_list(kinds)}) AND a.occurred_at < $until
            GROUP BY e.row
            """,
            {"until": known_until},
        ).df()
    days = np.full(len(entities), np.nan)
    days[found["row"].to_numpy()] = found["micros"].to_numpy() / DAY_US
    return days


def contact_entities(
    timeline: Path, arms: Sequence[Arm], data_end: datetime, n_max_contacts: int, seed: int
) -> pd.DataFrame:
    """customer_id, as_of, arm, label, key: one row per contact whose response window ends by `data_end`.

    `as_of` is the moment of the contact and the label is 1 when it was answered (see Arm). Of an arm with more than
    `n_max_contacts` contacts a fixed pseudo-random sample is taken by the hash of (seed, event id); a contact's own
    event and all at the same moment are not part of its features, because those are strictly before `as_of`.
    """
    with connect_bounded() as connection:
        if any(arm.kind == EventKind.DECISION for arm in arms):
            connection.execute(f"CREATE TEMP TABLE delivered AS {sql_delivered(scan(timeline))}")
        parts = [_contacts(connection, timeline, arm, data_end, n_max_contacts, seed) for arm in arms]
    return as_entities(pd.concat(parts, ignore_index=True))


def _contacts(
    connection: duckdb.DuckDBPyConnection, timeline: Path, arm: Arm, end: datetime, n_max: int, seed: int
) -> pd.DataFrame:
    agree = " AND ".join(f"r.{sql_name(column)} = c.{sql_name(column)}" for column in arm.response_match) or "true"
    columns = ", ".join(
        sql_name(column) for column in dict.fromkeys(["customer_id", "occurred_at", *arm.response_match])
    )
    sent = "AND (customer_id, decision_id) IN (FROM delivered)" if arm.kind == EventKind.DECISION else ""
    return connection.execute(
        f"""
        WITH c AS (
            SELECT {columns}, event_id FROM {scan(timeline)}
            WHERE {sql_contact(arm.channel, arm.kind, arm.properties)} {sent}
              AND occurred_at + {sql_days(arm.response_days)} <= $end
            ORDER BY hash({int(seed)}, event_id) LIMIT {int(n_max)}
        ), r AS (
            SELECT {columns} FROM {scan(timeline)} WHERE kind IN ({sql_list(arm.response_kinds)})
        )
        SELECT customer_id, occurred_at AS as_of, {sql_text(arm.name)} AS {ARM}, event_id AS key,
               EXISTS (
                   SELECT 1 FROM r WHERE r.customer_id = c.customer_id AND {agree}
                     AND r.occurred_at >= c.occurred_at
                     AND r.occurred_at < c.occurred_at + {sql_days(arm.response_days)}
               )::DOUBLE AS label
        FROM c ORDER BY as_of, key
        """,
        {"end": end},
    ).df()
