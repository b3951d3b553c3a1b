"""What messaging tools tell: each tool by its own fields, consent by unsubscribes and spam, programs kept out."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from features.formats import FORMATS, Meaning, UnreadableError

AT = datetime(2025, 2, 3, 10, tzinfo=UTC)
SECONDS = 1_738_576_800
TEXT = "2025-02-03T10:00:00.000Z"
MAIL = {
    "timestamp": "2025-02-03T09:00:00Z",
    "messageId": "x1",
    "destination": ["Ada <ada@example.org>"],
    "tags": {"campaign": ["c1"]},
}


def read(record: dict[str, Any]) -> Meaning:
    (inner,) = FORMATS["messages"].records(record)
    return FORMATS["messages"].read(inner)


def sendgrid(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "email": "ada@example.org", "timestamp": SECONDS, "sg_event_id": "s1", **more}


def mailgun(event: str, **more: Any) -> dict[str, Any]:
    data = {"event": event, "recipient": "ada@example.org", "timestamp": SECONDS + 0.5, "id": "g1", "tags": [], **more}
    return {"signature": {}, "event-data": data}


def postmark(word: str, **more: Any) -> dict[str, Any]:
    return {"RecordType": word, "MessageID": "p1", "Recipient": "ada@example.org", "Tag": "hello", **more}


def ses(word: str, **more: Any) -> dict[str, Any]:
    return {"eventType": word, "mail": MAIL, **more}


def braze(word: str, **more: Any) -> dict[str, Any]:
    return {
        "event_type": f"users.{word}",
        "id": "b1",
        "time": SECONDS,
        "external_user_id": "u1",
        "canvas_id": "v1",
        **more,
    }


def iterable(word: str, **more: Any) -> dict[str, Any]:
    data = {"createdAt": "2025-02-03 10:00:00 +00:00", "campaignId": 12, "messageId": "i1", **more}
    return {"eventName": word, "email": "ada@example.org", "dataFields": data}


def customer_io(channel: str, metric: str, **more: Any) -> dict[str, Any]:
    data = {"identifiers": {"id": "u1", "email": "ada@example.org"}, "campaign_id": 3, **more}
    return {"metric": metric, "object_type": channel, "timestamp": SECONDS, "event_id": "e1", "data": data}


@pytest.mark.parametrize(
    ("record", "kind", "channel", "campaign"),
    [
        (sendgrid("processed", singlesend_id="n1"), "send", "email", "n1"),
        (sendgrid("group_unsubscribe", category=["news", "x"]), "unsubscribe", "email", "news"),
        (mailgun("opened", **{"client-info": {"bot": ""}}), "open", "email", None),
        (mailgun("complained", campaigns=[{"id": "n2", "name": "N"}]), "unsubscribe", "email", "n2"),
        (postmark("Delivery", DeliveredAt=TEXT), "deliver", "email", "hello"),
        (postmark("SubscriptionChange", ChangedAt=TEXT, SuppressSending=True), "unsubscribe", "email", "hello"),
        (postmark("SubscriptionChange", ChangedAt=TEXT, SuppressSending=False), "subscribe", "email", "hello"),
        (ses("Click", click={"timestamp": TEXT, "link": "https://example.org"}), "click", "email", "c1"),
        (ses("Complaint", complaint={"timestamp": TEXT, "complainedRecipients": [{"emailAddress": "ada@example.org"}]}),
         "unsubscribe", "email", "c1"),
        (ses("Subscription", subscription={"timestamp": TEXT, "newTopicPreferences": {"unsubscribeAll": True}}),
         "unsubscribe", "email", "c1"),
        (braze("messages.email.Send", email_address="ada@example.org"), "send", "email", "v1"),
        (braze("messages.inappmessage.Impression", platform="web"), "impression", "web", "v1"),
        (braze("messages.whatsapp.Read"), "open", "chat", "v1"),
        (braze("messages.sms.InboundReceive", action="Opted-Out"), "unsubscribe", "sms", "v1"),
        (braze("behaviors.subscription.GlobalStateChange", subscription_status="Opted-In"), "subscribe", "email", "v1"),
        (iterable("emailSend"), "send", "email", "12"),
        (iterable("emailUnSubscribe"), "unsubscribe", "email", "12"),
        (iterable("webPushClick"), "click", "push", "12"),
        (customer_io("email", "spammed"), "unsubscribe", "email", "3"),
        (customer_io("sms", "delivered", recipient="+15550100"), "deliver", "sms", "3"),
        (customer_io("customer", "subscribed"), "subscribe", "email", "3"),
    ],
)  # fmt: skip
def test_each_tools_words_are_ours(record: dict[str, Any], kind: str, channel: str, campaign: str | None) -> None:
    (event,) = read(record).events
    assert (event["kind"], event["channel"], event.get("campaign_id")) == (kind, channel, campaign)
    assert event.get("customer_id") == "u1" or event["identifiers"]["email"] == "ada@example.org"
    assert event["occurred_at"].replace(microsecond=0) == AT


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (sendgrid("bounce"), "bounce"),
        (sendgrid("open", sg_machine_open=True), "machine_open"),
        (mailgun("failed"), "failed"),
        (mailgun("clicked", **{"client-info": {"bot": "generic"}}), "bot_click"),
        (postmark("Bounce", BouncedAt=TEXT), "Bounce"),
        (postmark("SubscriptionChange", ChangedAt=TEXT, SuppressSending=True, SuppressionReason="HardBounce"), "HardBounce"),
        (ses("DeliveryDelay"), "DeliveryDelay"),
        (ses("Complaint", complaint={"timestamp": TEXT, "complaintFeedbackType": "not-spam"}), "Complaint"),
        (braze("messages.email.Bounce"), "users.messages.email.Bounce"),
        (braze("messages.email.Open", machine_open="true"), "machine_open"),
        (braze("messages.sms.ShortLinkClick", is_suspected_bot_click=True), "bot_click"),
        (braze("messages.sms.InboundReceive", action="None"), "users.messages.sms.InboundReceive"),
        (iterable("emailSendSkip"), "emailSendSkip"),
        (iterable("emailOpen", proxySource="Apple"), "machine_open"),
        (customer_io("email", "bounced"), "bounced"),
        (customer_io("webhook", "sent"), "sent"),
        (customer_io("email", "opened", prefetched=True), "machine_open"),
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_counted_by_the_tools_word(record: dict[str, Any], word: str) -> None:
    assert read(record).skipped == word


def test_a_proxy_that_loads_when_somebody_reads_is_a_reader() -> None:
    assert read(iterable("emailOpen", proxySource="Gmail")).events[0]["kind"] == "open"


def test_braze_over_http_nests_what_its_files_hold_side_by_side() -> None:
    nested = {
        "event_type": "users.messages.sms.Delivery",
        "id": "b2",
        "time": SECONDS,
        "user": {"user_id": "internal", "external_user_id": "u2"},
        "properties": {"campaign_id": "c9", "to_phone_number": "+15550100"},
    }
    (event,) = read({"events": [nested]}).events
    assert (event["customer_id"], event["identifiers"], event["campaign_id"]) == ("u2", {"phone": "+15550100"}, "c9")


def test_whom_braze_knows_by_nothing_else_is_known_by_their_device() -> None:
    assert read(braze("messages.pushnotification.Send", external_user_id=None, device_id="d1")).events[0][
        "identifiers"
    ] == {"device": "d1"}


def test_older_events_of_customer_io_say_channel_and_metric_in_one_word() -> None:
    (event,) = read(
        {"event_type": "email_clicked", "event_id": "e2", "timestamp": SECONDS, "data": {"customer_id": "u1"}}
    ).events
    assert (event["kind"], event["customer_id"]) == ("click", "u1")


def test_ses_comes_in_the_envelopes_of_its_ways() -> None:
    inner = ses("Send", send={})
    sns = {"Type": "Notification", "MessageId": "n", "TopicArn": "arn", "Message": json.dumps(inner)}
    bridge = {"detail-type": "Email Sent", "source": "aws.ses", "detail": inner}
    events = [read(record).events[0] for record in (inner, sns, bridge, {"Records": [{"Sns": sns}]})]
    assert {event["event_id"] for event in events} == {events[0]["event_id"]}
    assert events[0]["occurred_at"] == datetime(2025, 2, 3, 9, tzinfo=UTC)


def test_one_message_to_two_people_is_two_sends_and_nobody_knows_who_opened_it() -> None:
    mail = {**MAIL, "destination": ["ada@example.org", "bo@example.org"]}
    first, second = read({"eventType": "Send", "mail": mail}).events
    assert (first["identifiers"], second["identifiers"]) == ({"email": "ada@example.org"}, {"email": "bo@example.org"})
    assert first["event_id"] != second["event_id"]
    with pytest.raises(UnreadableError, match="2 people"):
        read({"eventType": "Open", "mail": mail, "open": {"timestamp": TEXT}})


def test_a_subscription_is_confirmed_by_somebody() -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    asked = {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:eu-west-1:1:mail", "SubscribeURL": url}
    meaning = read(asked)
    assert meaning.events == ()
    assert meaning.skipped == "SubscriptionConfirmation"
    assert url in str(meaning.notice)
    assert "evil" not in str(read({**asked, "SubscribeURL": "https://evil.example/?x=amazonaws.com"}).notice)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"hello": "world"}, "event"),
        (sendgrid("open", timestamp="noon"), "timestamp"),
        (mailgun("opened", timestamp=None), "timestamp"),
        (postmark("Open"), "ChangedAt"),
        (iterable("emailOpen", createdAt="2025-02-03 10:00:00"), "createdAt"),
    ],
)
def test_what_cannot_be_read_is_named(record: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(record)
    assert caught.value.problem.field == field
