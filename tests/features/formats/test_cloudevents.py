"""CloudEvents: what the data leaves out is in the envelope."""

import base64
from typing import Any

import pytest

from features.formats import FORMATS, Meaning, UnreadableError


def read(**record: Any) -> Meaning:
    given = {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "shop.view",
        "time": "2025-02-03T10:00:00Z",
        **record,
    }
    return FORMATS["cloudevents"].read(given)


def test_the_envelope_says_what_the_data_leaves_out() -> None:
    (event,) = read(subject="u1", data={"product_id": "a", "colour": "red"}).events
    assert event == {
        "event_id": "/shop:1",
        "occurred_at": "2025-02-03T10:00:00Z",
        "kind": "view",
        "channel": "web",
        "customer_id": "u1",
        "product_id": "a",
        "properties": {"colour": "red"},
    }


def test_two_sources_may_use_the_same_ids() -> None:
    first, second = (read(source=source, id=one).events[0]["event_id"] for source, one in (("a:b", "c"), ("a", "b:c")))
    assert first != second


def test_the_data_counts_before_the_envelope() -> None:
    data = {
        "event_id": "x",
        "kind": "purchase",
        "channel": "app",
        "identifiers": {"email": "ada@example.org"},
        "value": 3,
    }
    (event,) = read(subject="u1", data_base64=base64.b64encode(str(data).replace("'", '"').encode()).decode()).events
    assert (event["event_id"], event["kind"], event["channel"], event["value"]) == ("x", "purchase", "app", 3)
    assert "customer_id" not in event


@pytest.mark.parametrize(("name", "kind"), [("com.example.order.placed", "purchase"), ("x.add-to-cart", "add_to_cart")])
def test_the_last_words_of_a_type_say_the_kind(name: str, kind: str) -> None:
    assert read(type=name).events[0]["kind"] == kind


def test_other_types_are_counted_by_name() -> None:
    assert read(type="com.example.stock.counted").skipped == "com.example.stock.counted"


@pytest.mark.parametrize(
    ("record", "field"), [({"id": ""}, "id"), ({"data": [1]}, "data"), ({"data_base64": "%"}, "data_base64")]
)
def test_what_cannot_be_read_is_named(record: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(**record)
    assert caught.value.problem.field == field
