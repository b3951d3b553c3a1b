"""The timeline in, a table of journeys out.

A journey is a customer's touches from the first one to a purchase, which ends it, or until the customer does nothing for
`silence_days`. A touch is an event of the configured kinds: what the customer did, and what was sent or shown to them
(contacts). Contacts do not keep a journey alive: where the customer was silent, those of the last `silence_days` before
they act again belong to what they then do, and earlier ones, that nobody reacted to, are journeys of their own of at most
`silence_days`. A purchase is an order (see scan.py). At one moment contacts come before what the customer did, and the
purchase comes last. A step of the path is a touchpoint (a channel, or a channel and a kind); the same one in a row is one
step, and the purchase's channel is the last one of a journey that ends with it. Journeys count by their beginning; one
that is not over at the log's end is counted as open and is in no share.
"""

from datetime import datetime
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.arrays import BoolArray
from features.vocabulary import CHANNELS, CUSTOMER_KINDS, DAY_US, EventKind
from training.report.config import ReportConfig
from training.report.journey_cut import cut_journeys
from training.report.scan import Period, customer_ranges, kind_list

CHANNEL_LIST: Final = ", ".join(f"'{channel}'" for channel in CHANNELS)
_JOURNEY: Final = (
    "customer UBIGINT, bundle INT, bought BOOLEAN, value DOUBLE, n_touches INT, n_channels INT, days DOUBLE, "
    "path VARCHAR[], done BOOLEAN, viewed_on BIGINT, in_cart_on BIGINT, bought_on BIGINT"
)
"""Columns of the table of journeys; `…_on` are channels, a bit each."""
_ROWS_AT_ONCE: Final = 1_000_000
"""Events whose customers are looked at together."""


def make_journeys(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, log_end: datetime
) -> None:
    """Table `journeys`, those of the period; so many customers at a time as memory allows."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE journeys ({_JOURNEY})")
    for first, following in customer_ranges(connection, _ROWS_AT_ONCE):
        touches = connection.sql(_touches(config), params={"first": first, "next": following}).to_arrow_table()
        connection.register("steps", _steps(touches, config))
        connection.execute(
            f"""
            INSERT INTO journeys BY NAME
            SELECT any_value(customer) AS customer, any_value(bundle) AS bundle, bool_or(bought) AS bought,
                   sum(value) AS value, sum(moves::INT) AS n_touches, bit_count(bit_or(channel_bit)) AS n_channels,
                   (max(moment) - min(moment)) / {DAY_US} AS days, list(touch ORDER BY row) FILTER (changes) AS path,
                   bool_or(bought)
                   OR coalesce(max(moment) FILTER (NOT pushed), max(moment)) + $silence <= $log_end AS done,
                   coalesce(bit_or(channel_bit) FILTER (kind = '{EventKind.VIEW}'), 0) AS viewed_on,
                   coalesce(bit_or(channel_bit) FILTER (kind = '{EventKind.ADD_TO_CART}'), 0) AS in_cart_on,
                   coalesce(bit_or(channel_bit) FILTER (bought), 0) AS bought_on
            FROM steps GROUP BY journey HAVING min(moment) >= $start AND min(moment) < $end
            """,
            {
                "silence": _silence_us(config), "log_end": _micros(log_end),
                "start": _micros(period.start), "end": _micros(period.end),
            },
        )  # fmt: skip
        connection.unregister("steps")


def _touches(config: ReportConfig) -> str:
    """SQL for the touches of a range of customers, in the order in which they count."""
    touch = "channel" if config.touchpoint == "channel" else "channel || ' ' || kind"
    mine = "customer_id >= $first AND ($next IS NULL OR customer_id < $next)"
    return f"""
        WITH touches AS (
            SELECT DISTINCT customer_id, occurred_at AS moment, channel, kind, false AS bought, 0.0::DOUBLE AS value,
                   kind NOT IN ({kind_list(CUSTOMER_KINDS)}) AS pushed
            FROM timeline WHERE kind IN ({kind_list(config.kinds)}) AND kind <> '{EventKind.PURCHASE}' AND {mine}
            UNION ALL
            SELECT customer_id, moment, channel, '{EventKind.PURCHASE}', true, value, false FROM orders WHERE {mine}
        )
        SELECT hash(customer_id) AS customer, bundle(customer_id) AS bundle, epoch_us(moment) AS moment, channel, kind,
               {touch} AS touch, bought, pushed, value,
               1::BIGINT << (list_position([{CHANNEL_LIST}], channel) - 1) AS channel_bit
        FROM touches ORDER BY customer, moment, bought, pushed DESC, touch, kind
    """


def _steps(touches: pa.Table, config: ReportConfig) -> pa.Table:
    """The touches with the number of their journey, and whether the touchpoint and the moment are others than before."""
    customer, moment, pushed, bought = (
        touches[name].to_numpy(zero_copy_only=False) for name in ("customer", "moment", "pushed", "bought")
    )
    touch = touches["touch"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = _differs(customer)
    journey = cut_journeys(starts, moment, ~pushed, bought, _silence_us(config))
    begins = _differs(journey)
    return (
        touches.append_column("journey", pa.array(journey))
        .append_column("row", pa.array(np.arange(len(journey))))
        .append_column("changes", pa.array(begins | _differs(touch)))
        .append_column("moves", pa.array(begins | _differs(moment)))
    )


def _differs(values: NDArray[Any]) -> BoolArray:
    """Whether each value (n,) is another than the one before it."""
    return np.append(True, values[1:] != values[:-1])[: len(values)]


def _silence_us(config: ReportConfig) -> int:
    return round(config.silence_days * DAY_US)


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
