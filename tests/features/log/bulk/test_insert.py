"""Bulk loads: the same rows as small appends write, and the errors of a row that is not whole."""

import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import EVENT_SCHEMA
from features.log.bulk.insert import insert_table
from features.log.tables import CREATE, INSERT, table_to_rows

_ROW = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from([f"e{number}" for number in range(40)]),
        "occurred_at": st.datetimes(),
        "kind": st.just("view"),
        "channel": st.just("web"),
        "product_id": st.none() | st.text(max_size=3),
        "quantity": st.none() | st.floats(allow_nan=False),
        "identifiers": st.none() | st.just([("email", "a@b.c")]),
    }
)


def _log() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in CREATE:
        connection.execute(statement)
    return connection


def _rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM events ORDER BY seq").fetchall()


@settings(deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=60))
def test_a_bulk_load_writes_what_row_by_row_is_written(rows):
    table = pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)
    keys = list(range(1, len(rows) + 1))
    bulk, single = _log(), _log()

    insert_table(bulk, table, np.array(keys))
    for row in table_to_rows(table, keys):
        single.execute(INSERT, row)

    assert _rows(bulk) == _rows(single)


def test_a_row_without_an_id_stops_the_load():
    table = pa.Table.from_pylist([{"event_id": None, "kind": "view", "channel": "web"}], schema=EVENT_SCHEMA)
    with pytest.raises(ValueError, match="no event_id"):
        insert_table(_log(), table, np.array([1]))
