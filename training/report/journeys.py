"""The table of journeys in, the audit out: paths, handovers, where journeys end, a funnel, purchases over channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb
import pandas as pd

from features.evaluation.resampling import Metric
from features.vocabulary import CHANNELS
from training.report.bundles import sampled_ratios, share_metrics
from training.report.config import ReportConfig
from training.report.journey_table import CHANNEL_LIST, make_journeys
from training.report.scan import Period

STEP: Final = " > "
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
    make_journeys(connection, config, period, log_end)
    told = connection.execute(
        """SELECT count(*) FILTER (done) AS journeys, count(*) FILTER (bought) AS purchases,
                  count(*) FILTER (NOT done) AS open, count(DISTINCT customer) AS customers FROM journeys"""
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
    first, last = (moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in (log_start, log_end))
    late = last - timedelta(days=config.silence_days)
    return Period(first, late if late > first else log_end)


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
        SELECT channel, count(*) AS viewed, count(*) FILTER (in_cart_on & bit <> 0) AS in_cart,
               count(*) FILTER (in_cart_on & bit <> 0 AND bought_on & bit <> 0) AS bought,
               count(*) FILTER (bought) AS bought_anywhere
        FROM journeys JOIN (SELECT unnest([{CHANNEL_LIST}]) AS channel, unnest(range({len(CHANNELS)})) AS place) ON true,
             LATERAL (SELECT 1::BIGINT << place AS bit)
        WHERE done AND viewed_on & bit <> 0 GROUP BY channel ORDER BY viewed DESC, channel
        """
    ).df()


def _customer_value(connection: duckdb.DuckDBPyConnection, seed: int) -> dict[str, Metric]:
    sums = connection.execute(
        """
        WITH buyers AS (
            SELECT bundle, customer, sum(value) AS spent, bool_or(n_channels > 1) AS several
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
