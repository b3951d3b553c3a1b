"""Decisions: one answer whoever asks, logged once with its pscore and inputs; rules before policy; right hour."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.clock import Clock
from features.events.schema import Event, events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.signals import SIGNAL_NAMES, compute_signals
from features.state.batch import StateBatch
from features.vocabulary import NOTHING, Channel
from serving.decider import Decision
from serving.decision.policy import choose
from serving.decision.rules import Cap, Rules
from serving.decision.send_time import best_moment, coming_hours, customer_hours, hour_of_week, uniform_hours
from serving.runtime import Runtime
from serving.schemas import BestChannelRequest, DecideRequest, NextProductsRequest

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
Decide = Callable[..., Decision]


@pytest.fixture
def decide(runtime: Runtime) -> Decide:
    def ask(at: datetime = NOW, **fields: Any) -> Decision:
        asked = replace(runtime.answers, clock=_At(at))
        return asked.decide(DecideRequest(customer_id="ada", **fields))

    return ask


class _At(Clock):
    def __init__(self, moment: datetime) -> None:
        object.__setattr__(self, "start", moment)

    def now(self) -> datetime:
        assert self.start is not None
        return self.start


def add(log: SqliteEventLog, kind: str, at: datetime, channel: str = "web", **fields: Any) -> None:
    item = {"event_id": f"{kind}-{at}-{channel}", "occurred_at": at, "kind": kind, "channel": channel}
    events, rejected = parse_events([{**item, "customer_id": "ada", **fields}], NOW)
    assert not rejected
    log.append(events_to_table(events))


def test_every_channel_gets_the_same_answer_within_the_same_minutes(decide: Decide) -> None:
    web = decide(NOW, asked_by="web")
    app = decide(NOW + timedelta(minutes=6), asked_by="app")
    later = decide(NOW + timedelta(minutes=7), asked_by="app")
    assert web.answer == app.answer
    assert web.answer.as_of == datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
    assert later.answer.decision_id != web.answer.decision_id


def test_behaviour_changes_the_decision_and_the_decision_itself_does_not(
    decide: Decide, runtime: Runtime, log: SqliteEventLog
) -> None:
    first = decide()
    log.append_events([first.event])
    assert decide().answer == first.answer
    add(log, "view", NOW, product_id="tea")
    assert decide().answer.decision_id != first.answer.decision_id


def test_a_decision_is_logged_once_with_its_chance_and_what_the_models_saw(
    decide: Decide, runtime: Runtime, log: SqliteEventLog
) -> None:
    before = log.count()
    decision = decide(asked_by="app")
    log.append_events([decision.event])
    log.append_events([decide(asked_by="web").event])
    assert log.count() == before + 1
    row = next(row for row in log.customer_events("ada").to_pylist() if row["kind"] == "decision")
    properties = json.loads(row["properties"])
    assert row["event_id"] == row["decision_id"] == decision.answer.decision_id
    assert properties["pscore"] == decision.answer.pscore
    assert properties["arm"] == decision.answer.arm
    assert properties["asked_by"] == "app"
    assert properties["feature_service"] == "best_channel_v2"
    assert properties["models"] == {"next-product": "3", "churn": "2", "best-channel": "1"}
    states = runtime.knowledge.states
    assert states is not None
    live = states.get("ada")
    assert live is not None
    saw = np.frombuffer(base64.b64decode(properties["signals_float32_base64"]), "<f4")
    np.testing.assert_array_equal(saw, compute_signals(live.state, np.array([decision.answer.as_of.timestamp()]))[0])
    assert len(saw) == len(SIGNAL_NAMES)


def test_the_pscore_is_the_policys_own_chance(decide: Decide, runtime: Runtime) -> None:
    answer = decide().answer
    values = {arm.arm: arm.value for arm in answer.arms if arm.eligible}
    rules = runtime.rules
    again = choose(values, answer.decision_id, exploration=rules.exploration, temperature=rules.temperature)
    assert (again.arm, again.pscore) == (answer.arm, answer.pscore)
    assert sum(arm.chance or 0.0 for arm in answer.arms) == pytest.approx(1.0)


def test_an_unsubscribe_holds_from_the_next_decision_on(decide: Decide, log: SqliteEventLog) -> None:
    add(log, "unsubscribe", NOW, "email")
    answers = [decide(NOW + timedelta(minutes=10 * i)).answer for i in range(60)]
    assert {answer.arm for answer in answers} <= {"post_a", NOTHING}
    refused = next(arm for arm in answers[0].arms if arm.arm == "email_news")
    assert (refused.eligible, refused.chance) == (False, 0.0)
    assert "not email_news: the customer refused email" in answers[0].reasons


def test_when_nothing_else_is_allowed_nothing_is_sent(decide: Decide, runtime: Runtime) -> None:
    runtime.rules = Rules(overall_cap=Cap(max=0, days=1))
    answer = replace(runtime.answers, clock=_At(NOW)).decide(DecideRequest(customer_id="ada")).answer
    assert (answer.action, answer.arm, answer.pscore) == ("nothing", NOTHING, 1.0)
    assert (answer.product, answer.send_at, answer.channel) == (None, None, None)


def test_only_the_channels_asked_for_are_used(decide: Decide) -> None:
    arms = {decide(NOW + timedelta(minutes=10 * i), channels=["post"]).answer.arm for i in range(60)}
    assert arms == {"post_a", NOTHING}


def test_what_was_just_bought_is_not_advertised_unless_it_is_due(decide: Decide, log: SqliteEventLog) -> None:
    due = decide(channels=["email"]).answer
    assert due.product is None or due.product.product_id == "tea"  # every 20 days, last bought 20 days ago
    add(log, "purchase", NOW, "store", product_id="tea", value=4.0)
    offered = [decide(NOW + timedelta(minutes=10 * i)).answer.product for i in range(20)]
    assert {product.product_id for product in offered if product} == {"bread"}  # tea today, milk two days ago


def test_two_lines_of_a_basket_or_a_web_order_and_the_shop_make_no_habit(decide: Decide, log: SqliteEventLog) -> None:
    """Bought at 10:00:00 and 10:00:05 on the web and 30 minutes later in the shop: one occasion, and nothing is due."""
    at = NOW - timedelta(hours=2)
    for seconds, channel in ((0, "web"), (5, "web"), (1_800, "store")):
        add(log, "purchase", at + timedelta(seconds=seconds), channel, product_id="bread", value=2.5)
    offered = [decide(NOW + timedelta(minutes=10 * i), channels=["email"]).answer for i in range(40)]
    assert {answer.product.product_id for answer in offered if answer.product} == {"tea"}
    sent = next(answer for answer in offered if answer.product)
    assert "not Rye bread: bought 1 hour ago" in sent.reasons


def test_after_four_ignored_messages_about_a_product_another_one_is_offered_on_every_channel(
    decide: Decide, runtime: Runtime, log: SqliteEventLog
) -> None:
    runtime.rules = Rules(overall_cap=Cap(max=16, days=1), opt_in_channels=())
    for day, channel in ((8, "email"), (6, "push"), (4, "email"), (2, "push")):
        add(log, "send", NOW - timedelta(days=day), channel, product_id="tea")
    asked = replace(runtime.answers, clock=_At(NOW))
    answers = [
        replace(asked, clock=_At(NOW + timedelta(minutes=10 * i))).decide(DecideRequest(customer_id="ada")).answer
        for i in range(20)
    ]
    products = [answer.product.product_id for answer in answers if answer.product]
    assert products
    assert "tea" not in products
    words = "not Green tea: last offered 2 days ago on push, 4 times in a row without a reaction: rests for 56 days"
    assert all(words in answer.reasons for answer in answers if answer.product)

    add(log, "view", NOW - timedelta(hours=1), product_id="tea")  # a reaction: what is left is the first rest
    ready = NOW + timedelta(days=5, minutes=10)
    later = [replace(asked, clock=_At(ready + timedelta(minutes=10 * i))) for i in range(20)]
    offered = [answers.decide(DecideRequest(customer_id="ada")).answer.product for answers in later]
    assert {product.product_id for product in offered if product} == {"tea"}


def test_a_decision_that_nobody_sent_does_not_rest_and_a_message_that_names_it_does(
    decide: Decide, runtime: Runtime, log: SqliteEventLog
) -> None:
    decisions = [decide(NOW + timedelta(minutes=10 * i), channels=["email"]) for i in range(20)]
    sent = next(decision for decision in decisions if decision.answer.product)
    log.append_events([sent.event])
    assert sent.answer.product.product_id == "tea"
    at = sent.answer.as_of + timedelta(minutes=10)
    assert "tea" in {p.product_id for i in range(20) if (p := decide(at + timedelta(minutes=10 * i)).answer.product)}
    item = {"event_id": "mail-1", "occurred_at": at, "kind": "send", "channel": "email", "customer_id": "ada"}
    events, _ = parse_events([{**item, "decision_id": sent.answer.decision_id}], at)
    log.append(events_to_table(events))
    assert "tea" not in {
        p.product_id for i in range(20) if (p := decide(at + timedelta(minutes=10 * i)).answer.product)
    }


def test_a_campaign_that_rests_is_sent_to_nobody(decide: Decide, log: SqliteEventLog) -> None:
    add(log, "send", NOW - timedelta(days=3), "post", campaign_id="spring")
    resting = decide(campaign_id="spring")
    assert (resting.answer.action, resting.answer.pscore) == ("nothing", 1.0)
    reasons = {arm.arm: arm.reasons for arm in resting.answer.arms}
    assert reasons["post_a"] == ["campaign spring: last contact 3 days ago on post: rests for 7 days"]
    other = decide(campaign_id="autumn")
    assert all(arm.eligible for arm in other.answer.arms)
    assert other.event.campaign_id == "autumn"
    assert decide().event.campaign_id is None
    assert len({resting.answer.decision_id, other.answer.decision_id, decide().answer.decision_id}) == 3


@pytest.mark.parametrize(
    ("rules", "fields", "decision_id"),
    [
        (Rules(), {}, "d-ed14e61e1f070be5f931796f"),
        (Rules(), {"campaign_id": "spring", "exclude": ["tea"]}, "d-dcc1e207492b1a926f1e5e2e"),
        (
            Rules(time_zone="Europe/Paris", exploration=0.4),
            {"when": "now", "channels": ["post", "email"]},
            "d-e4b802b7b38f1cbb706ed366",
        ),
        (Rules(), {"not_after": NOW + timedelta(hours=30), "asked_by": "app"}, "d-f007b22d8259449badb22a19"),
    ],
)
def test_the_same_state_and_question_have_the_same_id_in_every_release(
    runtime: Runtime, rules: Rules, fields: dict[str, Any], decision_id: str
) -> None:
    """Outcomes that are still to come name these ids; only a new rule, which is part of what is asked, or what a customer is
    newly known by makes others."""
    asked = replace(runtime.answers, rules=rules, clock=_At(NOW))
    assert asked.decide(DecideRequest(customer_id="ada", **fields)).answer.decision_id == decision_id


def test_without_reasons_the_decision_is_the_same(decide: Decide) -> None:
    told, untold = decide(channels=["post"]), decide(channels=["post"], explain=False)
    assert told.event == untold.event
    assert told.answer.reasons
    assert any(arm.reasons for arm in told.answer.arms)
    without = {**told.answer.model_dump(), "reasons": []}
    without["arms"] = [{**arm, "reasons": []} for arm in without["arms"]]
    if without["product"] is not None:
        without["product"] = {**without["product"], "reasons": []}
    assert untold.answer.model_dump() == without


def test_products_without_reasons_are_the_same(runtime: Runtime) -> None:
    ada = {"customer_id": "ada", "explore_share": 0.3}
    told, event = runtime.answers.next_products(NextProductsRequest.model_validate(ada))
    untold, same_event = runtime.answers.next_products(NextProductsRequest.model_validate({**ada, "explain": False}))
    assert event == same_event
    assert any(product.reasons for product in told.products)
    assert not any(product.reasons for product in untold.products)
    assert [p.product_id for p in told.products] == [p.product_id for p in untold.products]


@pytest.mark.parametrize("fields", [{}, {"when": "now", "asked_by": "email"}, {"campaign_id": "spring"}])
def test_the_event_of_a_decision_keeps_every_rule_of_events(decide: Decide, fields: dict[str, Any]) -> None:
    """It is made without looking at its fields again."""
    event = decide(**fields).event
    assert Event.model_validate(vars(event)) == event
    assert list(vars(event)) == list(Event.model_fields)


def test_a_customer_is_reached_in_their_own_hour_outside_the_quiet_ones() -> None:
    state = StateBatch.empty(1)
    habit = replace(
        state,
        hour_bins=replace(state.hour_bins, offsets=np.array([0, 1]), values=np.array([4 * 24 + 22], dtype=np.int32)),
        hour_weights=replace(state.hour_weights, offsets=np.array([0, 1]), values=np.array([30.0])),
    )
    friday_noon = NOW.timestamp()
    assert hour_of_week(np.array([friday_noon]))[0] == 4 * 24 + 12
    hours = customer_hours(habit, uniform_hours())
    assert hours.sum() == pytest.approx(1.0)
    at_22 = datetime(2024, 3, 1, 22, tzinfo=UTC).timestamp()
    coming = coming_hours(hours, Rules(), friday_noon)
    assert best_moment(coming, Channel.EMAIL, Rules()) == at_22
    assert best_moment(coming, Channel.SMS, Rules()) == friday_noon  # 21:00 to 08:00 is quiet on sms


@pytest.mark.parametrize("hour", [0, 3, 8, 12, 19, 23])
@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(exploration=0.5, temperature=3.0),
        Rules(channel_caps={Channel.EMAIL: Cap(max=1, days=30)}),
        Rules(response_value=0.5),
    ],
)
def test_the_channel_endpoint_and_the_decision_weigh_alike(
    runtime: Runtime, log: SqliteEventLog, rules: Rules, hour: int
) -> None:
    """The same arms, values, chances and refusals for the same customer, moment and rules."""
    at = datetime(2024, 3, 2, hour, tzinfo=UTC)  # a stretch of time begins here, so that both look at the same moment
    add(log, "send", datetime(2024, 2, 29, 10, tzinfo=UTC), "email")
    asked = replace(runtime.answers, rules=rules, clock=_At(at))
    decision = asked.decide(DecideRequest(customer_id="ada")).answer
    best = asked.best_channel(BestChannelRequest(customer_id="ada"))
    assert decision.as_of == best.as_of
    assert decision.arms == best.arms
    assert best.best == best.arms[0].arm
    assert decision.pscore == next(arm.chance for arm in best.arms if arm.arm == decision.arm)
