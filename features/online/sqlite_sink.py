"""Feast's online store in SQLite, written without Feast: rows of views in, the rows of its tables out."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from features import databases
from features.clock import Clock
from features.databases import ThreadConnections
from features.online.feast_codec import entity_key
from features.online.sqlite import ANEW, NAME, timeout_s
from features.online.writer import OnlineRow
from features.settings import Settings
from features.views import View

_PUT: Final = (
    "INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, value_text = excluded.value_text,"
    " event_ts = excluded.event_ts, created_ts = excluded.created_ts"
)
_IN_WORDS: Final = ("int64", "float64", "string")
"""Types whose values Feast writes a second time, as text."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SqliteSink:
    """One connection per thread; what is written together is seen together."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._path = settings.online_db_path
        self._clock = clock
        self._connections = ThreadConnections(f"{NAME} {self._path}", self._open)

    def write(self, written: Sequence[tuple[View, Sequence[OnlineRow]]]) -> None:
        created = _to_feast(self._clock.now())
        with databases.in_words(NAME, self._path, ANEW):
            try:
                connection = self._connections.mine()
                connection.execute("BEGIN IMMEDIATE")
                for view, rows in written:
                    connection.executemany(_PUT.format(table=view.table), _parameters(view, rows, created))
                connection.execute("COMMIT")
            except BaseException:
                self.close()  # which takes back what was begun
                raise

    def close(self) -> None:
        """Close this thread's connection."""
        self._connections.drop()

    def _open(self) -> sqlite3.Connection:
        # Nothing is lost when a process ends. A power cut may take the last rows; the log has them, answers take
        # them from there, and the stream, which looks back when it starts, writes them again.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=timeout_s(),
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=10000")  # at 40 MB
        connection.execute("PRAGMA journal_size_limit=16777216")  # what a build needed is given back
        return connection


def _parameters(view: View, rows: Sequence[OnlineRow], created: int) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        key, event = entity_key(view.join_key, row.entity), _to_feast(_EPOCH + timedelta(microseconds=row.event_us))
        for (name, dtype), value, stored in zip(view.fields, row.values, row.stored, strict=True):
            words = str(value) if dtype in _IN_WORDS and value is not None else None
            yield key, name, stored, words, event, created


def _to_feast(moment: datetime) -> int:
    """Whole seconds as Feast writes them: of naive UTC as if it were local time (`sqlite._from_feast` undoes it)."""
    return int(moment.replace(tzinfo=None).timestamp())
