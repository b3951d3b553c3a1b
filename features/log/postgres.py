"""The event log on a PostgreSQL server, in a schema of its own: many services and readers, on as many machines.

A writer holds an advisory lock until its transaction is visible. So seqs become visible in ascending order, and a
reader that follows the log never passes over an event that a slower writer has still in hand.
"""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pyarrow as pa
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from pyarrow import csv

from features import databases
from features.databases import ThreadConnections
from features.errors import SettingsError, StoreError, UnavailableError
from features.log import marks, portable_sql
from features.log.batches import Batch
from features.log.bulk.memory import Memory
from features.log.consents import CREATE as CREATE_CONSENTS
from features.log.erasure import LogErasureBook
from features.log.identity import DEFAULT_RULES, IdentityRules
from features.log.ledger.book import CREATE as CREATE_LEDGER
from features.log.lists import CREATE as CREATE_LISTS
from features.log.lists import NEWEST as NEWEST_LIST
from features.log.owners import Owners
from features.log.sql_log import SqlEventLog
from features.log.tables import COLUMNS, INSERT, READ_SCHEMA, STORED
from features.log.tombstones import CREATE as CREATE_TOMBSTONES
from features.money.rates import NO_RATES, RatesFile
from features.servers import patience
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
_CONNECT_S: Final = 2
"""How long whoever has no patience of their own waits for a connection, where statements may not wait either."""
_CONNECT_LEAST_S: Final = 0.5
"""What a connection is given at least: it takes several ways to the server and back, and is made for many questions."""
_SLICES: Final = 10
"""How often, while it waits, this side looks whether it has waited for too long."""
_DRIVER_SLICE_S: Final = 0.1
"""How often the driver does, while it connects."""

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
    # a customer's new events are found without a look at their old ones
    "CREATE INDEX IF NOT EXISTS events_of_customer ON events (customer_key, seq)",
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

    def __init__(
        self,
        url: str,
        rules: IdentityRules = DEFAULT_RULES,
        wait_s: float | None = None,
        schema: str = SCHEMA,
        sync_decisions: bool = True,
        rates: RatesFile = NO_RATES,
    ) -> None:
        """`wait_s` is how long a statement may wait for the server, where the thread has no `patience` of its own.

        Without `sync_decisions` nobody waits for the server's disk where nothing but decisions is appended.
        """
        super().__init__(rules, sync_decisions, rates)
        self._place = without_password(url)
        self._schema = schema
        self._wait_s = wait_s
        connecting = _CONNECTING if wait_s is None else {**_CONNECTING, "connect_timeout": _CONNECT_S}
        try:
            self._parameters: dict[str, Any] = {**connecting, **conninfo_to_dict(url)}
        except psycopg.ProgrammingError:
            # What the driver says of it can hold the password, and so can its traceback.
            raise SettingsError(
                f"OMNI_EVENT_LOG is {self._place!r}, which is no PostgreSQL URL: its user, password or options are not.",
                repair="Write it as postgresql://user:password@host:5432/database, with %25 for %, %2F for / and so on.",
            ) from None
        self._connections = ThreadConnections(
            f"The event log {self._place}", self._open, lambda connection: connection.closed
        )
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def read(self, after_seq: int = 0, batch_rows: int = 200_000) -> Iterator[pa.Table]:
        # short queries, one a batch: a reader that rests between batches holds nothing up
        while True:
            query = _READ.format(after=int(after_seq), rows=int(batch_rows))
            with self._in_words(), self._connection().driver.cursor() as cursor, cursor.copy(query) as copy:
                body = b"".join(copy)
            table = _csv_to_table(body)
            if table.num_rows == 0:
                return
            yield self._counted(table)
            after_seq = table.column("seq")[-1].as_py()

    def erasures(self) -> LogErasureBook:
        """What was erased from this log, and the means to erase. The server frees the disk at its next vacuum."""
        with self._in_words():
            return LogErasureBook(self._writing, self._connection(), self._rules)

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def _writing(self, synced: bool = True) -> "Iterator[_Portable]":
        """One write transaction, the only one at a time on the whole server, or within one a part of it: all or nothing."""
        with self._in_words():
            connection = self._connection()
            is_part = connection.driver.info.transaction_status != pq.TransactionStatus.IDLE
            with connection.driver.transaction():
                if not synced and not is_part:
                    connection.execute("SET LOCAL synchronous_commit TO off")
                connection.execute("SELECT pg_advisory_xact_lock(?)", (WRITER_LOCK,))
                try:
                    yield connection
                except BaseException:
                    connection.memory.drop()
                    raise

    def try_write(self) -> None:
        # without the writer's lock: a writer that is busy is no reason to doubt that the server writes
        with self._in_words():
            connection = self._connection()
            with connection.driver.transaction():
                portable_sql.put_meta(connection, portable_sql.TRIED, time.time_ns())

    def _begin(self) -> None:
        """Make what the schema lacks of the log's tables, and look whether it is a log that we can use."""
        # the question comes first: a service may be allowed to write to the tables and not to make any
        if not self._has("events"):
            with self._writing() as connection:
                self._create(connection, (*_CREATE, *CREATE_TOMBSTONES))
                portable_sql.put_meta(connection, portable_sql.LAYOUT, portable_sql.CURRENT_LAYOUT)
        with self._in_words():
            portable_sql.check_layout(self._connection(), self._place)
            is_settled = self._rules_given.is_settled(self._connection())
        if is_settled:
            self._rules = self._rules_given.of_log(self._connection(), self._place)
        else:  # two that open a new log at once agree on one key
            with self._writing() as connection:
                self._rules = self._rules_given.of_log(connection, self._place)
        if not self._has("marks") or not marks.is_marked(self._connection()):
            with self._writing() as connection:
                self._create(connection, marks.CREATE)
                marks.begin_marks(connection)
        if not self._has("consents") or not self._rules.consents(self._connection()).is_level():
            with self._writing() as connection:
                self._create(connection, CREATE_CONSENTS)
                self._rules.consents(connection).follow_addresses()
        if not self._has(NEWEST_LIST):
            with self._writing() as connection:
                self._create(connection, CREATE_LISTS)
        if not self._has("kept_answers"):
            with self._writing() as connection:
                self._create(connection, CREATE_LEDGER)

    def _connection(self) -> "_Portable":
        return _Portable(self._connections.mine())

    def _insert(self, connection: "_Portable", batch: Batch, owners: Owners) -> int:
        rows = batch.stored(owners.keys)
        with connection.driver.cursor() as cursor:
            if len(batch) < BULK_MIN_ROWS:
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
            connection.execute(
                statement.format(schema=self._schema, bytes="bytea", text='text COLLATE "C"', rowless="")
            )

    def _open(self) -> "_PatientConnection":
        with patience.at_least(_CONNECT_LEAST_S):
            connection = _PatientConnection.connect(**self._parameters, autocommit=True)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: "_PatientConnection") -> None:
        connection.wait_s, connection.memory = self._wait_s, Memory()
        # a statement sees what was committed before it, so the first one after the lock sees all
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.execute(f"SET search_path TO {self._schema}")
        connection.execute("SET jit TO off")  # compiling takes longer than any of these queries
        connection.execute("SET work_mem TO '64MB'")  # a batch is put in order in memory
        connection.execute(f"SET lock_timeout TO '{databases.wait_s() * 1000:.0f}ms'")
        connection.execute(_DURABLE)
        if self._wait_s is not None:  # nor does the server go on with what nobody waits for any more
            connection.execute(f"SET statement_timeout TO '{self._wait_s * 1000:.0f}ms'")

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn the server's errors into ours."""
        try:
            yield
        except psycopg.errors.LockNotAvailable as error:
            raise UnavailableError(
                f"The event log {self._place} has been busy for {databases.wait_s():.0f} s.",
                repair="Let the other process that writes to it (an ingest, a service) finish, then try again.",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"The event log {self._place} refuses: {_first_line(error)}.",
                repair=f"Let the user create the schema {self._schema}, or read and write its tables.",
            ) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise UnavailableError(
                f"The event log {self._place} cannot be written to: {_first_line(error)}.",
                repair="It may be a replica, or a server that is being replaced: set OMNI_EVENT_LOG to the one that writes.",
            ) from error
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise UnavailableError(
                f"The event log {self._place} has lost its tables: {_first_line(error)}.",
                repair=f"Restore the schema {self._schema}, or start everything anew to have empty ones made.",
            ) from error
        except psycopg.OperationalError as error:
            raise UnavailableError(
                f"The event log {self._place} does not answer: {_first_line(error)}.",
                repair="Start the server, or set OMNI_EVENT_LOG to where it is.",
            ) from error


