"""Point-in-time retrieval: what a training row may know, and that no row is lost, doubled or moved."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError, MissingError
from features.offline.point_in_time import OfflineView, rows_as_of
from features.online.checkpoint import Checkpoint
from features.state.batch import StateBatch
from features.state.encoding import decode
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from features.store.feature_store import Store
from features.store.repository import quietly
from features.views import CUSTOMER_STATE, CUSTOMER_TTL, CUSTOMER_VIEWS
from features.vocabulary import Task


def last_days(kit, states: StateBatch) -> list[float]:
    """The states' last events in days after the beginning, NaN for an empty state."""
    return ((states.scalar("last_event") - kit.START.timestamp()) / 86_400).tolist()


def test_an_event_at_the_very_moment_is_not_known_yet(world, entity_rows, kit):
    store, _ = world
    a_microsecond = timedelta(microseconds=1) / timedelta(days=1)

    states = store.training_states(entity_rows(("anna", 3), ("anna", 3 + a_microsecond)), Task.CHURN)

    assert last_days(kit, states) == [2, 3]
    assert states.scalar("n_occasions").tolist() == [1, 2]


def test_rows_keep_their_order_and_their_duplicates(world, entity_rows, kit):
    store, _ = world
    rows = entity_rows(("anna", 9), ("nobody", 9), ("bert", 9), ("anna", 2.5), ("anna", 9), ("bert", 1), ("anna", 0.5))
    rows.index = [5, 5, 1, 0, 9, 2, 2]

    for task in (Task.CHURN, Task.NEXT_PRODUCT):
        states = store.training_states(rows, task)

        assert str(last_days(kit, states)) == str([3.0, np.nan, 2.0, 2.0, 3.0, np.nan, np.nan])
        assert states.last_seq.tolist() == [3, 0, 4, 2, 3, 0, 0]


def test_the_product_part_comes_only_where_the_task_reads_it(world, entity_rows, kit):
    store, _ = world
    rows = entity_rows(("bert", 9), ("anna", 2.5), ("nobody", 9))

    with_products = store.training_states(rows, Task.NEXT_PRODUCT)
    without = store.training_states(rows, Task.BEST_CHANNEL)

    assert np.diff(with_products.seq_product.offsets).tolist() == [0, 2, 0]
    assert np.diff(without.seq_product.offsets).tolist() == [0, 0, 0]


@pytest.mark.parametrize("task", [Task.CHURN, Task.NEXT_PRODUCT])
def test_nobody_known_and_nothing_asked(world, entity_rows, kit, task):
    store, _ = world

    kit.assert_same_states(store.training_states(entity_rows(("x", 1), ("y", 2)), task), StateBatch.empty(2))
    assert len(store.training_states(entity_rows(), task)) == 0


def test_a_customer_stays_visible_for_the_whole_ttl_and_not_longer(world, entity_rows, kit):
    store, _ = world
    ttl_days = CUSTOMER_TTL / timedelta(days=1)
    a_second = 1 / 86_400

    states = store.training_states(entity_rows(("anna", 3 + ttl_days), ("anna", 3 + ttl_days + a_second)), Task.CHURN)

    assert str(last_days(kit, states)) == str([3.0, np.nan])


def test_a_training_row_is_the_fold_of_the_events_before_it(world, entity_rows, kit):
    store, _ = world
    timeline = kit.to_timeline(kit.WORLD)
    rng = np.random.default_rng(3)
    pairs = [(f"r{rng.integers(6)}", float(rng.integers(0, 62) / 2)) for _ in range(60)]

    states = store.training_states(entity_rows(*pairs), Task.NEXT_PRODUCT)

    for row, (customer, day) in enumerate(pairs):
        mask = [c == customer and t < kit.at(day) for c, t in zip(*_keys(timeline), strict=True)]
        expected = fold_customer(timeline.filter(pa.array(mask)))
        kit.assert_same_states(states.take(np.array([row])), expected)
        assert states.last_seq[row] == expected.last_seq[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Feast's ibis calls an old name of DuckDB's
def test_the_rows_found_are_those_that_feast_finds(world, entity_rows, kit):
    """At the very moment of an event, just after it, when the ttl ends and after it, for the unknown, and twice."""
    store, _ = world
    a_microsecond, ttl = timedelta(microseconds=1) / timedelta(days=1), CUSTOMER_TTL / timedelta(days=1)
    days = (0, 2, 2 + a_microsecond, 3, 15, 15, 40, 2 + ttl, 3 + ttl, 3 + ttl + 1 / 86_400, 35 + ttl)
    rows = entity_rows(*[(customer, day) for customer in ("anna", "x", "bert", "r1", "r2") for day in days])
    keys = rows.rename(columns={"as_of": "event_timestamp"}).assign(row=range(len(rows)))
    keys["event_timestamp"] -= pd.Timedelta(1, "us")
    names = [f"{view.name}:{field}" for view in CUSTOMER_VIEWS for field, _ in view.fields]
    table = store._feast.get_historical_features(keys, names).to_arrow().sort_by("row")

    states = store.training_states(rows, Task.NEXT_PRODUCT)

    kit.assert_same_states(states, decode(table, table))
    assert states.last_seq.tolist() == table["last_seq"].fill_null(0).to_pylist()
    assert 0 < np.count_nonzero(states.last_seq) < len(rows) - 2 * len(days)  # more are unknown than the one stranger


def test_a_source_with_two_rows_of_one_moment_doubles_no_entity_row(world, entity_rows, tmp_path):
    _, settings = world
    rows = pq.read_table(settings.customer_state_path)
    pq.write_table(pa.concat_tables([rows, rows]), tmp_path / "twice.parquet")
    view = OfflineView(tmp_path / "twice.parquet", "customer_id", "event_timestamp", timedelta(0))
    entities = entity_rows(("bert", 9), ("anna", 2.5), ("x", 9), ("anna", 5_000))

    found = rows_as_of(view, pa.schema([("last_seq", pa.int64())]), entities["customer_id"], entities["as_of"])

    assert found["last_seq"].to_pylist() == [4, 2, None, 3]  # without a ttl a row counts for ever


def test_newer_sources_are_seen_without_another_apply(tmp_path, entity_rows, kit):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD[:1])
    rows = entity_rows(("anna", 9))
    assert last_days(kit, store.training_states(rows, Task.CHURN)) == [1]

    _, later = kit.make_store(tmp_path / "later", kit.WORLD[:3])
    later.customer_state_path.replace(settings.customer_state_path)

    assert last_days(kit, store.training_states(rows, Task.CHURN)) == [3]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (pd.DataFrame({"customer_id": ["a"]}), "lack as_of"),
        (pd.DataFrame({"customer_id": ["a"], "as_of": [pd.Timestamp("2017-01-01")]}), "no time zone"),
        (pd.DataFrame({"customer_id": [None], "as_of": [pd.Timestamp("2017-01-01", tz="UTC")]}), "no customer_id"),
    ],
)
def test_entity_rows_that_cannot_be_used_are_refused(world, rows, words):
    with pytest.raises(InputError, match=words):
        world[0].training_states(rows, Task.CHURN)


