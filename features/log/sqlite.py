"""Valid event tables come in and are kept once, for good; the same events come back in the order of arrival."""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from features.errors import SettingsError, StoreError
from features.log import portable_sql
from features.log.bulk import insert_rows
from features.log.connections import ThreadConnections
from features.log.erasure import ErasureBook, SqliteErasureBook
from features.log.group import append_together
from features.log.identity import DEFAULT_RULES, IdentityBook, IdentityRules, identity_rules
from features.log.tables import (
    COLUMNS,
    CREATE,
    READ_SCHEMA,
    SEGMENT_MIN_ROWS,
    dump_segment,
    load_segment,
    rename_customers,
    rows_to_table,
    table_to_rows,
)
from features.log.tombstones import CREATE as CREATE_TOMBSTONES
from features.log.tombstones import Tombstones
from features.settings import Settings
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S: Final = 60.0
"""How long a writer waits for another one before it gives up."""
_CACHE_KIB: Final = 131_072
_NO_SEQ: Final = 2**62
_PRIMARY_CODE: Final = 0xFF
"""The bits of SQLite's error codes that tell the kind; the others tell it in detail."""
_WRITABLE: Final = "Check that the file and its folder can be written to."
_RESTORE: Final = "Stop everything that uses it and restore a backup, or ingest the sources into a new one."
_REPAIRS: Final = {
    sqlite3.SQLITE_BUSY: "Let the other process that writes to it (an ingest, a service) finish, then try again.",
    sqlite3.SQLITE_FULL: "Make room on the disk that it lies on: nothing of what was refused is kept, send it again then.",
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_IOERR: "Look at the disk that it lies on, and at the system's own log.",
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
}
"""What to do about each kind of error that is not the caller's mistake."""


@dataclass(frozen=True)
class AppendResult:
    """What one append did: rows that are new, rows whose event_id was there already, and the log's last seq after it.

    `erased` rows belong to customers who were erased, and were left out.
    """

    appended: int
    duplicates: int
    last_seq: int
    erased: int = 0


