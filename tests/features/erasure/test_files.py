"""Erasure in the files under OMNI_HOME: the customer's rows are gone, everybody else's are as before."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_ada import COOKIE, EMAIL, MODEL, NOW, build, customers, erased, row

from features.build import build_features
from features.erasure.erase import begin_erasure, finish_erasure
from features.events.schema import REJECTED_SCHEMA
from features.log.sqlite import SqliteEventLog
from features.offline.build_note import events_since_build, read_note
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.event_arrays import product_code


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


def test_sums_of_products_stay_until_the_next_whole_build(settings: Settings, log: SqliteEventLog) -> None:
    build(settings)
    reader = OnlineReader(settings)

    def sold() -> float:
        """What is left of all purchases of tea, three months later, at the slowest half-life."""
        states = reader.read_products().states
        return float(states.counts(NOW.timestamp())[states.rows_of(product_code(["tea"]))[0], -1])

    def left_of(days: tuple[int, ...]) -> float:
        return sum(2 ** -((60 - day) / 90) for day in days)

    assert sold() == pytest.approx(left_of((0, 1, 2, 3, 4, 5, 1, 2)))  # Bob's and Ada's
    erased(settings, log, EMAIL)

    assert sold() == pytest.approx(left_of((0, 1, 2, 3, 4, 5, 1, 2)))
    build_features(settings, lambda _: None, force=True)
    assert sold() == pytest.approx(left_of((0, 1, 2, 3, 4, 5)))
    reader.close()


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