class _PatientConnection(psycopg.Connection[Any]):
    """A connection that gives up, and is closed, where the server does not answer in time; by itself a driver waits on."""

    wait_s: float | None = None
    """How long one wait may take, where this thread has no patience of its own."""
    memory: Memory
    """The customers that it has met."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        # the driver's own least is two seconds
        gen, left_s = super()._connect_gen(conninfo), patience.left_s()
        return gen if left_s is None else _until(gen, left_s, _DRIVER_SLICE_S)

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        left_s = patience.left_s()
        limit_s = self.wait_s if left_s is None else left_s
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}  # drivers before 3.3 do not know it
        if limit_s is None:
            return super().wait(gen, interval, **options)
        slice_s = min(interval, max(limit_s / _SLICES, 0.001))
        try:
            return super().wait(_until(gen, limit_s, slice_s), slice_s, **options)
        except _NoAnswerError:
            self.close()  # the answer may still come, and would be taken for that to the next statement
            raise


class _NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


def _until(gen: Generator[Any, Any, Any], limit_s: float, slice_s: float) -> Generator[Any, Any, Any]:
    """What the driver waits with, until it has waited for too long; `slice_s` is how long it looks for an answer at a time.

    What counts are slices in which nothing came, and not the clock: where this process is not let run for a while, the
    answer is there when it is, and the server is no slower for that.
    """
    waited_s = 0.0
    try:
        state = next(gen)
        while True:
            ready = yield state
            state = gen.send(ready)
            if not ready:
                waited_s += slice_s
                patience.spend(slice_s)
                if waited_s >= limit_s:
                    raise _NoAnswerError("no answer in time")
    except StopIteration as stop:
        return stop.value


class _Portable:
    """A connection that takes `?` for a parameter."""

    def __init__(self, driver: _PatientConnection) -> None:
        self.driver = driver

    @property
    def memory(self) -> Memory:
        """What the connection remembers of customers."""
        return self.driver.memory

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
