"""The search of settings, the trees, and the methods of the literature, small enough to check by hand."""

import numpy as np
import pytest

from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.evaluation.ranking import Targets, ranking_values
from training.models.recommenders.baselines import METHODS, Popularity, recommend
from training.models.recommenders.ease import Ease
from training.models.recommenders.lambdamart import Grouped, RankerConfig, lambdarank
from training.models.recommenders.search import search
from training.models.recommenders.tifu_knn import TifuKnn


def lines(baskets: list[tuple[int, list[int]]], n_items: int) -> Interactions:
    """Baskets (customer, items) in order, a day apart."""
    rows = [(customer, item, number) for number, (customer, items) in enumerate(baskets) for item in items]
    customer, item, number = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(customer, item, number, number * SECONDS_PER_DAY, int(customer.max()) + 1, n_items)


DATA = lines([(0, [1, 2]), (0, [1]), (0, [3]), (0, [1]), (1, [2]), (1, [4])], n_items=5)


def test_the_trees_learn_which_feature_to_trust() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((400, 10, 2)).astype(np.float32)
    best = features[:, :, 1].argmax(axis=1)  # the second feature tells, the first is noise
    labels = (np.arange(10) == best[:, None]).astype(np.float32)
    learned = Grouped(features.reshape(-1, 2), labels.ravel(), np.full(400, 10))
    trees = lambdarank(learned, ("a", "b"), RankerConfig(max_rounds=30, min_data_in_leaf=5), 0)
    scores = trees.predict(learned.features).reshape(400, 10)
    assert (scores.argmax(axis=1) == best).mean() > 0.9
    gain = trees.feature_importance("gain")
    assert gain[1] > 0.9 * gain.sum()


def test_trees_that_start_from_scores_learn_what_these_get_wrong() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((400, 10, 2)).astype(np.float32)
    labels = (np.arange(10) == features[:, :, 1].argmax(axis=1)[:, None]).astype(np.float32)
    learned = Grouped(features.reshape(-1, 2), labels.ravel(), np.full(400, 10))
    perfect = 100 * learned.features[:, 1]
    config = RankerConfig(max_rounds=5, min_data_in_leaf=5)
    alone, beside = (
        np.abs(lambdarank(learned, ("a", "b"), config, 0, start=start).predict(learned.features)).mean()
        for start in (None, perfect)
    )
    assert beside < 0.2 * alone


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
    np.testing.assert_allclose(Ease.fit(data, 1e7, l2=2.0).weights[1:, 1:], expected, atol=1e-5)


def test_tifu_vectors_decay_within_and_across_groups() -> None:
    data = lines([(0, [1]), (0, [2]), (0, [3])], n_items=3)
    own = TifuKnn.fit(data, 1e7, group_size=2, decay_within=0.5, decay_across=0.1).own.toarray()[0]
    # two groups of two: 3 is newest, 2 one back in its group, 1 in the group before
    np.testing.assert_allclose(own[1:], np.array([0.1, 0.5, 1.0]) / 4, atol=1e-6)


def test_tifu_takes_from_neighbours_what_the_customer_never_bought() -> None:
    data = lines([(0, [1]), (1, [1, 2]), (2, [3]), (3, [3])], n_items=3)
    alone = TifuKnn.fit(data, 1e7, own_share=1.0)
    mixed = TifuKnn.fit(data, 1e7, own_share=0.5, n_neighbors=1)
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
