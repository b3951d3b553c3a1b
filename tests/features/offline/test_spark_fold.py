"""Spark gives what the embedded engine gives, bit for bit: the fold on two cores, and Feast's point-in-time retrieval.

Runs where pyspark and Java are installed (`make spark`); skipped elsewhere.
"""

import shutil
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.build import fold_to_parquet
from features.log.engines import open_log
from features.offline.files import newest_rows
from features.offline.timeline import build_timeline
from features.state.encoding import decode
from features.state.layout import CONSENT, UNWRITTEN, WRITTEN
from features.store.feature_store import Store
from features.views import CUSTOMER_STATE, CUSTOMER_TTL, CUSTOMER_VIEWS
from features.vocabulary import CHANNEL_CODES, Task

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(
        find_spec("pyspark") is None or shutil.which("java") is None, reason="Spark is not installed: make spark"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # old names within Feast, ibis and pyspark
    pytest.mark.filterwarnings("ignore:The spark:RuntimeWarning"),  # Feast calls its Spark store experimental
]


def quiet(_: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module", autouse=True)
def stopped_at_the_end():
    yield
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None:
        running.stop()


def two_epochs(timeline, customer, kit):
    """The customer's timeline as if what they did on the web had become known as theirs on day 20."""
    joined = pa.scalar(kit.at(20), timeline.schema.field("occurred_at").type)
    mine = timeline.filter(pc.equal(timeline["customer_id"], customer))
    known = mine.filter(pc.and_(pc.less(mine["occurred_at"], joined), pc.not_equal(mine["channel"], "web")))
    written = [UNWRITTEN if moment < joined.as_py() else WRITTEN for moment in mine["occurred_at"].to_pylist()]
    pieces = [(known, 0, [WRITTEN] * known.num_rows), (mine, 1, written)]
    return pa.concat_tables(
        rows.append_column("epoch", pa.array([number] * rows.num_rows, pa.int64())).append_column(
            "written", pa.array(flags, pa.int8())
        )
        for rows, number, flags in pieces
    ).sort_by([(name, "ascending") for name in ("customer_id", "epoch", "occurred_at", "event_id")])


@pytest.fixture(scope="module")
def folded(tmp_path_factory, kit):
    """The same world folded by both engines: (embedded settings, Spark's settings). Spark gets its events unsorted."""
    _, embedded = kit.make_store(tmp_path_factory.mktemp("embedded") / "home", [])
    on_spark = replace(embedded, home=tmp_path_factory.mktemp("spark") / "home", offline_store="spark")
    timeline = kit.to_timeline([*kit.WORLD, *kit.random_happenings(seed=11, customers=40, events=1_500)])
    names = pa.array([f"e{seq:06}" for seq in timeline["seq"].to_pylist()])
    timeline = timeline.append_column("event_id", names)
    shuffled = timeline.take(np.random.default_rng(5).permutation(timeline.num_rows))
    for settings, table in ((embedded, timeline), (on_spark, shuffled)):
        settings.timeline_path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, settings.timeline_path)
        pq.write_table(two_epochs(table, "r3", kit), settings.epochs_path)
    shutil.copy(embedded.product_sales_path, on_spark.product_sales_path)
    counts = [fold_to_parquet(settings, timeline.num_rows, quiet) for settings in (embedded, on_spark)]
    assert counts[0] == counts[1]
    Store(on_spark).apply()
    return embedded, on_spark


def test_the_fold_on_two_cores_is_the_embedded_fold(folded, kit):
    order = [("customer_id", "ascending"), ("event_timestamp", "ascending")]

    for view in CUSTOMER_VIEWS:
        here, there = (pq.read_table(view.path(settings)).sort_by(order) for settings in folded)

        assert there.schema == here.schema
        assert there.num_rows == here.num_rows > 300
        for name in ("customer_id", "event_timestamp", view.fields[0][0]):
            assert there[name].equals(here[name])
        as_states = (here, None), (there, None)
        if view is not CUSTOMER_STATE:
            as_states = (None, here), (None, there)
        kit.assert_same_states(*(decode(*tables) for tables in as_states))


