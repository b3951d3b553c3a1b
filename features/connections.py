"""Database connections that belong to a thread each: a way to open one in, the calling thread's own out."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from features.errors import StoreError


class Closable(Protocol):
    """What every database driver's connection can."""

    def close(self) -> None:
        """Let go of it."""


Connection = TypeVar("Connection", bound=Closable)


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says that a file is no database, or a broken one: not that it is busy, or that the disk is full."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class ThreadConnections(Generic[Connection]):
    """Connections to one database, one a thread, opened when first asked for; `place` is how errors name it."""

    def __init__(
        self, place: str, connect: Callable[[], Connection], is_stale: Callable[[Connection], bool] = lambda _: False
    ) -> None:
        """`is_stale` says of a connection that it leads nowhere any more; another one is then opened in its place."""
        self._place, self._connect, self._is_stale = place, connect, is_stale
        self._local = threading.local()
        self._all: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def mine(self) -> Connection:
        """This thread's own connection. Raises StoreError after `close`."""
        self._need_open()
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._is_stale(connection):
            connection = self._connect()
            with self._lock:
                try:
                    self._need_open()
                except StoreError:  # closed meanwhile, by another thread
                    connection.close()
                    raise
                self._all = [*(other for other in self._all if not self._is_stale(other)), connection]
            self._local.connection = connection
        return connection

    def drop(self) -> None:
        """Close this thread's connection; the next `mine` opens another one, and other threads keep theirs."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            return
        self._local.connection = None
        with self._lock:
            self._all = [other for other in self._all if other is not connection]
        connection.close()

    def close(self) -> None:
        """Close the connections of all threads, for good."""
        with self._lock:
            self._closed = True
            for connection in self._all:
                connection.close()
            self._all.clear()

    def _need_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._place} is closed.", repair="Open it again.")
