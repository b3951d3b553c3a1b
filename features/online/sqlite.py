"""Feast's online store in SQLite, read and cleared without Feast: entities in, their rows out."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from features import databases
from features.databases import ThreadConnections
from features.errors import MissingError, StoreError
from features.log.portable_sql import in_parts
from features.online.feast_codec import decode_value, entity_key, entity_value
from features.online.source import StoredRow
from features.settings import Settings
from features.views import View

NAME: Final = "The online store"
ANEW: Final = "restore a backup, or delete it and run `omni features build --force`"
_WAIT_S: Final = 10.0
_LOOKUPS: Final = (128, 16, 1)
"""Entities per statement: few sizes, so that each is prepared once."""


class SqliteSource:
    """One connection per thread."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.online_db_path
        self._connections = ThreadConnections(f"The online store {self._path}", lambda: _connect(self._path))

    def read(self, views: Sequence[View], value: str) -> list[StoredRow | None]:
        key = entity_key(views[0].join_key, value)
        select = " UNION ALL ".join(_select(number, view, "= ?") for number, view in enumerate(views))  # one snapshot
        stored = self._query(select, (key,) * len(views))
        return _rows(views, [(number, *row) for number, _, *row in stored])

    def read_many(self, views: Sequence[View], values: Sequence[str]) -> dict[str, list[StoredRow | None]]:
        rows: dict[str, list[StoredRow | None]] = {}
        for part in in_parts(values, _LOOKUPS):
            keys = {entity_key(views[0].join_key, value): value for value in part}
            of_keys = f"IN ({', '.join('?' * len(keys))})"
            select = " UNION ALL ".join(_select(number, view, of_keys) for number, view in enumerate(views))
            found = _rows_by_key(views, self._query(select, (*keys,) * len(views)))
            rows |= {keys[key]: of_key for key, of_key in found.items()}
        return rows

    def read_field(self, view: View, field: str, values: Sequence[str]) -> dict[str, tuple[Any, datetime]]:
        dtype, found = dict(view.fields)[field], {}
        for part in in_parts(values, _LOOKUPS):
            keys = {entity_key(view.join_key, value): value for value in part}
            query = (
                f"SELECT entity_key, value, event_ts FROM {view.table}"
                f" WHERE entity_key IN ({', '.join('?' * len(keys))}) AND feature_name = ?"
            )
            for key, stored, event_at in self._query(query, (*keys, field)):
                found[keys[key]] = (decode_value(stored, dtype), _from_feast(event_at))
        return found

    def read_all(self, view: View) -> Iterator[tuple[str, StoredRow]]:
        rows: dict[bytes, list[tuple[Any, ...]]] = {}
        query = f"SELECT entity_key, feature_name, value, event_ts, created_ts FROM {view.table}"
        for key, *rest in self._query(query, ()):
            rows.setdefault(key, []).append(tuple(rest))
        for key, stored in rows.items():
            row = _row(view, stored)
            if row is not None:
                yield entity_value(key), row

    def close(self) -> None:
        """Close this thread's connection."""
        self._connections.drop()

    def _query(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connections.mine().execute(query, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) and not databases.is_busy(error):
                force = " --force" if self._path.exists() else ""
                raise MissingError(
                    f"{NAME} {self._path} cannot be read ({error}).", repair=f"Run `omni features build{force}`."
                ) from error
            with databases.in_words(NAME, self._path, ANEW):
                raise


def look_at_online(settings: Settings) -> None:
    """See that the online store can be used now, where it is a file and there; raises StoreError."""
    if settings.online_store == "sqlite":
        databases.look_at(NAME, settings.online_db_path, ANEW)


class SqliteEntities:
    """Entities of views with one join key, to be taken out of Feast's SQLite file; a row counts once per view.

    Raises StoreError where the file is not a store, cannot be written to, or stays busy.
    """

    def __init__(self, settings: Settings, views: Sequence[View]) -> None:
        self._path = settings.online_db_path
        self._join_key = views[0].join_key
        with self._in_words():
            self._connection = sqlite3.connect(self._path, timeout=timeout_s(), isolation_level=None)
            self._connection.execute("PRAGMA secure_delete = ON")  # overwritten, not only unlinked
        tables = {name for (name,) in self._query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._tables = [view.table for view in views if view.table in tables]

    def names(self) -> set[str]:
        keys = {key for table in self._tables for (key,) in self._query(f"SELECT DISTINCT entity_key FROM {table}")}
        return {entity_value(key) for key in keys}

    def remove(self, names: Sequence[str]) -> int:
        self._query("BEGIN IMMEDIATE")
        n_removed = self.count(names)
        for table in self._tables:
            for name in names:
                self._query(f"DELETE FROM {table} WHERE entity_key = ?", (entity_key(self._join_key, name),))
        self._query("COMMIT")
        self._query("PRAGMA wal_checkpoint(TRUNCATE)")  # nor do the rows stay in the write-ahead log
        return n_removed

    def clear(self) -> None:
        """Delete everybody's rows."""
        self._query("BEGIN IMMEDIATE")
        for table in self._tables:
            self._query(f"DELETE FROM {table}")
        self._query("COMMIT")
        self._query("PRAGMA wal_checkpoint(TRUNCATE)")

    def count(self, names: Sequence[str]) -> int:
        return sum(self._has(table, name) for table in self._tables for name in names)

    def close(self) -> None:
        self._connection.close()

    def _has(self, table: str, name: str) -> bool:
        key = entity_key(self._join_key, name)
        return bool(self._query(f"SELECT 1 FROM {table} WHERE entity_key = ? LIMIT 1", (key,)))

    def _query(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._in_words():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"The online store {self._path} cannot be changed ({error}).",
                repair="Let whoever writes to it finish and see that it can be written to; a damaged one is made anew by"
                " deleting it and `omni features build --force`.",
            ) from error


def _select(number: int, view: View, of_keys: str) -> str:
    columns = "entity_key, feature_name, value, event_ts, created_ts"
    return f"SELECT {number}, {columns} FROM {view.table} WHERE entity_key {of_keys}"


def _rows(views: Sequence[View], stored: Sequence[tuple[Any, ...]]) -> list[StoredRow | None]:
    """One entity's row of each view, of rows of (number of the view, field, value, event_ts, created_ts)."""
    return [_row(view, [row[1:] for row in stored if row[0] == number]) for number, view in enumerate(views)]


def _rows_by_key(views: Sequence[View], stored: Sequence[tuple[Any, ...]]) -> dict[bytes, list[StoredRow | None]]:
    """`_rows` of many entities by their keys, of rows of (number of the view, key, field, value, event_ts, created_ts)."""
    types = [dict(view.fields) for view in views]
    found: dict[bytes, list[StoredRow | None]] = {}
    for number, key, name, value, event_at, written_at in stored:
        dtype = types[number].get(name)
        if dtype is None:
            continue
        rows = found.get(key)
        if rows is None:
            rows = found[key] = [None] * len(views)
        row = rows[number]
        if row is None:
            row = rows[number] = StoredRow({}, _from_feast(event_at), _from_feast(written_at))
        row.fields[name] = decode_value(value, dtype)
    for rows in found.values():
        for number, row in enumerate(rows):
            if row is not None and len(row.fields) < len(types[number]):
                rows[number] = None
    return found


def _row(view: View, stored: Sequence[tuple[Any, ...]]) -> StoredRow | None:
    """The row that rows of (field, value, event_ts, created_ts) make."""
    types = dict(view.fields)
    fields = {name: decode_value(value, types[name]) for name, value, _, _ in stored if name in types}
    if len(fields) < len(types):
        return None
    _, _, event_at, written_at = stored[0]
    return StoredRow(fields, _from_feast(event_at), _from_feast(written_at))


def _connect(path: Path) -> sqlite3.Connection:
    # Not mode=ro: a reader of a write-ahead log may have to make its shared-memory file.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, check_same_thread=False, timeout=timeout_s())
    connection.execute("PRAGMA query_only=1")
    return connection


def timeout_s() -> float:
    """How long a statement waits for whoever writes."""
    return min(_WAIT_S, databases.wait_s())


@lru_cache(maxsize=4_096)
def _from_feast(stored: int) -> datetime:
    """Feast writes naive UTC as if it were local time, in whole seconds; this undoes it the way its own reader does."""
    return datetime.fromtimestamp(stored).replace(tzinfo=UTC)  # noqa: DTZ006
