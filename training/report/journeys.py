"""The timeline in, the journey audit out: paths, handovers, where journeys end, a funnel, purchases over channels.

A journey is a customer's touches from the first one to a purchase, which ends it, or to a silence of `silence_days`. A
touch is an event of the configured kinds: what the customer did, and what was sent or shown to them. A purchase is an
order (see scan.py). At one moment contacts come before what the customer did, and the purchase comes last. A step of the
path is a touchpoint (a channel, or a channel and a kind); the same one in a row is one step, and the purchase's channel is
the last one of a journey that ends with it. Journeys count by their beginning; one that is not over at the log's end is
counted as open and is in no share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb
import pandas as pd

from features.vocabulary import CONTACT_KINDS, EventKind
from training.labels import _days
from training.metrics import Metric
from training.report.bundles import sampled_ratios, share_metrics
from training.report.config import ReportConfig
from training.report.scan import Period, kind_list

STEP: Final = " > "
_ORDER: Final = "moment, bought, pushed DESC, touch, kind"
OMNICHANNEL: Final = "several channels"
SINGLE: Final = "one channel"


@dataclass(frozen=True)
class JourneyAudit:
    """What the journeys of a period look like; tables have a row per path, handover, touchpoint or channel."""

    period: Period
    counts: Mapping[str, int]
    """customers, journeys (that are over), purchases, open."""
    conversion: Metric
    """Share of the journeys that end with a purchase."""
    paths: pd.DataFrame
    """path, journeys, purchases, conversion, low, high, median_days, median_touches."""
    handovers: pd.DataFrame
    """touchpoint, next, count, share (of the touchpoint's handovers)."""
    drop_off: pd.DataFrame
    """touchpoint, journeys (that have it), ended (there, without a purchase), share, low, high."""
    funnel: pd.DataFrame
    """channel, viewed, in_cart, bought (each of the one before, on this channel), bought_anywhere (of the viewed)."""
    omnichannel_share: Metric
    """Share of the purchases whose journey touched several channels."""
    customer_value: Mapping[str, Metric]
    """Revenue per buyer: of those with a purchase over several channels, of the others, and the difference."""


def audit_journeys(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, log_end: datetime, seed: int = 0
) -> JourneyAudit:
    """The audit of the journeys that begin in `period`; the log is known until `log_end`."""
    _make_journeys(connection, config, period, log_end)
    told = connection.execute(
        """SELECT count(*) FILTER (done) AS journeys, count(*) FILTER (bought) AS purchases,
                  count(*) FILTER (NOT done) AS open, count(DISTINCT customer_id) AS customers FROM journeys"""
    ).df()
    counts = {name: int(told[name].iloc[0]) for name in ("customers", "journeys", "purchases", "open")}
    sums = connection.execute(
        """SELECT bundle, sum(bought::INT)::DOUBLE AS bought, count(*)::DOUBLE AS journeys,
                  sum((bought AND n_channels > 1)::INT)::DOUBLE AS several
           FROM journeys WHERE done GROUP BY bundle ORDER BY bundle"""
    ).df()
    shares = sampled_ratios(sums, {"conversion": ("bought", "journeys"), "several": ("several", "bought")}, seed)
    bundles = sums["bundle"].tolist()
    return JourneyAudit(
        period=period,
        counts=counts,
        conversion=shares["conversion"].metric(),
        paths=_paths(connection, config, bundles, seed),
        handovers=_handovers(connection),
        drop_off=_drop_off(connection, bundles, seed),
        funnel=_funnel(connection),
        omnichannel_share=shares["several"].metric(),
        customer_value=_customer_value(connection, seed),
    )


def default_period(log_start: datetime, log_end: datetime, config: ReportConfig) -> Period:
    """All of the log but its last `silence_days`: later journeys are known to be over only if they ended with a purchase."""
    late = log_end - timedelta(days=config.silence_days)
    return Period(log_start, late if late > log_start else log_end)


def _make_journeys(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, log_end: datetime
) -> None:
    """Tables `steps` (a row per touch) and `journeys`, both of the period."""
    touch = "channel" if config.touchpoint == "channel" else "channel || ' ' || kind"
    kinds = [kind for kind in config.kinds if kind != EventKind.PURCHASE]
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE steps AS
        WITH touches AS (
            SELECT DISTINCT customer_id, occurred_at AS moment, channel, kind, false AS bought, 0.0::DOUBLE AS value,
                   kind IN ({kind_list(CONTACT_KINDS)}) AS pushed
            FROM timeline WHERE kind IN ({kind_list(kinds)})
            UNION ALL
            SELECT customer_id, moment, channel, '{EventKind.PURCHASE}', true, value, false FROM orders
        ), named AS (
            SELECT *, {touch} AS touch FROM touches
        ), marked AS (
            SELECT *, coalesce(moment - lag(moment) OVER w >= {_days(config.silence_days)} OR lag(bought) OVER w, true) AS first
            FROM named WINDOW w AS (PARTITION BY customer_id ORDER BY {_ORDER})
        ), numbered AS (
            SELECT *, sum(first::INT) OVER (PARTITION BY customer_id ORDER BY {_ORDER} ROWS UNBOUNDED PRECEDING) AS journey
            FROM marked
        )
        SELECT *, min(moment) OVER (PARTITION BY customer_id, journey) AS started,
               lag(touch) OVER (PARTITION BY customer_id, journey ORDER BY {_ORDER}) IS DISTINCT FROM touch AS changed
        FROM numbered QUALIFY started >= $start AND started < $end
        """,
        {"start": period.start, "end": period.end},
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE journeys AS
        SELECT customer_id, journey, bundle(customer_id) AS bundle, bool_or(bought) AS bought, sum(value) AS value,
               bool_or(bought) OR max(moment) + {_days(config.silence_days)} <= $log_end AS done,
               count(DISTINCT moment)::INT AS n_touches, count(DISTINCT channel)::INT AS n_channels,
               (epoch_us(max(moment)) - epoch_us(min(moment))) / 86400000000.0 AS days,
               list(touch ORDER BY {_ORDER}) FILTER (changed) AS path
        FROM steps GROUP BY customer_id, journey
        """,
        {"log_end": log_end},
    )


