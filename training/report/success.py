"""The timeline and a period in, measured success out: what customers did, spent and answered, beside the period before.

Everybody counts who acted or was contacted in the period. Intervals are over customers; the change is between the same
draws of customers in both periods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import duckdb
import pandas as pd

from features.evaluation.resampling import Metric, Sampled
from features.events.payload import OTHERS_PATTERN
from features.sql import sql_days, sql_refusal, sql_text
from features.vocabulary import CONTACT_KINDS, CUSTOMER_KINDS, RESPONSE_KINDS, EventKind
from training.report.bundles import Ratio, sampled_ratios
from training.report.config import ReportConfig
from training.report.costs import contact_cost
from training.report.deliveries import DecidedArm, decided_arms
from training.report.scan import Period, kind_list

_OF_OTHERS: Final = (
    f"(kind IN ('{EventKind.SUBSCRIBE}', '{EventKind.UNSUBSCRIBE}')"
    f" AND regexp_matches(event_id, {sql_text(OTHERS_PATTERN)}))"
)
"""What somebody else said for an address of the customer: no activity of theirs."""

MEASURES: Final[dict[str, tuple[Ratio, str]]] = {
    "retention": (
        ("retained", "bought_before"),
        "of those who bought in the period before, the share who bought again",
    ),
    "orders_per_active": (("orders", "active"), "orders per customer who did something of their own"),
    "revenue_per_customer": (
        ("revenue", "customers"),
        "purchases less returns, per customer who acted or was contacted",
    ),
    "contacts_per_customer": (("contacts", "customers"), "sends and impressions, per such customer"),
    "cost_per_customer": (("cost", "customers"), "what contacts cost, per such customer"),
    "unsubscribe_rate": (("unsubscribed", "contacted"), "of those contacted, the share who unsubscribed"),
}
"""Name to the sums that are divided, and its meaning."""
ENGAGEMENT: Final = "engagement"
ENGAGEMENT_MEANING: Final = (
    "of the messages sent in the period (impressions, on a channel that sends none), the share opened, clicked or followed "
    "by an outcome within {days:g} days; those too young to tell are left out"
)
COUNTS: Final = ("customers", "active", "orders", "revenue", "contacts", "cost", "cost_unknown")


@dataclass(frozen=True)
class Measure:
    """One figure of the period, of the period before, and the change; None where the log does not reach so far back."""

    name: str
    meaning: str
    now: Metric
    before: Metric | None
    change: Metric | None


@dataclass(frozen=True)
class Success:
    """How a period went."""

    period: Period
    measures: tuple[Measure, ...]
    counts: Mapping[str, float]
    """Of the period: customers, active ones, orders, revenue, contacts, their cost, and contacts without a known cost."""
    decisions: tuple[DecidedArm, ...] = ()
    """Per arm, how many decisions to send were delivered."""


def default_success_period(start: datetime | None, end: datetime | None, log_end: datetime, days: int) -> Period:
    """What was asked for, or the last whole days of the log."""
    end = end or log_end.replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(start or end - timedelta(days=days), end)


def measure_success(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, log: Period, seed: int = 0
) -> Success:
    """The measures of `period` and of the one before it; `log` is what is known."""
    reach = [log.start < period.before(times).start + timedelta(days=1) for times in (1, 2)]
    make_contacts(connection, config, period.before().start, period.end)
    _make_messages(connection, config, period, log.end)
    sums = _sums(connection, period)
    channels = _channels(connection)
    parts = [{name: rule for name, (rule, _) in MEASURES.items()}, channels]
    ratios = {name: rule for part in parts for name, rule in part.items()}
    meanings = {name: meaning for name, (_, meaning) in MEASURES.items()}
    engagement = ENGAGEMENT_MEANING.format(days=config.answer_days)
    both = {f"{name}@{w}": (f"{above}_{w}", f"{below}_{w}") for name, (above, below) in ratios.items() for w in (0, 1)}
    found = sampled_ratios(sums, both, seed)
    counts = {name: float(sums[f"{name}_0"].sum()) for name in COUNTS}
    if counts["cost_unknown"] == counts["contacts"]:
        ratios.pop("cost_per_customer")
    measures = [
        _measure(name, meanings.get(name, engagement), found[f"{name}@0"], found[f"{name}@1"], reach) for name in ratios
    ]
    return Success(period, tuple(measures), counts, decided_arms(connection, period, log.end))


def make_contacts(connection: duckdb.DuckDBPyConnection, config: ReportConfig, start: datetime, end: datetime) -> None:
    """Table `contacts`, a row per contact in [start, end) with its cost, null where it is not known."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE contacts AS
        WITH sent AS (
            SELECT customer_id, occurred_at AS moment, channel, kind, properties, decision_id, campaign_id
            FROM timeline WHERE kind IN ({kind_list(CONTACT_KINDS)}) AND occurred_at >= $start AND occurred_at < $end
        ), decided AS (
            SELECT customer_id, decision_id, any_value(json_extract_string(properties, '$.arm')) AS arm
            FROM timeline SEMI JOIN sent USING (customer_id, decision_id)
            WHERE kind = '{EventKind.DECISION}' GROUP BY ALL
        )
        SELECT s.customer_id, s.moment, s.channel, s.kind, s.decision_id, s.campaign_id, {contact_cost(config)} AS cost
        FROM sent s LEFT JOIN decided d USING (customer_id, decision_id)
        """,
        {"start": start, "end": end},
    )


def _sums(connection: duckdb.DuckDBPyConnection, period: Period) -> pd.DataFrame:
    """A row per bundle: sums over customers, with _0 of the period and _1 of the one before; both of channels too."""
    before, earlier = period.before(), period.before(2)
    window = "CASE WHEN {0} >= $now THEN 0 WHEN {0} >= $before THEN 1 ELSE 2 END"
    own = kind_list(CUSTOMER_KINDS)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE per_customer AS
        WITH acted AS (
            SELECT customer_id, {window.format("occurred_at")} AS w,
                   bool_or(kind IN ({own}) AND NOT {_OF_OTHERS}) AS active,
                   bool_or({sql_refusal()}) AS unsubscribed,
                   coalesce(sum(value) FILTER (kind = '{EventKind.RETURN}'), 0) AS returned
            FROM timeline WHERE occurred_at >= $earlier AND occurred_at < $end AND kind IN ({own}) GROUP BY ALL
        ), bought AS (
            SELECT customer_id, {window.format("moment")} AS w, count(*) AS orders, sum(value) AS spent
            FROM orders WHERE moment >= $earlier AND moment < $end GROUP BY ALL
        ), reached AS (
            SELECT customer_id, {window.format("moment")} AS w, count(*) AS contacts, sum(cost) AS cost,
                   count(*) FILTER (cost IS NULL) AS cost_unknown
            FROM contacts GROUP BY ALL
        )
        SELECT bundle(customer_id) AS bundle, customer_id, w, coalesce(active, false) AS active,
               coalesce(unsubscribed, false) AND contacts > 0 AS unsubscribed, coalesce(orders, 0) AS orders,
               coalesce(spent, 0) - coalesce(returned, 0) AS revenue, coalesce(contacts, 0) AS contacts, cost,
               coalesce(cost_unknown, 0) AS cost_unknown
        FROM acted FULL JOIN bought USING (customer_id, w) FULL JOIN reached USING (customer_id, w)
        WHERE coalesce(active, false) OR orders IS NOT NULL OR contacts IS NOT NULL
        """,
        {"now": period.start, "before": before.start, "earlier": earlier.start, "end": period.end},
    )
    columns = {
        "customers": "1", "active": "c.active::INT", "orders": "c.orders", "revenue": "c.revenue",
        "contacts": "c.contacts", "cost": "c.cost", "cost_unknown": "c.cost_unknown",
        "contacted": "(c.contacts > 0)::INT", "unsubscribed": "c.unsubscribed::INT",
    }  # fmt: skip
    sums = ", ".join(
        f"coalesce(sum({what}) FILTER (c.w = {w}), 0)::DOUBLE AS {name}_{w}"
        for name, what in columns.items() for w in (0, 1)
    )  # fmt: skip
    kept = ", ".join(
        f"count(*) FILTER (c.w = {w + 1} AND c.orders > 0)::DOUBLE AS bought_before_{w}, "
        f"count(*) FILTER (c.w = {w + 1} AND c.orders > 0 AND n.orders > 0)::DOUBLE AS retained_{w}"
        for w in (0, 1)
    )
    people = connection.execute(
        f"""SELECT c.bundle, {sums}, {kept}
            FROM per_customer c LEFT JOIN per_customer n ON n.customer_id = c.customer_id AND n.w = c.w - 1
            GROUP BY c.bundle ORDER BY c.bundle"""
    ).df()
    return people.merge(_channel_sums(connection), on="bundle", how="left").fillna(0.0)


