"""Appends that are large enough for a segment: rows and segment hold the same, again, in part, and after one that failed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.events.schema import EVENT_SCHEMA
from features.log.sqlite import SqliteEventLog
from features.log.tables import SEGMENT_MIN_ROWS

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
N = SEGMENT_MIN_ROWS


def events(first: int, n: int = N) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "event_id": f"e{number}",
            "occurred_at": BEGAN + timedelta(seconds=number),
            "kind": "purchase",
            "channel": "web",
            "customer_id": f"c{number % 700}" if number % 3 else None,
            "identifiers": [("cookie", f'k"{number % 500}')] if number % 3 != 1 else None,
            "product_id": None if number % 5 else f"p{number % 11} é",
            "quantity": 2.0 if number % 2 else None,
            "value": number / 7,
            "properties": '{"a":1}' if number % 4 == 0 else None,
        }
        for number in range(first, first + n)
    ]
    return pa.Table.from_pylist(rows, EVENT_SCHEMA)


@pytest.fixture
def log(tmp_path: Path):
    opened = SqliteEventLog(tmp_path / "events.db")
    yield opened
    opened.close()


def read(log: SqliteEventLog) -> list[dict[str, Any]]:
    rows = pa.concat_tables(log.read()).to_pylist()
    return [{name: row[name] for name in EVENT_SCHEMA.names} for row in rows]


def test_what_was_appended_is_read_from_the_segment_and_from_the_rows(log: SqliteEventLog) -> None:
    assert log.append(events(0)).appended == N
    assert read(log) == events(0).to_pylist()
    with log._writing() as connection:
        assert connection.execute("DELETE FROM segments").rowcount == 1
    assert read(log) == events(0).to_pylist()


def test_what_is_there_already_is_a_duplicate_and_the_rest_is_new(log: SqliteEventLog) -> None:
    log.append(events(0))
    again = log.append(events(N // 2))
    assert (again.appended, again.duplicates, again.conflicts) == (N // 2, N // 2, ())
    assert read(log) == events(0, N + N // 2).to_pylist()


def test_after_one_that_failed_the_next_goes_in(log: SqliteEventLog) -> None:
    place = EVENT_SCHEMA.get_field_index("kind")
    broken = events(0).set_column(place, EVENT_SCHEMA.field(place), pa.nulls(N, pa.string()))
    results = log.append_many([broken, events(N)])
    assert isinstance(results[0], ValueError)
    assert read(log) == events(N).to_pylist()


def test_large_and_small_appends_know_the_same_customers(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append(events(0))
    small = SqliteEventLog(tmp_path / "small.db")
    for start in range(0, N, 900):
        small.append(events(start, min(900, N - start)))
    owners = [
        {row["event_id"]: row["resolved_customer_id"] for part in each.read() for row in part.to_pylist()}
        for each in (log, small)
    ]
    assert owners[0] == owners[1]
    assert log.fingerprint() == small.fingerprint()
    small.close()
