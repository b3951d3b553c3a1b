"""Candidate tables and the ranker over them, small enough to check by hand."""

import numpy as np
import pytest

from training.benchmarks.hybrid.search import search
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.evaluation.ranking import Targets, ranking_values
from training.models.recommenders.baselines import METHODS, Popularity, recommend
from training.models.recommenders.candidates import (
    HISTORY_FEATURES,
    ITEM_FEATURES,
    Candidates,
    Histories,
    collect,
)
from training.models.recommenders.ease import Ease
from training.models.recommenders.lambdamart import RankerConfig, fit_ranker
from training.models.recommenders.tifu_knn import TifuKnn


def lines(baskets: list[tuple[int, list[int]]], n_items: int) -> Interactions:
    """Baskets (customer, items) in order, a day apart."""
    rows = [(customer, item, number) for number, (customer, items) in enumerate(baskets) for item in items]
    customer, item, number = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(customer, item, number, number * SECONDS_PER_DAY, int(customer.max()) + 1, n_items)


DATA = lines([(0, [1, 2]), (0, [1]), (0, [3]), (0, [1]), (1, [2]), (1, [4])], n_items=5)
COUNTS = np.array([0, 3, 2, 1, 1, 0], np.float32)


class Fixed:
    """Always the same scores."""

    def __init__(self, *scores: float) -> None:
        self.row = np.array(scores, np.float32)

    def scores(self, customers: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(customers), 1))

    def about(self, data: Interactions, now: float, **asked: object) -> "Fixed":
        return self


def test_candidates_are_the_union_and_know_who_put_them_forward() -> None:
    histories = Histories.of(DATA, COUNTS, COUNTS)
    parts = {"one": Fixed(0, 9, 8, 1, 0, 2), "two": Fixed(0, 0, 5, 1, 9, 2)}
    found = collect(parts, histories, np.array([0, 1]), 2)
    assert [sorted(set(row) - {0}) for row in found.items.tolist()] == [[1, 2, 4], [1, 2, 4]]
    origin = {item: bits for item, bits in zip(found.items[0].tolist(), found.origin[0].tolist(), strict=True) if item}
    assert origin == {1: 0b01, 2: 0b11, 4: 0b10}
    only = found.of_parts(["two"])
    assert sorted(set(only.items[0].tolist()) - {0}) == [2, 4]
    assert "score_one" not in only.names
    assert "score_two" in only.names


def test_what_speaks_for_a_candidate() -> None:
    histories = Histories.of(DATA, COUNTS, COUNTS)
    found = histories.features(np.array([0]), np.array([[1, 2, 5]]))[0]
    named = dict(zip((*HISTORY_FEATURES, *ITEM_FEATURES), found.T.tolist(), strict=True))
    assert named["times"] == [3, 1, 0]
    assert named["baskets_ago"] == [0, 3, -1]
    assert named["usual_gap"] == [1.5, -1, -1]
    assert named["overdue"] == pytest.approx([1 / 1.5, -1, -1])
    assert named["n_baskets"] == [4, 4, 4]
    assert named["repeat_share"] == pytest.approx([0.4] * 3)
    assert named["rebought"] == pytest.approx([1 / 6, 0, 0])


def test_the_best_candidates_never_name_padding() -> None:
    table = Candidates(np.array([[0, 3, 7]]), np.zeros((1, 3, 0), np.float32), np.zeros((1, 3), int), (), ())
    assert table.best(np.array([[9.0, 1.0, 2.0]]), 4).tolist() == [[7, 3, 0, 0]]


def test_the_ranker_learns_which_part_to_trust() -> None:
    rng = np.random.default_rng(0)
    items = np.tile(np.arange(1, 11), (400, 1))
    features = rng.random((400, 10, 2)).astype(np.float32)
    best = items[0][features[:, :, 1].argmax(axis=1)]  # the second feature tells, the first is noise
    table = Candidates(items, features, np.ones_like(items), ("score_a", "score_b"), ("a", "b"))
    targets = Targets.from_lists([[item] for item in best])
    ranker = fit_ranker((table, targets), (table, targets), RankerConfig(max_rounds=30, min_data_in_leaf=5), 0)
    assert ranker is not None
    assert (table.best(ranker.scores(table), 1)[:, 0] == best).mean() > 0.9
    assert ranker.importance()["score_b"] > 0.9


def test_without_a_hit_there_is_nothing_to_learn() -> None:
    table = Candidates(np.array([[1, 2]]), np.zeros((1, 2, 1), np.float32), np.ones((1, 2), int), ("f",), ("p",))
    nothing = (table, Targets.from_lists([[9]]))
    assert fit_ranker(nothing, nothing, RankerConfig(), 0) is None


def test_one_key_after_the_other_finds_what_a_grid_would() -> None:
    axes = {"max_distance": [1, 2], "n_recent": [1], "recent_decay": [0.9, 0.5]}
    targets = Targets.from_lists([[3], [1]])
    found = search("sequence_rules", axes, DATA, 1e7, np.array([0, 1]), targets, "ndcg@10")
    fits = {
        (distance, decay): METHODS["sequence_rules"](DATA, 1e7, distance, n_recent=1, recent_decay=decay)
        for distance in (1, 2)
        for decay in (0.9, 0.5)
    }
    values = {
        key: np.mean(ranking_values(recommend(fit, np.array([0, 1]), 10), targets, (10,))["ndcg@10"])
        for key, fit in fits.items()
    }
    chosen = (found.settings["max_distance"], found.settings["recent_decay"])
    assert found.value == max(values.values()) == values[chosen]


def test_ease_is_the_published_closed_form() -> None:
    data = lines([(0, [1, 2]), (1, [1, 2]), (2, [1, 3])], n_items=3)
    x = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    precision = np.linalg.inv(x.T @ x + 2 * np.eye(3))
    expected = -precision / np.diag(precision)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(Ease.fit(data, 1e7, regularisation=2.0).weights[1:, 1:], expected, atol=1e-5)


def test_tifu_vectors_decay_within_and_across_groups() -> None:
    data = lines([(0, [1]), (0, [2]), (0, [3])], n_items=3)
    own = TifuKnn.fit(data, 1e7, group_size=2, decay_within=0.5, decay_across=0.1).own.toarray()[0]
    # two groups of two: 3 is newest, 2 one back in its group, 1 in the group before
    np.testing.assert_allclose(own[1:], np.array([0.1, 0.5, 1.0]) / 4, atol=1e-6)


def test_tifu_takes_from_neighbours_what_the_customer_never_bought() -> None:
    data = lines([(0, [1]), (1, [1, 2]), (2, [3]), (3, [3])], n_items=3)
    alone = TifuKnn.fit(data, 1e7, own_share=1.0)
    mixed = TifuKnn.fit(data, 1e7, own_share=0.5, n_neighbours=1)
    assert recommend(alone, np.array([0]), 1).tolist() == [[1]]
    assert recommend(mixed, np.array([0]), 2).tolist() == [[1, 2]]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_asked_about_the_same_histories_a_method_answers_the_same(name: str) -> None:
    model = METHODS[name](DATA, 10 * SECONDS_PER_DAY)
    again = model.about(DATA, 10 * SECONDS_PER_DAY)
    np.testing.assert_array_equal(model.scores(np.array([0, 1])), again.scores(np.array([0, 1])))
    empty = model.about(DATA.select(DATA.customer == 0), 10 * SECONDS_PER_DAY)
    if not isinstance(model, Popularity):
        assert not np.array_equal(empty.scores(np.array([1])), model.scores(np.array([1])))
