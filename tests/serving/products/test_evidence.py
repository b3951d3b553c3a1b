"""Reasons of products that are new to a customer: only what counted, strongest first, with the product that points there."""

from typing import Any

import numpy as np
import pytest
from made_companions import made_companions

from features.scoring.item_tables import Favourites, Neighbours
from features.scoring.model_inputs import STORE, CodeRows, model_inputs
from features.scoring.next_product import ProductFiles, ProductTrees
from features.scoring.rerank import FEATURES, Inputs, Pool, candidate_pool
from features.state.batch import StateBatch
from features.vocabulary import Task
from serving.products.evidence import evidence_reasons
from serving.scorers import next_product
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer, Ranked, Scored

IDS = ("coffee", "filters", "mug", "tea")
TIES = Neighbours(np.array([[0], [2], [0], [0], [0]], np.int32), np.array([[0], [0.9], [0], [0], [0]], np.float32))
COMPANIONS = made_companions(
    4,
    rules=TIES,
    pairs=TIES,
    category=np.array([0, 1, 1, 2, 2], np.int32),
    category_best=np.array([[0], [1], [3]], np.int32),
    stores=Favourites(np.array([5.0]), np.array([[2], [0]], np.int32), np.array([[0.2], [0]], np.float32)),
)


class NoSession:
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> Any:
        raise AssertionError


def contributions(**counted: float) -> np.ndarray:
    return np.array([[counted.get(name, 0.0) for name in FEATURES]])


def inputs() -> Inputs:
    """Coffee was bought ten times and last seen today, in the store 5."""
    found = dict(model_inputs(StateBatch.empty(1), np.array([0.0]), CodeRows(["milk"]))) | {STORE: np.array([5.0])}
    newest = np.arange(128) == 127
    found["item"] = np.where(newest, 1, 0)[None]
    found["habit_item"] = found["item"]
    found["habit_weight"] = np.where(newest, 10.0, 0.0).astype(np.float32)[None]
    return found


def reasons(product: str, **counted: float) -> list[str]:
    trees = ProductTrees(lambda rows: np.zeros(len(rows)), lambda rows: contributions(**counted))
    scorer = ProductScorer(
        ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(IDS, NoSession(), COMPANIONS, trees)
    )
    ranked = scorer.rank(Scored(np.array([[-np.inf, 4, 3, 2, 1]], np.float32), inputs()))
    return evidence_reasons(scorer, ranked, IDS.index(product), name_of=str.upper, category="Coffee things", brand=None)


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ({"rules": 0.2, "pairs": 0.5}, ["others who bought COFFEE bought it too"]),
        ({"rules": 0.7, "pairs": 0.5}, ["often bought after COFFEE"]),
        ({"rules": 0.7, "store_share": 0.9}, ["popular in your store lately", "often bought after COFFEE"]),
        ({"store_share": 0.3, "rules": -0.1}, ["popular in your store lately"]),
        ({"category_share": 0.2, "in_category": -0.1}, ["you often buy Coffee things"]),
        ({"category_share": 0.2, "in_category": -0.3}, []),
        ({"log_popularity_7d": 0.1}, ["popular this week"]),
        ({"score": 1.0}, []),
    ],
)
def test_what_counted_is_said_and_nothing_else(counted: dict[str, float], expected: list[str]) -> None:
    assert reasons("filters", **counted) == expected


def test_what_counted_without_anything_to_point_to_stays_unsaid() -> None:
    assert reasons("tea", rules=1.0, pairs=1.0, store_share=1.0, channel_share=1.0, brand_share=1.0) == []


def test_beside_a_network_alone_the_facts_come_in_a_fixed_order() -> None:
    scorer = ProductScorer(
        ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(IDS, NoSession(), COMPANIONS)
    )
    ranked = scorer.rank(Scored(np.array([[-np.inf, 4, 3, 2, 1]], np.float32), inputs()))
    told = evidence_reasons(scorer, ranked, 1, name_of=str.upper, category=None, brand=None)
    assert told == ["others who bought COFFEE bought it too", "popular this week"]


def test_beside_a_network_alone_the_candidates_are_made_once_for_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(*args: Any) -> Pool:
        made.append(1)
        return candidate_pool(*args)

    monkeypatch.setattr(next_product, "candidate_pool", counted)
    scorer = ProductScorer(
        ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(IDS, NoSession(), COMPANIONS)
    )
    ranked = scorer.rank(Scored(np.array([[-np.inf, 4, 3, 2, 1]], np.float32), inputs()))
    assert not made
    for column in (1, 2, 3):
        evidence_reasons(scorer, ranked, column, name_of=str.upper, category=None, brand=None)
    assert len(made) == 1


def test_a_model_without_companions_gives_no_such_reasons() -> None:
    scorer = ProductScorer(ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(IDS, NoSession()))
    ranked = Ranked(np.ones(4, np.float32), inputs())
    assert evidence_reasons(scorer, ranked, 0, name_of=str, category=None, brand=None) == []
