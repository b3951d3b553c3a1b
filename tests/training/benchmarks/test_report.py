"""Benchmarks on a made world in which who leaves is known from how they bought."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from made_buyers import regular_buyers

from features.errors import InputError
from features.moments import utc
from training.benchmarks import report as benchmark
from training.benchmarks.churn import benchmark as churn
from training.data.frames import read_frame
from training.evaluation.metrics import CHURN

CUTOFF = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> benchmark.BenchmarkReport:
    path = tmp_path_factory.mktemp("world") / "events.csv"
    regular_buyers(300).to_csv(path, index=False)
    return churn(path, CUTOFF, 20, seed=3)


def test_who_left_is_found(report: benchmark.BenchmarkReport) -> None:
    assert report.metrics["auc"].value > 0.95
    assert report.metrics["log_loss"].value < report.baselines["base_rate"]["log_loss"].value / 2
    assert set(report.metrics) == {*CHURN, "revenue_rmse", "revenue_mae", "revenue_bias", "revenue_rmse_gain"}
    assert set(report.baselines) == {"base_rate", "recency", "log_rfm", "bg_nbd", "recent_pace", "gamma_gamma"}


def test_everybody_seen_before_the_cutoff_is_tested(report: benchmark.BenchmarkReport) -> None:
    events = regular_buyers(300)
    assert report.rows["test"] == events.loc[events["occurred_at"] < CUTOFF, "customer_id"].nunique()
    assert max(report.protocol["training_cutoffs"]) == "2024-05-12T00:00:00+00:00"
    assert set(report.details["slices"]) >= {"tenure.long", "value.low"}


def test_the_report_is_one_json_object(report: benchmark.BenchmarkReport, tmp_path: Path) -> None:
    report.write(tmp_path / "reports" / "churn.json")
    found = json.loads((tmp_path / "reports" / "churn.json").read_text())
    assert {"metrics", "baselines", "seconds", "protocol", "rows", "seed"} <= set(found)
    assert set(found["metrics"]["auc"]) == {"value", "low", "high"}
    assert {"fit", "predict"} <= set(found["seconds"])


def test_what_happens_after_the_window_changes_nothing(report: benchmark.BenchmarkReport, tmp_path: Path) -> None:
    events = regular_buyers(300)
    later = events[events["occurred_at"] < CUTOFF + pd.Timedelta(days=20)]
    assert len(later) < len(events)
    later.to_parquet(tmp_path / "events.parquet")
    again = churn(tmp_path / "events.parquet", CUTOFF, 20, seed=3)
    assert again.metrics["log_loss"].value == pytest.approx(report.metrics["log_loss"].value, abs=1e-9)


def test_a_cutoff_outside_the_data_is_refused(tmp_path: Path) -> None:
    regular_buyers(5).to_csv(tmp_path / "events.csv", index=False)
    with pytest.raises(InputError, match="the cutoff is 2030-01-01"):
        churn(tmp_path / "events.csv", datetime(2030, 1, 1, tzinfo=UTC), 20, seed=0)


def test_unusable_files_say_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_frame(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'customer_id'"):
        benchmark.timeline_of(read_frame(tmp_path / "other.csv"), tmp_path)
    with pytest.raises(InputError, match="is not a date"):
        utc("yesterday")


@pytest.mark.parametrize("days", [100, 170])
def test_a_log_too_short_to_learn_from_is_answered_by_bg_nbd(tmp_path: Path, days: int) -> None:
    regular_buyers(120).to_csv(tmp_path / "events.csv", index=False)
    found = churn(tmp_path / "events.csv", datetime(2024, 3, 15, tzinfo=UTC), days, seed=0)
    assert found.rows["train"] == 0
    assert found.metrics["auc"].value == pytest.approx(found.baselines["bg_nbd"]["auc"].value, abs=0.1)
    assert found.details["mix"] == {"trees": 0.0, "linear": 0.0, "bg_nbd": 1.0}


def test_a_handful_of_customers_is_no_reason_to_fail(tmp_path: Path) -> None:
    events = regular_buyers(6).drop(columns="value")
    events.to_csv(tmp_path / "events.csv", index=False)
    found = churn(tmp_path / "events.csv", CUTOFF, 20, seed=0)
    assert found.rows["test"] == 6


def test_a_log_needs_a_moment(tmp_path: Path) -> None:
    regular_buyers(5).to_csv(tmp_path / "events.csv", index=False)
    with pytest.raises(InputError, match="Pass --cutoff DATE"):
        churn(tmp_path / "events.csv")
