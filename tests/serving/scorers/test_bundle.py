"""Scorers and the bundle: columns by name, vocabulary by code, whole swaps, and clear words for what cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_companions import made_companions

from features.errors import MissingError, StoreError
from features.scoring.bg_nbd import Rates
from features.scoring.churn import ChurnScore
from features.scoring.next_product import ProductFiles, ProductTrees
from features.scoring.rerank import FEATURES
from features.signals import SIGNAL_NAMES
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.views import feature_service_name
from features.vocabulary import Channel, Task
from serving.decision.rules import Arm
from serving.scorers.booster import BoosterScorer
from serving.scorers.bundle import LOADING, Bundle, load_scorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer, Ranked, Scored
from serving.scorers.registry import next_bundle

NAMES = (SIGNAL_NAMES[5], SIGNAL_NAMES[2])


def booster(names: tuple[str, ...] = NAMES) -> lightgbm.Booster:
    rng = np.random.default_rng(1)
    x = rng.random((300, len(names)))
    data = lightgbm.Dataset(x, (x[:, 0] > 0.5).astype(float), feature_name=list(names))
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 4}, data, 5)


def card(task: Task, version: str = "1", service: str | None = None) -> ModelCard:
    return ModelCard(task, version, service or feature_service_name(task))


def write_churn(folder: Path) -> Path:
    booster().save_model(str(folder / "model.lgb"))
    (folder / "MLmodel").write_text("metadata:\n  horizon_days: 28\n")
    return folder


def test_a_booster_finds_its_columns_by_name() -> None:
    signals = np.random.default_rng(2).random((4, len(SIGNAL_NAMES))).astype(np.float32)
    scorer = BoosterScorer(booster().model_to_string(), "a model")
    expected = booster().predict(signals[:, [5, 2]])
    np.testing.assert_array_equal(scorer.probability(signals), expected)
    raw = booster().predict(signals[:, [5, 2]], pred_contrib=True)
    np.testing.assert_allclose(scorer.contributions(signals)[:, [5, 2]], np.asarray(raw)[:, :-1])


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(StoreError, match="'shoe_size', which this version does not compute"):
        BoosterScorer(booster(("shoe_size", SIGNAL_NAMES[0])).model_to_string(), "churn version 3")


class NoSession:
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> Any:
        raise AssertionError


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=20, unique=True))
def test_rows_are_where_the_vocabulary_says(ids: list[str]) -> None:
    scorer = ProductScorer(card(Task.NEXT_PRODUCT), ProductFiles(tuple(ids), NoSession()))
    codes = product_code([*ids, "unknown", ""])
    assert scorer.rows(codes).tolist() == [*range(1, len(ids) + 1), 0, 0]


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30), st.integers(1, 35), st.integers(0, 2**30 - 1))
def test_top_k_is_the_head_of_the_full_ranking(values: list[float], k: int, bits: int) -> None:
    scorer = ProductScorer(
        card(Task.NEXT_PRODUCT), ProductFiles(tuple(str(i) for i in range(len(values))), NoSession())
    )
    scores = np.array(values, dtype=np.float32)
    allowed = np.array([bool(bits >> i & 1) for i in range(len(values))])
    scored = Scored(np.concatenate(([-np.inf], scores)).astype(np.float32)[None])
    found = scorer.rank(scored, allowed).best(k)
    assert len(found) == min(k, int(allowed.sum()))
    assert allowed[found].all()
    assert scores[found].tolist() == sorted(scores[allowed].tolist(), reverse=True)[:k]


def test_arms_load_with_their_boosters(tmp_path: Path) -> None:
    (tmp_path / "arms").mkdir()
    booster().save_model(str(tmp_path / "arms" / "post_a.txt"))
    arms = [{"arm": "post_a", "channel": "post", "kind": "send", "rate": 0.1, "cost": 0.6}]
    (tmp_path / "arms.json").write_text(json.dumps(arms))
    scorer = load_scorer(card(Task.BEST_CHANNEL), {}, tmp_path)
    assert getattr(scorer, "arms", None) == (Arm("post_a", Channel.POST, 0.6),)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Model churn version 1 holds no file model\.lgb"):
        load_scorer(card(Task.CHURN), {}, tmp_path)


Found = tuple[ModelCard, Callable[[Path], Path]] | None


def test_a_new_version_is_loaded_once_and_swapped_in() -> None:
    loads: list[str] = []

    def fetch(version: str) -> Callable[[Task], Found]:
        def download(folder: Path) -> Path:
            loads.append(version)
            return write_churn(folder)

        return lambda task: (card(task, version), download) if task is Task.CHURN else None

    first = next_bundle(Bundle(), fetch("1"))
    assert first.need_churn().horizon_days == 28.0
    assert next_bundle(first, fetch("1")) is first
    second = next_bundle(first, fetch("2"))
    assert (first.need_churn().card.version, second.need_churn().card.version) == ("1", "2")
    assert loads == ["1", "2"]


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before_it(tmp_path: Path) -> None:
    def fetch(version: str, broken: bool) -> Callable[[Task], Found]:
        def download(folder: Path) -> Path:
            return folder if broken else write_churn(folder)

        return lambda task: (card(task, version), download) if task is Task.CHURN else None

    first = next_bundle(Bundle(), fetch("1", broken=False))
    second = next_bundle(first, fetch("2", broken=True))
    assert second.need_churn().card.version == "1"
    told = next(info for info in second.infos() if info.task == Task.CHURN)
    assert told.ready and told.problem is not None and "version 2 holds no file" in told.problem
    assert next_bundle(second, fetch("2", broken=True)) is second


def test_a_champion_of_another_feature_service_is_refused() -> None:
    def fetch(task: Task) -> Found:
        return (card(task, service="churn_v9"), write_churn) if task is Task.CHURN else None

    bundle = next_bundle(Bundle(), fetch)
    with pytest.raises(MissingError, match="wants the feature service 'churn_v9'; this version computes 'churn_v2'"):
        bundle.need_churn()


def test_before_the_first_look_nobody_is_told_to_train() -> None:
    unseen = Bundle(problems=dict.fromkeys(Task, LOADING))
    with pytest.raises(MissingError, match="are being loaded"):
        unseen.need_churn()
    with pytest.raises(MissingError, match="Run `omni train churn`"):
        next_bundle(unseen, lambda task: None).need_churn()


def test_a_champion_that_is_withdrawn_answers_no_more() -> None:
    def fetch(task: Task) -> Found:
        return (card(task), write_churn) if task is Task.CHURN else None

    bundle = next_bundle(next_bundle(Bundle(), fetch), lambda task: None)
    with pytest.raises(MissingError, match="Run `omni train churn`"):
        bundle.need_churn()


class OneScoreEach:
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> Any:
        return [np.array([[-np.inf, 3.0, 2.0, 1.0]] * len(input_feed["item"]), np.float32)]


def test_trees_beside_the_network_decide_the_order() -> None:
    score = FEATURES.index("score")
    ids = ("a", "b", "c")
    product = card(Task.NEXT_PRODUCT)
    plain = ProductScorer(product, ProductFiles(ids, OneScoreEach()))
    trees = ProductTrees(lambda rows: -2.0 * rows[:, score], lambda rows: rows)
    turned = ProductScorer(product, ProductFiles(ids, OneScoreEach(), made_companions(3), trees))
    nobody, now = StateBatch.empty(1), np.array([0.0])
    for scorer, order in ((plain, [0, 1, 2]), (turned, [2, 1, 0])):
        scored = scorer.score(nobody, now)
        assert scorer.rank(scored).best(3).tolist() == order
        allowed = np.array([True, False, True])
        assert scorer.rank(scored, allowed).best(3).tolist() == [row for row in order if row != 1]


def test_several_horizons_never_contradict_each_other() -> None:
    low, high = (lightgbm_constant(rate) for rate in (0.2, 0.6))
    signals = np.zeros((1, len(SIGNAL_NAMES)), dtype=np.float32)
    more = (ChurnScorer(card(Task.CHURN), high, 60.0), ChurnScorer(card(Task.CHURN), low, 7.0))
    scorer = ChurnScorer(card(Task.CHURN), low, 28.0, more=more)
    assert scorer.horizons(signals, 0.3) == {7.0: 0.3, 28.0: 0.3, 60.0: 0.3}
    assert scorer.horizons(signals, 0.7) == {7.0: 0.7, 28.0: 0.7, 60.0: pytest.approx(0.6)}


def test_a_churn_model_is_its_trees_and_its_score(tmp_path: Path) -> None:
    folder = write_churn(tmp_path)
    rates = Rates(0.5, 6.0, 0.9, 1.6, modified=True)
    score = ChurnScore(28.0, rates, rates, None, (0.75, 0.0, 0.25), 1.0, 0.0)
    (folder / "churn_score.json").write_text(score.to_json())
    scorer = load_scorer(card(Task.CHURN), {"horizon_days": 28}, folder)
    assert isinstance(scorer, ChurnScorer)
    signals = np.random.default_rng(2).random((5, len(SIGNAL_NAMES))).astype(np.float32) * 30
    batch = scorer.probability(signals)
    np.testing.assert_allclose(batch, score.probability(signals, scorer.booster.raw(signals)), atol=1e-12)
    one_by_one = [scorer.probability(signals[[i]])[0] for i in range(5)]
    np.testing.assert_allclose(batch, one_by_one, atol=1e-9)
    purchases, revenue = scorer.expectations(signals) or (None, None)
    assert purchases is not None and (purchases > 0).all() and revenue is None


def lightgbm_constant(rate: float) -> BoosterScorer:
    data = lightgbm.Dataset(np.zeros((100, 1)), np.array([1.0, 0.0] * 50), feature_name=[SIGNAL_NAMES[0]])
    made = lightgbm.train({"objective": "binary", "verbose": -1, "min_data_in_leaf": 1}, data, 1)
    made.set_leaf_output(0, 0, float(np.log(rate / (1 - rate))))
    return BoosterScorer(made.model_to_string(), "a model")


def test_products_that_tie_on_the_border_come_by_their_column() -> None:
    scores = np.array([1.0, 2.0, 1.0, -np.inf, 1.0, 2.0, 1.0] + [1.0] * 40, dtype=np.float32)
    assert Ranked(scores, {}).best(4).tolist() == [1, 5, 0, 2]
    assert Ranked(scores[:4], {}).best(9).tolist() == [1, 0, 2]
