"""Erased names come in; their rows leave Feast's online store, SQLite or Redis."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

from features.log.tombstones import Matcher
from features.online.feast_codec import entity_key, entity_value
from features.settings import Settings
from features.views import CUSTOMER_VIEWS, PROJECT

JOIN_KEY: Final = CUSTOMER_VIEWS[0].join_key
_PLACE: Final = "online store: rows"


def erase_online(settings: Settings, matcher: Matcher, customer_ids: Sequence[str] = ()) -> dict[str, int]:
    """Remove customers' rows of every view; without `customer_ids` every key of the store is looked at to find them."""
    if settings.online_store == "redis":
        return {_PLACE: _erase_redis(settings, matcher, customer_ids)}
    if not settings.online_db_path.exists():
        return {_PLACE: 0}
    n_removed = 0
    with closing(sqlite3.connect(settings.online_db_path, timeout=10.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for view in CUSTOMER_VIEWS:
            if view.table not in tables:
                continue
            for key in _keys(connection, view.table, matcher, customer_ids):
                cursor = connection.execute(f"DELETE FROM {view.table} WHERE entity_key = ?", (key,))
                n_removed += cursor.rowcount > 0
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {_PLACE: n_removed}


def _keys(connection: sqlite3.Connection, table: str, matcher: Matcher, customer_ids: Sequence[str]) -> Iterable[bytes]:
    if customer_ids:
        return [entity_key(JOIN_KEY, customer_id) for customer_id in customer_ids]
    stored = connection.execute(f"SELECT DISTINCT entity_key FROM {table}").fetchall()
    return [key for (key,) in stored if matcher.customers([entity_value(key)])]


def _erase_redis(settings: Settings, matcher: Matcher, customer_ids: Sequence[str]) -> int:
    """Feast keeps one hash per entity, with all its views, under the entity's key and the project's name."""
    from redis import Redis

    host, _, port = settings.redis_url.partition(",")[0].rpartition(":")
    client: Any = Redis(host=host or "localhost", port=int(port))
    with closing(client):
        project = PROJECT.encode()
        if customer_ids:
            keys = [entity_key(JOIN_KEY, customer_id) + project for customer_id in customer_ids]
        else:
            start = entity_key(JOIN_KEY, "")[: 12 + len(JOIN_KEY)]
            stored = (key for key in client.scan_iter(count=1000) if key.startswith(start) and key.endswith(project))
            keys = [key for key in stored if matcher.customers([entity_value(key.removesuffix(project))])]
        return sum(int(client.delete(key)) for key in keys)
