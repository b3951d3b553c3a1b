"""Keeps the write-ahead log of a SQLite file small: told of every commit, it copies the log back and cuts it, off their path.

SQLite by itself copies back within a commit, which whoever waits for it pays for, and never makes the file smaller. Here a
thread does it with a connection of its own: most of the work while others write and read, and for the short rest writers
wait a little. Where a long read holds it up, it is tried again.
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

LIMIT_BYTES: Final = 16 * 2**20
"""From this size on the log is copied back and cut."""
_PATIENCE_S: Final = 0.1
"""How long writers may wait for readers to let go of the log."""
_AGAIN_S: Final = 0.5


class WalKeeper:
    """One thread, begun when there is something to do first; safe to use from several threads."""

    def __init__(self, path: Path, writers: threading.Lock, limit_bytes: int = LIMIT_BYTES) -> None:
        """`writers` is what threads of this process hold while they write: without it they would always be first."""
        self._path = path
        self._writers = writers
        self._wal = path.with_name(f"{path.name}-wal")
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._due = self._closed = False
        self._thread: threading.Thread | None = None

    def note_commit(self) -> None:
        """To be called after a commit: takes microseconds."""
        if self._due or not self._is_large():
            return
        with self._changed:
            if self._closed:
                return
            self._due = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="omni-wal", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Do nothing more; what is under way is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._closed)
                if self._closed:
                    return
            try:
                done = self._cut()
            except sqlite3.Error as error:  # whoever writes hears of what is wrong with the file
                logger.debug("The write-ahead log %s is not cut now: %s", self._wal, error)
                done = False
            with self._changed:
                if not done:
                    self._changed.wait_for(lambda: self._closed, _AGAIN_S)
                self._due = self._is_large()

    def _cut(self) -> bool:
        """Copy the log back and cut it to nothing; False where others held it up."""
        with closing(sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the most of it, in nobody's way
            with self._writers:
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    def _is_large(self) -> bool:
        try:
            return self._wal.stat().st_size > self._limit_bytes
        except OSError:
            return False
