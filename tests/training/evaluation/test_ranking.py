"""Ranking metrics against values worked out by hand."""

import numpy as np
import pytest

from training.evaluation.ranking import (
    Targets,
    coverage_at_k,
    hit_matrix,
    paired_gain,
    ranking_values,
    top_k,
    with_intervals,
)

TOP = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, 5, 0, 0]])
TARGETS = Targets.from_lists([[2, 4, 9], [1], [5, 5]])


def test_targets_of_some_customers_come_in_the_order_asked() -> None:
    some = TARGETS.take(np.array([2, 0]))
    assert (some.items.tolist(), some.indptr.tolist()) == ([5, 2, 4, 9], [0, 1, 4])


def test_targets_are_distinct_and_keep_their_customer() -> None:
    assert TARGETS.sizes.tolist() == [3, 1, 1]
    assert TARGETS.owners().tolist() == [0, 0, 0, 1, 2]
    pairs = Targets.from_pairs([1, 0, 0, 1], [3, 2, 2, 1], 3)
    assert pairs.sizes.tolist() == [1, 2, 0]
    assert pairs.items.tolist() == [2, 1, 3]


def test_keep_drops_entries_and_no_customer() -> None:
    kept = TARGETS.keep(TARGETS.items == 5)
    assert kept.sizes.tolist() == [0, 0, 1]


def test_hits() -> None:
    assert hit_matrix(TOP, TARGETS).tolist() == [
        [False, True, False, True],
        [False] * 4,
        [False, True, False, False],
    ]


def test_padding_never_hits() -> None:
    assert not hit_matrix(np.zeros((1, 3), np.int64), Targets.from_lists([[1]])).any()


def test_values_per_customer() -> None:
    values = ranking_values(TOP, TARGETS, (2, 4))
    assert values["hr@2"].tolist() == [1, 0, 1]
    assert values["recall@4"] == pytest.approx([2 / 3, 0, 1])
    assert values["mrr@4"] == pytest.approx([1 / 2, 0, 1 / 2])
    gain = 1 / np.log2(3)
    ideal = 1 + gain + 1 / np.log2(4)
    assert values["ndcg@4"] == pytest.approx([(gain + 1 / np.log2(5)) / ideal, 0, gain])
    assert values["ndcg@2"] == pytest.approx([gain / (1 + gain), 0, gain])


def test_a_customer_without_targets_has_no_value_and_does_not_count() -> None:
    values = ranking_values(TOP[:2], Targets.from_lists([[1], []]), (2,))
    assert np.isnan(values["hr@2"][1])
    assert with_intervals(values)["hr@2"].value == 1.0


def test_a_ranking_shorter_than_k_is_refused() -> None:
    with pytest.raises(ValueError, match="too short for k=5"):
        ranking_values(TOP, TARGETS, (5,))


def test_coverage_counts_shown_products_once() -> None:
    assert coverage_at_k(TOP, n_items=10, k=2) == pytest.approx(4 / 10)


def test_top_k_orders_breaks_ties_by_row_and_skips_padding() -> None:
    scores = np.array([[9.0, 0.5, 2.0, 2.0, 1.0], [9.0, -np.inf, -np.inf, 3.0, -np.inf]])
    assert top_k(scores, 3).tolist() == [[2, 3, 4], [3, 0, 0]]
    assert top_k(scores, 6)[0].tolist() == [2, 3, 4, 1, 0, 0]


def test_a_gain_is_paired() -> None:
    base = np.random.default_rng(0).random(200)
    gain = paired_gain(base + 0.1, base)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
