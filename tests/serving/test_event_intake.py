"""What may come in over HTTP: decisions only with the home's key, outcomes of decisions that were made, conflicts told."""

import asyncio
from typing import Any

import httpx
import pytest

from features.errors import SettingsError
from features.settings import Settings
from serving.runtime import Runtime

KEY = "a-secret-of-the-home"
AT = "2024-02-01T10:00:00Z"


def event(event_id: str, kind: str, customer: str | None = "ada", **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "occurred_at": AT,
        "kind": kind,
        "channel": "email",
        "customer_id": customer,
        **fields,
    }


def decision(event_id: str, **properties: Any) -> dict[str, Any]:
    return event(event_id, "decision", decision_id=event_id, properties={"arm": "email_news", **properties})


def post(client: Any, body: Any, key: str | None = None) -> httpx.Response:
    from serving.api import create_app

    async def ask() -> httpx.Response:
        app = create_app(client.open_runtime)
        headers = {} if key is None else {"Omni-Bookkeeping-Key": key}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
        ):
            return await http.post("/v1/events", json=body, headers=headers)

    return asyncio.run(ask())


@pytest.fixture(autouse=True)
def stays_open(runtime: Runtime) -> None:
    runtime.close = lambda: None


def test_who_may_say_what_happened_may_not_say_what_was_decided(client: Any, runtime: Runtime) -> None:
    before = runtime.log.count()
    batch = [decision("x1", pscore=7), event("ok", "visit"), decision("x2", pscore=0.5), decision("x3")]
    answer = post(client, batch).json()
    assert answer["accepted"] == 1
    assert [(row["index"], row["field"], row["event_id"]) for row in answer["rejected"]] == [
        (0, "properties", "x1"),
        (2, "kind", "x2"),
        (3, "kind", "x3"),
    ]
    assert "POST /v1/decide" in answer["rejected"][1]["reason"]
    assert runtime.log.count() == before + 1
    assert post(client, decision("x2", pscore=0.5)).status_code == 422


def test_with_the_homes_key_decisions_come_in_and_their_chances_are_still_checked(
    client: Any, runtime: Runtime
) -> None:
    runtime.bookkeeping_key = KEY
    answer = post(client, [decision("x1", pscore=7), decision("x2", pscore=0.5)], KEY).json()
    assert (answer["accepted"], [row["event_id"] for row in answer["rejected"]]) == (1, ["x1"])
    stranger = event("o", "outcome", decision_id="of-another-system")
    assert post(client, stranger, KEY).json()["accepted"] == 1


@pytest.mark.parametrize(
    ("ours", "sent"), [("", KEY), ("", ""), (KEY, "guess"), (KEY, ""), (KEY, KEY + "x"), (KEY, "ä")]
)
def test_a_key_that_is_not_the_homes_is_refused(client: Any, runtime: Runtime, ours: str, sent: str) -> None:
    runtime.bookkeeping_key = ours
    answer = post(client, event("v", "visit"), sent.encode())  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_key")
    assert sent == "" or sent not in answer.text


def test_an_outcome_is_of_a_decision_that_was_made_for_that_customer(client: Any, runtime: Runtime) -> None:
    made = client.post("/v1/decide", {"customer_id": "ada"}).json()["decision_id"]
    batch = [
        event("o1", "outcome", decision_id=made),
        event("o2", "outcome", "bob", decision_id=made),
        event("o3", "outcome", decision_id="d-invented"),
        event("o4", "outcome", None, identifiers={"email": "ada@example.org"}, decision_id=made),
        event("o5", "outcome", None, identifiers={"email": "stranger@example.org"}, decision_id=made),
        event("o6", "outcome", campaign_id="spring"),
        event("o7", "outcome", decision_id="e1"),  # an event of hers, and no decision
        event("o8", "outcome", decision_id=made, properties={"pscore": 0.5}),
        event("c1", "click", decision_id="d-invented"),
    ]
    answer = client.post("/v1/events", batch).json()
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (1, "decision_id"),
        (2, "decision_id"),
        (4, "decision_id"),
        (6, "decision_id"),
        (7, "properties"),
    ]
    assert answer["accepted"] == 4


def test_another_event_of_the_same_id_is_told(client: Any) -> None:
    first = event("t1", "visit", store_id="a")
    once, again, differs, undated, twice, else_ = client.run(
        *(
            ("POST", "/v1/events", body)
            for body in (
                first,
                first,
                [{**first, "store_id": "b", "channel": "web"}, first],
                {"event_id": "t2", "kind": "visit", "channel": "web", "customer_id": "ada"},
                [{"event_id": "t2", "kind": "visit", "channel": "web", "customer_id": "ada", "occurred_at": None}],
                {"event_id": "t2", "kind": "visit", "channel": "app", "customer_id": "ada"},
            )
        )
    )
    assert [answer.json()["conflicts"] for answer in (once, again, undated, twice)] == [0, 0, 0, 0]
    assert (differs.json()["duplicates"], differs.json()["conflicts"]) == (2, 1)
    assert differs.json()["conflicting"] == [{"event_id": "t1", "fields": ["channel", "store_id"]}]
    assert else_.json()["conflicting"] == [{"event_id": "t2", "fields": ["channel"]}]


def test_what_is_sent_twice_without_a_moment_is_the_same_event(client: Any, runtime: Runtime) -> None:
    from dataclasses import replace
    from datetime import timedelta

    visit = {"event_id": "now", "kind": "visit", "channel": "web", "customer_id": "ada"}
    assert client.post("/v1/events", visit).json()["accepted"] == 1
    runtime.clock = replace(runtime.clock, moment=runtime.clock.now() + timedelta(seconds=5))  # type: ignore[type-var,call-arg]
    answer = client.post("/v1/events", [visit, visit]).json()
    assert (answer["duplicates"], answer["conflicts"]) == (2, 0)


def test_many_conflicts_are_counted_and_the_first_ones_named(client: Any) -> None:
    visits = [event(f"m{i}", "visit") for i in range(150)]
    changed = [{**visit, "store_id": "s"} for visit in visits]
    _, answer = client.run(("POST", "/v1/events", visits), ("POST", "/v1/events", changed))
    assert (answer.json()["conflicts"], len(answer.json()["conflicting"])) == (150, 100)


@pytest.mark.parametrize("secret", ["short", "with a blank in the middle", "ümläute-and-more-of-it", "x" * 15])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"OMNI_BOOKKEEPING_KEY": secret})
    assert secret not in str(caught.value)
    assert "OMNI_BOOKKEEPING_KEY" in str(caught.value)


def test_the_settings_never_show_the_key() -> None:
    settings = Settings.from_env({"OMNI_BOOKKEEPING_KEY": KEY})
    assert settings.bookkeeping_key == KEY
    assert KEY not in repr(settings)
