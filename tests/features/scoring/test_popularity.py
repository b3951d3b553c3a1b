"""Popularity as models read it: the same numbers from states, whoever asks, and newcomers in a fixed order."""

from dataclasses import replace

import numpy as np
import pytest
from made_companions import made_companions

from features.scoring.item_tables import Neighbours
from features.scoring.popularity import (
    ProductFacts,
    as_popular_as,
    counts_behind,
    counts_of,
    extended,
    find_newcomers,
    log_counts,
    network_popularity,
)
from features.state.event_arrays import product_code
from features.state.products import POPULARITY_DAYS, ProductStates, fold_purchases
from features.vocabulary import DAY_S

IDS = ("milk", "tea", "cup", "pot")
FACTS = ProductFacts(IDS, ("food", "food", None, "things"), ("a", None, "b", "a"), np.array([2.0, 8.0, np.nan, 0.0]))
WEEK = POPULARITY_DAYS.index(7.0)


def sold(*purchases: tuple[str, float]) -> ProductStates:
    """States of purchases as (product, day)."""
    code = product_code([product for product, _ in purchases])
    return fold_purchases(ProductStates.empty(), code, np.array([day * DAY_S for _, day in purchases]))


def test_counts_are_in_the_models_order_and_nothing_sold_is_zero() -> None:
    counts = counts_of(sold(("tea", 0), ("cup", 7), ("tea", 7), ("else", 7)), product_code(IDS), 14 * DAY_S)

    assert counts.shape == (5, len(POPULARITY_DAYS))
    assert counts[:, WEEK].tolist() == [0.0, 0.0, 0.25 + 0.5, 0.5, 0.0]
    assert counts_of(ProductStates.empty(), product_code(IDS), 0.0).tolist() == np.zeros((5, 5)).tolist()


def test_the_network_reads_logs_around_the_middle_of_what_it_learned() -> None:
    counts = np.array([[0.0], [1.0], [3.0], [9.0]]) * np.ones(len(POPULARITY_DAYS))

    found = network_popularity(counts, 7.0, n_known=2)

    logs = np.log(counts[:, WEEK] + 0.05)
    assert found.tolist() == pytest.approx([0.0, *(logs[1:] - logs[1:3].mean())], abs=1e-6)
    with pytest.raises(ValueError, match="not in tuple"):
        network_popularity(counts, 8.0, n_known=2)


def test_logs_can_be_taken_back() -> None:
    counts = np.abs(np.random.default_rng(0).normal(size=(4, len(POPULARITY_DAYS)))) * 100
    counts[:2] = 0.0
    np.testing.assert_allclose(counts_behind(log_counts(counts)), counts, rtol=1e-5, atol=1e-6)


def test_what_purchases_decide_is_made_anew_and_nothing_else() -> None:
    described = FACTS.described()
    before = made_companions(4, **vars(described))
    counts = np.array([0.0, 1.0, 3.0, 5.0, 7.0])[:, None] * np.ones(len(POPULARITY_DAYS))

    after = as_popular_as(before, counts)

    assert after.popularity[1:, 0].tolist() == pytest.approx(np.log([1.05, 3.05, 5.05, 7.05]), abs=1e-6)
    assert np.exp(after.in_category[[1, 2]]).tolist() == pytest.approx([1.05 / 4.05, 3.05 / 4.05], abs=1e-6)
    assert (after.in_category[3], after.in_category[4]) == (0.0, 0.0)  # without a category, and alone in one
    assert after.category_best[:, :3].tolist() == [[0, 0, 0], [2, 1, 0], [4, 0, 0]]
    same = replace(
        after,
        popularity=before.popularity,
        in_category=before.in_category,
        category_best=before.category_best,
    )
    assert vars(same) == vars(before)
    assert after.popular[0] == 4


def test_facts_are_numbers_from_one_and_unknown_products_have_none() -> None:
    found = FACTS.of(("pot", "new", "milk")).described()

    assert found.category.tolist() == [0, 2, 0, 1]
    assert found.brand.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(found.log_price, [np.nan, np.nan, np.nan, np.log(2)], rtol=1e-6)


def test_products_that_came_later_are_tied_to_none() -> None:
    tied = Neighbours(np.arange(8, dtype=np.int32).reshape(4, 2), np.ones((4, 2), np.float32))
    wide = extended(made_companions(3, rules=tied), 3, 2)

    assert wide.rules.item.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 0], [0, 0]]
    assert wide.pairs.weight.shape == (6, 2)
    again = extended(wide, 3, 1)
    assert again.rules.item.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 0]]


def test_newcomers_come_by_their_first_purchase_and_the_best_sellers_are_taken() -> None:
    states = sold(("milk", 0), ("pot", 1), ("cup", 2), ("tea", 3), ("tea", 4), ("cup", 5), ("nowhere", 5))

    assert find_newcomers(FACTS, states, ["milk", "gone"], 9, 6 * DAY_S) == ["pot", "cup", "tea"]
    assert find_newcomers(FACTS, states, ["milk"], 2, 6 * DAY_S) == ["cup", "tea"]
    assert find_newcomers(FACTS, states, ["milk"], 0, 6 * DAY_S) == []
    assert find_newcomers(FACTS, ProductStates.empty(), [], 9, 0.0) == []
