"""Many small questions to the log's database come in; few statements with many values go out.

A thread gives up its turn at every statement, and under load waits for the next one: what counts is how many there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from features.log_rows import INSERT, STORED
from features.log_sql import Connection

_LOOKUPS: Final = (512, 64, 8, 1)
_INSERTS: Final = (64, 8, 1)
"""Values or rows per statement: few sizes, so that each is prepared once."""
_INSERT_INTO, _, _INSERT_REST = INSERT.partition("VALUES")
_ON_CONFLICT: Final = _INSERT_REST.partition(")")[2]
_ROW: Final = f"({', '.join('?' * len(STORED))})"
_INSERT_MANY: Final = {n: f"{_INSERT_INTO}VALUES {', '.join([_ROW] * n)}{_ON_CONFLICT}" for n in _INSERTS}


class Counts(Connection, Protocol):
    """A connection that counts the rows that it changed."""

    @property
    def total_changes(self) -> int:
        """Rows changed since it was opened."""


def known_keys(connection: Connection, customer_ids: Sequence[str]) -> dict[str, int]:
    """The customer keys of those ids that the log has met."""
    found: dict[str, int] = {}
    for part in _parts(customer_ids, _LOOKUPS):
        marks = ", ".join("?" * len(part))
        query = f"SELECT customer_id, customer_key FROM customers WHERE customer_id IN ({marks})"
        found.update(connection.execute(query, part).fetchall())
    return found


def insert_rows(connection: Counts, rows: Iterable[tuple[Any, ...]]) -> int:
    """Write those rows (of `log_rows.table_to_rows`) whose event_id is new, in their order; returns how many."""
    before = connection.total_changes
    for part in _parts(rows, _INSERTS):
        connection.execute(_INSERT_MANY[len(part)], [value for row in part for value in row])
    return connection.total_changes - before


def _parts(items: Iterable[Any], sizes: Sequence[int]) -> Iterator[list[Any]]:
    """Items in their order, in parts of the given sizes (largest first, the last one 1)."""
    waiting = iter(items)
    while whole := list(islice(waiting, sizes[0])):
        start = 0
        for size in sizes:
            while len(whole) - start >= size:
                yield whole[start : start + size]
                start += size
