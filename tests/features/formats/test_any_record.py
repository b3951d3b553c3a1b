"""Whatever is sent: a record means something, or the field that is wrong is named; nothing else is raised."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.formats import FORMATS, Meaning, UnreadableError
from features.formats.segment import WORDS

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2025-01-01T00:00Z", "1"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
HEADS: dict[str, list[dict[str, Any]]] = {
    "segment": [{"type": kind, "event": "Order Completed"} for kind in ("track", "page", "identify", "alias")],
    "ga4": [{"event_name": "purchase", "event_timestamp": 1}, {"event_name": "session_start"}],
    "messages": [
        {"event": "open", "email": "a"},
        {"event": "opened", "recipient": "a"},
        {"RecordType": "SubscriptionChange"},
        {"eventType": "Complaint", "mail": {}},
        {"eventType": "Subscription", "mail": {}},
        {"event_type": "users.messages.sms.InboundReceive", "time": 1},
        {"eventName": "emailOpen"},
        {"metric": "opened", "object_type": "email"},
        {"Type": "Notification", "Message": "[1]"},
        {"Type": "SubscriptionConfirmation"},
    ],
    "cloudevents": [{"id": "a", "source": "b", "type": "c.view"}],
}
KEYS = [
    *("messageId", "timestamp", "userId", "anonymousId", "properties", "context", "traits", "channel", "previousId", "batch"),
    *("event_params", "items", "ecommerce", "user_pseudo_id", "user_id", "platform", "event_bundle_sequence_id", "events"),
    *("campaigns", "tags", "category", "client-info", "mail", "open", "complaint", "subscription", "delivery", "Metadata"),
    *("SuppressSending", "action", "properties", "user", "dataFields", "data", "machine_open", "time", "subject"),
    *("event-data", "detail-type", "detail", "Records", "createdAt", "SubscribeURL", "TopicArn", "data_base64"),
]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_record_means_something_or_says_what_is_wrong(name: str, data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(HEADS[name]))
    record = {**data.draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)), **head}
    for part in FORMATS[name].records(record):
        if not isinstance(part, dict):
            continue
        try:
            meaning = FORMATS[name].read(part)
        except UnreadableError as error:
            assert error.problem.field
            assert error.problem.reason.endswith(".")
        else:
            assert isinstance(meaning, Meaning)
            assert all(event["event_id"] for event in meaning.events)


def test_words_are_written_as_they_are_looked_up() -> None:
    assert all(word == word.lower() for word in WORDS)
