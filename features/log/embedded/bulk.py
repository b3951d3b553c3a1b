"""A big table of valid events in, its rows in the SQLite log out, in large statements of those columns that hold anything.

Statements of many rows are few turns for other threads, and values that are not there are not bound. OR IGNORE, and not ON
CONFLICT, as SQLite else copies every page before each statement, to be able to undo it for a row that lacks a value.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

import pyarrow as pa

from features.log.tables import stored_columns
from features.vocabulary import Columns

_ROWS: Final = 512
"""Per statement: SQLite takes up to 32,766 values."""
_WHOLE: Final = (Columns.EVENT_ID, Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL)


def insert_table(connection: sqlite3.Connection, table: pa.Table, customer_keys: Sequence[int]) -> None:
    """Write the rows whose event_id is new, in row order; `customer_keys` (n,) are of the same rows.

    Raises ValueError where an event lacks what every event has.
    """
    for name in _WHOLE:  # OR IGNORE would leave such rows out without a word
        if table.column(name).null_count:
            raise ValueError(f"An event has no {name}.")
    columns = {name: values for name, values in stored_columns(table, customer_keys).items() if values is not None}
    values, width = chain.from_iterable(zip(*columns.values(), strict=True)), len(columns)
    while part := list(islice(values, width * _ROWS)):
        connection.execute(_statement(tuple(columns), len(part) // width), part)


def _statement(names: Sequence[str], n_rows: int) -> str:
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT OR IGNORE INTO events ({', '.join(names)}) VALUES {', '.join([row] * n_rows)}"
