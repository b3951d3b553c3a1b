"""The scale benchmark: its events are what they say, its newest states are the fold's, and a wrong value is seen."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import omni
from features.benchmarks import fold
from features.benchmarks.baselines import PairFeatures, by_pandas, by_sql, from_rows
from features.benchmarks.timelines import EVENTS_PER_CUSTOMER, Piece, make_events
from features.state import kernel, kernel_batch
from features.state.batch import rows_in_buffers
from features.state.layout import new_buffers
from features.vocabulary import CHANNELS, KINDS


@pytest.fixture(scope="module")
def piece() -> Piece:
    return next(make_events(8_000, seed=1))


def test_events_are_the_same_for_a_seed_and_more_of_them_only_add(piece: Piece) -> None:
    again, other = next(make_events(3_000, seed=1)), next(make_events(3_000, seed=2))
    for mine, theirs in zip(again.events, piece.events, strict=True):
        np.testing.assert_array_equal(mine, theirs[:3_000])
    assert not np.array_equal(again.events.time, other.events.time)
    assert [len(part) for part in make_events(450_000, seed=1)][-1] < 400_000


def test_events_are_in_the_folds_order_and_of_all_channels_and_kinds() -> None:
    piece = next(make_events(300_000, seed=0))
    same_customer = np.diff(piece.customers) == 0
    assert (np.diff(piece.events.time)[same_customer] >= 0).all()
    assert (np.diff(piece.customers) >= 0).all()
    assert set(piece.events.channel) == set(range(len(CHANNELS)))
    assert set(piece.events.kind) == set(range(len(KINDS)))
    assert len(piece) / len(np.unique(piece.customers)) == pytest.approx(EVENTS_PER_CUSTOMER, rel=0.1)


def test_the_newest_states_are_the_last_of_all_states(piece: Piece) -> None:
    newest, every = new_buffers(100), new_buffers(2 * len(piece))
    _, n_newest = kernel_batch.fold_newest(kernel.new_scratch(), piece.events, piece.customers, 0, newest)
    _, n_every = kernel_batch.fold_rows(kernel.new_scratch(), piece.events, piece.customers, 0, every)
    last = np.flatnonzero(np.diff(every.customer[:n_every], append=-1))
    assert n_newest == len(last) == len(np.unique(piece.customers))
    mine, theirs = rows_in_buffers(newest, n_newest), rows_in_buffers(every, n_every)
    np.testing.assert_array_equal(mine.scalars, theirs.scalars[last])
    np.testing.assert_array_equal(mine.pair_stats.values, theirs.take(last).pair_stats.values)


def test_sql_and_pandas_come_to_the_folds_values_and_a_wrong_one_is_seen(piece: Piece) -> None:
    rows = new_buffers(100)
    _, n = kernel_batch.fold_newest(kernel.new_scratch(), piece.events, piece.customers, 0, rows)
    folded, events = from_rows(rows, n), fold._frame(piece)
    for other in (by_sql, by_pandas):
        assert folded.difference(other(events)) < fold.TOLERANCE
    last = events["value"].last_valid_index()
    dearer = events.assign(value=events["value"].where(events.index != last, events["value"] * 1.01))
    assert folded.difference(by_sql(dearer)) > 10 * fold.TOLERANCE
    assert folded.difference(by_pandas(events[events["customer"] > 0])) == np.inf


def test_the_command_reports_rates_memory_growth_and_baselines(tmp_path) -> None:
    report = tmp_path / "report.json"
    command = ["benchmark", "features", "--events", "4e3", "--events", "8e3", "--report", str(report), "--json"]
    result = CliRunner().invoke(omni.app, command)
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found == json.loads(report.read_text())
    assert [size["events"] for size in found["sizes"]] == [4_000, 8_000]
    for size in found["sizes"]:
        assert size["events_per_s"]["newest"] == pytest.approx(size["events"] / size["seconds"]["newest"])
        assert size["customers"] < size["state_rows"] < size["events"]
        assert size["peak_mib"] > 50
    assert set(found["growth"]) == {"seconds_exponent", "peak_mib_per_million_events"}
    assert all(other["largest_difference"] < fold.TOLERANCE for other in found["baselines"].values())


def test_values_that_differ_fail_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(events: pd.DataFrame) -> PairFeatures:
        right = by_sql(events)
        return PairFeatures(right.pair_keys, right.pairs * 1.001, right.buyers, right.occasions)

    monkeypatch.setattr(fold, "BASELINES", {"wrong": wrong})
    result = CliRunner().invoke(omni.app, ["benchmark", "features", "--events", "2000"])
    assert result.exit_code == 1
    assert "1.0e-03" in result.stdout
