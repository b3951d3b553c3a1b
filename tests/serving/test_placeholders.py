"""Over HTTP a placeholder is no customer: as one it is refused in a sentence, as an identifier it joins and finds nobody."""

from dataclasses import replace
from typing import Any

import pytest

from features.errors import InputError
from features.events.placeholders import Placeholders
from serving.runtime import Runtime
from serving.schemas import ChurnRequest

ASKED = ("/v1/next-products", "/v1/churn", "/v1/best-channel", "/v1/decide")
AT = "2024-03-01T12:00:00Z"
WORDS = ("undefined", "NULL", "NaN", "[object Object]", "0", "-1", "Guest", "{{customer.id}}")


def visit(event_id: str, **who: Any) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": AT, "kind": "visit", "channel": "web", **who}


def test_events_of_nobody_are_refused_one_by_one_and_the_others_kept(client: Any, runtime: Runtime) -> None:
    events = [visit(f"w{place}", customer_id=word) for place, word in enumerate(WORDS)]
    events += [visit("only", identifiers={"email": "null"}), visit("ok", identifiers={"email": "null", "cookie": "ck"})]
    answer = client.post("/v1/events", {"events": events}).json()
    assert (answer["accepted"], len(answer["rejected"])) == (1, len(WORDS) + 1)
    assert answer["rejected"][0]["field"] == "customer_id"
    assert answer["rejected"][0]["reason"].startswith("is 'undefined', which names nobody: leave it out where")
    assert answer["rejected"][-1]["field"] == "identifiers"
    assert runtime.log.resolve(None, {"cookie": "ck"}) == "anon:cookie:ck"
    assert runtime.log.resolve(None, {"email": "null"}) is None


def test_a_single_event_of_nobody_is_422(client: Any) -> None:
    answer = client.post("/v1/events", visit("w", customer_id="undefined"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "events_rejected")
    assert answer.json()["error"]["details"][0]["field"] == "customer_id"


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("word", WORDS)
def test_nobody_is_asked_about(client: Any, path: str, word: str) -> None:
    answer = client.post(path, {"customer_id": word})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith(f"customer_id is {word!r}, which names nobody: leave it out")


@pytest.mark.parametrize("path", ASKED)
def test_an_identifier_that_names_nobody_finds_nobody(client: Any, path: str) -> None:
    nobody = client.post(path, {"identifiers": {"email": "undefined"}})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (422, "invalid_request")
    known = client.post(path, {"identifiers": {"device": "0", "email": "ada@example.org"}})
    assert known.json()["customer"]["customer_id"] == "ada"


def test_who_takes_what_is_popular_gets_it_for_nobody(client: Any) -> None:
    asked = {"customer_id": "undefined", "allow_unknown": True, "k": 1, "explore_share": 0.5}
    answer = client.post("/v1/next-products", asked).json()
    assert answer["customer"] == {"customer_id": "", "known": False, "personal": True}
    assert len(answer["products"]) == 1 and answer.get("decision_id") is None


def test_the_list_of_the_house_holds(client: Any, runtime: Runtime) -> None:
    ours = replace(runtime, nobody=Placeholders(("walk-in",)))
    with pytest.raises(InputError, match="'Walk-in', which names nobody"):
        ours.answers.churn(ChurnRequest(customer_id="Walk-in"))
    assert not ours.answers.churn(ChurnRequest(customer_id="0")).customer.known
