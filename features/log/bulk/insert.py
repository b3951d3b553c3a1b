"""A big table of valid events in, its rows in the SQLite log out: SQLite takes them over from a database in memory (image.py).

OR IGNORE, and not ON CONFLICT, as SQLite else copies every page before each statement, to be able to undo it for a row that
lacks a value.
"""

import sqlite3
from typing import Final

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.log.bulk.image import TABLE, empty_image, image_of
from features.log.bulk.met import identifier_texts
from features.log.tables import STORED
from features.vocabulary import Columns

INCOMING: Final = "incoming"
"""The name under which a connection has the database in memory."""
_MOST_ROWS: Final = 65_536
_MOST_BYTES: Final = 32 * 2**20
"""Of rows in an image: enough to be worth it, and small beside the table that they are of."""
_WHOLE: Final = (Columns.EVENT_ID, Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL)


def insert_table(connection: sqlite3.Connection, table: pa.Table, customer_keys: IntArray) -> None:
    """Write the rows whose event_id is new, in row order; `customer_keys` (n,) are of the same rows.

    Raises ValueError where an event lacks what every event has.
    """
    for name in _WHOLE:  # OR IGNORE would leave such rows out without a word
        if table.column(name).null_count:
            raise ValueError(f"An event has no {name}.")
    if INCOMING not in {row[1] for row in connection.execute("PRAGMA database_list")}:
        connection.execute(f"ATTACH ':memory:' AS {INCOMING}")
    _insert_part(connection, table, customer_keys)
    connection.deserialize(empty_image(), name=INCOMING)


def _insert_part(connection: sqlite3.Connection, table: pa.Table, customer_keys: IntArray) -> None:
    if table.num_rows > 1 and (table.num_rows > _MOST_ROWS or table.nbytes > _MOST_BYTES):
        half = table.num_rows // 2
        _insert_part(connection, table.slice(0, half), customer_keys[:half])
        _insert_part(connection, table.slice(half), customer_keys[half:])
        return
    columns = {
        name: column for name, column in _columns(table, customer_keys).items() if column.null_count < len(column)
    }
    connection.deserialize(image_of(columns).data, name=INCOMING)
    names = ", ".join(columns)
    connection.execute(f"INSERT OR IGNORE INTO events ({names}) SELECT {names} FROM {INCOMING}.{TABLE} ORDER BY rowid")


def _columns(table: pa.Table, customer_keys: IntArray) -> dict[str, pa.Array]:
    """The columns STORED by name."""
    columns: dict[str, pa.Array] = {}
    for name in STORED:
        if name == "customer_key":
            columns[name] = pa.array(np.asarray(customer_keys, np.int64))
        elif name == "occurred_us":
            columns[name] = _whole(table.column(Columns.OCCURRED_AT).cast(pa.int64()))
        elif name == Columns.IDENTIFIERS:
            columns[name] = identifier_texts(table.column(name))
        else:
            columns[name] = _whole(table.column(name))
    return columns


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
