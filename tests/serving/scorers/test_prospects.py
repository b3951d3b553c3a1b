"""Somebody who never bought: every answer that carries churn or money says that they are a prospect, and guesses nothing."""

from dataclasses import replace

import numpy as np
import pytest
from made_decisions import table_of_all

from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.scoring.bg_nbd import Rates, Spend
from features.scoring.churn import ChurnScore, prospects
from features.signals import SIGNAL_NAMES
from serving.campaigns.audience import audience_table
from serving.campaigns.condition import Condition
from serving.runtime import Runtime
from serving.schemas import ChurnRequest, DecideRequest

RATES = Rates(r=1.0, alpha=20.0, a=1.5, b=4.0)
SCORE = ChurnScore(
    28.0, RATES, replace(RATES, modified=True), None, (0.0, 0.0, 1.0), 1.0, 0.0, Spend(6.0, 4.0, 15.0), 0.2
)
NEWCOMER = {"event_id": "n1", "occurred_at": "2024-02-20T12:00:00Z", "kind": "view", "channel": "web"}


@pytest.fixture(params=["blend", "trees alone"])
def shop(runtime: Runtime, log: SqliteEventLog, request: pytest.FixtureRequest) -> Runtime:
    """Ada bought four times, Zoe has only looked, Eve refused profiling after a purchase."""
    refusal = {"kind": "profile", "properties": {"profiling": False}, "customer_id": "eve"}
    items = [
        {**NEWCOMER, "customer_id": "zoe", "product_id": "soap"},
        {**NEWCOMER, "event_id": "v1", "kind": "purchase", "customer_id": "eve", "product_id": "tea", "value": 4.0},
        {**NEWCOMER, "event_id": "v2", **refusal},
    ]
    events, rejected = parse_events(items, runtime.clock.now())
    assert not rejected
    log.append(events_to_table(events))
    bundle = runtime.knowledge.bundle
    other = replace(
        bundle.need_churn(), score=SCORE, more=(replace(bundle.need_churn(), score=SCORE, horizon_days=60.0),)
    )
    if request.param == "blend":
        runtime.knowledge = replace(runtime.knowledge, bundle=replace(bundle, churn=other))
    return runtime


def test_a_prospect_has_neither_churn_nor_expectations(shop: Runtime) -> None:
    zoe = shop.answers.churn(ChurnRequest(customer_id="zoe", explain=True))
    assert (zoe.customer_status, zoe.kind) == ("prospect", "non-contractual")
    assert (zoe.churn_probability, zoe.horizons, zoe.reasons) == (None, [], [])
    assert (zoe.expected_purchases, zoe.expected_revenue) == (None, None)
    assert '"customer_status":"prospect","churn_probability":null' in zoe.model_dump_json()
    ada = shop.answers.churn(ChurnRequest(customer_id="ada"))
    assert ada.customer_status == "customer"
    assert ada.churn_probability is not None and 0 < ada.churn_probability < 1


def test_a_buyer_who_refused_profiling_is_a_customer_of_whom_nothing_is_guessed(shop: Runtime) -> None:
    eve = shop.answers.churn(ChurnRequest(customer_id="eve", explain=True))
    assert (eve.customer_status, eve.customer.personal, eve.churn_probability) == ("customer", False, None)
    assert (eve.expected_purchases, eve.expected_revenue) == (None, None)


def test_a_decision_and_the_table_of_all_say_so_too(shop: Runtime) -> None:
    decisions = {name: shop.answers.decide(DecideRequest(customer_id=name)) for name in ("ada", "zoe", "eve")}
    zoe = decisions["zoe"]
    assert (zoe.answer.customer_status, zoe.answer.churn_probability) == ("prospect", None)
    assert "a prospect: never bought, so there is no churn" in zoe.answer.reasons
    assert (zoe.event.properties["customer_status"], zoe.event.properties["churn_probability"]) == ("prospect", None)
    assert not any("prospect" in reason for name in ("ada", "eve") for reason in decisions[name].answer.reasons)
    table = table_of_all(shop, "ada", "zoe", "eve")
    assert table["customer_status"].to_pylist() == ["customer", "prospect", "customer"]
    assert [value is None for value in table["churn_probability"].to_pylist()] == [False, True, True]


def test_an_audience_of_likely_churners_holds_no_prospect(shop: Runtime) -> None:
    table = audience_table(shop, ["ada", "zoe", "eve"]).set_index("customer_id", drop=False)
    assert table["churn_probability"].notna().tolist() == [True, False, False]
    assert table["value_decile"].tolist()[0] == 10 and table["value_decile"].isna().tolist() == [False, True, True]
    assert table.loc["zoe", "lifecycle"] == "prospect"
    if "expected_revenue" in table:
        assert table["expected_revenue"].notna().tolist() == [True, False, False]
        assert table["expected_purchases"].notna().tolist() == [True, False, False]
    chosen = table[Condition.parse("churn_probability >= 0 OR value_decile >= 1").select(table)]
    assert chosen["customer_id"].tolist() == ["ada"]


def test_a_model_of_other_activity_answers_for_who_never_bought(shop: Runtime) -> None:
    churn = replace(shop.knowledge.bundle.need_churn(), score=replace(SCORE, buyers_only=False), more=())
    shop.knowledge = replace(shop.knowledge, bundle=replace(shop.knowledge.bundle, churn=churn))
    zoe = shop.answers.churn(ChurnRequest(customer_id="zoe"))
    assert zoe.customer_status == "prospect"
    assert zoe.churn_probability is not None
    assert (zoe.expected_purchases, zoe.expected_revenue) == (None, None)


def test_a_score_of_an_older_version_is_of_buyers() -> None:
    older = SCORE.to_json().replace(',\n "buyers_only": true', "")
    assert "buyers_only" not in older
    assert ChurnScore.from_json(older) == SCORE
    signals = np.full((2, len(SIGNAL_NAMES)), np.nan, dtype=np.float32)
    signals[1, SIGNAL_NAMES.index("days_since_occasion")] = 0.0
    assert prospects(signals).tolist() == [True, False]
