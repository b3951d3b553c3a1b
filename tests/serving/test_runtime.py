"""What is watched: files that others write, the stream, the registry; what is broken is told and never answered with."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import StoreError
from features.online import trust
from features.online.checkpoint import Checkpoint
from features.online.reach import Reach
from features.settings import Settings
from serving.answers import Knowledge
from serving.products.catalogue import load_catalogue, load_stock
from serving.runtime import REHEARSING, Runtime, Watcher
from serving.scorers.bundle import Bundle

NOW = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "offline").mkdir()
    return Settings(tmp_path, f"sqlite:///{tmp_path}/events.db", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def watcher(settings: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    bundle = runtime.knowledge.bundle
    monkeypatch.setattr(trust, "EVERY_S", 0.0)
    monkeypatch.setattr(Watcher, "_champions", lambda *_: bundle)
    return Watcher(settings, runtime)


def write_stock(path: Path, units: float | None) -> None:
    columns = {
        "product_id": ["tea"],
        "store_id": pa.array([None], pa.string()),
        "units": pa.array([units], pa.float64()),
    }
    pq.write_table(pa.table(columns | {"as_of": [NOW]}), path)


def test_a_stream_that_lags_is_seen(
    watcher: Watcher, runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lags: list[int] = []
    monkeypatch.setattr(runtime.metrics, "note_stream", lags.append)
    watcher.refresh()
    assert lags == []  # no stream ever ran here
    Reach(settings).make_of(runtime.log)
    Checkpoint(settings).write(runtime.log.last_seq() - 4)
    watcher.refresh()
    assert lags == [4]
    assert runtime.warnings() == []


def test_where_models_answer_nobody_waits_for_the_first_count(
    watcher: Watcher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []

    def count(counted: Any, catalogue: Any) -> Any:
        looked.append(runtime.looked.is_set())
        return counted

    monkeypatch.setattr(watcher._census, "up_to_date", count)
    watcher.refresh()
    runtime.looked.clear()
    monkeypatch.setattr(Watcher, "_champions", lambda *_: Bundle())
    watcher.refresh()
    assert looked == [True, False]


def test_a_store_of_another_log_is_said_and_counts_as_empty(
    watcher: Watcher, runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    """Answers are right meanwhile, so it is ready; but its operator is told what to do."""
    lags: list[int] = []
    monkeypatch.setattr(runtime.metrics, "note_stream", lags.append)
    reach = Reach(settings)
    reach.make_of(runtime.log)
    Checkpoint(settings).write(runtime.log.last_seq())
    assert client.get("/readyz").json() == {"status": "ready"}

    runtime.log.renew_id()

    answer = client.get("/readyz")
    assert answer.status_code == 200
    (warning,) = answer.json()["warnings"]
    assert "holds what the event log does not" in warning and "omni features build" in warning
    watcher.refresh()
    assert lags == [runtime.log.count()]


def test_a_stock_that_breaks_leaves_the_one_before_it(
    watcher: Watcher, runtime: Runtime, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write_stock(settings.stock_path, 3.0)
    watcher.refresh()
    settings.stock_path.write_bytes(b"half of a file")
    for _ in range(3):
        watcher.refresh()
    assert runtime.knowledge.catalogue.stock == {None: {"tea": 3.0}}
    told = [record.getMessage() for record in caplog.records if record.name == "serving.runtime"]
    assert len(told) == 1 and "stock.parquet cannot be used" in told[0]
    write_stock(settings.stock_path, 0.0)
    watcher.refresh()
    assert runtime.knowledge.catalogue.stock == {None: {"tea": 0.0}}


def test_nobody_is_answered_before_the_stock_could_be_read(
    watcher: Watcher, runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = runtime.knowledge.states
    monkeypatch.setattr(Watcher, "_with_store", lambda _, known: replace(known, states=states, store_problem=""))
    runtime.knowledge = Knowledge()
    settings.stock_path.write_bytes(b"half of a file")
    for _ in range(2):
        watcher.refresh()
        assert runtime.knowledge.states is None
        assert "stock.parquet cannot be used" in runtime.not_ready()[0]
    write_stock(settings.stock_path, 3.0)
    watcher.refresh()
    assert runtime.not_ready() == []


def test_while_the_first_answer_is_rehearsed_no_store_is_blamed(
    watcher: Watcher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, said = runtime.knowledge.states, []
    monkeypatch.setattr(Watcher, "_with_store", lambda _, known: replace(known, states=states, store_problem=""))
    monkeypatch.setattr("serving.runtime.rehearse", lambda *_: said.append(runtime.not_ready()))
    runtime.knowledge = Knowledge(store_problem="The online store cannot be read. Run `omni features build`.")
    watcher.refresh()
    assert said[0] == [REHEARSING]
    assert runtime.not_ready() == []


@pytest.mark.parametrize(("column", "value"), [("price", "12.50 EUR"), ("available_from", 1_714_566_615)])
def test_products_with_other_types_are_said_in_words(tmp_path: Path, column: str, value: object) -> None:
    pq.write_table(pa.table({"product_id": ["tea"], column: [value]}), tmp_path / "products.parquet")
    with pytest.raises(StoreError, match=r"products\.parquet cannot be used"):
        load_catalogue(tmp_path / "products.parquet")


@pytest.mark.parametrize("column", ["product_id", "store_id", "units", "as_of"])
def test_a_stock_without_a_column_is_said_in_words(tmp_path: Path, column: str) -> None:
    write_stock(tmp_path / "stock.parquet", 1.0)
    table = pq.read_table(tmp_path / "stock.parquet")
    pq.write_table(table.drop_columns([column]), tmp_path / "stock.parquet")
    with pytest.raises(StoreError, match=rf"stock\.parquet cannot be used \(.*{column}.*\)\. Write it anew"):
        load_stock(tmp_path / "stock.parquet")


@pytest.mark.parametrize("units", [None, float("nan"), float("inf")])
def test_a_stock_without_a_number_is_said_in_words(tmp_path: Path, units: float | None) -> None:
    write_stock(tmp_path / "stock.parquet", units)
    with pytest.raises(StoreError, match=r"stock\.parquet cannot be used"):
        load_stock(tmp_path / "stock.parquet")
