"""The timeline and an experiment in, what every customer of each variant did in their window and before it out.

Who is in which variant is read from the decisions' own flags. A customer belongs to the variant of their first flagged decision
and counts from just after it, for `window_days`; whose window is not over yet, or was not over when the experiment ended, is
left out. So everybody counts for as long, and newcomers come in one after the other, as the confidence sequence has them.
"""

from datetime import datetime
from typing import Final

import duckdb
import pandas as pd

from features.experiments.experiment import Experiment
from features.sql import sql_days, sql_refusal, sql_text
from features.vocabulary import CUSTOMER_KINDS, DAY_S, RESPONSE_KINDS, EventKind
from training.report.scan import kind_list

METRICS: Final = {
    "revenue": "purchases less returns, per customer",
    "orders": "orders, per customer",
    "responses": "messages opened, clicked or followed by an outcome, per customer",
    "unsubscribed": "share who unsubscribed",
}
"""Name and meaning of what is compared; each is a column of `outcomes`, and `past_` of it is the same before."""
KNOWN_FOR_DAYS: Final = 1.0
"""Who was first seen so long before their first decision has a past; who came for it has none."""


def make_members(connection: duckdb.DuckDBPyConnection, experiment: Experiment) -> None:
    """Table `members`: customer_id, entered, variant, switched; of those in a variant that the experiment has."""
    path = sql_text(f'$.experiments."{experiment.name}"')
    names = ", ".join(sql_text(variant.name) for variant in experiment.variants)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE members AS
        WITH told AS (
            SELECT customer_id, occurred_at AS moment, event_id, json_extract_string(properties, {path}) AS variant
            FROM timeline WHERE kind = '{EventKind.DECISION}' AND contains(properties, '"experiments"')
        )
        SELECT customer_id, min(moment) AS entered, arg_min(variant, (moment, event_id)) AS variant,
               count(DISTINCT variant) > 1 AS switched
        FROM told WHERE variant IN ({names}) GROUP BY customer_id
        """
    )


def outcomes(connection: duckdb.DuckDBPyConnection, experiment: Experiment, end: datetime) -> pd.DataFrame:
    """A row per member whose window is over by `end`: customer_id, variant, entered, has_past, METRICS and their past."""
    window, past = sql_days(experiment.window_days), sql_days(experiment.past_days)
    times = {
        "": f"{{0}} > m.entered AND {{0}} <= m.entered + {window}",
        "past_": f"{{0}} <= m.entered AND {{0}} > m.entered - {past}",
    }
    message = "coalesce(e.decision_id, e.campaign_id, e.event_id)"
    told = f"e.kind IN ({kind_list(RESPONSE_KINDS)})"
    bought, acted = [], []
    for of, time in times.items():
        at = time.format("o.moment")
        bought += [f"count(*) FILTER ({at}) AS {of}orders", f"sum(o.value) FILTER ({at}) AS {of}spent"]
        at = time.format("e.occurred_at")
        acted += [
            f"sum(e.value) FILTER (e.kind = '{EventKind.RETURN}' AND {at}) AS {of}returned",
            f"count(DISTINCT {message}) FILTER ({told} AND {at}) AS {of}responses",
            f"max(({sql_refusal('e')})::INT) FILTER ({at}) AS {of}unsubscribed",
        ]
    sums = ", ".join(
        f"coalesce({of}spent, 0) - coalesce({of}returned, 0) AS {of}revenue, coalesce({of}orders, 0)::DOUBLE AS {of}orders,"
        f" coalesce({of}responses, 0)::DOUBLE AS {of}responses, coalesce({of}unsubscribed, 0)::DOUBLE AS {of}unsubscribed"
        for of in times
    )
    return connection.execute(
        f"""
        WITH ripe AS (SELECT * FROM members WHERE entered + {window} <= $end),
        bought AS (
            SELECT m.customer_id, {", ".join(bought)} FROM ripe m JOIN orders o USING (customer_id) GROUP BY ALL
        ), acted AS (
            SELECT m.customer_id, min(e.occurred_at) < any_value(m.entered) - {sql_days(KNOWN_FOR_DAYS)} AS has_past,
                   {", ".join(acted)}
            FROM ripe m JOIN timeline e USING (customer_id)
            WHERE e.kind IN ({kind_list(CUSTOMER_KINDS)}) GROUP BY m.customer_id
        )
        SELECT customer_id, variant, entered, coalesce(has_past, false) AS has_past, {sums}
        FROM ripe m LEFT JOIN bought USING (customer_id) LEFT JOIN acted USING (customer_id) ORDER BY customer_id
        """,
        {"end": end},
    ).df()


def came_in(connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, int], int, float]:
    """Customers by variant, how many were later decided for by another one, and in how many days they came."""
    rows = connection.execute("SELECT variant, count(*), sum(switched::INT) FROM members GROUP BY variant").fetchall()
    first, last = connection.execute("SELECT min(entered), max(entered) FROM members").fetchall()[0]
    days = 0.0 if first is None else (last - first).total_seconds() / DAY_S
    return {str(name): int(n) for name, n, _ in rows}, sum(int(n) for _, _, n in rows), days
