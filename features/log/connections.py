"""A way to open a connection in; each thread's own connection, and the end of all of them, out."""

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from features.errors import StoreError


class Closable(Protocol):
    """What every database driver's connection can."""

    def close(self) -> None:
        """Let go of it."""


Connection = TypeVar("Connection", bound=Closable)


class ThreadConnections(Generic[Connection]):
    """Connections to the event log `place`, one a thread, opened when first asked for."""

    def __init__(
        self, place: str, connect: Callable[[], Connection], is_closed: Callable[[Connection], bool] = lambda _: False
    ) -> None:
        """`is_closed` says whether the other side has let go of a connection, which is then opened anew."""
        self._place, self._connect, self._is_closed = place, connect, is_closed
        self._local = threading.local()
        self._all: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def mine(self) -> Connection:
        """This thread's own connection. Raises StoreError after `close`."""
        if self._closed:
            raise StoreError(f"The event log {self._place} is closed.", repair="Open it again with open_log.")
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._is_closed(connection):
            connection = self._connect()
            self._local.connection = connection
            with self._lock:
                self._all = [*(other for other in self._all if not self._is_closed(other)), connection]
        return connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            self._closed = True
            for connection in self._all:
                connection.close()
            self._all.clear()
