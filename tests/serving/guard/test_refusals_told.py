"""Over HTTP: decisions that a rule refuses are counted by rule, and where it is nearly all of them `/readyz` says so."""

import re
from typing import Any

from features.identity.identifiers import Identifiers
from features.identity.resolution import IdentityConfig
from features.log.identity import IdentityRules
from serving.decision.rules import Rules
from serving.runtime import Runtime

ADA = {"customer_id": "ada"}


def refused(client: Any) -> dict[str, float]:
    found = re.findall(r'^omni_refusals_total\{rule="(\S+)"\} (\S+)', client.get("/metrics").text, re.M)
    return {rule: float(n) for rule, n in found}


def test_a_rule_that_refuses_nearly_every_decision_is_counted_and_told(client: Any, runtime: Runtime) -> None:
    runtime.rules = Rules(holdout_share=0.999)
    client.run(*([("POST", "/v1/decide", {**ADA, "log": False})] * 2))
    assert refused(client) == {}  # what is only looked at is no decision
    questions = [{**ADA, "exclude": [f"p{number}"]} for number in range(120)]  # the same one is answered once
    client.run(*(("POST", "/v1/decide", question) for question in questions))
    assert refused(client) == {"hold-out": 120.0}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    first, second = ready.json()["warnings"]
    assert first == "No way of contact is allowed for 120 of 120 decisions (100%)."
    assert second.endswith("to 120 of 120 decisions (100%): holdout_share in rules.toml keeps them back.")


def test_who_is_known_by_an_address_alone_is_answered_without_it(client: Any, runtime: Runtime) -> None:
    mail = "zelda@example.org"
    keyed = IdentityRules(IdentityConfig(), Identifiers("as a home's log has it", ("email", "phone")))
    runtime.log._rules = keyed  # type: ignore[attr-defined]
    visit = {"event_id": "z1", "occurred_at": "2024-03-01T12:00:00Z", "kind": "visit", "channel": "web"}
    calls = [("POST", "/v1/events", {**visit, "identifiers": {"email": mail}})]
    calls += [("POST", "/v1/decide", {"identifiers": {"email": f" {mail.upper()}"}})]
    calls += [("POST", "/v1/next-products", {"customer_id": f"anon:email:{mail}"})]
    calls += [("GET", "/v1/customers/email:zelda%40example.org", None)]
    answers = client.run(*calls)
    assert [answer.status_code for answer in answers] == [200] * 4
    names = {answer.json()["customer"]["customer_id"] for answer in answers[1:3]}
    assert len(names) == 1 and names.pop().startswith("anon:email:hash-")
    assert not any("zelda" in answer.text.casefold() for answer in answers)