def _make_messages(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, log_end: datetime
) -> None:
    """Table `messages`: per channel, bundle and period how many were sent and how many of them were answered.

    An answer carries the message's decision or campaign; where one of the two names none, it comes before the next message.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE messages AS
        WITH sends AS (
            SELECT *, kind = '{EventKind.SEND}' AS sent, bool_or(sent) OVER (PARTITION BY channel) AS sends,
                   lead(moment) OVER (PARTITION BY customer_id, channel, kind ORDER BY moment) AS next
            FROM contacts
        ), answers AS (
            SELECT customer_id, channel, occurred_at AS at_moment, decision_id AS by_decision, campaign_id AS by_campaign
            FROM timeline WHERE kind IN ({kind_list(RESPONSE_KINDS)}) AND occurred_at >= $before
        ), told AS (
            SELECT *, EXISTS (
                SELECT 1 FROM answers a
                WHERE a.customer_id = s.customer_id AND a.channel = s.channel AND at_moment >= moment
                  AND at_moment < moment + {sql_days(config.answer_days)}
                  AND coalesce(by_decision = decision_id, by_campaign = campaign_id, next IS NULL OR at_moment < next)
            ) AS answered
            FROM sends s WHERE sent = sends AND moment + {sql_days(config.answer_days)} <= $log_end
        )
        SELECT channel, bundle(customer_id) AS bundle, (moment < $now)::INT AS w, count(*)::DOUBLE AS sent,
               sum(answered::INT)::DOUBLE AS answered, bool_or(sends) AS sends
        FROM told GROUP BY ALL
        """,
        {"now": period.start, "before": period.before().start, "log_end": log_end},
    )


