"""Rows of GA4's export: microseconds, parameters by key, an event an item, a cookie that is text."""

from datetime import UTC, datetime
from typing import Any

import pytest

from features.formats import FORMATS, Meaning, UnreadableError

AT = "1738576800000001"
SESSION = {"key": "ga_session_id", "value": {"int_value": "17"}}
EURO = {"key": "currency", "value": {"string_value": "EUR"}}


def read(name: str, **row: Any) -> Meaning:
    given = {
        "event_name": name,
        "event_timestamp": AT,
        "user_pseudo_id": "12.50",
        "event_params": [SESSION, EURO],
        **row,
    }
    return FORMATS["ga4"].read(given)


def test_a_session_is_named_with_its_cookie() -> None:
    (event,) = read("session_start", platform="IOS", user_id="u1").events
    assert (event["kind"], event["channel"], event["session_id"]) == ("visit", "app", "12.50:17")
    assert (event["customer_id"], event["identifiers"]) == ("u1", {"cookie": "12.50"})
    assert event["occurred_at"] == datetime(2025, 2, 3, 10, 0, 0, 1, tzinfo=UTC)


def test_each_item_is_an_event_in_local_money() -> None:
    items = [
        {
            "item_id": "070",
            "price": 4.0,
            "price_in_usd": 4.4,
            "quantity": "2",
            "item_revenue": 7.0,
            "item_revenue_in_usd": 7.7,
        },
        {"item_id": "(not set)", "item_name": "Lamp", "price": 20.0},
    ]
    events = read("purchase", items=items, ecommerce={"transaction_id": "t1", "purchase_revenue": 27.0}).events
    assert [(event["product_id"], event["quantity"], event["value"], event["currency"]) for event in events] == [
        ("070", 2.0, 7.0, "EUR"),
        ("Lamp", 1.0, 20.0, "EUR"),
    ]
    assert events[0]["properties"] == {"order_id": "t1"}
    assert len({event["event_id"] for event in events}) == 2


def test_lists_as_parquet_nests_them_are_the_same() -> None:
    items = {"list": [{"element": {"item_id": "a", "price": 1.0}}]}
    params = {"list": [{"element": {"key": "currency", "value": {"string_value": "EUR", "int_value": None}}}]}
    (event,) = read("view_item", items=items, event_params=params).events
    assert (event["product_id"], event["currency"]) == ("a", "EUR")


def test_a_refund_without_items_is_money_back() -> None:
    (event,) = read("refund", ecommerce={"transaction_id": "t1", "refund_value": 9.5}).events
    assert (event["kind"], event["value"]) == ("return", 9.5)


@pytest.mark.parametrize("name", ["page_view", "view_item_list", "begin_checkout", "my_own_event"])
def test_what_is_none_of_ours_is_counted_by_name(name: str) -> None:
    assert read(name).skipped == name


def test_who_agreed_to_no_cookie_is_counted_and_their_purchase_kept() -> None:
    assert read("session_start", user_pseudo_id=None).skipped == "no user_pseudo_id"
    (event,) = read("purchase", user_pseudo_id=None, ecommerce={"transaction_id": "t1", "purchase_revenue": 3}).events
    assert (event["identifiers"], event["value"]) == ({"order": "t1"}, 3.0)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"user_pseudo_id": 12.5}, "user_pseudo_id"),
        ({"event_timestamp": "today"}, "event_timestamp"),
        ({"event_timestamp": None}, "event_timestamp"),
    ],
)
def test_what_cannot_be_read_is_named(row: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read("session_start", **row)
    assert caught.value.problem.field == field


def test_a_body_of_the_measurement_protocol_is_its_events() -> None:
    body = {
        "client_id": "1.2",
        "timestamp_micros": int(AT),
        "events": [
            {"name": "page_view"},
            {
                "name": "add_to_cart",
                "params": {"session_id": 5, "currency": "EUR", "items": [{"item_id": "a", "price": 2}]},
            },
        ],
    }
    skipped, kept = (FORMATS["ga4"].read(row) for row in FORMATS["ga4"].records(body))
    assert skipped.skipped == "page_view"
    assert (kept.events[0]["session_id"], kept.events[0]["value"]) == ("1.2:5", 2.0)


def test_a_session_without_a_cookie_is_named_with_its_customer() -> None:
    session = {"key": "ga_session_id", "value": {"int_value": 5}}
    row = {
        "event_name": "session_start",
        "event_timestamp": 1740819600000000,
        "user_id": "u1",
        "event_params": [session],
    }
    (event,) = FORMATS["ga4"].read(row).events
    assert event["session_id"] == "u1:5"


def test_seconds_where_microseconds_belong_are_no_moment_of_1970() -> None:
    row = {"event_name": "session_start", "event_timestamp": 1740819600, "user_pseudo_id": "1.2"}
    with pytest.raises(UnreadableError, match="another unit"):
        FORMATS["ga4"].read(row)
