"""Calls of the Segment spec: visits, joined identities, unrolled products, and unknown names counted."""

from datetime import UTC, datetime
from typing import Any

import pytest

from features.formats import FORMATS, Meaning, UnreadableError

AT = "2025-02-03T10:00:00Z"


def read(**call: Any) -> Meaning:
    given = {"messageId": "m1", "timestamp": AT, "anonymousId": "a1", **call}
    (record,) = FORMATS["segment"].records(given)
    return FORMATS["segment"].read(record)


def track(event: str, **properties: Any) -> Meaning:
    return read(type="track", event=event, properties=properties)


@pytest.mark.parametrize(
    ("call", "channel"),
    [({"type": "page"}, "web"), ({"type": "screen"}, "app"), ({"type": "page", "channel": "mobile"}, "app")],
)
def test_pages_and_screens_are_visits(call: dict[str, Any], channel: str) -> None:
    (event,) = read(**call).events
    assert (event["kind"], event["channel"], event["identifiers"]) == ("visit", channel, {"cookie": "a1"})
    assert event["occurred_at"] == datetime(2025, 2, 3, 10, tzinfo=UTC)


def test_identify_joins_what_it_names() -> None:
    (event,) = read(
        type="identify", userId=7, traits={"email": "ada@example.org"}, context={"traits": {"phone": "+1"}}
    ).events
    assert event["kind"] == "identify"
    assert event["customer_id"] == "7"
    assert event["identifiers"] == {"cookie": "a1", "email": "ada@example.org", "phone": "+1"}


def test_an_alias_joins_the_former_id() -> None:
    (event,) = read(type="alias", anonymousId=None, previousId="a0", userId="u1").events
    assert (event["customer_id"], event["identifiers"]) == ("u1", {"cookie": "a0"})


def test_lines_add_up_to_what_the_order_says_of_its_goods() -> None:
    products = [
        {"product_id": "x", "price": 10, "quantity": 3},
        {"sku": "y", "price": "5.00"},
        {"sku": "x", "price": 10},
    ]
    events = track("Order Completed", order_id="o1", revenue=40, discount=5, currency="EUR", products=products).events
    assert [(event["event_id"], event["product_id"], event["quantity"]) for event in events] == [
        ("m1:1", "x", 3.0),
        ("m1:2", "y", 1.0),
        ("m1:3", "x", 1.0),
    ]
    assert [event["value"] for event in events] == pytest.approx([26.67, 4.44, 8.89])
    assert {event["session_id"] for event in events} == {"o1"}
    assert events[0]["properties"] == {"order_id": "o1"}


def test_prices_that_are_after_the_discount_are_not_discounted_again() -> None:
    products = [{"product_id": "x", "price": 36}, {"product_id": "y", "price": 9}]
    events = track("order_completed", revenue=45, discount=5, products=products).events
    assert [event["value"] for event in events] == [36.0, 9.0]


def test_an_order_without_products_is_worth_its_goods() -> None:
    (event,) = track("Order Refunded", order_id="o1", total=12.5).events
    assert (event["kind"], event["value"]) == ("return", 12.5)
    assert "product_id" not in event


@pytest.mark.parametrize(
    ("name", "kind", "channel"),
    [
        ("PRODUCT VIEWED", "view", "web"),
        ("productAdded", "add_to_cart", "web"),
        ("Products Searched", "search", "web"),
        ("Email Marked as Spam", "unsubscribe", "email"),
        ("Application Opened", "visit", "app"),
    ],
)
def test_names_count_in_any_writing(name: str, kind: str, channel: str) -> None:
    (event,) = track(name, product_id="x").events
    assert (event["kind"], event["channel"]) == (kind, channel)


def test_a_review_is_feedback_with_its_rating() -> None:
    (event,) = track("Product Reviewed", product_id="x", rating="4").events
    assert event["properties"] == {"rating": 4.0}


def test_what_has_no_meaning_is_counted_by_its_bare_name() -> None:
    assert track("Lamp Rubbed").skipped == "Lamp Rubbed"
    assert read(type="group").skipped == "group"
    assert read(type="identify", anonymousId=None, userId="u1").skipped == "identify"


@pytest.mark.parametrize(
    ("times", "hour"),
    [
        ({"timestamp": None, "originalTimestamp": "2025-02-03T11:00:00Z"}, 11),
        ({"timestamp": None, "receivedAt": "2025-02-03T14:00:00+02:00"}, 12),
    ],
)
def test_the_first_time_that_is_said_counts(times: dict[str, Any], hour: int) -> None:
    (event,) = read(type="page", **times).events
    assert event["occurred_at"].hour == hour


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({"type": None}, "type"),
        ({"type": "track"}, "event"),
        ({"type": "page", "timestamp": "yesterday"}, "timestamp"),
        ({"type": "page", "anonymousId": {"a": 1}}, "anonymousId"),
        ({"type": "track", "event": "Product Viewed", "properties": {"price": "dear"}}, "price"),
    ],
)
def test_what_cannot_be_read_is_named(call: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(**call)
    assert caught.value.problem.field == field


def test_a_batch_is_its_calls() -> None:
    batch = {"batch": [{"type": "page"}, {"type": "screen"}], "sentAt": AT}
    calls = list(FORMATS["segment"].records(batch))
    assert [call["type"] for call in calls] == ["page", "screen"]
    assert calls[0]["sentAt"] == AT


def test_ids_of_the_older_spec_are_those_of_todays() -> None:
    (event,) = track("Completed Order", orderId="o9", cartId="c", products=[{"productId": "p", "price": 2}]).events
    assert (event["event_id"], event["session_id"], event["product_id"]) == ("m1:1", "o9", "p")
    assert event["properties"] == {"order_id": "o9"}


@pytest.mark.parametrize(
    "products", ['[{"sku": "a", "price": 5, "quantity": 2}]', {"sku": "a", "price": 5, "quantity": 2}]
)
def test_products_in_another_wrapping_are_products(products: Any) -> None:
    (event,) = track("Order Completed", order_id="o", products=products).events
    assert (event["product_id"], event["quantity"], event["value"]) == ("a", 2.0, 10.0)


@pytest.mark.parametrize("products", ["a, b", 3, ["a"], [{"sku": "a"}, None]])
def test_products_that_are_none_reject_the_order(products: Any) -> None:
    with pytest.raises(UnreadableError, match="no list of objects"):
        track("Order Completed", order_id="o", revenue=5, products=products)


def test_a_product_without_an_id_is_its_name() -> None:
    (event,) = track("Product Added", name="Mug", price=3).events
    assert event["product_id"] == "Mug"


@pytest.mark.parametrize(("user", "session"), [("u1", "u1:5"), (None, None)])
def test_a_visit_without_a_cookie_is_not_that_of_everybody(user: str | None, session: str | None) -> None:
    call = {"anonymousId": None, "userId": user, "context": {"sessionId": 5, "traits": {"email": "a@example.org"}}}
    (event,) = read(type="page", **call).events
    assert event.get("session_id") == session