def _channel_sums(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """A row per bundle: messages sent_<channel>_<w> and answered_<channel>_<w>."""
    rows = connection.execute("SELECT * FROM messages").df()
    wide = rows.pivot_table(index="bundle", columns=["channel", "w"], values=["sent", "answered"], aggfunc="sum")
    wide.columns = pd.Index(["_".join(map(str, name)) for name in wide.columns.tolist()])
    names = [f"{what}_{one}_{w}" for one in rows["channel"].unique() for what in ("sent", "answered") for w in (0, 1)]
    return wide.reindex(columns=names).fillna(0.0).reset_index()


def _channels(connection: duckdb.DuckDBPyConnection) -> dict[str, Ratio]:
    """Engagement of every channel with messages in the period; not of one on which no impression was ever answered."""
    found = connection.execute(
        """SELECT channel FROM messages GROUP BY channel
           HAVING sum(sent) FILTER (w = 0) > 0 AND (bool_or(sends) OR sum(answered) > 0)
           ORDER BY sum(sent) DESC, channel"""
    ).fetchall()
    return {f"{ENGAGEMENT}/{channel}": (f"answered_{channel}", f"sent_{channel}") for (channel,) in found}


def _measure(name: str, meaning: str, now: Sampled, before: Sampled, reach: list[bool]) -> Measure:
    """Of retention each period needs the one before it too; `reach`: whether the log holds one and two periods before."""
    told_now = reach[0] or name != "retention"
    told_before = reach[1] if name == "retention" else reach[0]
    nothing = Metric(float("nan"), float("nan"), float("nan"))
    return Measure(
        name=name,
        meaning=meaning,
        now=now.metric() if told_now else nothing,
        before=before.metric() if told_before else None,
        change=now.minus(before).metric() if told_before else None,
    )
