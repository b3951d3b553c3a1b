"""The stream's checkpoints: how far the event log is folded into each part of the online store, kept beside that store."""

import logging
import sqlite3
from contextlib import AbstractContextManager
from typing import Final, Literal

from features import databases
from features.databases import ThreadConnections
from features.errors import StoreError
from features.settings import Settings

logger = logging.getLogger(__name__)

_WAIT_S: Final = 10.0
_ROWS: Final = {"customers": 1, "products": 2}


class StreamFile:
    """The SQLite file of what the stream notes, made when something is first noted.

    Safe to use from several threads and processes. What it holds survives the end of every process.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.feast_dir / "stream.db"
        self._connections = ThreadConnections(
            f"The checkpoint {self._path}", self._open, lambda connection: connection.file != self._file()
        )

    def select(self, query: str, parameters: tuple[object, ...] = ()) -> tuple[object, ...] | None:
        """The first row of a query; None without one, where there is no file, and where it is damaged."""
        if not self._path.exists():
            return None
        try:
            with self._in_words():
                row: tuple[object, ...] | None = self._connections.mine().execute(query, parameters).fetchone()
        except StoreError as error:
            if not databases.is_damaged(error.__cause__):
                raise
            logger.warning("%s It counts for nothing.", error)
            return None
        return row

    def execute(self, statement: str, parameters: tuple[object, ...]) -> None:
        """Change something; a damaged file is begun anew, as what it lacks is only folded once more."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._in_words():
                self._connections.mine().execute(statement, parameters)
        except StoreError as error:
            if not databases.is_damaged(error.__cause__):
                raise
            logger.warning("%s It is begun anew.", error)
            self._connections.drop()
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
            with self._in_words():
                self._connections.mine().execute(statement, parameters)

    def _in_words(self) -> AbstractContextManager[None]:
        return databases.in_words("The checkpoint", self._path, "delete it and run `omni features build --force`")

    def _open(self) -> "_Opened":
        """One a thread, kept open: to close the last connection to a write-ahead log costs several writes to disk."""
        connection = sqlite3.connect(
            self._path, timeout=min(_WAIT_S, databases.wait_s()), isolation_level=None, factory=_Opened
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS checkpoint (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL)")
        connection.execute("CREATE TABLE IF NOT EXISTS reach (id INTEGER PRIMARY KEY, anchor TEXT NOT NULL)")
        connection.file = self._file()
        return connection

    def _file(self) -> int:
        """What file it is, whatever its name; 0 where there is none."""
        return self._path.stat().st_ino if self._path.exists() else 0


class Checkpoint:
    """One number for customers, one for products: the newest log row whose effect is in the online store.

    A power cut may set it back a little, never forwards: then events are looked at again, which changes nothing. For that
    it need not wait for the disk. Of which log the rows are is noted beside it (reach.py).
    """

    def __init__(self, settings: Settings, of: Literal["customers", "products"] = "customers") -> None:
        self._row = _ROWS[of]
        self._file = StreamFile(settings)

    def read(self) -> int:
        """The last log row that is folded in; 0 before the first one."""
        row = self._file.select("SELECT seq FROM checkpoint WHERE id = ?", (self._row,))
        return int(str(row[0])) if row else 0

    def write(self, seq: int) -> None:
        """Move the checkpoint, forwards or, to have events folded again, backwards."""
        self._file.execute("INSERT OR REPLACE INTO checkpoint (id, seq) VALUES (?, ?)", (self._row, seq))


class _Opened(sqlite3.Connection):
    """A connection that knows which file it was opened on: the folder may have been made anew since."""

    file: int = 0
