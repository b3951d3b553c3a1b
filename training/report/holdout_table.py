"""The log's flagged decisions and what their customers did in, sums per bundle and group out."""

from collections.abc import Iterable

import duckdb
import pandas as pd

from features.sql import sql_days, sql_refusal
from features.vocabulary import CUSTOMER_KINDS, DAY_S, RESPONSE_KINDS, EventKind
from training.report.scan import Period, kind_list

SPENT_BEFORE = "spent_before"
"""Money spent in as many days before the customer entered: known before anything could be done to them."""


def make_members(connection: duckdb.DuckDBPyConnection, period: Period) -> str | None:
    """Table `members`: bundle, customer_id, entered, held_out, switched, share; the hold-out's name, None without one."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE flagged AS
        WITH told AS (
            SELECT customer_id, occurred_at AS moment, event_id,
                   json_extract_string(properties, ['$.holdout.name', '$.holdout.held_out', '$.holdout.share']) AS flag
            FROM timeline
            WHERE kind = '{EventKind.DECISION}' AND occurred_at < $end AND contains(properties, '"holdout"')
        )
        SELECT customer_id, moment, event_id, flag[1] AS name, flag[2] = 'true' AS held_out,
               try_cast(flag[3] AS DOUBLE) AS share
        FROM told
        """,
        {"end": period.end},
    )
    newest = connection.execute(
        "SELECT arg_max(name, (moment, event_id)) FROM flagged WHERE name IS NOT NULL AND held_out IS NOT NULL"
    ).fetchall()[0][0]
    if newest is None:
        return None
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE members AS
        SELECT bundle(customer_id) AS bundle, customer_id, min(moment) AS entered,
               arg_min(held_out, (moment, event_id)) AS held_out, count(DISTINCT held_out) > 1 AS switched,
               arg_min(share, (moment, event_id)) AS share
        FROM flagged WHERE name = $name AND held_out IS NOT NULL GROUP BY customer_id
        """,
        {"name": newest},
    )
    return str(newest)


def make_outcomes(connection: duckdb.DuckDBPyConnection, period: Period) -> None:
    """Table `outcomes`, a row per member: what they did in the period from when they entered, and spent before that."""
    days = (period.end - period.start).total_seconds() / DAY_S
    inside = "{0} >= $start AND {0} < $end AND {0} >= m.entered"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE outcomes AS
        WITH bought AS (
            SELECT m.customer_id, count(*) FILTER ({inside.format("o.moment")}) AS orders,
                   coalesce(sum(o.value) FILTER ({inside.format("o.moment")}), 0) AS spent,
                   count(*) FILTER (o.moment < m.entered) > 0 AS bought_before,
                   coalesce(sum(o.value) FILTER (o.moment < m.entered), 0) AS spent_before
            FROM members m JOIN orders o ON o.customer_id = m.customer_id AND o.moment >= m.entered - {sql_days(days)}
            GROUP BY m.customer_id
        ), acted AS (
            SELECT m.customer_id, coalesce(sum(e.value) FILTER (e.kind = '{EventKind.RETURN}'), 0) AS returned,
                   bool_or({sql_refusal("e")}) AS unsubscribed,
                   count(DISTINCT coalesce(e.decision_id, e.campaign_id, e.event_id))
                       FILTER (e.kind IN ({kind_list(RESPONSE_KINDS)})) AS responses
            FROM members m JOIN timeline e ON e.customer_id = m.customer_id
            WHERE e.kind IN ({kind_list(CUSTOMER_KINDS)}) AND {inside.format("e.occurred_at")} GROUP BY m.customer_id
        ), reached AS (
            SELECT m.customer_id, count(*) AS contacts, coalesce(sum(c.cost), 0) AS cost
            FROM members m JOIN contacts c ON c.customer_id = m.customer_id WHERE {inside.format("c.moment")}
            GROUP BY m.customer_id
        )
        SELECT m.bundle, m.held_out::INT AS g, 1 AS n, (coalesce(orders, 0) > 0)::INT AS bought,
               coalesce(bought_before, false)::INT AS bought_before,
               (coalesce(bought_before, false) AND orders > 0)::INT AS retained, coalesce(orders, 0) AS orders,
               coalesce(spent, 0) - coalesce(returned, 0) AS revenue, coalesce(contacts, 0) AS contacts,
               coalesce(responses, 0) AS responses, coalesce(unsubscribed, false)::INT AS unsubscribed,
               coalesce(cost, 0) AS cost, coalesce(spent_before, 0) AS spent_before
        FROM members m LEFT JOIN bought USING (customer_id) LEFT JOIN acted USING (customer_id)
             LEFT JOIN reached USING (customer_id)
        """,
        {"start": period.start, "end": period.end},
    )


def outcome_sums(connection: duckdb.DuckDBPyConnection, columns: Iterable[str]) -> pd.DataFrame:
    """A row per bundle: sums of the columns of `outcomes`, with _0 of the contacted and _1 of the held-out."""
    names = dict.fromkeys([*columns, SPENT_BEFORE])
    sums = ", ".join(
        f"coalesce(sum({name}) FILTER (g = {g}), 0)::DOUBLE AS {name}_{g}" for name in names for g in (0, 1)
    )
    return connection.execute(f"SELECT bundle, {sums} FROM outcomes GROUP BY bundle ORDER BY bundle").df()


def spending_slope(connection: duckdb.DuckDBPyConnection) -> float:
    """Of revenue on what was spent before, within the groups (CUPED: Deng, Xu, Kohavi and Walker 2013); 0 without any."""
    found = connection.execute(
        """SELECT sum((revenue - r) * (spent_before - b)) / nullif(sum((spent_before - b) ** 2), 0)
           FROM outcomes JOIN (SELECT g, avg(revenue) AS r, avg(spent_before) AS b FROM outcomes GROUP BY g) USING (g)"""
    ).fetchall()[0][0]
    return float(found or 0.0)
