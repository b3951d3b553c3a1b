"""Webhooks of other tools: their words at `POST /v1/events?format=…`, answered so that nobody sends the same for ever."""

import subprocess
import sys
from typing import Any

import pytest

from features.formats import FORMATS
from serving.runtime import Runtime
from serving.webhooks.reading import read_webhook

AT = "2024-03-01T11:00:00Z"
SECONDS = 1_709_290_800


def call(kind: str, number: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": f"m{number}", "timestamp": AT, "userId": "ada", "anonymousId": "a1", **more}


def track(number: int, event: str, **properties: Any) -> dict[str, Any]:
    return call("track", number, event=event, properties=properties)


def open_of(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "open", "email": "ada@example.org", "timestamp": SECONDS, "sg_event_id": f"s{number}", **more}


def test_good_records_are_kept_others_counted_and_bad_ones_named(client: Any, runtime: Runtime) -> None:
    body = [
        track(
            1,
            "Order Completed",
            order_id="o1",
            products=[{"product_id": "tea", "price": 2}, {"product_id": "milk", "price": 1}],
        ),
        track(2, "Lamp Rubbed"),
        call("page", 3, timestamp="yesterday"),
        call("page", 4),
        7,
        track(5, "Product Viewed", price=3),
    ]
    response = client.post("/v1/events?format=segment", body)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["accepted"], answer["duplicates"], answer["skipped_by_word"]) == (3, 0, {"Lamp Rubbed": 1})
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (2, "timestamp"),
        (4, "record"),
        (5, "product_id"),
    ]
    assert runtime.log.purchases("ada")["product_id"].to_pylist()[-2:] == ["tea", "milk"]


def test_one_object_is_as_good_as_a_list_and_counts_once(client: Any) -> None:
    twice = client.run(*[("POST", "/v1/events?format=messages", open_of(1))] * 2)
    assert [(answer.json()["accepted"], answer.json()["duplicates"]) for answer in twice] == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("body", "skipped", "n_rejected"),
    [([], {}, 0), ([open_of(1, sg_machine_open=True)], {"machine_open": 1}, 0), ([{"who": "knows"}], {}, 1)],
)
def test_what_cannot_be_used_need_not_be_sent_again(
    client: Any, body: Any, skipped: dict[str, int], n_rejected: int
) -> None:
    response = client.post("/v1/events?format=messages", body)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["accepted"], answer["skipped_by_word"], len(answer["rejected"])) == (0, skipped, n_rejected)
    assert answer["last_seq"] > 0


def test_an_unsubscribe_by_webhook_is_consent_taken_back(client: Any) -> None:
    spam = {"event": "spamreport", "email": "ada@example.org", "timestamp": SECONDS, "sg_event_id": "s9"}
    _, profile = client.run(
        ("POST", "/v1/events?format=messages", spam), ("GET", "/v1/customers/email:ada@example.org", None)
    )
    assert profile.json()["consents"]["email"] is False


def test_a_subscription_is_told_and_not_fetched(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    asked = {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:eu-west-1:1:mail", "SubscribeURL": url}
    answer = client.post("/v1/events?format=messages", asked).json()
    assert answer["skipped_by_word"] == {"SubscriptionConfirmation": 1}
    assert url in answer["notices"][0]
    assert url in caplog.text


def test_a_cloudevent_may_lie_in_the_headers() -> None:
    headers = {
        "ce-id": "1",
        "ce-source": "/shop",
        "ce-type": "shop.view",
        "ce-time": AT,
        "ce-subject": "ada",
        "ce-specversion": "1.0",
    }
    webhook = read_webhook(b'{"product_id": "tea"}', FORMATS["cloudevents"], headers)
    assert webhook.events[0]["event_id"] == "/shop:1"
    assert (webhook.events[0]["customer_id"], webhook.events[0]["product_id"]) == ("ada", "tea")


def test_the_service_alone_says_what_was_decided(client: Any) -> None:
    record = {
        "specversion": "1.0",
        "id": "1",
        "source": "/x",
        "type": "x.decision",
        "time": AT,
        "subject": "ada",
        "data": {},
    }
    answer = client.post("/v1/events?format=cloudevents", {**record, "data": {"decision_id": "d1"}}).json()
    assert (answer["accepted"], answer["rejected"][0]["field"]) == (0, "kind")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/events?format=carrier-pigeon", [], 422),
        ("/v1/events?format=", [], 422),
        ("/v1/events?format=ga4", b"{", 400),
        ("/v1/events?format=segment", [call("page", 1)] * 10_001, 413),
    ],
)
def test_a_body_that_is_none_is_refused(client: Any, path: str, body: Any, status: int) -> None:
    assert client.post(path, body).status_code == status


def test_a_worker_reads_webhooks_without_the_libraries_of_files() -> None:
    code = (
        "import sys, serving.webhooks.reading as _;"
        "sys.exit(bool({'pandas', 'pyarrow.dataset', 'duckdb', 'fastavro', 'lightgbm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
