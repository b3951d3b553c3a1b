"""From the log to the stores: the timeline's order, what a build writes, when it has nothing to do, and parity on real data."""

import shutil
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.build import build_features, fold_to_parquet
from features.checks.parity import check_parity, relative_difference
from features.errors import MissingError
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.offline.build_note import read_note
from features.offline.timeline import build_timeline, read_timeline
from features.settings import Settings
from features.state.encoding import decode
from features.state.fold import fold_timeline
from features.store.feature_store import Store
from features.vocabulary import Task

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def quiet(_: str) -> None:
    """Progress that nobody watches."""


def fill(settings: Settings, *rows: tuple[str, str, str, str]) -> None:
    """Append purchases (event id, customer, product, moment) to the log."""
    events, rejected = parse_events(
        [
            {
                "event_id": event_id,
                "customer_id": customer,
                "occurred_at": moment,
                "kind": "purchase",
                "channel": "store",
                "product_id": product,
                "value": 1.0,
            }
            for event_id, customer, product, moment in rows
        ],
        NOW,
    )
    assert not rejected
    log = open_log(settings)
    log.append(events_to_table(events))
    log.close()


def test_a_timeline_is_sorted_by_customer_then_time_then_event_id(settings: Settings) -> None:
    fill(
        settings,
        ("e2", "bob", "p", "2024-01-02T00:00:00Z"),
        ("e9", "ann", "p", "2024-01-03T00:00:00Z"),
        ("e1", "ann", "q", "2024-01-03T00:00:00Z"),
        ("e5", "ann", "r", "2024-01-01T00:00:00Z"),
    )
    log = open_log(settings)
    assert build_timeline(log, settings, quiet) == 4
    log.close()
    timeline = read_timeline(settings)
    assert timeline["event_id"].to_pylist() == ["e5", "e1", "e9", "e2"]
    assert timeline["seq"].to_pylist() == [4, 3, 2, 1]
    assert timeline["product_code"].null_count == 0


def test_a_fold_in_pieces_is_a_fold_of_the_whole(
    sample_settings: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode(pa.concat_tables(states for states, _ in fold_timeline(read_timeline(sample_settings))), None)
    settings.timeline_path.parent.mkdir(parents=True)
    shutil.copy(sample_settings.timeline_path, settings.timeline_path)
    monkeypatch.setattr("features.build.FOLD_ROWS", 1_000)
    n_customers, n_rows, _ = fold_to_parquet(settings, 0, quiet)
    pieces = decode(pq.read_table(settings.customer_state_path), None)
    assert n_customers == len(read_timeline(settings)["customer_id"].unique())
    assert n_rows == len(pieces) == len(whole)
    np.testing.assert_array_equal(pieces.scalars, whole.scalars)
    np.testing.assert_array_equal(pieces.pair_stats.values, whole.pair_stats.values)


def test_an_empty_log_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(MissingError, match="omni ingest FILE"):
        build_features(settings, quiet)
    with pytest.raises(MissingError, match="omni features build"):
        check_parity(settings, 1, 0, quiet)


def test_a_build_is_done_once_and_again_after_new_events(settings: Settings) -> None:
    fill(settings, ("e1", "ann", "p", "2024-01-01T00:00:00Z"), ("e2", "bob", "p", "2024-01-02T00:00:00Z"))
    first = build_features(settings, quiet)
    assert (first.rebuilt, first.events, first.customers, first.state_rows) == (True, 2, 2, 2)
    started = time.perf_counter()
    assert not build_features(settings, quiet).rebuilt
    assert time.perf_counter() - started < 5
    fill(settings, ("e3", "ann", "q", "2024-01-05T00:00:00Z"))
    again = build_features(settings, quiet)
    assert (again.rebuilt, again.events, again.state_rows) == (True, 3, 3)
    note = read_note(settings)
    assert note is not None
    assert note.last_event_at == "2024-01-05T00:00:00+00:00"
    assert sorted(path.name for path in settings.timeline_path.parent.iterdir()) == sorted(
        [
            "build.json",
            "customer_products.parquet",
            "customer_state.parquet",
            "product_sales.parquet",
            "timeline.parquet",
        ]
    )


def test_future_events_change_no_training_row(settings: Settings) -> None:
    fill(settings, *[(f"e{i}", "ann", f"p{i}", f"2024-01-{i:02}T00:00:00Z") for i in range(1, 10)])
    build_features(settings, quiet)
    entities = pd.DataFrame(
        {"customer_id": ["ann", "ann"], "as_of": pd.to_datetime(["2024-01-05T00:00:00Z", "2024-01-05T12:00:00Z"])}
    )
    before = Store(settings).training_states(entities, Task.NEXT_PRODUCT)
    fill(settings, ("late", "ann", "z", "2024-01-20T00:00:00Z"))
    build_features(settings, quiet)
    after = Store(settings).training_states(entities, Task.NEXT_PRODUCT)
    np.testing.assert_array_equal(before.scalars, after.scalars)
    np.testing.assert_array_equal(before.seq_product.values, after.seq_product.values)
    assert before.scalar("n_occasions").tolist() == [4, 5]  # the purchase at the very moment is not known yet


def test_batch_equals_live_on_real_customers(sample_settings: Settings) -> None:
    report = check_parity(sample_settings, customers=5, seed=1, progress=quiet)
    assert report.equal
    assert report.different == 0
    assert report.values > 1_000
    assert report.events > 500


def test_a_difference_is_relative_and_a_missing_number_is_one() -> None:
    nan = np.nan
    a = np.array([[0.0, 1000.0, nan, nan]], np.float32)
    b = np.array([[0.5, 1001.0, nan, 1.0]], np.float32)
    assert relative_difference(a, b)[0].tolist() == pytest.approx([0.5, 1 / 1001, 0.0, np.inf])
