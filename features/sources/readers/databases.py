"""A query and the address of a database come in; batches of the rows that it answers go out, never all of them at once."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from features.errors import InputError
from features.sources.readers.options import BATCH_ROWS
from features.sources.readers.rows import RawRows, numbered

_KNOWN: Final = "postgresql://user@host/database, sqlite:///file.db or duckdb:///file.duckdb"


def read_query(query: str, address: str) -> Iterator[RawRows]:
    """The rows that a query gives. Raises InputError for an address or a query that cannot be used."""
    scheme, _, rest = address.partition("://")
    if scheme in ("postgresql", "postgres"):
        return _postgres(query, address)
    if scheme == "sqlite":
        return _sqlite(query, rest.removeprefix("/"))
    if scheme == "duckdb":
        return _duckdb(query, rest.removeprefix("/"))
    raise InputError(f"--from {scheme!r} is no database that we can ask.", repair=f"Use {_KNOWN}.")


def _postgres(query: str, address: str) -> Iterator[RawRows]:
    try:
        import psycopg
    except ImportError as error:
        raise InputError(
            "PostgreSQL needs the package psycopg.", repair='Install it: pip install "omni[postgres]".'
        ) from error
    try:
        with psycopg.connect(address) as connection:
            connection.read_only = True
            with connection.cursor(name="omni_ingest") as cursor:
                cursor.execute(query.encode())
                yield from _batches(cursor)
    except psycopg.Error as error:
        raise _complaint(error) from error


def _sqlite(query: str, file: str) -> Iterator[RawRows]:
    try:
        address = f"{Path(file).absolute().as_uri()}?mode=ro"  # an address, in which # and ? of a name are written out
        with closing(sqlite3.connect(address, uri=True)) as connection:
            yield from _batches(connection.execute(query))
    except sqlite3.Error as error:
        raise _complaint(error) from error


def _duckdb(query: str, file: str) -> Iterator[RawRows]:
    import duckdb

    try:
        with duckdb.connect(file, read_only=True) as connection:
            yield from _batches(connection.execute(query))
    except duckdb.Error as error:
        raise _complaint(error) from error


def _batches(cursor: Any) -> Iterator[RawRows]:
    names: Sequence[str] = ()
    first = 0
    while rows := cursor.fetchmany(BATCH_ROWS):
        names = names or [column[0] for column in cursor.description]
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise InputError(f"The query gives two columns {twice[0]!r}.", repair="Name one of them with AS.")
        yield RawRows(numbered(first, len(rows)), items=[dict(zip(names, row, strict=True)) for row in rows])
        first += len(rows)


def _complaint(error: Exception) -> InputError:
    words = str(error).strip().splitlines()
    return InputError(
        f"The query cannot be answered: {words[0] if words else type(error).__name__}.", repair="Mend --sql or --from."
    )
