"""What the event log asks of its database in words that SQLite and PostgreSQL both understand, stated once."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from features.log_rows import COLUMNS, hash_rows, rows_to_table


class Answer(Protocol):
    """The rows that a statement found."""

    def fetchone(self) -> Any:
        """The next row; None after the last one."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Connection(Protocol):
    """One connection; a parameter is written `?`."""

    def execute(self, query: str, parameters: Sequence[Any] = ..., /) -> Answer:
        """Run one statement."""


def last_seq(connection: Connection) -> int:
    """The seq of the newest event, 0 without one."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def count(connection: Connection) -> int:
    """How many events there are, as the last write noted it."""
    return int(_get_meta(connection, "count", "0"))


def fingerprint(connection: Connection) -> str:
    """16 hexadecimal digits of the content; neither the order of the events nor the database changes it."""
    state = f"{_get_meta(connection, 'count', '0')}:{_get_meta(connection, 'content', '0')}"
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def note_appended(connection: Connection, table: pa.Table, before: int, appended: int) -> None:
    """Keep the count and the content hash, the sum of the events' hashes: neither order nor batches change it.

    `table` is what was asked to be appended after seq `before`, `appended` how many of its rows were new.
    """
    if appended < table.num_rows:  # some were duplicates: only what was written counts
        query = f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key) WHERE seq > ?"
        table = rows_to_table(connection.execute(query, (before,)).fetchall())
    content = (int(_get_meta(connection, "content", "0")) + hash_rows(table)) % 2**64
    for name, value in (("content", content), ("count", count(connection) + appended)):
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        connection.execute(statement, (name, str(value)))


def _get_meta(connection: Connection, name: str, default: str) -> str:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return default if row is None else str(row[0])
