"""How far the stream has folded the event log into each part of the online store, kept beside that store."""

import sqlite3
import threading
from typing import Final, Literal

from features.settings import Settings

_ROWS: Final = {"customers": 1, "products": 2}


class Checkpoint:
    """One number for customers, one for products: the newest log row whose effect is in the online store.

    Safe to use from several threads and processes. It survives the end of every process. A power cut may set it back a
    little, never forwards: then events are looked at again, which changes nothing. For that it need not wait for the disk.
    """

    def __init__(self, settings: Settings, of: Literal["customers", "products"] = "customers") -> None:
        self._row = _ROWS[of]
        self._path = settings.feast_dir / "stream.db"
        self._local = threading.local()

    def read(self) -> int:
        """The last log row that is folded in; 0 before the first one."""
        if not self._path.exists():
            return 0
        row = self._connection().execute("SELECT seq FROM checkpoint WHERE id = ?", (self._row,)).fetchone()
        return int(row[0]) if row else 0

    def write(self, seq: int) -> None:
        """Move the checkpoint, forwards or, to have events folded again, backwards."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection().execute("INSERT OR REPLACE INTO checkpoint (id, seq) VALUES (?, ?)", (self._row, seq))

    def _connection(self) -> sqlite3.Connection:
        """This thread's own, kept open: to close the last connection to a write-ahead log costs several writes to disk."""
        if getattr(self._local, "file", None) != self._file():  # the first one, or the folder was made anew
            connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS checkpoint (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
            self._local.connection, self._local.file = connection, self._file()
        found: sqlite3.Connection = self._local.connection
        return found

    def _file(self) -> int:
        """What file it is, whatever its name; 0 where there is none."""
        return self._path.stat().st_ino if self._path.exists() else 0
