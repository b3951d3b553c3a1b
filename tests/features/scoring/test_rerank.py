"""Candidates and their features, and the order that trees give them, on inputs small enough to check by hand."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_companions import made_companions

from features.scoring.item_tables import Companions, Favourites, Neighbours
from features.scoring.rerank import FEATURES, candidate_pool, rerank, strongest_tie
from features.vocabulary import KIND_CODES

N = 6
BUY, CART = KIND_CODES["purchase"], KIND_CODES["add_to_cart"]
STORE = 7.0


def ties(of: int, to: tuple[int, int], weight: tuple[float, float]) -> Neighbours:
    item, weights = np.zeros((N + 1, 2), np.int32), np.zeros((N + 1, 2), np.float32)
    item[of], weights[of] = to, weight
    return Neighbours(item, weights)


COMPANIONS = made_companions(
    N,
    popularity=np.outer([0, 3, 2, 1, 0, -1, -2], [2, 1.5, 1, 1, 1]).astype(np.float32),
    rules=ties(1, (5, 4), (0.8, 0.2)),
    pairs=ties(2, (6, 1), (0.5, 0.25)),
    category=np.array([0, 1, 1, 2, 2, 2, 1], np.int32),
    brand=np.array([0, 1, 2, 1, 0, 0, 0], np.int32),
    log_price=np.log(np.array([np.nan, 1, 2, 4, np.nan, 1, 1])).astype(np.float32),
    category_best=np.array([[0, 0], [1, 2], [3, 4]], np.int32),
    stores=Favourites(
        np.array([STORE]), np.array([[3, 0], [0, 0]], np.int32), np.array([[0.1, 0], [0, 0]], np.float32)
    ),
)
SCORES = np.array([[-np.inf, 1.0, 2.0, 0.5, 0.1, 0.3, -1.0]], np.float32)


def padded(*values: float, dtype: Any = np.float32) -> np.ndarray:
    """Right-aligned, as the model's inputs are."""
    return np.array([[0] * (128 - len(values)) + list(values)], dtype)


INPUTS = {
    "item": padded(1, 2, dtype=np.int64),
    "kind": padded(BUY, CART, dtype=np.int64),
    "channel": padded(0, 0, dtype=np.int64),
    "age_days": padded(21.0, 2.0),
    "habit_item": padded(1, dtype=np.int64),
    "habit_weight": padded(1.5),
    "habit_age_days": padded(21.0),
    "habit_gap_days": padded(7.0),
    "habit_count": padded(3),
    "store": np.array([STORE]),
}


class Prefer:
    """Trees that add a number where a feature is above zero."""

    def __init__(self, name: str, plus: float) -> None:
        self.column, self.plus = FEATURES.index(name), plus

    def __call__(self, data: np.ndarray) -> np.ndarray:
        return (data[:, self.column] > 0) * self.plus


def described(scores: np.ndarray = SCORES) -> dict[int, dict[str, float]]:
    pool = candidate_pool(scores, INPUTS, COMPANIONS)
    return {
        item: dict(zip(FEATURES, row, strict=True))
        for item, row in zip(pool.items[0].tolist(), pool.features[0].tolist(), strict=True)
        if item > 0
    }


def test_each_candidate_comes_once_with_what_speaks_for_it() -> None:
    items = candidate_pool(SCORES, INPUTS, COMPANIONS).items[0]
    assert sorted(items[items > 0].tolist()) == [1, 2, 3, 4, 5, 6]
    of = described()
    assert [of[item]["score"] for item in (2, 1)] == [0.0, -1.0]
    assert [of[item]["score_among_new"] for item in (2, 3)] == [0.0, -1.5]  # 1 is a habit, 2 the best of the others
    assert [of[item]["place"] for item in (2, 1)] == [1.0, 0.5]
    assert of[5]["rules"] == pytest.approx(0.4)  # a rule of 0.8 from what is one half-life ago
    assert of[6]["pairs"] == pytest.approx(0.5 * 2 ** (-2 / 21))
    assert of[1]["habit_overdue"] == pytest.approx(3.0)
    assert (of[1]["habit_count"], of[2]["habit_count"], of[2]["habit_gap_days"]) == (3.0, 0.0, -1.0)
    assert (of[2]["in_cart"], of[1]["in_cart"]) == (1.0, 0.0)
    assert (of[2]["last_event_days"], of[3]["last_event_days"]) == (2.0, -1.0)


