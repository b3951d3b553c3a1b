"""Visits for the event log, a way to open one by its URL, and what other programs do to its database."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from features.events.schema import EVENT_SCHEMA, events_to_table, parse_events
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.settings import Settings

START = datetime(2024, 1, 1, tzinfo=UTC)


def open_url(url: str) -> EventLog:
    return open_log(Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url}))


def execute(url: str, statement: str) -> list[Any]:
    """What another program does to the same database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement).fetchall()
    import psycopg

    with psycopg.connect(url, options="-c search_path=omni") as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def table(*rows: dict[str, Any]) -> pa.Table:
    """Page views by default; `at` counts seconds from START."""
    items = []
    for row in rows:
        at = START + timedelta(seconds=row.pop("at", 0))
        items.append({"kind": "visit", "channel": "web", "occurred_at": at, **row})
    events, rejections = parse_events(items, datetime.now(UTC))
    assert rejections == []
    return events_to_table(events)


def many(first: int, count: int) -> pa.Table:
    """`count` visits with ids from `first`, of 7 customers."""
    one = table({"event_id": "x", "customer_id": "x"})
    repeated = pa.concat_tables([one]).take(pa.array([0] * count))
    ids = pa.array([f"e{place}" for place in range(first, first + count)])
    customers = pa.array([f"c{place % 7}" for place in range(first, first + count)])
    return repeated.set_column(0, EVENT_SCHEMA.field(0), ids).set_column(4, EVENT_SCHEMA.field(4), customers)


def read_all(log: Any, after_seq: int = 0, batch_rows: int = 200_000) -> list[dict[str, Any]]:
    return [row for batch in log.read(after_seq, batch_rows) for row in batch.to_pylist()]


@contextmanager
def writing_elsewhere(url: str) -> Iterator[None]:
    """Another process in the middle of an append."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        import psycopg

        from features.log.postgres import WRITER_LOCK

        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            yield