def _paths(connection: duckdb.DuckDBPyConnection, config: ReportConfig, bundles: list[int], seed: int) -> pd.DataFrame:
    n = config.max_steps
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW named_paths AS
            SELECT *, CASE WHEN len(path) > {n} THEN '…{STEP}' || array_to_string(path[-{n}:], '{STEP}')
                           ELSE array_to_string(path, '{STEP}') END AS name
            FROM journeys WHERE done"""
    )
    found = connection.execute(
        f"""SELECT name AS path, count(*) AS journeys, sum(bought::INT)::BIGINT AS purchases,
                   median(days) FILTER (bought) AS median_days, median(n_touches) FILTER (bought) AS median_touches
            FROM named_paths GROUP BY name ORDER BY journeys DESC, path LIMIT {config.top_paths}"""
    ).df()
    connection.register("top_paths", found[["path"]])
    rows = connection.execute(
        """SELECT name, bundle, sum(bought::INT)::DOUBLE AS part, count(*)::DOUBLE AS whole
           FROM named_paths WHERE name IN (SELECT path FROM top_paths) GROUP BY ALL"""
    ).df()
    return _with_shares(found, "path", share_metrics(rows, "name", bundles, seed=seed), "conversion")


def _handovers(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    return connection.execute(
        """
        WITH pairs AS (
            SELECT unnest(path[1:len(path) - 1]) AS touchpoint, unnest(path[2:]) AS next FROM journeys WHERE done
        ), counted AS (SELECT touchpoint, next, count(*) AS count FROM pairs GROUP BY ALL)
        SELECT *, count / sum(count) OVER (PARTITION BY touchpoint) AS share
        FROM counted ORDER BY count DESC, touchpoint, next
        """
    ).df()


def _drop_off(connection: duckdb.DuckDBPyConnection, bundles: list[int], seed: int) -> pd.DataFrame:
    rows = connection.execute(
        """
        WITH had AS (
            SELECT bundle, unnest(list_distinct(path)) AS touchpoint, NOT bought AS lost, path[-1] AS last
            FROM journeys WHERE done
        )
        SELECT touchpoint, bundle, sum((lost AND last = touchpoint)::INT)::DOUBLE AS part, count(*)::DOUBLE AS whole
        FROM had GROUP BY ALL ORDER BY touchpoint, bundle
        """
    ).df()
    found = rows.groupby("touchpoint", as_index=False)[["whole", "part"]].sum().astype({"whole": int, "part": int})
    found = found.rename(columns={"whole": "journeys", "part": "ended"})
    found = _with_shares(found, "touchpoint", share_metrics(rows, "touchpoint", bundles, seed=seed), "share")
    return found.sort_values(["ended", "touchpoint"], ascending=[False, True], ignore_index=True)


def _funnel(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Channels on which products are viewed; a journey is in a column if it is in the one before too."""
    return connection.execute(
        f"""
        WITH reached AS (
            SELECT s.channel, bool_or(s.kind = '{EventKind.VIEW}') AS viewed,
                   bool_or(s.kind = '{EventKind.ADD_TO_CART}') AS carted, bool_or(s.bought) AS bought,
                   any_value(j.bought) AS anywhere
            FROM steps s JOIN journeys j USING (customer_id, journey) WHERE j.done
            GROUP BY s.customer_id, s.journey, s.channel
        )
        SELECT channel, count(*) AS viewed, count(*) FILTER (carted) AS in_cart,
               count(*) FILTER (carted AND bought) AS bought, count(*) FILTER (anywhere) AS bought_anywhere
        FROM reached WHERE viewed GROUP BY channel ORDER BY viewed DESC, channel
        """
    ).df()


def _customer_value(connection: duckdb.DuckDBPyConnection, seed: int) -> dict[str, Metric]:
    sums = connection.execute(
        """
        WITH buyers AS (
            SELECT bundle, customer_id, sum(value) AS spent, bool_or(n_channels > 1) AS several
            FROM journeys WHERE bought GROUP BY ALL
        )
        SELECT bundle, coalesce(sum(spent) FILTER (several), 0) AS several_spent,
               count(*) FILTER (several)::DOUBLE AS several_n, coalesce(sum(spent) FILTER (NOT several), 0) AS one_spent,
               count(*) FILTER (NOT several)::DOUBLE AS one_n
        FROM buyers GROUP BY bundle ORDER BY bundle
        """
    ).df()
    found = sampled_ratios(sums, {OMNICHANNEL: ("several_spent", "several_n"), SINGLE: ("one_spent", "one_n")}, seed)
    return {
        **{name: sampled.metric() for name, sampled in found.items()},
        "difference": found[OMNICHANNEL].minus(found[SINGLE]).metric(),
    }


def _with_shares(found: pd.DataFrame, key: str, shares: Mapping[str, Metric], name: str) -> pd.DataFrame:
    metrics: list[Any] = [shares[one] for one in found[key]]
    return found.assign(
        **{name: [m.value for m in metrics]}, low=[m.low for m in metrics], high=[m.high for m in metrics]
    )