def test_what_a_product_is_and_where_it_sells_are_features_too() -> None:
    of = described()
    assert [of[item]["category_share"] for item in (2, 3)] == [1.0, 0.0]
    assert [of[item]["category_age_days"] for item in (2, 3)] == [21.0, -1.0]
    assert [of[item]["brand_share"] for item in (3, 2, 4)] == [1.0, 0.0, 0.0]
    assert of[3]["price_against_usual"] == pytest.approx(np.log(4.0))
    assert np.isnan(of[4]["price_against_usual"])
    assert [of[item]["store_share"] for item in (3, 4)] == pytest.approx([0.1, 0.0])
    assert (of[1]["log_popularity_3d"], of[1]["popularity_trend"]) == (6.0, 1.5)


def test_what_may_not_be_shown_is_no_candidate_whoever_puts_it_forward() -> None:
    forbidden = SCORES.copy()
    forbidden[0, [1, 5, 6, 3]] = -np.inf  # the habit, a rule's, a pair's and the store's
    assert sorted(described(forbidden)) == [2, 4]
    ranked, _ = rerank(forbidden, INPUTS, COMPANIONS, Prefer("rules", 5.0))
    assert np.flatnonzero(np.isfinite(ranked[0])).tolist() == [2, 4]


def test_trees_change_the_order_of_candidates_and_nothing_is_lost() -> None:
    unchanged, _ = rerank(SCORES, INPUTS, COMPANIONS, Prefer("rules", 0.0))
    assert np.argsort(-unchanged[0]).tolist() == np.argsort(-SCORES[0]).tolist()
    by_rules, _ = rerank(SCORES, INPUTS, COMPANIONS, Prefer("rules", 5.0))
    assert np.argsort(-by_rules[0])[:3].tolist() == [5, 4, 2]
    assert np.isneginf(by_rules[0, 0])
    assert np.isfinite(by_rules[0, 1:]).all()


def test_the_product_behind_a_tie_is_named() -> None:
    assert strongest_tie(INPUTS, COMPANIONS.rules, 21.0, 5) == 1
    assert strongest_tie(INPUTS, COMPANIONS.pairs, 21.0, 6) == 2
    assert strongest_tie(INPUTS, COMPANIONS.rules, 21.0, 3) == 0


def test_a_customer_without_events_gets_the_networks_order() -> None:
    nothing = {name: np.zeros_like(array) for name, array in INPUTS.items()}
    found, _ = rerank(SCORES, nothing, COMPANIONS, Prefer("rules", 5.0))
    assert np.argsort(-found[0]).tolist() == np.argsort(-SCORES[0]).tolist()


def test_one_of_many_customers_is_ranked_as_if_alone() -> None:
    two = {name: np.concatenate((np.zeros_like(array), array)) for name, array in INPUTS.items()}
    for trees in (Prefer("in_cart", 2.0), Prefer("store_share", 2.0)):
        together, _ = rerank(np.concatenate((SCORES, SCORES)), two, COMPANIONS, trees)
        alone, _ = rerank(SCORES, INPUTS, COMPANIONS, trees)
        np.testing.assert_allclose(together[1], alone[0], rtol=1e-6)


def test_companions_come_back_from_their_file(tmp_path: Path) -> None:
    assert COMPANIONS.popular[0] == 1
    COMPANIONS.save(tmp_path / "c.npz")
    again = Companions.load(tmp_path / "c.npz")
    for one in fields(Companions):
        there, here = getattr(again, one.name), getattr(COMPANIONS, one.name)
        parts = [(there, here)]
        if is_dataclass(here):
            parts = [(getattr(there, part.name), getattr(here, part.name)) for part in fields(here)]
        for found, expected in parts:
            np.testing.assert_array_equal(found, expected)