def test_both_cores_wrote_and_nothing_is_left_over(folded):
    _, on_spark = folded

    for view in CUSTOMER_VIEWS:
        customers = [
            set(pq.read_table(part)["customer_id"].to_pylist()) for part in view.path(on_spark).glob("*.parquet")
        ]
        assert len(customers) == 2
        assert all(customers)
        assert not customers[0] & customers[1]
    assert sorted(path.name for path in on_spark.timeline_path.parent.iterdir()) == [
        "customer_products.parquet",
        "customer_state.parquet",
        "epochs.parquet",
        "product_sales.parquet",
        "timeline.parquet",
    ]


def test_a_folder_of_parts_is_read_like_a_file(folded):
    newest = [newest_rows(CUSTOMER_STATE, CUSTOMER_STATE.path(settings)).sort_by("customer_id") for settings in folded]

    assert newest[0].select(["customer_id", "last_seq"]).equals(newest[1].select(["customer_id", "last_seq"]))


def test_feasts_spark_store_answers_like_the_embedded_one(folded, entity_rows, kit):
    embedded, on_spark = folded
    ttl_days, a_second = CUSTOMER_TTL / timedelta(days=1), 1 / 86_400
    a_microsecond = timedelta(microseconds=1) / timedelta(days=1)
    rng = np.random.default_rng(3)
    rows = entity_rows(
        *[("anna", day) for day in (0.5, 3, 3 + a_microsecond, 9, 9, 3 + ttl_days, 3 + ttl_days + a_second)],
        ("nobody", 9),
        *[(f"r{rng.integers(45)}", float(rng.integers(0, 62) / 2)) for _ in range(60)],
    )

    expected = Store(embedded).training_states(rows, Task.NEXT_PRODUCT)
    found = Store(on_spark).training_states(rows, Task.NEXT_PRODUCT)

    kit.assert_same_states(found, expected)
    assert found.last_seq.tolist() == expected.last_seq.tolist()
    assert found.scalar("n_occasions")[:8].tolist() == [0, 1, 2, 2, 2, 2, 0, 0]


def test_switching_back_needs_no_new_build(folded, entity_rows, kit):
    embedded, on_spark = folded
    rows = entity_rows(("anna", 9), ("r3", 20), ("nobody", 9))

    found = Store(replace(on_spark, offline_store="duckdb")).training_states(rows, Task.CHURN)

    kit.assert_same_states(found, Store(embedded).training_states(rows, Task.CHURN))


def test_what_a_common_address_refuses_is_folded_alike(kit, tmp_path):
    """Four customers have an address, one of them later than it refused: rows of others stand in timeline and epochs."""
    _, embedded = kit.make_store(tmp_path / "embedded", [])
    on_spark = replace(embedded, home=tmp_path / "spark", offline_store="spark")
    events = kit.to_events([kit.Happening(name, day, "visit") for day, name in enumerate("abcdabcd")])
    pairs = [[("email", "f@x")] if day in (0, 1, 2, 7) else None for day in range(8)]
    refusal = kit.to_events([kit.Happening(None, 5, "unsubscribe", "email")], prefix="refusal")
    tables = (events, pairs), (refusal, [[("email", "f@x")]])
    place = events.schema.get_field_index("identifiers")
    field = events.schema.field(place)
    log = open_log(embedded)
    log.append(pa.concat_tables(t.set_column(place, field, pa.array(p, field.type)) for t, p in tables))
    n_events = build_timeline(log, embedded, quiet)
    log.close()
    on_spark.timeline_path.parent.mkdir(parents=True)
    for name in ("timeline_path", "epochs_path"):
        shutil.copy(getattr(embedded, name), getattr(on_spark, name))

    counts = [fold_to_parquet(settings, n_events, quiet) for settings in (embedded, on_spark)]

    assert counts[0] == counts[1]
    order = [("customer_id", "ascending"), ("event_timestamp", "ascending")]
    here, there = (pq.read_table(CUSTOMER_STATE.path(s)).sort_by(order) for s in (embedded, on_spark))
    kit.assert_same_states(decode(there, None), decode(here, None))
    newest = newest_rows(CUSTOMER_STATE, CUSTOMER_STATE.path(on_spark)).sort_by("customer_id")
    consents = decode(newest, None).channels[:, CHANNEL_CODES["email"], CONSENT]
    assert dict(zip(newest["customer_id"].to_pylist(), consents.tolist(), strict=True)) == {
        "a": 0.0, "anon:email:f@x": 0.0, "b": 0.0, "c": 0.0, "d": 0.0,
    }  # fmt: skip
