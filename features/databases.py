"""Databases: connections that belong to a thread each; and what a driver says of a SQLite file in, one line of ours out.

Such a file may be locked by another process, damaged, cut off, or not to be written to, and each library has its own word
for that. Here is the one place that knows them: `in_words` around what we do ourselves, `look_at` before a library that
would try for minutes gets the file, and `explain` for what comes through all the same, at the front door.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from features.errors import OmniError, StoreError, UnavailableError

SERVICE_WAIT_S: Final = 60.0
"""How long a service or an embedding program waits for a database that another process has locked, before it gives up."""

_WRITABLE: Final = "Check that the file and its folder can be written to."
_REPAIRS: Final = {
    sqlite3.SQLITE_BUSY: "Let the other process that writes to it (an ingest, a service) finish, then try again.",
    sqlite3.SQLITE_LOCKED: "Let the other process that writes to it (an ingest, a service) finish, then try again.",
    sqlite3.SQLITE_FULL: "Make room on the disk that it lies on: nothing of what was refused is kept, send it again then.",
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_AUTH: _WRITABLE,
    sqlite3.SQLITE_IOERR: "Look at the disk that it lies on, and at the system's own log.",
    sqlite3.SQLITE_PROTOCOL: "Let the other processes that use it finish, then try again.",
    sqlite3.SQLITE_CORRUPT: "Stop everything that uses it and {anew}.",
    sqlite3.SQLITE_NOTADB: "Stop everything that uses it and {anew}.",
}
"""What to do about each kind of error that is not the caller's mistake."""
_LASTING: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""What does not pass by itself."""
_PRIMARY_CODE: Final = 0xFF
"""The bits of SQLite's error codes that tell the kind; the others tell it in detail."""
_MISSING: Final = ("no such table", "no such column")
"""What SQLite says, with the code of a mistake of ours, of a file that is empty or another program's."""
_ANEW: Final = "restore a backup, or move it away and have it made anew from the sources"
_UNAVAILABLE: Final = (
    "TEMPORARILY_UNAVAILABLE",
    "INTERNAL_ERROR",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "BAD_REQUEST",
)
"""MLflow's codes for what a server or a file refuses; the others are mistakes of whoever calls it."""
_LONGEST: Final = 300

_wait_s = SERVICE_WAIT_S


def wait_s() -> float:
    """How long this process waits for a locked database."""
    return _wait_s


def wait_at_most(seconds: float) -> None:
    """Give up on a locked database after this time; the front door says so of commands that a person waits for."""
    global _wait_s
    _wait_s = seconds


@contextmanager
def in_words(name: str, path: Path, anew: str = _ANEW, waited_s: float | None = None) -> Iterator[None]:
    """Turn what SQLite says of the file, the disk and other processes into a StoreError; `anew` says how to mend it.

    What may pass by itself is an UnavailableError. `waited_s` is how long the connection waits for others, if not `wait_s()`.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        trouble = _trouble(error, f"{name} {path}", anew, waited_s)
        if trouble is None:
            raise
        raise trouble from error


def look_at(name: str, path: Path, anew: str = _ANEW, within_s: float | None = None) -> None:
    """See that a database, where it is there, can be read now and nobody holds it; raises StoreError within `wait_s`.

    One that cannot be written to can be read all the same.
    """
    if not path.exists():
        return
    timeout_s = min(wait_s(), within_s or wait_s())
    with (
        in_words(name, path, anew),
        closing(sqlite3.connect(path, timeout=timeout_s, isolation_level=None)) as connection,
    ):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_READONLY:
                raise


def is_busy(error: sqlite3.DatabaseError) -> bool:
    """Whether another process, or a thread of this one, holds the database."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damaged(error: BaseException | None) -> bool:
    """Whether a file is no database, or a broken one: not that it is busy, or that the disk is full."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _LASTING


def explain(error: BaseException) -> OmniError | None:
    """What a person can mend about an error of a library, in our words; None where it is a defect of ours."""
    for each in _chain(error):
        if isinstance(each, OmniError):
            return each
        if isinstance(each, sqlite3.DatabaseError):
            return _trouble(each, "A database under OMNI_HOME", _ANEW)
    for each in _chain(error):
        if type(each).__module__.startswith("mlflow.") and getattr(each, "error_code", "") in _UNAVAILABLE:
            return StoreError(
                f"MLflow's tracking store does not do it: {_first_line(each)}.",
                repair="See that the file or server that MLFLOW_TRACKING_URI names is there and answers.",
            )
    return None


class Closable(Protocol):
    """What every database driver's connection can."""

    def close(self) -> None:
        """Let go of it."""


Connection = TypeVar("Connection", bound=Closable)


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


def _trouble(error: sqlite3.DatabaseError, name: str, anew: str, waited_s: float | None = None) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", None)  # none where the mistake is the caller's
    kind = None if code is None else code & _PRIMARY_CODE
    if kind == sqlite3.SQLITE_ERROR and str(error).startswith(_MISSING):
        kind = sqlite3.SQLITE_CORRUPT
    if kind not in _REPAIRS:
        return None
    waited = wait_s() if waited_s is None else waited_s
    said = f"has been busy for {waited:g} s" if is_busy(error) else "cannot be used"
    return (StoreError if kind in _LASTING else UnavailableError)(
        f"{name} {said}: {error}.", repair=_REPAIRS[kind].format(anew=anew)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, as Python and as SQLAlchemy (`orig`) keep it, nearest first."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            causes = (
                getattr(each, "orig", None),
                each.__cause__,
                None if each.__suppress_context__ else each.__context__,
            )
            waiting += [cause for cause in causes if isinstance(cause, BaseException)]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:_LONGEST]
