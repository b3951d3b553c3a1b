"""The sample shop: the same shop at every moment, never mixed with another log, and brought in once."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import omni
from features.errors import InputError, StoreError
from features.log.engines import open_log
from features.sample.bring_in import bring_in_sample, sample_in
from features.sample.shop import SampleShop
from features.settings import Settings
from features.simulator.shop import CATEGORIES, N_PRODUCTS, read_catalogue
from features.vocabulary import CHANNELS, Task
from training.pipeline import load_config, own_config

WEDNESDAY = datetime(2026, 6, 3, 11, 20, tzinfo=UTC)
SMALL = {"customers": 30, "days": 60}


def quietly(words: str) -> None:
    pass


def test_what_has_not_happened_yet_is_not_there_and_the_rest_is_the_same_shop():
    events, products, stock = SampleShop(WEDNESDAY, customers=400, days=60).tables()
    earlier, _, _ = SampleShop(WEDNESDAY.replace(day=1), customers=400, days=60).tables()

    assert events["occurred_at"][-1].as_py() < WEDNESDAY
    assert events["occurred_at"][-1].as_py().date() == WEDNESDAY.date()
    assert events["occurred_at"][0].as_py().weekday() == 0
    assert earlier.equals(events.slice(0, earlier.num_rows))
    assert events.num_rows > earlier.num_rows > 10_000
    assert set(events["channel"].to_pylist()) == set(CHANNELS)
    assert max(stock["as_of"].to_pylist()) < WEDNESDAY
    assert products.num_rows == N_PRODUCTS


def test_its_products_are_those_of_the_catalogue():
    _, products, _ = SampleShop(WEDNESDAY, **SMALL).tables()
    catalogue = read_catalogue()

    assert {product.category for product in catalogue} == set(CATEGORIES)
    assert len({product.name for product in catalogue}) == N_PRODUCTS
    rows = {row["name"]: row for row in products.to_pylist()}
    assert rows["Bananas 1 kg"]["price"] == 1.79
    assert rows["Bananas 1 kg"]["category"] == "fruit"
    assert rows["Bananas 1 kg"]["brand"] == "Orchard Lane"


def test_it_is_brought_in_once_and_stays_as_it_is(settings: Settings) -> None:
    first = bring_in_sample(settings, SMALL, WEDNESDAY, quietly)
    again = bring_in_sample(settings, {}, WEDNESDAY.replace(day=10), quietly)

    assert first.appended == first.events == again.events
    assert again.appended == 0
    assert again.shop == first.shop == sample_in(settings) == SampleShop(WEDNESDAY, **SMALL)
    assert first.decisions > 50
    assert pq.read_table(settings.stock_path).num_rows > N_PRODUCTS
    assert settings.timeline_path.exists()
    with pytest.raises(InputError, match="holds another sample shop"):
        bring_in_sample(settings, {"seed": 7}, WEDNESDAY, quietly)


def test_a_bringing_in_that_was_cut_short_is_finished_with_the_same_shop(settings: Settings, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("features.sample.bring_in.merge_stock", full)
    with pytest.raises(OSError, match="no room"):
        bring_in_sample(settings, SMALL, WEDNESDAY, quietly)
    monkeypatch.undo()

    report = bring_in_sample(settings, {}, WEDNESDAY.replace(day=9), quietly)

    assert report.shop.until == WEDNESDAY
    assert report.appended == 0
    assert settings.stock_path.exists()


def test_it_does_not_mix_with_another_log(settings: Settings, tmp_path: Path) -> None:
    row = {"event_id": "e", "occurred_at": "2024-05-01T10:00:00Z", "kind": "visit", "channel": "web"}
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({**row, "customer_id": "c"}))
    env = {"OMNI_HOME": str(settings.home)}
    assert CliRunner().invoke(omni.app, ["ingest", str(file)], env=env).exit_code == 0

    refused = CliRunner().invoke(omni.app, ["sample"], env=env)

    assert refused.exit_code == 2
    assert "holds 1 events, and the sample shop is invented" in refused.stderr
    log = open_log(settings)
    assert log.count() == 1
    log.close()
    assert sample_in(settings) is None


def test_a_damaged_note_is_told(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "sample.json").write_text("{")

    with pytest.raises(StoreError, match="does not say which sample shop"):
        sample_in(settings)


def test_a_shop_without_a_past_is_refused() -> None:
    with pytest.raises(InputError, match="teaches nothing"):
        SampleShop(WEDNESDAY, days=10)


def test_the_command_writes_the_arms_that_its_decisions_chose_among(settings: Settings) -> None:
    words = ["sample", "--customers", "20", "--days", "60", "--until", "2026-06-03T11:20:00Z", "--json"]
    result = CliRunner().invoke(omni.app, words, env={"OMNI_HOME": str(settings.home)})

    report = json.loads(result.stdout)
    assert result.exit_code == 0, result.stderr
    assert report["shop"] == {"until": "2026-06-03T11:20:00+00:00", "customers": 20, "days": 60, "seed": 0}
    assert sum(report["channels"].values()) == report["events"] == report["appended"]
    config = load_config(Task.BEST_CHANNEL, own_config(Task.BEST_CHANNEL, settings))
    assert [arm.name for arm in config.arms][:3] == ["email_morning", "email_evening", "push_morning"]  # type: ignore[attr-defined]
    assert own_config(Task.CHURN, settings) is None
