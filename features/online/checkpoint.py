"""The stream's checkpoints: how far the event log is folded into each part of the online store, kept beside that store."""

import sqlite3
from contextlib import AbstractContextManager
from typing import Final, Literal

from features import databases
from features.databases import ThreadConnections
from features.settings import Settings

_WAIT_S: Final = 10.0
_ROWS: Final = {"customers": 1, "products": 2}


class Checkpoint:
    """One number for customers, one for products: the newest log row whose effect is in the online store.

    Safe to use from several threads and processes. It survives the end of every process. A power cut may set it back a
    little, never forwards: then events are looked at again, which changes nothing. For that it need not wait for the disk.
    """

    def __init__(self, settings: Settings, of: Literal["customers", "products"] = "customers") -> None:
        self._row = _ROWS[of]
        self._path = settings.feast_dir / "stream.db"
        self._connections = ThreadConnections(
            f"The checkpoint {self._path}", self._open, lambda connection: connection.file != self._file()
        )

    def read(self) -> int:
        """The last log row that is folded in; 0 before the first one."""
        if not self._path.exists():
            return 0
        with self._in_words():
            row = self._connection().execute("SELECT seq FROM checkpoint WHERE id = ?", (self._row,)).fetchone()
        return int(row[0]) if row else 0

    def write(self, seq: int) -> None:
        """Move the checkpoint, forwards or, to have events folded again, backwards."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._in_words():
            self._connection().execute("INSERT OR REPLACE INTO checkpoint (id, seq) VALUES (?, ?)", (self._row, seq))

    def _in_words(self) -> AbstractContextManager[None]:
        return databases.in_words("The checkpoint", self._path, "delete it and run `omni features build --force`")

    def _connection(self) -> "_Opened":
        """This thread's own, kept open: to close the last connection to a write-ahead log costs several writes to disk."""
        return self._connections.mine()

    def _open(self) -> "_Opened":
        connection = sqlite3.connect(
            self._path, timeout=min(_WAIT_S, databases.wait_s()), isolation_level=None, factory=_Opened
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS checkpoint (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
        connection.file = self._file()
        return connection

    def _file(self) -> int:
        """What file it is, whatever its name; 0 where there is none."""
        return self._path.stat().st_ino if self._path.exists() else 0


class _Opened(sqlite3.Connection):
    """A connection that knows which file it was opened on: the folder may have been made anew since."""

    file: int = 0
