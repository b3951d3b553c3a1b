"""Copies of the event log on a PostgreSQL server: its tables in, a file each as of one moment out; and back into a schema.

Done with COPY inside one transaction, so that neither the server's own tools nor its version matter.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from features.backup.manifest import CopiedTable
from features.console import Progress
from features.errors import InputError, StoreError
from features.log.identity import IdentityRules
from features.log.postgres import PostgresEventLog
from features.settings import SCHEMA, without_password

_CHUNK: Final = 2**20
_LINGERING_S: Final = 2.0
"""So long the server may list a connection that was closed."""
_TABLES: Final = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name"
_COLUMNS: Final = (
    "SELECT column_name, is_identity FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
    " ORDER BY ordinal_position"
)
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND application_name = 'omni'"
)


def copy_tables(url: str, folder: Path, progress: Progress) -> tuple[CopiedTable, ...]:
    """Copy every table of the log to `folder`. Writers are not held up. Raises StoreError where the server does not answer."""
    folder.mkdir(parents=True)
    try:
        with closing(_connect(url)) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            names = [name for (name,) in connection.execute(_TABLES, (SCHEMA,)).fetchall()]
            tables = tuple(_copy_out(connection, name, folder / f"{name}.copy", progress) for name in names)
            connection.execute("COMMIT")
            return tables
    except psycopg.Error as error:
        raise _failed(url, error) from error


def load_tables(url: str, schema: str, tables: tuple[CopiedTable, ...], folder: Path, progress: Progress) -> None:
    """Fill the empty tables of a log that was made in `schema`, all or none. Raises StoreError where that does not work."""
    try:
        with closing(_connect(url)) as connection, connection.transaction():
            for table in tables:
                progress(f"{table.name}: {table.rows:,} rows")
                _copy_in(connection, schema, table, folder / f"{table.name}.copy")
    except psycopg.Error as error:
        raise _failed(url, error) from error


def make_schema(url: str, schema: str, rules: IdentityRules) -> None:
    """Make a log's tables in a schema of their own."""
    PostgresEventLog(url, rules, schema).close()


def swap_schemas(url: str, staged: str, aside: str, *, discard: bool) -> bool:
    """Put the log in `staged` in place of the one there is, which is renamed to `aside` or dropped; all in one transaction.

    Returns whether there was one.
    """
    try:
        with closing(_connect(url)) as connection, connection.transaction():
            has_one = connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() != (None,)
            if has_one and discard:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(SCHEMA)))
            elif has_one:
                _rename(connection, SCHEMA, aside)
            _rename(connection, staged, SCHEMA)
            return has_one
    except psycopg.Error as error:
        raise _failed(url, error) from error


def drop_schema(url: str, schema: str) -> None:
    """Take away a schema that is not needed any more."""
    with closing(_connect(url)) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def check_unused(url: str) -> None:
    """Raises InputError while another process of Omni, on whatever machine, is connected to the log's database."""
    ends = time.monotonic() + _LINGERING_S
    try:
        with closing(_connect(url)) as connection:
            while others := int((connection.execute(_OTHERS).fetchone() or (0,))[0]):
                if time.monotonic() > ends:
                    break
                time.sleep(0.05)
    except psycopg.Error as error:
        raise _failed(url, error) from error
    if others:
        raise InputError(
            f"{others} other connections to {without_password(url)} are Omni's.",
            repair="Stop the services, their streams and whatever else uses this log, then try again.",
        )


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="omni backup")


def _copy_out(connection: psycopg.Connection[Any], name: str, path: Path, progress: Progress) -> CopiedTable:
    columns = connection.execute(_COLUMNS, (SCHEMA, name)).fetchall()
    names = [column for column, _ in columns]
    n_bytes = 0
    with connection.cursor() as cursor:
        query = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(SCHEMA, name), _listed(names))
        with path.open("wb") as file, cursor.copy(query) as copy:
            for block in copy:
                file.write(block)
                n_bytes += len(block)
                if n_bytes // _CHUNK > (n_bytes - len(block)) // _CHUNK:
                    progress(f"{name}: {n_bytes // _CHUNK:,} MiB")
        n_rows = cursor.rowcount
    last_values = {
        column: int((connection.execute(_last_value(name, column)).fetchone() or (0,))[0])
        for column, is_identity in columns
        if is_identity == "YES"
    }
    return CopiedTable(name=name, columns=tuple(names), rows=n_rows, last_values=last_values)


def _copy_in(connection: psycopg.Connection[Any], schema: str, table: CopiedTable, path: Path) -> None:
    place = sql.Identifier(schema, table.name)
    connection.execute(sql.SQL("DELETE FROM {}").format(place))  # what a new log is made with
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(place, _listed(table.columns))
    with path.open("rb") as file, connection.cursor() as cursor, cursor.copy(query) as copy:
        while chunk := file.read(_CHUNK):
            copy.write(chunk)
    for column, value in table.last_values.items():
        if value:
            sequence = f"{schema}.{table.name}", column
            connection.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", (*sequence, value))


def _last_value(table: str, column: str) -> sql.Composed:
    """A number that was given out is never given out again, also where the newest row was erased."""
    return sql.SQL("SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence({}, {})::regclass), 0)").format(
        sql.Literal(f"{SCHEMA}.{table}"), sql.Literal(column)
    )


def _rename(connection: psycopg.Connection[Any], before: str, after: str) -> None:
    statement = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    connection.execute(statement.format(sql.Identifier(before), sql.Identifier(after)))


def _listed(names: tuple[str, ...] | list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _failed(url: str, error: psycopg.Error) -> StoreError:
    words = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return StoreError(
        f"The event log {without_password(url)} cannot be copied: {words}.",
        repair="See that the server answers, and that its user may read and make schemas in that database.",
    )
