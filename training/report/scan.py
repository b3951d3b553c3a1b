"""The timeline's path in, a DuckDB connection with its views and macros out, within a bounded memory."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from features.sql import connect, scan, sql_list
from features.vocabulary import EventKind
from training.data.orders import MOMENT, order_name, with_order_parts

MEMORY: Final = "600MB"
"""What DuckDB may take; beyond it, it works on disk."""
N_BUNDLES: Final = 4_096
"""Customers fall by hash into so many bundles, which are what intervals draw: however many customers, as fast."""


@dataclass(frozen=True)
class Period:
    """A half-open stretch of time, [start, end)."""

    start: datetime
    end: datetime

    def before(self, times: int = 1) -> "Period":
        """The period of the same length that ends `times` of its lengths earlier."""
        length = self.end - self.start
        return Period(self.start - times * length, self.end - times * length)

    def __str__(self) -> str:
        day = "%Y-%m-%d" if not (self.start.time().hour or self.end.time().hour) else "%Y-%m-%d %H:%M"
        return f"{self.start:{day}} until {self.end:{day}} (not included)"


@contextmanager
def timeline_connection(timeline: Path, left_out: Collection[str] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that knows `timeline`, `orders` and the macro `bundle(customer_id)`; nobody who is `left_out` is in it.

    An order is what a customer bought under one order_id, or in one session without a gap, or at one moment (see
    training/data/orders.py); it has its first purchase's moment and channel, and the money of all of it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="omni-report-") as folder,
        connect(MEMORY, threads=2, temp_directory=Path(folder)) as connection,
    ):
        connection.execute("CREATE TEMP TABLE left_out AS SELECT unnest(?::VARCHAR[]) AS customer_id", [[*left_out]])
        others = "WHERE customer_id NOT IN (SELECT customer_id FROM left_out)" if left_out else ""
        connection.execute(f"CREATE TEMP VIEW timeline AS FROM {scan(timeline, numbered=True)} {others}")
        connection.execute(f"CREATE TEMP MACRO bundle(customer) AS (hash(customer) % {N_BUNDLES})::INT")
        purchases = f"""
            SELECT customer_id, occurred_at AS moment, arg_min(channel, event_id) AS channel, sum(value) AS value,
                   {order_name(MOMENT)}
            FROM timeline WHERE kind = '{EventKind.PURCHASE}' GROUP BY customer_id, occurred_at, name, in_session
        """
        connection.execute(
            f"""
            CREATE TEMP VIEW orders AS
            SELECT customer_id, min(moment) AS moment, arg_min(channel, moment) AS channel,
                   coalesce(sum(value), 0)::DOUBLE AS value
            FROM ({with_order_parts(purchases)}) GROUP BY customer_id, name, part
            """
        )
        yield connection


def customer_ranges(connection: duckdb.DuckDBPyConnection, n_rows: int) -> list[tuple[str, str | None]]:
    """Half-open ranges of customer ids, the last one open, which together hold everybody: about `n_rows` events each.

    That is so because the timeline lies in the order of customers, which also lets a range be read without the rest.
    """
    found = connection.execute(
        "SELECT DISTINCT customer_id FROM timeline WHERE file_row_number % $n = 0 AND file_row_number > 0 ORDER BY ALL",
        {"n": n_rows},
    ).fetchall()
    borders: list[str] = ["", *(str(customer) for (customer,) in found)]
    return list(zip(borders, [*borders[1:], None], strict=True))


def kind_list(kinds: Sequence[EventKind]) -> str:
    """Kinds as SQL's IN takes them."""
    return sql_list([kind.value for kind in kinds])
