"""What profiles and ratings say: read once, refused where wrong, and folded like every other event."""

import json
import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from features.events.payload import detail_column, order_column, read_detail, store_code
from features.events.schema import EVENT_SCHEMA, parse_events, validate_table
from features.signals import SIGNAL_NAMES, compute_signals
from features.state import layout
from features.state.batch import StateBatch
from features.state.fold import fold_customer
from features.vocabulary import CHANNEL_CODES

NOW = datetime(2024, 3, 1, tzinfo=UTC)


def history(*said: tuple[str, dict | None]) -> pa.Table:
    """Events of (kind, properties), a minute apart."""
    rows = [
        {
            "event_id": f"e{i}",
            "occurred_at": datetime(2024, 1, 1, 0, i, tzinfo=UTC),
            "kind": kind,
            "channel": "web",
            "customer_id": "ada",
            "properties": None if properties is None else json.dumps(properties),
        }
        for i, (kind, properties) in enumerate(said)
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def consent(state: StateBatch, channel: str) -> float:
    return float(state.channels[0, CHANNEL_CODES[channel], layout.CONSENT])


def test_a_profile_says_yes_and_no_and_leaves_the_rest_as_it_was() -> None:
    state = fold_customer(
        history(
            ("profile", {"consent": {"email": True, "store": False}, "profiling": False, "city": "Porto"}),
            ("profile", {"consent": {"email": False}}),
            ("profile", {"city": "Lisbon"}),
        )
    )
    assert [consent(state, channel) for channel in ("email", "store", "sms")] == [0.0, 0.0, -1.0]
    assert state.scalar("profiling").tolist() == [0.0]
    again = fold_customer(history(("profile", {"profiling": False}), ("profile", {"profiling": True})))
    assert again.scalar("profiling").tolist() == [1.0]
    assert np.isnan(StateBatch.empty(1).scalar("profiling")[0])


def test_the_preferred_channel_is_the_last_one_named_until_it_is_withdrawn() -> None:
    def prefers(*said: dict) -> list[float]:
        state = fold_customer(history(("view", None), *(("profile", one) for one in said)))
        signals = dict(zip(SIGNAL_NAMES, compute_signals(state, np.array([1.8e9]))[0], strict=True))
        return [float(signals[f"prefers_{channel}"]) for channel in ("web", "sms", "store")]

    sms, store = {"preferred_channel": "sms", "consent": {"store": True}}, {"preferred_channel": "store"}
    assert prefers(sms) == [0, 1, 0]
    assert prefers(sms, store, {"profiling": True}) == [0, 0, 1]
    assert np.isnan(prefers(store, {"preferred_channel": None})).all()
    assert np.isnan(prefers({"consent": {"sms": True}})).all()


def test_an_unsubscribe_after_a_profile_holds_and_a_later_profile_too() -> None:
    told = ("profile", {"consent": {"web": True}})
    assert consent(fold_customer(history(told, ("unsubscribe", None))), "web") == 0.0
    assert consent(fold_customer(history(("unsubscribe", None), told)), "web") == 1.0


def test_ratings_are_counted_averaged_and_the_last_is_kept() -> None:
    state = fold_customer(history(*(("feedback", {"rating": rating}) for rating in (5, 2, 2.0)), ("feedback", None)))
    signals = dict(zip(SIGNAL_NAMES, compute_signals(state, np.array([1.8e9]))[0], strict=True))
    assert (signals["n_ratings"], signals["rating_mean"], signals["last_rating"]) == (3, 3, 2)
    assert signals["feedback_total"] == 4


def test_what_was_returned_is_a_share_of_what_was_spent() -> None:
    table = history(("purchase", None), ("return", None))
    table = table.set_column(table.column_names.index("value"), "value", pa.array([40.0, 10.0]))
    table = table.set_column(table.column_names.index("product_id"), "product_id", pa.array(["p", "p"]))
    table = table.set_column(table.column_names.index("quantity"), "quantity", pa.array([4.0, 1.0]))
    signals = dict(zip(SIGNAL_NAMES, compute_signals(fold_customer(table), np.array([1.8e9]))[0], strict=True))
    assert signals["returned_share_365d"] == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "properties", "words"),
    [
        ("profile", {"consent": True}, "no object"),
        ("profile", {"consent": {"fax": True}}, "no channel"),
        ("profile", {"consent": {"email": "yes"}}, "neither true nor false"),
        ("profile", {"profiling": 0}, "neither true nor false"),
        ("profile", {"preferred_channel": "fax"}, "that is none"),
        ("profile", {"preferred_channel": ["sms"]}, "that is none"),
        ("feedback", {"rating": "good"}, "no number"),
        ("feedback", {"rating": True}, "no number"),
        ("feedback", {"rating": 1e308}, "too large"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_both_ways_in(kind: str, properties: dict, words: str) -> None:
    item = {"event_id": "1", "occurred_at": "2024-01-01T00:00:00Z", "kind": kind, "channel": "web", "customer_id": "a"}
    _, rejected = parse_events([item | {"properties": properties}], NOW)
    good, bad = validate_table(history((kind, properties), (kind, {"other": 1})))
    assert [(row.field, words in row.reason) for row in rejected] == [("properties", True)]
    assert (good.num_rows, bad["field"].to_pylist()) == (1, ["properties"])


def test_the_last_store_is_where_the_customer_last_did_something() -> None:
    def at(*stores: tuple[str, str | None]) -> float:
        events = history(*((kind, None) for kind, _ in stores))
        places = pa.array([store for _, store in stores], pa.string())
        column = events.column_names.index("store_id")
        return float(fold_customer(events.set_column(column, "store_id", places)).scalar("last_store")[0])

    assert at(("view", "north"), ("purchase", "south"), ("purchase", None)) == store_code("south")
    assert at(("visit", "north"), ("send", "south"), ("feedback", "south")) == store_code("north")
    assert np.isnan(at(("view", None), ("profile", "north")))
    assert store_code("north") == float(int(store_code("north"))) < 2**53


def test_only_the_telling_kinds_are_read() -> None:
    table = history(("view", {"rating": 4}), ("feedback", {"rating": 4}), ("feedback", {"text": "fine"}))
    assert np.array_equal(detail_column(table), [math.nan, 4.0, math.nan], equal_nan=True)
    assert math.isnan(read_detail("decision", {"profiling": "whatever"}))


def test_a_contract_with_a_term_is_over_at_it_unless_it_is_renewed() -> None:
    def contract(day: float, *said: tuple[str, dict | None]) -> list[float]:
        events = history(*said)
        state = fold_customer(
            events.set_column(events.column_names.index("product_id"), "product_id", [["box"] * len(said)])
        )
        moment = datetime(2024, 1, 1, tzinfo=UTC).timestamp() + day * 86_400
        signals = dict(zip(SIGNAL_NAMES, compute_signals(state, np.array([moment]))[0], strict=True))
        return [signals[name] for name in ("contract_days", "contract_days_left", "days_since_contract_end")]

    until = {"ends_at": "2024-01-11"}
    assert contract(4, ("subscribe", until)) == pytest.approx([4, 6, math.nan], nan_ok=True)
    assert contract(12, ("subscribe", until)) == pytest.approx([math.nan, math.nan, 2], nan_ok=True)
    assert contract(10, ("subscribe", until)) == pytest.approx([math.nan, math.nan, 0], nan_ok=True)
    renewed = ("subscribe", until), ("subscribe", {"ends_at": "2024-01-21T00:00:00+00:00"})
    assert contract(12, *renewed) == pytest.approx([12, 8, math.nan], nan_ok=True)
    assert contract(12, *renewed, ("unsubscribe", None)) == pytest.approx(
        [math.nan, math.nan, 12 - 2 / 1440], nan_ok=True
    )


@pytest.mark.parametrize("written", ["next year", "", "2024-13-01"])
def test_an_end_that_is_no_moment_is_refused_with_the_way_to_write_it(written: str) -> None:
    said = read_detail("subscribe", {"ends_at": written})
    assert said == 'holds an ends_at that is no moment: write it like {"ends_at": "2025-06-30"}.'
    assert math.isnan(read_detail("unsubscribe", {"ends_at": written}))  # type: ignore[arg-type]


def test_an_order_is_the_same_however_its_number_is_written() -> None:
    orders = [17, 17.0, "17", " 17 ", "17.0", 1.5, 2.0**60, True, None, "", []]
    events = history(*(("purchase", {"order_id": order}) for order in orders), ("view", {"order_id": 17}))
    codes = order_column(events).tolist()
    assert codes[:4] == [int(store_code("17"))] * 4
    assert codes[4:6] == [int(store_code("17.0")), int(store_code("1.5"))]
    assert codes[6:] == [0] * 6
