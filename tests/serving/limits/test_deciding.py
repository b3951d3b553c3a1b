"""Decisions over HTTP hold their contact: caps, one answer for the same question, requests that are sent again, looks."""

from typing import Any

import pytest

from features.log.reservations import Held
from features.log.sqlite import SqliteEventLog
from features.vocabulary import Channel
from serving.decision.rules import Cap, Rules, Volume
from serving.runtime import Runtime

NOW = "2024-03-01T12:03:00Z"
NOW_US = 1_709_294_580_000_000
ADA = {"customer_id": "ada"}
SURE = Rules(exploration=0.0, temperature=0.001)


def event(event_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": NOW, "kind": kind, "channel": "web", **ADA, **fields}


def decide(**fields: Any) -> tuple[str, str, dict[str, Any]]:
    return ("POST", "/v1/decide", {**ADA, "channels": ["email"], **fields})


def post(*events: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
    return ("POST", "/v1/events", list(events))


def held(log: SqliteEventLog, name: str = "ada") -> Held:
    return log.ledger().held(name, NOW_US)


@pytest.fixture
def ask(client: Any, runtime: Runtime) -> Any:
    """Answers to requests under rules."""

    def asked(rules: Rules, *calls: Any) -> list[dict[str, Any]]:
        runtime.rules = rules  # type: ignore[misc]
        return [answer.json() for answer in client.run(*calls)]

    return asked


def test_a_decision_holds_its_contact_until_its_send(ask: Any, log: SqliteEventLog) -> None:
    rules = SURE.model_copy(update={"channel_caps": {Channel.EMAIL: Cap(max=1, days=7)}})
    first, second = ask(rules, decide(), decide(exclude=["tea"]))
    assert (first["action"], second["action"]) == ("send", "nothing")
    (arm,) = (arm for arm in second["arms"] if arm["arm"] == "email_news")
    assert arm["reasons"] == ["1 contacts on email in 7 days is the cap, with what is decided"]
    assert second["taken"] == [
        {key: first[key] for key in ("decision_id", "channel")}
        | {"product_id": first["product"]["product_id"], "send_at": first["send_at"]}
    ]
    ask(rules, post(event("s1", "send", channel="email", decision_id=first["decision_id"])))
    assert held(log).reservations == ()
    (third,) = ask(rules, decide(exclude=["milk"]))
    assert third["action"] == "nothing"  # it is a contact now


def test_what_is_given_back_is_free_again(ask: Any, log: SqliteEventLog) -> None:
    rules = SURE.model_copy(update={"channel_caps": {Channel.EMAIL: Cap(max=1, days=7)}})
    (first,) = ask(rules, decide())
    ask(rules, post(event("i1", "ignore", channel="email", decision_id=first["decision_id"])))
    assert held(log).reservations == ()
    (again,) = ask(rules, decide())
    assert (again["action"], again["decision_id"] == first["decision_id"]) == ("send", False)


def test_a_decision_stands_until_something_matters(ask: Any) -> None:
    seen = [event("v1", "view", product_id="bread"), event("v2", "search"), event("v3", "visit")]
    first, _, again, _, bought, _, inside = ask(
        SURE,
        decide(),
        post(*seen),
        decide(asked_by="app"),
        post(event("b1", "purchase", product_id="bread", value=2.5)),
        decide(),
        post(event("v4", "visit", channel="store")),
        decide(),
    )
    assert again == first
    assert len({answer["decision_id"] for answer in (first, bought, inside)}) == 3


def test_the_second_channel_gets_the_next_best(ask: Any) -> None:
    first, second = ask(SURE, decide(), decide(channels=["post"]))
    assert [answer["product"]["product_id"] for answer in (first, second)] == ["tea", "bread"]
    assert [taken["decision_id"] for taken in second["taken"]] == [first["decision_id"]]
    assert "not Green tea: already decided on email, and not sent yet" in second["reasons"]


def test_a_request_that_is_sent_again_is_answered_the_same(client: Any, runtime: Runtime) -> None:
    wanted = decide(request_id="r-1")
    first, _, again, other, clash = client.run(
        wanted,
        post(event("b1", "purchase", product_id="bread", value=2.5)),
        wanted,
        decide(request_id="r-1", exclude=["tea"]),
        decide(request_id="r" * 300),
    )
    assert again.json() == first.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "request_id_used")
    assert clash.status_code == 422


def test_a_look_keeps_nothing_and_draws_nothing(ask: Any, log: SqliteEventLog) -> None:
    rules = Rules(exploration=1.0)
    before = log.count()
    (look,) = ask(rules, ("POST", "/v1/decide", {**ADA, "dry_run": True}))
    assert (look["pscore"], look["arm"]) == (1.0, max(look["arms"], key=lambda arm: arm["value"])["arm"])
    assert (log.count(), held(log)) == (before, Held())


def test_a_campaign_has_a_cap_of_its_own(ask: Any) -> None:
    caps = {"campaign_caps": {"spring": Cap(max=1, days=7)}, "campaign_rest_days": 0.0, "product_rest_days": 0.0}
    rules = SURE.model_copy(update=caps)
    first, second, other = ask(
        rules,
        decide(campaign_id="spring"),
        decide(campaign_id="spring", exclude=["bread"]),
        decide(campaign_id="autumn"),
    )
    assert [answer["action"] for answer in (first, second, other)] == ["send", "nothing", "send"]
    assert "1 contacts for campaign spring in 7 days is the cap" in second["reasons"][-2]


def test_a_volume_is_of_everybody(ask: Any, client: Any) -> None:
    rules = SURE.model_copy(update={"volume": {Channel.POST: Volume(per_day=1)}})
    bob = {"channels": ["post"], "customer_id": "bob", "when": "now"}
    bought = event("p1", "purchase", product_id="tea", value=4.0) | {"customer_id": "bob"}
    _, first, second = ask(rules, post(bought), decide(channels=["post"], when="now"), ("POST", "/v1/decide", bob))
    assert (first["action"], second["action"]) == ("send", "nothing")
    assert "the volume of 1 contacts a day on post is used up for 2024-03-01" in " ".join(second["reasons"])


def test_an_answer_that_never_came_is_no_contact_after_its_time(ask: Any, log: SqliteEventLog) -> None:
    (first,) = ask(SURE, decide())
    (reserved,) = held(log).reservations
    minutes = (reserved.expires_us - reserved.send_at_us) / 60e6
    assert (reserved.decision_id, minutes) == (first["decision_id"], 60.0)
    assert log.ledger().held("ada", reserved.expires_us).reservations == ()
