"""Rows of events come in and are written to SQLite in few statements with many values each.

A thread gives up its turn at every statement, and under load waits for the next one: what counts is how many there are.
"""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from features.log.portable_sql import Connection, in_parts
from features.log.tables import INSERT, STORED

_INSERTS: Final = (64, 8, 1)
"""Rows per statement: few sizes, so that each is prepared once."""
_INSERT_INTO, _, _INSERT_REST = INSERT.partition("VALUES")
_ON_CONFLICT: Final = _INSERT_REST.partition(")")[2]
_ROW: Final = f"({', '.join('?' * len(STORED))})"
_INSERT_MANY: Final = {n: f"{_INSERT_INTO}VALUES {', '.join([_ROW] * n)}{_ON_CONFLICT}" for n in _INSERTS}


class Counts(Connection, Protocol):
    """A connection that counts the rows that it changed."""

    @property
    def total_changes(self) -> int:
        """Rows changed since it was opened."""


def insert_rows(connection: Counts, rows: Iterable[tuple[Any, ...]]) -> int:
    """Write those rows (of `log_rows.table_to_rows`) whose event_id is new, in their order; returns how many."""
    before = connection.total_changes
    for part in in_parts(rows, _INSERTS):
        connection.execute(_INSERT_MANY[len(part)], [value for row in part for value in row])
    return connection.total_changes - before