class EventLog(Protocol):
    """A durable list of events: appended once by event_id, read in the order of arrival.

    An event's `seq` is greater than that of every event before it; duplicates leave gaps.
    """

    def append(self, table: pa.Table) -> AppendResult:
        """Keep the rows of a valid table (EVENT_SCHEMA) in one transaction; they are on disk when this returns."""
        ...

    def append_many(self, tables: Sequence[pa.Table]) -> list[AppendResult | Exception]:
        """`append` of each table, one after the other, but in one transaction; what one of them raises is its result."""
        ...

    def read(self, after_seq: int = 0, batch_rows: int = 200_000) -> Iterator[pa.Table]:
        """Events with seq > `after_seq` in seq order: EVENT_SCHEMA + seq + resolved_customer_id."""
        ...

    def customer_events(self, customer_id: str, after_seq: int = 0) -> pa.Table:
        """One customer's events (by resolved id) in timeline order, (occurred_at, event_id); columns as `read`."""
        ...

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        """Who this is: the customer with that id (any id of theirs) where given, else with these identifiers, else None."""
        ...

    def regrouped_seq(self, customer_id: str) -> int:
        """The seq at which events were last given to this customer or taken away by what is known of identifiers; or 0.

        A state from before that seq is of other events, and has to be folded anew.
        """
        ...

    def regrouped_since(self, seq: int) -> dict[str, int]:
        """Customers who were regrouped after `seq`, and at which seq."""
        ...

    def identity(self) -> IdentityBook:
        """What is known of identifiers, to read."""
        ...

    def erasures(self) -> ErasureBook:
        """What was erased from this log, and the means to erase."""
        ...

    def last_seq(self) -> int:
        """The seq of the newest event, 0 for an empty log."""
        ...

    def count(self) -> int:
        """How many events there are."""
        ...

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the content: equal for logs of the same events, and cheap to ask for."""
        ...

    def close(self) -> None:
        """Let go of the files. A closed log cannot be used again."""
        ...


def open_log(settings: Settings) -> EventLog:
    """The log at `settings.event_log_url`, made if it is not there; raises SettingsError for an unknown scheme."""
    rules = identity_rules(settings)
    scheme, separator, rest = settings.event_log_url.partition("://")
    if scheme in ("postgresql", "postgres"):
        try:
            from features.log.postgres import PostgresEventLog
        except ImportError as error:
            raise SettingsError(
                "OMNI_EVENT_LOG names a PostgreSQL server, and psycopg is not installed.",
                repair="Install it: pip install -e '.[postgres]' -c constraints.txt",
            ) from error
        return PostgresEventLog(settings.event_log_url, rules)
    if not separator or scheme != "sqlite" or not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise SettingsError(
            f"OMNI_EVENT_LOG is {settings.event_log_place!r}, which this version cannot open.",
            repair="Write it as sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://host/database,"
            " or leave it out.",
        )
    return SqliteEventLog(Path(rest[1:]), rules)


class SqliteEventLog:
    """The log in one SQLite file (WAL): many readers, one writer at a time, over threads and processes."""

    def __init__(self, path: Path, rules: IdentityRules = DEFAULT_RULES) -> None:
        self._path = path
        self._rules = rules
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self._connections = ThreadConnections(str(path), self._open)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing() as connection:
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone() is not None
                if known:
                    portable_sql.check_layout(connection, str(path))
                for statement in (*CREATE, *CREATE_TOMBSTONES):
                    connection.execute(statement.format(bytes="BLOB"))
                portable_sql.put_meta(connection, portable_sql.LAYOUT, portable_sql.CURRENT_LAYOUT)
                rules.check_key(connection, str(path))
        except OSError as error:
            raise StoreError(f"The event log {path} cannot be opened: {error}.", repair=_WRITABLE) from error

    def append(self, table: pa.Table) -> AppendResult:
        table = self._rules.identifiers.kept_table(table)
        with self._writing() as connection:
            before = portable_sql.last_seq(connection)
            table, erased = Tombstones(connection).screen(table)
            if table.num_rows == 0:
                return AppendResult(0, 0, before, erased)
            owners = self._rules.book(connection).assign(table, before + 1)  # whose each row is; identifiers are learnt
            appended = insert_rows(connection, table_to_rows(table, owners.keys))
            last = portable_sql.last_seq(connection)
            if appended:
                portable_sql.note_appended(connection, table, before, appended)
            if appended == table.num_rows >= SEGMENT_MIN_ROWS:
                first = last - appended + 1  # no duplicates: the new seqs follow each other
                body = dump_segment(table, range(first, last + 1), owners.ids, owners.keys)
                connection.execute("INSERT INTO segments VALUES (?, ?, ?)", (first, last, body))
        return AppendResult(appended, table.num_rows - appended, last, erased)

    def append_many(self, tables: Sequence[pa.Table]) -> list[AppendResult | Exception]:
        return append_together(self, self._writing, tables)

    def read(self, after_seq: int = 0, batch_rows: int = 200_000) -> Iterator[pa.Table]:
        # short queries, one a batch: a reader that rests between batches holds nothing up
        while True:
            segment = self._query(
                "SELECT first_seq, last_seq FROM segments WHERE last_seq > ? ORDER BY last_seq LIMIT 1", (after_seq,)
            )
            first, last = segment[0] if segment else (_NO_SEQ, _NO_SEQ)
            if first <= after_seq + 1:
                body = self._query("SELECT body FROM segments WHERE first_seq = ?", (first,))
                table = load_segment(body[0][0]) if body else READ_SCHEMA.empty_table()
                moved = self._query("SELECT customer_key, customer_id FROM customers WHERE moved = 1", ())
                table = rename_customers(table, dict(moved))
                table = table.slice(int(np.searchsorted(table.column(Columns.SEQ).to_numpy(), after_seq, "right")))
                for start in range(0, table.num_rows, batch_rows):
                    yield table.slice(start, batch_rows)
                after_seq = last if body else after_seq  # without a body it was dropped this moment: read its rows
                continue
            rows = self._query(
                f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key)"
                " WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
                (after_seq, first, batch_rows),
            )
            if rows:
                after_seq = rows[-1][0]
                yield rows_to_table(rows)
            elif first == _NO_SEQ:
                return
            else:
                after_seq = first - 1

    def customer_events(self, customer_id: str, after_seq: int = 0) -> pa.Table:
        rows = self._query(
            f"SELECT {COLUMNS} FROM customers c JOIN events e USING (customer_key)"
            " WHERE c.customer_id = ? AND seq > ? ORDER BY occurred_us, event_id",
            (customer_id, after_seq),
        )
        return rows_to_table(rows)

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        with self._in_words():
            return self.identity().find(customer_id, identifiers)

    def regrouped_seq(self, customer_id: str) -> int:
        with self._in_words():
            return self.identity().regrouped_seq(customer_id)

    def regrouped_since(self, seq: int) -> dict[str, int]:
        with self._in_words():
            return self.identity().regrouped_since(seq)

    def identity(self) -> IdentityBook:
        return self._rules.book(self._connection())

    def last_seq(self) -> int:
        return portable_sql.last_seq(self._connection())

    def count(self) -> int:
        return portable_sql.count(self._connection())

    def fingerprint(self) -> str:
        return portable_sql.fingerprint(self._connection())

    def erasures(self) -> SqliteErasureBook:
        """What was erased from this log, and the means to erase."""
        return SqliteErasureBook(self._writing, self._connection(), self._rules)

    def close(self) -> None:
        self._connections.close()

    def _query(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._in_words():
            return self._connection().execute(query, parameters).fetchall()

    def _connection(self) -> sqlite3.Connection:
        return self._connections.mine()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        connection.execute("PRAGMA page_size = 16384")  # a quarter faster to load than the default of 4096
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged event survives a power cut
        connection.execute("PRAGMA wal_autocheckpoint = 4096")  # at 64 MiB: copies index pages back less often
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, or within one a part of it: all of it, or after an error nothing."""
        with self._in_words():
            connection = self._connection()
        if getattr(self._local, "is_writing", False):
            with self._in_words(), _savepoint(connection):
                yield connection
            return
        with self._write_lock, self._in_words():  # threads queue here; other processes wait in SQLite's busy handler
            connection.execute("BEGIN IMMEDIATE")
            self._local.is_writing = True
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._local.is_writing = False

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn what SQLite says of the file, the disk and other writers into our errors."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None)  # none where the mistake is the caller's
            if code is None or code & _PRIMARY_CODE not in _REPAIRS:
                raise
            if code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY:
                said = f"has been busy for {BUSY_TIMEOUT_S:.0f} s"
            else:
                said = "cannot be used"
            raise StoreError(
                f"The event log {self._path} {said}: {error}.", repair=_REPAIRS[code & _PRIMARY_CODE]
            ) from error


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors, as of a full disk, have ended the whole transaction already
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")
