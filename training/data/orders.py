"""Lines of purchases in, SQL that says which order each belongs to out: the report's orders and next-product's baskets.

An order is what one customer bought under one `order_id` (of the event's properties); where there is none, in one session,
as long as no more than the gap of an occasion lies between two of its moments, for some sources keep a session for weeks;
where there is neither, at one moment, or on one day.
"""

from features.sql import sql_days
from features.state.layout import OCCASION_GAP_S
from features.vocabulary import DAY_S

MOMENT = "epoch_us(occurred_at)"
"""Lines without order and session are one order if they came at one moment."""
DAY = "strftime(occurred_at, '%Y-%m-%d')"
"""Lines without order and session are one basket if they came on one UTC day."""
_ORDER_ID = r"""CASE WHEN contains(properties, '"order_id"') THEN trim(regexp_replace(
    json_extract_string(properties, '$.order_id'),
    CASE WHEN json_type(properties, '$.order_id') = 'DOUBLE' THEN '\.0+$' ELSE '$^' END, '')) END"""
"""The order's number as the fold reads it (features/events/payload.py): 17, 17.0 and " 17" are one, the text "17.0" another."""


def order_name(loose: str) -> str:
    """Columns of the timeline to `name`, what an order is called within a customer, and `in_session`.

    `loose` (MOMENT or DAY) names lines that have neither order nor session.
    """
    order, session = f"nullif({_ORDER_ID}, '')", "nullif(session_id, '')"
    return (
        f"coalesce('order ' || {order}, 'session ' || {session}, 'loose ' || {loose}) AS name, "
        f"{order} IS NULL AND {session} IS NOT NULL AS in_session"
    )


def with_order_parts(rows: str) -> str:
    """SQL of rows with customer_id, name, in_session and moment to the same with `part`.

    Rows of a customer with the same name and part are one order.
    """
    same = "PARTITION BY customer_id, name ORDER BY moment"
    return f"""
        SELECT *, sum(begins::INT) OVER ({same}) AS part FROM (
            SELECT *, coalesce(in_session AND moment - lag(moment) OVER ({same}) > {sql_days(OCCASION_GAP_S / DAY_S)}, false)
                   AS begins
            FROM ({rows})
        )
    """
