"""A churn model of contracts where it is served: the same endpoint says which kind, and of whom it cannot be asked."""

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from features.log.sqlite import SqliteEventLog
from features.scoring.additive import AdditiveLogit, Term
from features.scoring.churn import SCORE_FILE
from features.scoring.contract import ContractScore
from features.signals import SIGNAL_NAMES
from features.vocabulary import Task
from serving.campaigns.audience import audience_table
from serving.runtime import Runtime
from serving.schemas import ChurnRequest, DecideRequest
from serving.scorers.bundle import load_scorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.model_card import ModelCard

NAMES = ("contract_days", "visit_30d")
SCORE = ContractScore(
    28.0,
    AdditiveLogit((Term("contract_days", 0.0, (-0.05,)), Term("visit_30d", 0.0, (1.0,))), 0.4),
    1.0,
    1.0,
    0.0,
    (0.0, 0.0),
)


def load(folder: Path) -> ChurnScorer:
    rng = np.random.default_rng(0)
    rows = lightgbm.Dataset(rng.random((200, 2)), (rng.random(200) < 0.5).astype(float), feature_name=list(NAMES))
    lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 3}, rows, 2).save_model(
        str(folder / "model.lgb")
    )
    (folder / SCORE_FILE).write_text(SCORE.to_json(), encoding="utf-8")
    scorer = load_scorer(ModelCard(Task.CHURN, "5", "churn_v2"), {"horizon_days": 28}, folder)
    assert isinstance(scorer, ChurnScorer)
    return scorer


@pytest.fixture
def contracts(runtime: Runtime, tmp_path: Path) -> Runtime:
    bundle = replace(runtime.knowledge.bundle, churn=load(tmp_path))
    runtime.knowledge = replace(runtime.knowledge, bundle=bundle)
    return runtime


def subscribe(log: SqliteEventLog, runtime: Runtime, product: str | None = "box") -> None:
    from features.events.schema import events_to_table, parse_events

    item = {"event_id": "s1", "occurred_at": "2024-02-20T12:03:00Z", "kind": "subscribe", "channel": "web"}
    events, rejected = parse_events(
        [{**item, "customer_id": "ada", "product_id": product, "value": 20.0}], runtime.clock.now()
    )
    assert not rejected
    log.append(events_to_table(events))


def test_the_loaded_model_is_one_of_contracts(tmp_path: Path) -> None:
    scorer = load(tmp_path)
    assert scorer.of_contracts
    signals = np.full((2, len(SIGNAL_NAMES)), np.nan, np.float32)
    signals[0, SIGNAL_NAMES.index("contract_days")] = 10.0
    chance = scorer.probability(signals)
    assert chance[0] == pytest.approx(1 / (1 + np.exp(0.1)), abs=1e-6) and np.isnan(chance[1])
    assert scorer.expectations(signals) is None


def test_the_answer_says_which_kind_and_why(contracts: Runtime, log: SqliteEventLog) -> None:
    subscribe(log, contracts)
    answer = contracts.answers.churn(ChurnRequest(customer_id="ada", explain=True))
    assert (answer.kind, answer.models) == ("contract", {"churn": "5"})
    assert answer.churn_probability == pytest.approx(1 / (1 + np.exp(0.1)), abs=1e-3)
    assert [horizon.horizon_days for horizon in answer.horizons] == [28.0]
    assert answer.reasons[0].text.startswith("under contract for 10 days: lowers the risk by")
    assert audience_table(contracts, ["ada"])["churn_probability"].notna().all()


def test_of_who_has_no_contract_nothing_is_said(contracts: Runtime, log: SqliteEventLog) -> None:
    subscribe(log, contracts, product=None)  # a consent
    answer = contracts.answers.churn(ChurnRequest(customer_id="ada", explain=True))
    assert (answer.kind, answer.churn_probability, answer.horizons, answer.reasons) == ("contract", None, [], [])
    assert audience_table(contracts, ["ada"])["churn_probability"].isna().all()
    decision = contracts.answers.decide(DecideRequest(customer_id="ada")).answer
    assert decision.churn_probability is None
    assert not any("churn" in reason for reason in decision.reasons)


def test_purchases_are_the_other_kind(runtime: Runtime) -> None:
    assert runtime.answers.churn(ChurnRequest(customer_id="ada")).kind == "non-contractual"


def test_a_contract_is_never_less_over_at_a_longer_horizon(tmp_path: Path) -> None:
    scorer = load(tmp_path)
    lower, higher = (replace(scorer, horizon_days=days, score=replace(SCORE, shift=shift, horizon_days=days))
                     for days, shift in ((56.0, -1.0), (84.0, 1.0)))  # fmt: skip
    signals = np.full((1, len(SIGNAL_NAMES)), np.nan, np.float32)
    signals[0, SIGNAL_NAMES.index("contract_days")] = 10.0
    chance = float(scorer.probability(signals)[0])
    found = replace(scorer, more=(higher, lower)).horizons(signals, chance)
    assert list(found) == [28.0, 56.0, 84.0]
    assert found[28.0] == found[56.0] == chance < found[84.0]
