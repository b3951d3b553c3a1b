"""An erasure that is killed, or that a build or a stream comes across, ends as one that was left in peace."""

import os
import signal
import subprocess
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_ada import EMAIL, MODEL, NOW, build, customers, erased

from features import build as build_module
from features.erasure.erase import begin_erasure, finish_erasure, pending_erasures
from features.log.receipt import Step
from features.log.sqlite import SqliteEventLog
from features.offline.build_note import events_since_build
from features.offline.timeline import read_timeline
from features.online.reader import OnlineReader
from features.settings import Settings
from features.store.feature_store import Store


@pytest.mark.parametrize(
    ("killed_in", "left"),
    [
        ("erase_online", 3),
        ("erase_files", 2),
        ("_rewrite", 2),
        ("_learnt", 1),
        ("look_at_all", 1),
        ("write_receipt", 1),
    ],
)
def test_a_killed_erasure_is_finished_by_asking_again(
    settings: Settings, log: SqliteEventLog, killed_in: str, left: int
) -> None:
    """The process dies (SIGKILL) where a step begins, or in the midst of the files; the name is given again."""
    build(settings)
    code = f"""
import os, signal
import features.erasure.erase as erase, features.erasure.files as files
from features.log.engines import open_log
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
    removed = {place: rows for place, rows in receipt.removed.items() if place.startswith(("online", "files"))}
    assert removed == {
        "online store: rows": 2,
        "files: offline/customer_products.parquet": 3,
        "files: offline/customer_state.parquet": 3,
        "files: offline/timeline.parquet": 4,
    }
    assert pending_erasures(log) == []
    assert customers(read_timeline(settings)) == {"bob", "cleo"}
    assert customers(pq.read_table(settings.customer_state_path)) == {"bob", "cleo"}
    assert OnlineReader(settings).read_state("ada-1815") is None
    assert list(settings.home.rglob("*.part")) == []


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
