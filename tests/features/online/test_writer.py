"""What is written without Feast is, to the byte, what Feast itself writes; in SQLite and in Redis."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, Int32List, Int64List, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from features.errors import MissingError, StoreError
from features.online.feast_codec import decode_value, encode_value, encode_varints
from features.online.redis import connect
from features.online.writer import OnlineWriter
from features.store.feature_store import Store
from features.store.repository import quietly
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, PRODUCT_SALES, VIEWS

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "int64": (INT64, lambda value: Value(int64_val=value)),
    "float64": (st.floats(allow_nan=False), lambda value: Value(double_val=value)),
    "string": (st.text(), lambda value: Value(string_val=value)),
    "bytes": (st.binary(), lambda value: Value(bytes_val=value)),
    "int64[]": (st.lists(INT64), lambda value: Value(int64_list_val=Int64List(val=value))),
    "int32[]": (
        st.lists(st.integers(-(2**31), 2**31 - 1)),
        lambda value: Value(int32_list_val=Int32List(val=value)),
    ),
    "float64[]": (st.lists(st.floats(allow_nan=False)), lambda value: Value(double_list_val=DoubleList(val=value))),
    "float32[]": (
        st.lists(st.floats(allow_nan=False, width=32)),
        lambda value: Value(float_list_val=FloatList(val=value)),
    ),
}


@pytest.mark.parametrize("dtype", VALUES)
@given(data=st.data())
def test_any_value_is_the_message_that_protobuf_makes_of_it(dtype, data):
    values, to_value = VALUES[dtype]
    value = data.draw(values)

    message = encode_value(value, dtype)

    assert message == to_value(value).SerializeToString()
    assert np.array_equal(decode_value(message, dtype), value)
    assert encode_value(None, dtype) == Value().SerializeToString()


@given(moment_us=st.integers(-(2**50), 2**52))
def test_any_moment_is_the_message_that_protobuf_makes_of_it(moment_us):
    message = Timestamp()
    message.FromMicroseconds(moment_us)
    seconds, rest_us = divmod(moment_us, 1_000_000)

    assert encode_varints({1: seconds, 2: rest_us * 1_000}) == message.SerializeToString()


@pytest.fixture(params=["sqlite", "redis"])
def engines(request):
    """A function that gives the settings of an empty online store; every test runs on both."""
    if request.param == "sqlite":
        return dict
    new_redis = request.getfixturevalue("new_redis")
    return lambda: {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": new_redis()}


def stored(settings) -> dict[object, object]:
    """Everything that an online store holds, but when it was written."""
    if settings.online_store == "redis":
        client = connect(settings)
        return {key: client.hgetall(key) for key in client.scan_iter("*") if client.type(key) == b"hash"}
    columns = "feature_name, value, value_text, vector_value, event_ts"
    with closing(sqlite3.connect(settings.online_db_path)) as connection:
        return {
            (view.name, key): sorted(
                connection.execute(f"SELECT {columns} FROM {view.table} WHERE entity_key = ?", (key,)), key=repr
            )
            for view in VIEWS
            for (key,) in connection.execute(f"SELECT DISTINCT entity_key FROM {view.table}")
        }


def test_every_stored_byte_is_the_one_that_feast_writes(tmp_path, kit, engines):
    ours, settings = kit.make_store(tmp_path / "ours", kit.WORLD, engines())
    theirs, other = kit.make_store(tmp_path / "theirs", kit.WORLD, engines())
    tables = {view: pq.read_table(view.path(settings)) for view in (CUSTOMER_PRODUCTS, CUSTOMER_STATE, PRODUCT_SALES)}

    for view, table in tables.items():
        ours.online.write((view, table))
        frame: pd.DataFrame = table.to_pandas()
        with quietly():
            theirs._feast.write_to_online_store(view.name, frame)

    assert len(stored(settings)) == 5 + (8 if other.online_store == "redis" else 8 + 7)  # one has no products
    assert stored(settings) == stored(other)


def test_rows_that_are_there_are_replaced_and_a_failure_leaves_none_of_them(tmp_path, kit):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD)
    store.materialize(lambda _: None)
    before = stored(settings)
    states, products = (pq.read_table(view.path(settings)).slice(0, 1) for view in (CUSTOMER_STATE, CUSTOMER_PRODUCTS))
    other = states.set_column(states.column_names.index("last_seq"), "last_seq", pa.array([99]))
    wrong = other.set_column(other.column_names.index("customer_id"), "customer_id", pa.array([None], pa.string()))

    with pytest.raises(AttributeError):
        store.online.write((CUSTOMER_STATE, other), (CUSTOMER_PRODUCTS, products), (CUSTOMER_STATE, wrong))
    assert stored(settings) == before

    store.online.write_online(other, products)
    changed = {key for key, rows in stored(settings).items() if rows != before[key]}
    assert {name for name, _ in changed} <= {"customer_state", "customer_products"} and changed


def test_a_store_that_is_not_there_or_damaged_is_told_in_words(tmp_path, kit):
    store, made = kit.make_store(tmp_path / "home", kit.WORLD)
    states, products = (pq.read_table(view.path(made)).slice(0, 1) for view in (CUSTOMER_STATE, CUSTOMER_PRODUCTS))
    with pytest.raises((StoreError, MissingError), match="online store"):
        OnlineWriter(replace(made, home=tmp_path / "nowhere")).write_online(states, products)
    made.online_db_path.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StoreError, match="features build --force"):
        Store(made).online.write_online(states, products)
    store.online.close()
