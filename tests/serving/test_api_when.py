"""`/v1/decide` over HTTP: now or later, within the offer's time, and looked at without a trace."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from features.log.sqlite import SqliteEventLog

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
"""Where the service's clock stands."""


def decisions(log: SqliteEventLog) -> int:
    return sum(row["kind"] == "decision" for row in log.customer_events("ada").to_pylist())


def test_a_check_in_is_answered_there_and_then(client: Any) -> None:
    visit = {"event_id": "v1", "kind": "visit", "channel": "store", "customer_id": "ada"}
    questions = [{"customer_id": "ada", "exclude": [f"p{i}"]} for i in range(12)]
    posted, *answers = client.run(
        ("POST", "/v1/events", visit), *(("POST", "/v1/decide", question) for question in questions)
    )
    assert posted.json()["accepted"] == 1
    sent = [answer.json() for answer in answers if answer.json()["action"] == "send"]
    assert sent
    for answer in sent:
        assert answer["when"] == "now"
        assert datetime.fromisoformat(answer["send_at"]) == NOW


def test_what_is_only_looked_at_leaves_no_trace(client: Any, log: SqliteEventLog) -> None:
    looked, metrics = client.run(
        ("POST", "/v1/decide", {"customer_id": "ada", "log": False}), ("GET", "/metrics", None)
    )
    assert looked.status_code == 200
    assert decisions(log) == 0
    assert "omni_decisions_total{" not in metrics.text
    asked = client.post("/v1/decide", {"customer_id": "ada"})
    assert asked.json()["decision_id"] == looked.json()["decision_id"]
    assert decisions(log) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"when": "tomorrow"},
        {"not_before": "2024-03-01T10:00:00"},
        {"not_after": "soon"},
        {"not_before": "2024-03-02T10:00:00Z", "not_after": "2024-03-01T10:00:00Z"},
        {"not_after": "0001-01-01T00:00:00+14:00"},
        {"not_after": "9999-12-31T23:59:59-12:00"},
        {"not_before": 1e300},
        {"log": "perhaps"},
    ],
)
def test_times_that_cannot_be_are_422(client: Any, fields: dict[str, Any]) -> None:
    answer = client.post("/v1/decide", {"customer_id": "ada", **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("days", [-4000, -1, 0, 1, 31, 32, 300_000])
def test_an_offer_of_any_time_is_answered(client: Any, days: int) -> None:
    begins = NOW + timedelta(days=days)
    window = {"not_before": begins.isoformat(), "not_after": (begins + timedelta(hours=1)).isoformat()}
    answer = client.post("/v1/decide", {"customer_id": "ada", **window})
    assert answer.status_code == 200
    sent = answer.json()["send_at"]
    if sent is not None:
        assert max(begins, NOW) <= datetime.fromisoformat(sent) < begins + timedelta(hours=1)
    if days < 0 or days > 31:
        assert (sent, answer.json()["action"]) == (None, "nothing")
