"""Decisions with offers: which offer, with which product, by which way and with which chance, and why not the others."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from features.log.lists.offer_table import KeptOffers
from features.offers.offer import Offer
from features.vocabulary import NOTHING
from serving.decider import Decision
from serving.decision.rules import Never, Rules
from serving.decision.worth import ValueRules
from serving.offers.in_force import Asked, OffersInForce
from serving.offers.response import Counts, Tally
from serving.offers.shelf import OfferShelf
from serving.runtime import Runtime
from serving.schemas import DecideRequest

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
Decide = Callable[..., Decision]


def offer(offer_id: str, **fields: Any) -> Offer:
    return Offer.model_validate({"offer_id": offer_id, **fields})


SPRING = offer(
    "spring",
    name="Spring cleaning",
    categories=["Household"],
    value=8.0,
    creatives=[{"channel": "email", "text": "Clean!"}, {"channel": "email", "language": "de", "text": "Sauber!"}],
    tags=["season"],
)
CLUB = offer("club", promotes="nothing", value=6.0)


@pytest.fixture
def decide(runtime: Runtime) -> Decide:
    def ask(*offers: Offer, rules: Rules | None = None, **fields: Any) -> Decision:
        shelf = {name: fields.pop(name) for name in ("counts", "refusals") if name in fields}
        in_force = OffersInForce(OfferShelf.of(KeptOffers(1, {each.offer_id: each for each in offers})), **shelf)
        asked = replace(runtime.answers, offers=lambda: in_force, rules=rules or EAGER)
        return asked.decide(DecideRequest(customer_id=fields.pop("customer_id", "ada"), **fields))

    return ask


EAGER = Rules(exploration=0.0, temperature=1e-6)
"""The best is taken, so that it can be said."""


def test_the_offer_of_the_highest_value_is_made_with_its_own_best_product(decide: Decide) -> None:
    answer = decide(SPRING, CLUB).answer
    assert (answer.offer_id, answer.action, answer.arm) == ("spring", "send", "email_news")
    assert answer.product is not None and answer.product.product_id == "soap"
    assert answer.offer is not None and answer.offer.name == "Spring cleaning"
    assert (answer.offer.text, answer.offer.tags) == ("Clean!", ["season"])
    assert decide(SPRING, language="de-AT").answer.offer.text == "Sauber!"  # type: ignore[union-attr]


def test_the_terms_make_the_value(decide: Decide) -> None:
    answer = decide(SPRING, CLUB).answer
    terms = answer.terms
    assert terms is not None and answer.options is not None
    value = terms["response_probability"] * terms["lift"] * terms["money"] - terms["cost"]  # type: ignore[operator]
    assert terms["value"] == pytest.approx(value, rel=1e-4)
    assert terms["money"] == 8.0
    best = answer.options[0]
    assert (best.offer_id, best.arm, best.product_id) == ("spring", "email_news", "soap")
    assert best.value == pytest.approx(value, rel=1e-4)


def test_without_any_offer_on_a_decision_is_byte_for_byte_what_it_was(runtime: Runtime, decide: Decide) -> None:
    plain = runtime.answers.decide(DecideRequest(customer_id="ada"))
    ended = offer("old", ends_at=NOW - timedelta(days=1))
    for offers in ((), (ended,), (offer("later", starts_at=NOW + timedelta(hours=1)),), (offer("off", paused=True),)):
        decision = decide(*offers, rules=runtime.rules)
        assert to_json(decision.answer) == to_json(plain.answer)
        assert decision.event == plain.event
    assert b"offer" not in to_json(plain.answer)


def test_chances_of_options_are_those_of_ways_in_parts_and_the_event_holds_them(decide: Decide) -> None:
    decision = decide(SPRING, CLUB, rules=Rules(exploration=0.2, temperature=0.5))
    answer, properties = decision.answer, json.loads(json.dumps(decision.event.properties))
    by_arm = {row.arm: row.chance for row in answer.arms}
    assert sum(chance or 0.0 for chance in by_arm.values()) == pytest.approx(1.0)
    assert properties["chances"] == pytest.approx({arm: chance for arm, chance in by_arm.items() if chance}, abs=1e-8)
    kept = properties["option_chances"]
    assert {arm: sum(chances.values()) for arm, chances in kept.items()} == pytest.approx(
        {arm: chance for arm, chance in by_arm.items() if chance and arm != NOTHING}, abs=1e-7
    )
    assert properties["arm"] == answer.arm
    if answer.action == "send":
        assert properties["offer_id"] == answer.offer_id
        assert answer.pscore == pytest.approx(kept[answer.arm][answer.offer_id], abs=1e-8)
        assert properties["arm_pscore"] == pytest.approx(by_arm[answer.arm])
        assert properties["terms"] == answer.terms


def test_each_option_is_drawn_as_often_as_its_chance_says(decide: Decide) -> None:
    rules = Rules(exploration=0.3, temperature=1.0)
    drawn: dict[tuple[str, str | None], int] = {}
    expected: dict[tuple[str, str | None], float] = {}
    n = 400
    for number in range(n):
        answer = decide(SPRING, CLUB, rules=rules.model_copy(update={"holdout_name": f"h{number}"})).answer
        drawn[answer.arm, answer.offer_id] = drawn.get((answer.arm, answer.offer_id), 0) + 1
        expected[answer.arm, answer.offer_id] = answer.pscore
    assert sum(expected.values()) == pytest.approx(1.0)
    assert {key: count / n for key, count in drawn.items()} == pytest.approx(expected, abs=0.08)


def test_what_the_log_tells_moves_the_choice(decide: Decide) -> None:
    ignored = Counts({("spring", "email"): Tally(200.0, 10.0), ("earlier", "email"): Tally(200.0, 200.0)})
    assert decide(SPRING, CLUB).answer.offer_id == "spring"
    answer = decide(SPRING, CLUB, counts=ignored).answer
    assert answer.offer_id == "club"
    assert answer.terms is not None and answer.terms["lift"] is not None and answer.terms["lift"] < 1.0


def test_an_offer_that_may_not_be_made_is_not_and_says_why(decide: Decide) -> None:
    elsewhere = offer("elsewhere", store_ids=["S2"], value=90.0)
    never = offer("never", control_share=0.999999, value=90.0)
    gone = offer("gone", products=["beer"], value=90.0)
    priceless = offer("priceless", categories=["dairy", "household"], value="margin")
    begins = offer("begins", starts_at=NOW + timedelta(days=1), value=90.0)
    leavers = offer("leavers", where="churn_probability > 0.999", value=90.0)

    def refusals(asked: Asked) -> dict[str, str]:
        return {"capped": f"{asked.live.customer_id} had it today"}

    capped = offer("capped", value=90.0)
    answer = decide(
        SPRING,
        elsewhere,
        never,
        gone,
        priceless,
        begins,
        capped,
        leavers,
        refusals=refusals,
        store_id="S1",
        explain=True,
    ).answer
    assert answer.offer_id == "spring" and answer.options is not None
    why = {row.offer_id: row.reasons for row in answer.options if not row.eligible}
    assert why == {
        "elsewhere": ["not in the store S1"],
        "never": ["one of the 100 % who never get it, so that it can be measured"],
        "leavers": ["not for this customer: churn_probability > 0.999"],
        "gone": ["no product of it may be offered now"],
        "priceless": ["what a response is worth is not known: its product has no margin"],
        "capped": ["ada had it today"],
    }
    assert any(reason == "3 more offers may not be made to them now" for reason in answer.reasons)


def test_where_no_offer_may_be_made_nothing_is_sent_with_the_reason(decide: Decide) -> None:
    answer = decide(offer("gone", products=["beer"])).answer
    assert (answer.action, answer.pscore, answer.product, answer.offer_id) == (NOTHING, 1.0, None, None)
    refused = {row.arm: row.reasons for row in answer.arms if not row.eligible}
    assert refused == {name: ["no offer in force may be made there"] for name in ("email_news", "post_a")}
    assert "not offer gone: no product of it may be offered now" in answer.reasons


def test_an_offer_goes_only_where_it_may_go_and_not_after_its_end(decide: Decide) -> None:
    assert decide(offer("letter", channels=["post"], value=50.0)).answer.arm == "post_a"
    ends_soon = offer("soon", ends_at=NOW + timedelta(minutes=5), value=50.0)
    assert decide(ends_soon, when="best").answer.action == NOTHING


def test_a_product_that_is_bought_anyway_is_worth_less_than_one_that_is_not(decide: Decide) -> None:
    # ada bought tea every twenty days, last 19 days ago
    tea, soap = offer("tea", categories=["drinks"], value=8.0), offer("soap", categories=["household"], value=8.0)
    both = decide(tea, soap).answer
    assert (both.offer_id, both.anyway_probability) == ("soap", 0.0)
    alone = decide(tea).answer
    assert alone.anyway_probability is not None and 0.2 < alone.anyway_probability < 0.6
    assert alone.terms is not None and alone.terms["anyway_probability"] == round(alone.anyway_probability, 6)
    reminder = decide(offer("tea", categories=["drinks"], value=8.0, rebuys="due")).answer
    assert reminder.anyway_probability == alone.anyway_probability
    assert reminder.terms is not None and reminder.terms["anyway_probability"] == 0.0
    assert decide(offer("tea", categories=["drinks"], value=8.0, rebuys="never")).answer.action == NOTHING


def test_rules_hold_for_the_products_of_offers(decide: Decide) -> None:
    dairy = offer("dairy", categories=["dairy", "bakery"], value=8.0)  # milk was bought two days ago
    answer = decide(dairy).answer
    assert answer.product is not None and answer.product.product_id == "bread"
    assert decide(dairy, rules=EAGER.model_copy(update={"never": Never(products=["bread"])})).answer.action == NOTHING
    assert decide(dairy, categories=["dairy"]).answer.action == NOTHING  # the question narrows, too


def test_the_price_may_be_what_a_response_is_worth_and_a_boost_counts(decide: Decide) -> None:
    priced, fixed = offer("priced", categories=["bakery"], value="price"), offer("fixed", products=["soap"], value=0.5)
    answer = decide(priced, fixed).answer
    assert answer.offer_id == "priced" and answer.terms is not None and answer.terms["money"] == 2.5
    pushed = fixed.model_copy(update={"boost": 30.0, "boost_reason": "overstock"})
    assert decide(priced, pushed).answer.offer_id == "fixed"


def test_who_may_leave_counts_more_and_contacts_tire_where_the_rules_say_so(decide: Decide) -> None:
    rules = EAGER.model_copy(update={"value": ValueRules(retention=0.5, fatigue=0.2)})
    answer = decide(SPRING, rules=rules).answer
    assert answer.terms is not None and answer.churn_probability is not None
    assert answer.terms["retention_weight"] == pytest.approx(1 + 0.5 * answer.churn_probability, abs=1e-6)
    assert answer.terms["fatigue"] == 0.2
    tired = EAGER.model_copy(update={"value": ValueRules(fatigue=50.0)})
    assert decide(SPRING, rules=tired).answer.action == NOTHING


def test_a_decision_of_the_same_offers_is_the_same_and_of_others_another(decide: Decide) -> None:
    assert decide(SPRING, CLUB).answer == decide(CLUB, SPRING).answer
    assert decide(SPRING, CLUB).answer.decision_id != decide(SPRING).answer.decision_id
    more = Counts({("club", "email"): Tally(1.0, 1.0)})
    assert decide(SPRING, CLUB, counts=more).answer.decision_id != decide(SPRING, CLUB).answer.decision_id
