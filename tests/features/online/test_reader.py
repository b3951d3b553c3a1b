"""The fast reader answers what Feast itself would answer, and enforces what Feast leaves to the caller."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.clock import Clock
from features.errors import MissingError, SettingsError, StoreError
from features.online import redis
from features.online.feast_codec import decode_value, entity_key, entity_value
from features.online.reader import Folded, OnlineReader
from features.online.sqlite import SqliteSource
from features.state.batch import StateBatch
from features.state.encoding import decode, encode
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from features.state.product_blocks import N_BLOCKS
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, CUSTOMER_TTL, PRODUCT_SALES

STORES = ("sqlite", "redis")
CUSTOMERS = ["anna", "bert", *(f"r{number}" for number in range(6))]


@pytest.fixture(scope="module", params=STORES)
def engines(request):
    """A function that gives the settings of an empty online store; every test runs on both."""
    if request.param == "sqlite":
        return dict
    new_redis = request.getfixturevalue("new_redis")
    return lambda: {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": new_redis()}


@pytest.fixture(scope="module")
def world(engines, kit, tmp_path_factory):
    """A store over `WORLD`, materialized; read it, do not change it."""
    store, settings = kit.make_store(tmp_path_factory.mktemp("world") / "home", kit.WORLD, engines())
    store.materialize(lambda _: None)
    return store, settings


def test_the_reader_does_not_import_feast():
    code = "import sys, features.online.reader; sys.exit('feast' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_value_is_what_feast_returns(world, kit):
    store, settings = world
    reader = OnlineReader(settings)
    table = {}
    for view, schema in ((CUSTOMER_STATE, kit.STATE_SCHEMA), (CUSTOMER_PRODUCTS, kit.PRODUCTS_SCHEMA)):
        answer = store.online_features(CUSTOMERS, view)
        table[view.name] = pa.table({name: pa.array(answer[name], schema.field(name).type) for name, _ in view.fields})
    expected = decode(table[CUSTOMER_STATE.name], table[CUSTOMER_PRODUCTS.name])

    for row, customer in enumerate(CUSTOMERS):
        found = reader.read_state(customer)
        kit.assert_same_states(found.state, expected.take(np.array([row])))
        assert found.last_seq == found.state.last_seq[0] == expected.last_seq[row]


def test_the_stored_state_is_the_fold_of_all_events(world, kit):
    _, settings = world
    timeline = kit.to_timeline(kit.WORLD)

    for customer, found in OnlineReader(settings).read_states(CUSTOMERS).items():
        events = timeline.filter(pc.equal(timeline["customer_id"], customer))
        kit.assert_same_states(found.state, fold_customer(events))
        assert found.last_seq == max(events["seq"].to_pylist())
        assert timedelta(seconds=-1) <= found.updated_at - settings.clock_start < timedelta(minutes=10)


def test_unknown_customers_have_no_state(world, kit):
    reader = OnlineReader(world[1])

    assert reader.read_state("nobody") is None
    assert reader.read_state("") is None
    assert list(reader.read_states(["nobody", "bert"])) == ["bert"]
    assert reader.folded(["nobody", "anna", "bert"]) == {
        "anna": Folded(3, kit.at(3)),
        "bert": Folded(4, kit.at(2)),
    }
    names, states = reader.read_batch(["nobody", "anna", "bert"])
    assert names == ["anna", "bert"]
    for row, name in enumerate(names):
        kit.assert_same_states(states.take(np.array([row])), reader.read_state(name).state)
    assert states.last_seq.tolist() == [3, 4]


def test_without_the_products_their_part_is_empty(world):
    state = OnlineReader(world[1]).read_state("anna", products=False).state

    assert len(state.seq_product.values) == 0
    assert state.scalar("n_occasions").tolist() == [2]


def test_a_row_older_than_its_ttl_does_not_exist(world, kit):
    _, settings = world

    def read(moment):
        return OnlineReader(settings, Clock(start=moment, origin_s=_now_s())).read_state("anna")

    assert read(kit.at(3) + CUSTOMER_TTL - timedelta(minutes=1)).state.scalar("n_occasions").tolist() == [2]
    assert read(kit.at(3) + CUSTOMER_TTL + timedelta(minutes=1)) is None


def test_a_half_written_customer_is_not_shown(tmp_path, kit, engines):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:3], engines())
    store.materialize(lambda _: None)
    reader = OnlineReader(settings)
    before = reader.read_state("anna").state
    states, products = encode(replace(before, last_seq=np.array([8])), ["anna"])

    store.online.write((CUSTOMER_PRODUCTS, products))
    assert reader.read_state("anna") is None
    assert reader.read_state("anna", products=False).last_seq == 3

    store.online.write((CUSTOMER_STATE, states))
    assert reader.read_state("anna").last_seq == 8


def test_any_state_survives_the_way_through_feast(tmp_path, kit, engines):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:1], engines())
    happenings = kit.random_happenings(seed=1, customers=1, events=300)
    names = ["r0", "émile 日本", "", "a" * 500]
    full = fold_customer(kit.to_timeline(happenings))

    store.online.write_online(*encode(full.take(np.zeros(4, dtype=np.int64)), names))

    for name in names:
        kit.assert_same_states(OnlineReader(settings).read_state(name).state, full)


def test_products_as_feast_returns_them(world):
    store, settings = world

    blocks = OnlineReader(settings).read_products()
    keys = sorted({str(code % N_BLOCKS) for code in blocks.states.code.tolist()})
    answer = store.online_features(keys, PRODUCT_SALES)

    np.testing.assert_array_equal(blocks.states.code, np.sort(product_code(["p0", "p1", "p2", "p3", "p4"])))
    for name in ("code", "count", "first_s", "last_s"):
        parts = [getattr(blocks.states, name)[blocks.states.code % N_BLOCKS == int(key)].ravel() for key in keys]
        assert [part.tolist() for part in parts] == answer[name]
    assert [int(blocks.last_seq[int(key)]) for key in keys] == answer["last_seq"]


def test_threads_read_side_by_side_while_feast_writes(tmp_path, kit, engines):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD, engines())
    store.materialize(lambda _: None)
    reader = OnlineReader(settings)
    expected = reader.read_state("r1").state
    rows = encode(expected, ["r1"])
    failures: list[object] = []

    def read() -> None:
        for _ in range(100):
            found = reader.read_state("r1")
            if found is None or not np.array_equal(found.state.scalars, expected.scalars, equal_nan=True):
                failures.append(found)
        reader.close()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        store.online.write_online(*rows)
    for thread in threads:
        thread.join()

    assert failures == []


def test_the_reader_of_sqlite_cannot_write(tmp_path, kit):
    _, settings = kit.make_store(tmp_path / "home", [])

    with pytest.raises(MissingError, match="readonly"):
        SqliteSource(settings)._query(f"DELETE FROM {CUSTOMER_STATE.table}", ())


def test_what_cannot_be_read_is_said(settings):
    with pytest.raises(MissingError, match="omni features build"):
        OnlineReader(settings).read_state("anna")
    nowhere = replace(settings, online_store="redis", redis_url="127.0.0.1:1,password=secret")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1 does not answer") as caught:
        OnlineReader(nowhere).read_state("anna")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["redis://localhost", "one:1,two:2", "localhost", "one:1,passwort=x", ""])
def test_an_address_of_redis_that_cannot_be_used_is_refused(settings, address):
    with pytest.raises(SettingsError, match="host:6379"):
        OnlineReader(replace(settings, online_store="redis", redis_url=address))


def test_without_the_client_of_redis_the_command_is_named(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "features.online.redis", raising=False)

    with pytest.raises(SettingsError, match=r"pip install -e '\.\[redis\]'"):
        OnlineReader(replace(settings, online_store="redis"))


def test_redis_forgets_a_customer_whose_key_is_deleted_and_only_them(tmp_path, kit, new_redis):
    engines = {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": new_redis()}
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD, engines)
    store.materialize(lambda _: None)
    reader = OnlineReader(settings)

    with closing(redis.RedisEntities(settings, "customer_id")) as entities:
        assert entities.names() == set(CUSTOMERS)
        assert entities.count(["anna", "bert", "nobody"]) == 2
        assert entities.remove(["anna"]) == 1
        assert entities.remove(["anna"]) == entities.count(["anna"]) == 0

    assert reader.read_state("anna") is None
    assert reader.read_state("bert").last_seq == 4
    assert store.online_features(["anna"], CUSTOMER_STATE)["last_seq"] == [None]


def test_a_key_in_redis_outlives_what_its_rows_count(tmp_path, kit, new_redis):
    store, settings = kit.make_store(
        tmp_path / "home", kit.WORLD[:1], {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": new_redis()}
    )
    store.materialize(lambda _: None)
    key = redis.online_key("customer_id", "anna")
    with redis.connect(settings) as client:
        assert CUSTOMER_TTL - timedelta(minutes=5) < timedelta(seconds=client.ttl(key)) <= CUSTOMER_TTL
        client.persist(key)

    assert OnlineReader(settings).read_state("anna").updated_at == kit.at(1)  # all that is known then


def test_a_row_of_the_same_moment_is_replaced(tmp_path, kit, engines):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:1], engines())
    store.materialize(lambda _: None)
    reader = OnlineReader(settings)
    before = reader.read_state("anna").state

    store.online.write_online(*encode(replace(before, last_seq=np.array([9])), ["anna"]))

    assert reader.read_state("anna").last_seq == 9


@pytest.mark.parametrize("damaged", [b"\x00", b"\xff\xff\x01", b"\x20", b"\x20\xff"])
def test_a_damaged_row_is_its_own_customers_matter(tmp_path, kit, damaged):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:4])
    store.materialize(lambda _: None)
    reader = OnlineReader(settings)
    names = ["anna", "bert"]
    rows, before = reader.folded(names), reader.read_state("anna").state
    with closing(sqlite3.connect(settings.online_db_path)) as connection, connection:
        connection.execute(
            f"UPDATE {CUSTOMER_STATE.table} SET value = ? WHERE entity_key = ? AND feature_name = 'last_seq'",
            (damaged, entity_key("customer_id", "anna")),
        )

    assert reader.read_state("anna") is None
    assert sorted(rows) == names
    assert reader.folded(names) == {"bert": rows["bert"]}
    assert reader.read_batch(names)[0] == ["bert"]

    store.online.write_online(*encode(before, ["anna"]))  # as the stream does at the customer's next event
    assert reader.folded(names) == rows
    assert reader.read_batch(names)[0] == names


def test_states_of_another_version_are_refused(tmp_path, kit, engines):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:1], engines())
    states, products = encode(StateBatch.empty(1), ["anna"])
    other = pa.array([b"\x00" + states["state"][0].as_py()], pa.binary())
    store.online.write_online(states.set_column(states.column_names.index("state"), "state", other), products)
    clock = Clock(start=kit.START - timedelta(days=17_000), origin_s=_now_s())

    with pytest.raises(StoreError, match="another version"):
        OnlineReader(settings, clock).read_state("anna")


@pytest.mark.parametrize(
    ("dtype", "field", "value"),
    [
        ("int64", "int64_val", -(2**63)),
        ("int64", "int64_val", 0),
        ("float64", "double_val", -1.5e300),
        ("string", "string_val", "日本"),
        ("string", "string_val", ""),
        ("bytes", "bytes_val", b"\x00\xff" * 100),
        ("bytes", "bytes_val", b""),
        ("int64[]", "int64_list_val", [0, 1, -1, 127, 128, 2**63 - 1, -(2**63)]),
        ("int32[]", "int32_list_val", [0, -1, 2**31 - 1, -(2**31)]),
        ("float64[]", "double_list_val", [0.0, float("inf"), 1e-300]),
        ("float32[]", "float_list_val", [0.5, -2.0]),
        ("float64[]", "double_list_val", []),
        ("int64[]", "int64_list_val", []),
    ],
)
def test_values_are_decoded_as_protobuf_decodes_them(world, dtype, field, value):
    from feast.protos.feast.types.Value_pb2 import Value

    message = Value()
    if isinstance(value, list):
        getattr(message, field).SetInParent()
        getattr(message, field).val.extend(value)
    else:
        setattr(message, field, value)

    decoded = decode_value(message.SerializeToString(), dtype)

    assert (decoded.tolist() if isinstance(value, list) else decoded) == value
    assert decode_value(b"", dtype) is None


def test_a_value_of_another_type_is_refused(world):
    from feast.protos.feast.types.Value_pb2 import Value

    with pytest.raises(StoreError, match="another type"):
        decode_value(Value(string_val="x").SerializeToString(), "int64")


@pytest.mark.parametrize("name", ["17", "", "anon:cookie:é", "x" * 300])
def test_keys_are_feasts(world, name):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    key = EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=name)])

    assert entity_key("customer_id", name) == serialize_entity_key(key, entity_key_serialization_version=3)
    assert entity_value(entity_key("customer_id", name)) == name


def test_readers_of_sqlite_do_not_wait_for_the_writer(tmp_path, kit):
    _, settings = kit.make_store(tmp_path / "home", [])

    with sqlite3.connect(settings.online_db_path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def _now_s() -> float:
    return time.monotonic()
