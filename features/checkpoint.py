"""How far the stream has folded the event log into the online store, kept durably beside that store."""

import sqlite3
from contextlib import closing

from features.settings import Settings


class Checkpoint:
    """One number: the newest log row whose effect is in the online store. Safe to use from several processes."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.feast_dir / "stream.db"

    def read(self) -> int:
        """The last log row that is folded in; 0 before the first one."""
        if not self._path.exists():
            return 0
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT seq FROM checkpoint").fetchone()
        return int(row[0]) if row else 0

    def write(self, seq: int) -> None:
        """Move the checkpoint, forwards or, to have events folded again, backwards."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO checkpoint (id, seq) VALUES (1, ?)", (seq,))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10.0)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS checkpoint (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
        return connection
