"""Who can be reached on which channel: every channel's ways by hand, overridden in rules.toml, and asked for over HTTP."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from features.events.contact_points import kind_bits
from features.log.sqlite import SqliteEventLog
from features.vocabulary import CHANNEL_CODES, CHANNELS, Channel
from serving.decision.reachable import Reach, Reachable, unreachable
from serving.decision.rules import Arm, ContactFacts, Rules, check_arm, load_rules
from serving.runtime import Runtime


def channels(known: Reach, consent: bool | None = None, rules: Reachable | None = None) -> set[str]:
    """Where somebody can be reached."""
    return {c.value for c in CHANNELS if not unreachable(c, known, consent, rules or Reachable())}


def known_by(*kinds: str, **fields: Any) -> Reach:
    return Reach(identified=kind_bits(kinds), **fields)


def active_on(channel: Channel) -> Reach:
    return Reach(active=1 << CHANNEL_CODES[channel])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Reach(), {"store"}),
        (known_by("cookie"), {"store", "web", "ads"}),
        (known_by("device"), {"store", "web", "ads", "app", "push"}),
        (known_by("email"), {"store", "email", "ads", "social"}),
        (known_by("phone"), {"store", "sms", "call_center", "chat", "ads", "social"}),
        (known_by("loyalty_card"), {"store", "post"}),
        (known_by("address"), {"store", "post"}),
        (known_by("telegram"), {"store"}),
        (Reach(bought=True), {"store", "post"}),
        (active_on(Channel.WEB), {"store", "web"}),
        (active_on(Channel.APP), {"store", "app", "push"}),
        *((active_on(channel), {"store", channel.value}) for channel in CHANNELS if channel != Channel.APP),
    ],
)
def test_where_somebody_can_be_reached(known: Reach, expected: set[str]) -> None:
    assert channels(known) == expected


def test_a_yes_counts_of_somebody_with_an_id_of_the_shops_own() -> None:
    assert channels(Reach(named=True), consent=True) == {c.value for c in CHANNELS} - {"web", "app"}
    assert channels(Reach(named=True)) == {"store"}
    assert channels(Reach(named=False), consent=True) == {"store"}  # a cookie banner knows no address


def test_rules_toml_says_it_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[reachable]\npost = ["telegram"]\nstore = []\nweb = ["always"]\n')
    rules = load_rules(path).reachable
    assert channels(known_by("telegram"), rules=rules) == {"post", "web"}
    assert channels(known_by("address"), rules=rules) == {"web"}
    assert channels(known_by("phone"), rules=rules) >= {"sms", "call_center"}  # what it does not name stays
    assert unreachable(Channel.STORE, Reach(), None, rules) == ["not reachable on store: rules.toml names no way"]
    with pytest.raises(ValidationError, match="'by pigeon' is no way to reach a customer"):
        Reachable(post=("by pigeon",))


def test_the_refusal_is_a_reason_and_who_refused_is_not_looked_for() -> None:
    letter, facts = Arm("letter", Channel.POST), ContactFacts(reach=known_by("cookie"))
    assert check_arm(letter, facts, Rules(), 0.0).reasons == (
        "not reachable on post: no address or loyalty_card or purchase or consent or activity is known",
    )
    refused = replace(facts, consents={Channel.POST: False})
    assert check_arm(letter, refused, Rules(), 0.0).reasons == ("the customer refused post",)


def told(event_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An event of a visitor who is known by a cookie."""
    cookie = {"cookie": "c-77", **fields.pop("identifiers", {})}
    moment = {"event_id": event_id, "occurred_at": "2024-03-01T12:00:00Z", "kind": kind, "channel": "web"}
    return {**moment, "identifiers": cookie, **fields}


WHO = {"identifiers": {"cookie": "c-77"}}
ASKED = {**WHO, "when": "best"}


def arms(answer: Any) -> dict[str, tuple[bool, list[str]]]:
    assert answer.status_code == 200, answer.text
    return {arm["arm"]: (arm["eligible"], arm["reasons"]) for arm in answer.json()["arms"] if arm["arm"] != "nothing"}


def test_one_visit_of_a_new_cookie_allows_neither_post_nor_email(client: Any) -> None:
    _, decision, best = client.run(
        ("POST", "/v1/events", told("v1", "visit")), ("POST", "/v1/decide", ASKED), ("POST", "/v1/best-channel", WHO)
    )
    assert decision.json()["action"] == "nothing"
    assert best.json()["best"] == "nothing"
    for found in (arms(decision), arms(best)):
        assert not found["post_a"][0] and found["post_a"][1][0].startswith("not reachable on post: ")
        assert not found["email_news"][0] and found["email_news"][1][-1].startswith("not reachable on email: ")


def test_an_identify_counts_in_the_very_next_answer(client: Any) -> None:
    card = {"loyalty_card": "L-1"}
    _, before, _, after = client.run(
        ("POST", "/v1/events", told("v1", "visit")),
        ("POST", "/v1/decide", ASKED),
        ("POST", "/v1/events", told("i1", "identify", identifiers=card, occurred_at="2024-03-01T11:00:00Z")),
        ("POST", "/v1/decide", ASKED),
    )
    assert (arms(before)["post_a"][0], arms(after)["post_a"][0]) == (False, True)
    assert before.json()["decision_id"] != after.json()["decision_id"]


@pytest.mark.parametrize(
    ("event", "arm"),
    [
        (told("s1", "subscribe", channel="email", identifiers={"email": "bo@example.org"}), "email_news"),
        (told("p1", "purchase", product_id="tea", value=4.0), "post_a"),
        (told("d1", "deliver", channel="post"), "post_a"),
    ],
)
def test_what_a_customer_does_makes_them_reachable(client: Any, event: dict[str, Any], arm: str) -> None:
    _, answer = client.run(("POST", "/v1/events", event), ("POST", "/v1/decide", ASKED))
    assert arms(answer)[arm] == (True, [])


def test_a_yes_without_an_address_is_not_enough_for_a_cookie(client: Any) -> None:
    yes = told("p1", "profile", properties={"consent": {"email": True, "post": True}})
    _, answer = client.run(("POST", "/v1/events", yes), ("POST", "/v1/decide", ASKED))
    assert {arm: allowed for arm, (allowed, _) in arms(answer).items()} == {"email_news": False, "post_a": False}


def test_a_shops_own_rules_count_over_http(client: Any, runtime: Runtime, log: SqliteEventLog) -> None:
    runtime.rules = Rules(reachable=Reachable(post=("cookie",)))
    _, answer = client.run(("POST", "/v1/events", told("v1", "visit")), ("POST", "/v1/decide", ASKED))
    assert arms(answer)["post_a"] == (True, [])