def test_any_time_zone_and_any_resolution_mean_the_same_moment(world, entity_rows, kit):
    store, _ = world
    utc = entity_rows(("anna", 3), ("anna", 3.5))
    local = utc.assign(as_of=utc["as_of"].dt.tz_convert("America/New_York").dt.as_unit("ns"))

    kit.assert_same_states(store.training_states(local, Task.CHURN), store.training_states(utc, Task.CHURN))


def test_applying_again_does_nothing(world):
    store, settings = world

    assert Store(settings).apply() is False
    assert sorted(service.name for service in store._feast.list_feature_services()) == [
        "best_channel_v2",
        "churn_v2",
        "next_product_v2",
        "win_back_v2",
    ]
    assert store.feature_service_name(Task.BEST_CHANNEL) == "best_channel_v2"


def test_feasts_own_command_finds_the_definitions(world, monkeypatch):
    _, settings = world
    monkeypatch.chdir(settings.feast_dir)
    monkeypatch.syspath_prepend(str(settings.feast_dir))
    namespace: dict[str, object] = {"__file__": str(settings.feast_dir / "definitions.py")}

    exec((settings.feast_dir / "definitions.py").read_text(), namespace)

    names = {getattr(thing, "name", None) for key, thing in namespace.items() if key.startswith("object_")}
    assert {"customer", "product_block", "customer_state", "product_sales", "churn_v2"} <= names


def test_missing_features_are_named_with_the_command_that_makes_them(tmp_path, settings, entity_rows):
    with pytest.raises(MissingError, match="omni features build"):
        Store(settings).training_states(entity_rows(("anna", 1)), Task.CHURN)
    with pytest.raises(MissingError, match="omni features build"):
        Store(settings).materialize(lambda _: None)


def test_materializing_sets_the_stream_back_to_what_was_written(world):
    _, settings = world

    assert Checkpoint(settings).read() == max(_last_seqs(settings))


def test_products_as_of_their_moments_are_in_the_order_asked(world, tmp_path, kit):
    store, settings = kit.make_store(tmp_path / "home", kit.WORLD)
    with pytest.raises(MissingError, match="omni features build"):
        store.training_products([kit.at(1)])
    pq.write_table(kit.to_timeline(kit.WORLD), settings.timeline_path)

    late, first, nothing = store.training_products([kit.at(100), kit.at(1.5), kit.at(0.5)])

    bought = {h.product for h in kit.WORLD if h.kind == "purchase"}
    assert late.code.tolist() == sorted(product_code(sorted(bought)).tolist())
    early = {h.product for h in kit.WORLD if h.kind == "purchase" and h.day < 1.5}
    assert first.code.tolist() == sorted(product_code(sorted(early)).tolist())
    assert len(nothing) == 0


def test_what_an_older_version_registered_is_taken_away(tmp_path, kit):
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, String

    store, settings = kit.make_store(tmp_path / "home", kit.WORLD)
    product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING)
    source = FileSource(name="old_file", path=str(tmp_path / "old.parquet"), timestamp_field="event_timestamp")
    fields = [Field(name="product_id", dtype=String), Field(name="price", dtype=Float64)]
    with quietly():
        store._feast.apply(
            [product, FeatureView(name="product_state", entities=[product], schema=fields, source=source)]
        )
    (settings.feast_dir / "applied.json").write_text("of an older version")
    assert "omni_product_state" in tables(settings)

    assert Store(settings).apply()

    assert "omni_product_state" not in tables(settings)
    assert "omni_product_sales" in tables(settings)
    after = Store(settings)._feast
    assert {entity.name for entity in after.list_entities()} == {"customer", "product_block"}
    assert {view.name for view in after.list_batch_feature_views()} == {
        *("customer_products", "customer_state", "product_sales")
    }


def tables(settings):
    """The tables of the online store."""
    with closing(sqlite3.connect(settings.online_db_path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_the_store_module_does_not_import_feast_by_itself():
    code = "import sys, features.store.feature_store, features.stream; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _keys(timeline: pa.Table) -> tuple[list[object], list[object]]:
    return timeline["customer_id"].to_pylist(), timeline["occurred_at"].to_pylist()


def _last_seqs(settings) -> list[int]:
    return pq.read_table(CUSTOMER_STATE.path(settings))["last_seq"].to_pylist()
