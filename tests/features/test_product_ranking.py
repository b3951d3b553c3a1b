"""Candidates and their features, and the order that trees give them, on inputs small enough to check by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.product_ranking import FEATURES, Companions, candidate_pool, rerank
from features.vocabulary import KIND_CODES

N = 6
BUY, CART = KIND_CODES["purchase"], KIND_CODES["add_to_cart"]
RULE_ITEM = np.zeros((N + 1, 2), np.int32)
RULE_WEIGHT = np.zeros((N + 1, 2), np.float32)
RULE_ITEM[1], RULE_WEIGHT[1] = (5, 4), (0.8, 0.2)
COMPANIONS = Companions(np.array([0, 3, 2, 1, 0, -1, -2], np.float32), RULE_ITEM, RULE_WEIGHT)
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
}


class Prefer:
    """Trees that add a number where a feature is above zero."""

    def __init__(self, name: str, plus: float) -> None:
        self.column, self.plus = FEATURES.index(name), plus

    def __call__(self, data: np.ndarray) -> np.ndarray:
        return (data[:, self.column] > 0) * self.plus


def test_each_candidate_comes_once_with_what_speaks_for_it() -> None:
    pool = candidate_pool(SCORES, INPUTS, COMPANIONS)
    assert sorted(pool.items[0][pool.items[0] > 0].tolist()) == [1, 2, 3, 4, 5, 6]
    of = {
        item: dict(zip(FEATURES, row, strict=True))
        for item, row in zip(pool.items[0].tolist(), pool.features[0].tolist(), strict=True)
    }
    assert [of[item]["score"] for item in (2, 1)] == [0.0, -1.0]
    assert [of[item]["place"] for item in (2, 1)] == [1.0, 0.5]
    assert of[5]["rules"] == pytest.approx(0.4)  # a rule of 0.8 from what is one half-life ago
    assert of[1]["habit_overdue"] == pytest.approx(3.0)
    assert (of[1]["habit_count"], of[2]["habit_count"], of[2]["habit_gap_days"]) == (3.0, 0.0, -1.0)
    assert (of[2]["in_cart"], of[1]["in_cart"]) == (1.0, 0.0)
    assert (of[2]["last_event_days"], of[3]["last_event_days"]) == (2.0, -1.0)


def test_trees_change_the_order_of_candidates_and_nothing_is_lost() -> None:
    unchanged = rerank(SCORES, INPUTS, COMPANIONS, Prefer("rules", 0.0))
    assert np.argsort(-unchanged[0]).tolist() == np.argsort(-SCORES[0]).tolist()
    by_rules = rerank(SCORES, INPUTS, COMPANIONS, Prefer("rules", 5.0))
    assert np.argsort(-by_rules[0])[:3].tolist() == [5, 4, 2]
    assert np.isneginf(by_rules[0, 0])
    assert np.isfinite(by_rules[0, 1:]).all()


def test_a_customer_without_events_gets_the_networks_order() -> None:
    nothing = {name: np.zeros_like(array) for name, array in INPUTS.items()}
    found = rerank(SCORES, nothing, COMPANIONS, Prefer("rules", 5.0))
    assert np.argsort(-found[0]).tolist() == np.argsort(-SCORES[0]).tolist()


def test_one_of_many_customers_is_ranked_as_if_alone() -> None:
    two = {name: np.concatenate((np.zeros_like(array), array)) for name, array in INPUTS.items()}
    together = rerank(np.concatenate((SCORES, SCORES)), two, COMPANIONS, Prefer("in_cart", 2.0))
    alone = rerank(SCORES, INPUTS, COMPANIONS, Prefer("in_cart", 2.0))
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-6)


def test_companions_come_back_from_their_file(tmp_path: Path) -> None:
    assert COMPANIONS.popular[0] == 1
    COMPANIONS.save(tmp_path / "c.npz")
    again = Companions.load(tmp_path / "c.npz")
    for name in ("log_popularity", "rule_item", "rule_weight"):
        np.testing.assert_array_equal(getattr(again, name), getattr(COMPANIONS, name))
