"""The event log on a PostgreSQL server, in a schema of its own: many services and readers, on as many machines.

A writer holds an advisory lock until its transaction is visible. So seqs become visible in ascending order, and a
reader that follows the log never passes over an event that a slower writer has still in hand.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict
from pyarrow import csv

from features import databases
from features.databases import ThreadConnections
from features.errors import SettingsError, StoreError
from features.log import marks, portable_sql
from features.log.consents import CREATE as CREATE_CONSENTS
from features.log.erasure import LogErasureBook
from features.log.identity import DEFAULT_RULES, IdentityRules, Owners
from features.log.sql_log import SqlEventLog
from features.log.tables import COLUMNS, INSERT, READ_SCHEMA, STORED, table_to_rows
from features.log.tombstones import CREATE as CREATE_TOMBSTONES
from features.settings import SCHEMA, without_password
from features.vocabulary import Columns

WRITER_LOCK: Final = 0x6F6D6E69
"""Number of the advisory lock that the one writer holds."""
BULK_MIN_ROWS: Final = 2_000
"""Appends of at least this many rows go through COPY."""
_CONNECTING: Final = {
    "fallback_application_name": "omni",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that the network no longer reaches is known as such within half a minute; the URL's own options win."""

# COLLATE "C": texts are told apart and ordered by their bytes, as everywhere else, whatever the database's language is
_CREATE: Final = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    "CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS customers (customer_key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    ' nodes text COLLATE "C" NOT NULL UNIQUE, customer_id text COLLATE "C" NOT NULL, first_us bigint NOT NULL,'
    " moved smallint NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS customers_by_id ON customers (customer_id)",
    'CREATE TABLE IF NOT EXISTS identifiers (id_type text COLLATE "C", id_value text COLLATE "C",'
    ' customer_id text COLLATE "C" NOT NULL, shared smallint NOT NULL DEFAULT 0, PRIMARY KEY (id_type, id_value))',
    "CREATE INDEX IF NOT EXISTS identifiers_by_id ON identifiers (customer_id)",
    'CREATE TABLE IF NOT EXISTS seen_in (id_type text COLLATE "C", id_value text COLLATE "C", customer_key bigint,'
    " PRIMARY KEY (id_type, id_value, customer_key))",
    "CREATE INDEX IF NOT EXISTS seen_in_by_key ON seen_in (customer_key)",
    'CREATE TABLE IF NOT EXISTS regrouped (customer_id text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL)',
    "CREATE INDEX IF NOT EXISTS regrouped_by_seq ON regrouped (seq)",
    "CREATE TABLE IF NOT EXISTS events (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    ' event_id text COLLATE "C" NOT NULL UNIQUE, occurred_us bigint NOT NULL, customer_key bigint NOT NULL,'
    " kind text NOT NULL, channel text NOT NULL, customer_id text, identifiers text, product_id text,"
    " quantity double precision, value double precision, currency text, campaign_id text, decision_id text,"
    " store_id text, session_id text, properties text)",
    # with the seq in it, a customer's new events are found without reading the old ones
    "CREATE INDEX IF NOT EXISTS events_by_customer ON events (customer_key, occurred_us, seq)",
)
_DURABLE: Final = (  # what is acknowledged is on disk, even where the server's own default is to hurry
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_NAMES: Final = ", ".join(STORED)
_READ: Final = (
    f"COPY (SELECT {COLUMNS} FROM (SELECT * FROM events WHERE seq > {{after}} ORDER BY seq LIMIT {{rows}}) e"
    " JOIN customers c USING (customer_key) ORDER BY seq) TO STDOUT (FORMAT csv)"
)
_FIRST: Final = (Columns.SEQ, Columns.RESOLVED_CUSTOMER_ID, Columns.CUSTOMER_KEY)
_COPIED: Final = (*_FIRST, *(name for name in READ_SCHEMA.names if name not in _FIRST))
"""The order of `tables.COLUMNS`."""
_CSV_TYPES: Final = {
    field.name: pa.string() if field.name == Columns.IDENTIFIERS else field.type for field in READ_SCHEMA
} | {Columns.OCCURRED_AT: pa.int64()}


class PostgresEventLog(SqlEventLog["_Portable"]):
    """The log at a `postgresql://` URL; safe to use from several threads, each of which has its own connection."""

    def __init__(self, url: str, rules: IdentityRules = DEFAULT_RULES, schema: str = SCHEMA) -> None:
        self._place = without_password(url)
        self._schema = schema
        self._rules = rules
        try:
            self._parameters: dict[str, Any] = {**_CONNECTING, **conninfo_to_dict(url)}
        except psycopg.ProgrammingError:
            # What the driver says of it can hold the password, and so can its traceback.
            raise SettingsError(
                f"OMNI_EVENT_LOG is {self._place!r}, which is no PostgreSQL URL: its user, password or options are not.",
                repair="Write it as postgresql://user:password@host:5432/database, with %25 for %, %2F for / and so on.",
            ) from None
        self._connections = ThreadConnections(
            f"The event log {self._place}", self._open, lambda connection: connection.closed
        )
        # the question comes first: a service may be allowed to write to the tables and not to make any
        if not self._has("events"):
            with self._writing() as connection:
                self._create(connection, (*_CREATE, *CREATE_TOMBSTONES))
                portable_sql.put_meta(connection, portable_sql.LAYOUT, portable_sql.CURRENT_LAYOUT)
        with self._in_words():
            portable_sql.check_layout(self._connection(), self._place)
            rules.check_key(self._connection(), self._place)
        if not self._has("marks") or not marks.is_marked(self._connection()):
            with self._writing() as connection:
                self._create(connection, marks.CREATE)
                marks.begin_marks(connection)
        if not self._has("consents") or not rules.consents(self._connection()).is_level():
            with self._writing() as connection:
                self._create(connection, CREATE_CONSENTS)
                rules.consents(connection).follow_addresses()

    def read(self, after_seq: int = 0, batch_rows: int = 200_000) -> Iterator[pa.Table]:
        # short queries, one a batch: a reader that rests between batches holds nothing up
        while True:
            query = _READ.format(after=int(after_seq), rows=int(batch_rows))
            with self._in_words(), self._connection().driver.cursor() as cursor, cursor.copy(query) as copy:
                body = b"".join(copy)
            table = _csv_to_table(body)
            if table.num_rows == 0:
                return
            yield table
            after_seq = table.column("seq")[-1].as_py()

    def erasures(self) -> LogErasureBook:
        """What was erased from this log, and the means to erase. The server frees the disk at its next vacuum."""
        with self._in_words():
            return LogErasureBook(self._writing, self._connection(), self._rules)

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def _writing(self) -> "Iterator[_Portable]":
        """One write transaction, the only one at a time on the whole server, or within one a part of it: all or nothing."""
        with self._in_words():
            connection = self._connection()
            with connection.driver.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(?)", (WRITER_LOCK,))
                yield connection

    def _connection(self) -> "_Portable":
        return _Portable(self._connections.mine())

    def _insert(self, connection: "_Portable", table: pa.Table, owners: Owners) -> int:
        rows = table_to_rows(table, owners.keys)
        with connection.driver.cursor() as cursor:
            if table.num_rows < BULK_MIN_ROWS:
                cursor.executemany(INSERT.replace("?", "%s"), rows)
                return cursor.rowcount
            cursor.execute("CREATE TEMP TABLE incoming (LIKE events) ON COMMIT DROP")
            with cursor.copy(f"COPY incoming (seq, {_NAMES}) FROM STDIN") as copy:
                for place, row in enumerate(rows):
                    copy.write_row((place, *row))
            cursor.execute(
                f"INSERT INTO events ({_NAMES}) SELECT {_NAMES} FROM incoming ORDER BY seq"
                " ON CONFLICT (event_id) DO NOTHING"
            )
            return cursor.rowcount

    def _has(self, table: str) -> bool:
        return self._query("SELECT to_regclass(?)", (f"{self._schema}.{table}",)) != [(None,)]

    def _create(self, connection: "_Portable", statements: Sequence[str]) -> None:
        for statement in statements:
            connection.execute(statement.format(schema=self._schema, bytes="bytea", text='text COLLATE "C"'))

    def _open(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(**self._parameters, autocommit=True)
        # a statement sees what was committed before it, so the first one after the lock sees all
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.execute(f"SET search_path TO {self._schema}")
        connection.execute("SET jit TO off")  # compiling takes longer than any of these queries
        connection.execute("SET work_mem TO '64MB'")  # a batch is put in order in memory
        connection.execute(f"SET lock_timeout TO '{databases.wait_s() * 1000:.0f}ms'")
        connection.execute(_DURABLE)
        return connection

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn the server's errors into ours."""
        try:
            yield
        except psycopg.errors.LockNotAvailable as error:
            raise StoreError(
                f"The event log {self._place} has been busy for {databases.wait_s():.0f} s.",
                repair="Let the other process that writes to it (an ingest, a service) finish, then try again.",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"The event log {self._place} refuses: {_first_line(error)}.",
                repair=f"Let the user create the schema {self._schema}, or read and write its tables.",
            ) from error
        except psycopg.OperationalError as error:
            raise StoreError(
                f"The event log {self._place} does not answer: {_first_line(error)}.",
                repair="Start the server, or set OMNI_EVENT_LOG to where it is.",
            ) from error


class _Portable:
    """A connection that takes `?` for a parameter."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self.driver = driver

    def execute(self, query: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        return self.driver.execute(query.replace("?", "%s"), parameters)


def _csv_to_table(body: bytes) -> pa.Table:
    """Rows of `tables.COLUMNS` in READ_SCHEMA; a null is an empty field, an empty text is a quoted one."""
    if not body:
        return READ_SCHEMA.empty_table()
    table = csv.read_csv(
        pa.BufferReader(body),
        csv.ReadOptions(column_names=list(_COPIED), use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=_CSV_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    columns = []
    for field in READ_SCHEMA:
        column = table.column(field.name)
        if field.name == Columns.IDENTIFIERS:
            pairs = [None if text is None else list(json.loads(text).items()) for text in column.to_pylist()]
            column = pa.array(pairs, field.type)
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=READ_SCHEMA)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
