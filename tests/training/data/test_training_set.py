"""Training sets: the rows keep their order, features stop strictly before the moment, chunks change nothing."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from features.vocabulary import Task
from training.benchmarks.report import MemoryStates, as_timeline
from training.data.training_set import TrainingSet, build_training_set

EVENTS = pd.DataFrame(
    {
        "customer_id": ["b", "a", "a", "a"],
        "occurred_at": ["2024-01-05", "2024-01-01", "2024-01-03", "2024-01-09"],
        "value": [4.0, 1.0, 2.0, 8.0],
    }
)


def entities(*rows: tuple[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["customer_id", "as_of"])
    table["as_of"] = pd.to_datetime(table["as_of"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    return table.assign(label=0.0)


def build(events: pd.DataFrame, rows: pd.DataFrame, **kwargs: int) -> TrainingSet:
    return build_training_set(rows, Task.CHURN, MemoryStates(as_timeline(events)), "data", **kwargs)


def test_features_come_from_events_strictly_before_the_moment() -> None:
    rows = entities(("a", "2024-01-03"), ("b", "2024-01-06"), ("a", "2024-01-03T00:00:01"), ("nobody", "2024-01-06"))
    found = build(EVENTS, rows)
    assert found.column("purchase_total").tolist() == [1.0, 1.0, 2.0, 0.0]
    np.testing.assert_allclose(found.column("days_since_occasion"), [2.0, 1.0, 1 / 86400, np.nan], rtol=1e-5)


def test_future_events_change_no_row() -> None:
    rows = entities(("a", "2024-01-04"), ("b", "2024-01-06"))
    known = EVENTS[EVENTS["occurred_at"] < "2024-01-06"]
    np.testing.assert_array_equal(build(known, rows).features, build(EVENTS, rows).features)


def test_chunks_keep_the_order_of_the_rows() -> None:
    rows = entities(("b", "2024-01-08"), ("a", "2024-01-02"), ("a", "2024-01-08"), ("a", "2024-01-02"))
    whole = build(EVENTS, rows)
    np.testing.assert_array_equal(build(EVENTS, rows, chunk_rows=1).features, whole.features)
    assert whole.column("purchase_total").tolist() == [1.0, 1.0, 2.0, 1.0]
    pd.testing.assert_frame_equal(whole.entities, rows)


def test_states_are_kept_when_asked_for() -> None:
    rows = entities(("b", "2024-01-08"), ("a", "2024-01-02"))
    assert build(EVENTS, rows).states is None
    kept = build(EVENTS, rows, keep_states=True)
    assert kept.states is not None
    np.testing.assert_array_equal(kept.features, build(EVENTS, rows).features)
    assert len(kept.states) == 2


def test_the_fingerprint_follows_rows_labels_and_data() -> None:
    rows = entities(("a", "2024-01-04"))
    store = MemoryStates(as_timeline(EVENTS))
    one = build_training_set(rows, Task.CHURN, store, "data").fingerprint
    assert one == build_training_set(rows.copy(), Task.CHURN, store, "data").fingerprint
    assert one != build_training_set(rows.assign(label=1.0), Task.CHURN, store, "data").fingerprint
    assert one != build_training_set(rows, Task.CHURN, store, "other").fingerprint


def test_selecting_and_joining_rows() -> None:
    found = build(EVENTS, entities(("a", "2024-01-04"), ("b", "2024-01-06")))
    second = found.select(np.array([False, True]))
    assert second.entities["customer_id"].tolist() == ["b"]
    both = second.joined(found)
    assert both.entities["customer_id"].tolist() == ["b", "a", "b"]
    assert both.column("purchase_total").tolist() == [1.0, 2.0, 1.0]


def test_an_unknown_signal_is_named() -> None:
    with pytest.raises(InputError, match="'no_such_signal'"):
        build(EVENTS, entities(("a", "2024-01-04"))).column("no_such_signal")


def test_moments_are_utc() -> None:
    assert entities(("a", "2024-01-04"))["as_of"].iloc[0] == datetime(2024, 1, 4, tzinfo=UTC)
