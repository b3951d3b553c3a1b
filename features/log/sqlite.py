"""The event log in one SQLite file: rows for small reads, and bulk loads a second time as Arrow for fast ones."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from features import databases
from features.databases import ThreadConnections
from features.errors import StoreError, UnavailableError
from features.log import marks, portable_sql
from features.log.batches import Batch, TableBatch
from features.log.bulk.insert import insert_table
from features.log.bulk.memory import Memory
from features.log.consents import CREATE as CREATE_CONSENTS
from features.log.embedded.wal import LIMIT_BYTES, WalKeeper
from features.log.erasure import SqliteErasureBook
from features.log.identity import DEFAULT_RULES, IdentityRules
from features.log.ledger.book import CREATE as CREATE_LEDGER
from features.log.lists import CREATE as CREATE_LISTS
from features.log.owners import Owners
from features.log.sql_log import SqlEventLog
from features.log.tables import (
    COLUMNS,
    CREATE,
    INSERT,
    READ_SCHEMA,
    SEGMENT_MIN_ROWS,
    STORED,
    dump_segment,
    load_segment,
    rename_customers,
)
from features.log.tombstones import CREATE as CREATE_TOMBSTONES
from features.money.rates import NO_RATES, RatesFile
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

_CACHE_KIB: Final = 131_072
_NO_SEQ: Final = 2**62
_INSERT_INTO, _, _INSERT_REST = INSERT.partition("VALUES")
_ON_CONFLICT: Final = _INSERT_REST.partition(")")[2]
_ROW: Final = f"({', '.join('?' * len(STORED))})"
_INSERT_MANY: Final = {n: f"{_INSERT_INTO}VALUES {', '.join([_ROW] * n)}{_ON_CONFLICT}" for n in portable_sql.INSERTS}
_TRIED_CHARS: Final = 65_536
_LOOK_FIRST_S: Final = 0.0002
_LOOK_LAST_S: Final = 0.005
"""Between two looks whether another process has done with writing: a quarter of what was waited so far, within these."""
_ANEW: Final = "run: omni restore BACKUP (`omni backup` made it). Without a backup, ingest the sources into a new one"


class SqliteEventLog(SqlEventLog[sqlite3.Connection]):
    """The log in one SQLite file (WAL): many readers, one writer at a time, over threads and processes."""

    def __init__(
        self,
        path: Path,
        rules: IdentityRules = DEFAULT_RULES,
        wait_s: float | None = None,
        sync_decisions: bool = True,
        rates: RatesFile = NO_RATES,
    ) -> None:
        """`wait_s` is how long a statement waits for other processes; None: `databases.wait_s()`.

        Without `sync_decisions` nobody waits for the disk where nothing but decisions is appended.
        """
        super().__init__(rules, sync_decisions, rates)
        self._path = path
        self._wait_s = wait_s
        self._local = threading.local()
        self._write_lock = threading.Lock()
        self._wal = WalKeeper(path, self._write_lock)
        self._prepared = 0  # the file whose tables were looked at
        self._connections = ThreadConnections(
            f"The event log {path}", self._open, lambda connection: connection.file != self._file()
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._in_words():
                self._connection()
        except OSError as error:
            raise StoreError(
                f"The event log {path} cannot be opened: {error}.",
                repair="Check that the file and its folder can be written to.",
            ) from error

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
                    yield self._counted(table.slice(start, batch_rows))
                after_seq = last if body else after_seq  # without a body it was dropped this moment: read its rows
                continue
            rows = self._query(
                f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key)"
                " WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
                (after_seq, first, batch_rows),
            )
            if rows:
                after_seq = rows[-1][0]
                yield self._as_table(rows)
            elif first == _NO_SEQ:
                return
            else:
                after_seq = first - 1

    def erasures(self) -> SqliteErasureBook:
        """What was erased from this log, and the means to erase."""
        return SqliteErasureBook(self._writing, self._connection(), self._rules)

    def try_write(self) -> None:
        # As large as some events: the last page of a table often has room for a note when the disk has none for a row.
        # What it took is given back, and so kept for appends.
        with self._writing() as connection:
            portable_sql.put_meta(connection, portable_sql.TRIED, "-" * _TRIED_CHARS)
        with self._writing() as connection:
            connection.execute("DELETE FROM meta WHERE name = ?", (portable_sql.TRIED,))

    def close(self) -> None:
        self._wal.close()
        self._connections.close()

    def _connection(self) -> "_Opened":
        """This thread's own; a new one where another file has the name by now, as after a backup was restored."""
        if getattr(self._local, "writes_to", None) is not None:
            connection: _Opened = self._local.writes_to  # whatever became of the file: a transaction is of one
            return connection
        opened = self._connections.mine()
        if opened.file != self._prepared:
            self._prepare()
            self._prepared = opened.file
        return opened

    def _prepare(self) -> None:
        """Make what the file lacks of the log's tables, and look whether it is a log that we can use."""
        with self._transaction(self._connections.mine()) as connection:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone() is not None
            if known:
                portable_sql.check_layout(connection, str(self._path))
            for statement in (
                *(*CREATE, *CREATE_TOMBSTONES, *CREATE_CONSENTS),
                *(*marks.CREATE_SQLITE, *CREATE_LISTS, *CREATE_LEDGER),
            ):
                connection.execute(statement.format(bytes="BLOB", text="TEXT", rowless=" WITHOUT ROWID"))
            portable_sql.put_meta(connection, portable_sql.LAYOUT, portable_sql.CURRENT_LAYOUT)
            marks.begin_marks(connection)
            self._rules = self._rules_given.of_log(connection, str(self._path))
            self._rules.consents(connection).follow_addresses()

    def _file(self) -> int:
        """What file it is, whatever its name; 0 where there is none."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def _insert(self, connection: sqlite3.Connection, batch: Batch, owners: Owners) -> int:
        before = connection.total_changes
        bulk = batch.table if isinstance(batch, TableBatch) and len(batch) >= SEGMENT_MIN_ROWS else None
        if bulk is not None:
            insert_table(connection, bulk, owners.key_array)
        else:
            for part in portable_sql.in_parts(batch.stored(owners.keys), portable_sql.INSERTS):
                connection.execute(_INSERT_MANY[len(part)], [value for row in part for value in row])
        appended = connection.total_changes - before
        if bulk is not None and appended == len(batch):
            last = portable_sql.last_seq(connection)
            first = last - appended + 1  # no duplicates: the new seqs follow each other
            body = dump_segment(bulk, range(first, last + 1), owners.ids, owners.key_array)
            connection.execute("INSERT INTO segments VALUES (?, ?, ?)", (first, last, body))
        return appended

    @property
    def _busy_s(self) -> float:
        return databases.wait_s() if self._wait_s is None else self._wait_s

    def _open(self) -> "_Opened":
        if self._prepared and not self._path.exists():  # SQLite would begin an empty one
            raise UnavailableError(
                f"The event log {self._path} is gone.", repair=f"Stop everything that uses it and {_ANEW}."
            )
        connection = sqlite3.connect(
            self._path,
            factory=_Opened,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )
        connection.execute("PRAGMA page_size = 8192")  # of a new log: a commit of one event writes five pages
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged event survives a power cut
        connection.execute("PRAGMA wal_autocheckpoint = 8192")  # at 64 MiB, should the keeper not come to it
        connection.execute(f"PRAGMA journal_size_limit = {LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.file = self._file()
        connection.memory = Memory()
        return connection

    @contextmanager
    def _writing(self, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """One write transaction, or within one a part of it: all of it, or after an error nothing."""
        with self._in_words():
            connection = self._connection()
        if getattr(self._local, "writes_to", None) is not None:
            with self._in_words(), _savepoint(connection):
                yield connection
            return
        with self._transaction(connection, synced):
            yield connection

    @contextmanager
    def _transaction(self, connection: "_Opened", synced: bool = True) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._in_words():  # threads queue here, and after that for other processes
            if connection.synced is not synced:
                # NORMAL leaves the write-ahead log to the system; the next commit that is synced brings all of it to the disk
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                connection.synced = synced
            _begin(connection, self._busy_s)
            self._local.writes_to = connection
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.memory.drop()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._local.writes_to = None
        self._wal.note_commit()

    def _in_words(self) -> AbstractContextManager[None]:
        """Turn what SQLite says of the file, the disk and other writers into our errors."""
        return databases.in_words("The event log", self._path, _ANEW, self._busy_s)


class _Opened(sqlite3.Connection):
    """A connection that knows its file, whether its commits wait for the disk, and which customers it has met."""

    file: int = 0
    synced: bool = True
    memory: Memory


def _begin(connection: sqlite3.Connection, wait_s: float) -> None:
    """Begin to write; while another process does, look again and again for up to `wait_s`, soon at first.

    SQLite's own waiting sleeps longer and longer, up to 0.1 s: two services' workers would wait for each other many times
    as long as a commit takes, and beside an ingest, whose pauses are short, one could wait for all of it.
    """
    began = time.monotonic()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited_s = time.monotonic() - began
                if not databases.is_busy(error) or waited_s >= wait_s:
                    raise
            time.sleep(min(max(waited_s / 4, _LOOK_FIRST_S), _LOOK_LAST_S, wait_s - waited_s))
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")


@contextmanager
def _savepoint(connection: _Opened) -> Iterator[None]:
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        connection.memory.drop()
        if connection.in_transaction:  # some errors, as of a full disk, have ended the whole transaction already
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")
