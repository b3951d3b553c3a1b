"""The simple methods on histories small enough to rank by hand."""

import numpy as np
import pytest

from training.data.interactions import decayed_profile
from training.evaluation.ranking import Targets
from training.models.recommenders.baselines import (
    METHODS,
    Interactions,
    ItemKnn,
    PersonalFrequency,
    Popularity,
    SequenceRules,
    recommend,
)
from training.models.recommenders.search import search

DAY = 86_400.0


def history(rows: list[tuple[int, float, list[int]]], n_items: int) -> Interactions:
    """Baskets (customer, day, items), in the order of customer and day."""
    lines = [
        (customer, item, number, day * DAY) for number, (customer, day, items) in enumerate(rows) for item in items
    ]
    customer, item, basket, time = (np.array(column) for column in zip(*lines, strict=True))
    return Interactions(customer, item, basket, time.astype(float), int(customer.max()) + 1, n_items)


SHOP = history(
    [
        (0, 0, [1, 2]),
        (0, 1, [3]),
        (0, 90, [1]),
        (1, 0, [1, 2]),
        (1, 1, [3]),
        (1, 2, [1, 2]),
        (2, 91, [4]),
    ],
    n_items=5,
)
NOW = 92 * DAY
EVERYBODY = np.arange(3)


def test_popularity_is_the_same_for_all_and_forgets() -> None:
    assert recommend(Popularity.fit(SHOP, NOW), EVERYBODY, 3)[:, 0].tolist() == [1, 1, 1]
    assert Popularity.fit(SHOP, NOW).scores(EVERYBODY)[2].tolist() == [0, 4, 3, 2, 1, 0]
    lately = Popularity.fit(SHOP, NOW, half_life_days=0.2)
    assert recommend(lately, EVERYBODY[:1], 2).tolist() == [[4, 1]]


def test_personal_frequency_decays_and_is_filled_with_recent_popularity() -> None:
    model = PersonalFrequency.fit(SHOP, NOW, half_life_days=92)
    assert model.scores(EVERYBODY)[0, 2] == pytest.approx(0.5, abs=1e-5)
    assert recommend(model, EVERYBODY, 4).tolist()[2] == [4, 1, 2, 3]
    assert recommend(model, EVERYBODY, 2).tolist()[1] == [1, 2]


def test_sequence_rules_point_to_what_followed() -> None:
    model = SequenceRules.fit(SHOP.before(2 * DAY), 2 * DAY, max_distance=1, n_recent=1, normalisation=0.5)
    asked = history([(0, 0, [1, 2]), (0, 1, [3]), (1, 0, [2])], 5)
    assert recommend(model.about(asked, NOW), np.array([1]), 1).tolist() == [[3]]
    # 2 was followed by 3 in both histories, each of them seen twice: 2 / sqrt(2 * 2)
    assert model.rules[[2], [3]][0] == pytest.approx(1.0)


def test_a_far_rule_counts_less() -> None:
    chain = history([(0, 0, [1]), (0, 1, [2]), (0, 2, [3])], 3)
    rules = SequenceRules.fit(chain, NOW, max_distance=2, distance_decay=0.25, normalisation=0.0).rules
    assert rules[[1], [2]][0] == pytest.approx(1.0)
    assert rules[[1], [3]][0] == pytest.approx(0.25)


def test_rules_do_not_cross_customers() -> None:
    two = history([(0, 0, [1]), (1, 1, [2])], 2)
    assert SequenceRules.fit(two, NOW).rules.nnz == 0


def test_item_knn_finds_the_companion_and_does_not_repeat_unless_told() -> None:
    model = ItemKnn.fit(SHOP, NOW, half_life_days=np.inf, shrinkage=0.0)
    # 1 is in 4 baskets, 2 in 3, together in 3: cosine 3 / sqrt(12)
    assert model.similarity[[1], [2]][0] == pytest.approx(3 / np.sqrt(12))
    assert model.similarity[[1], [1]][0] == 0
    repeats = ItemKnn.fit(SHOP, NOW, self_weight=5.0)
    assert recommend(repeats, EVERYBODY, 1).tolist()[2] == [4]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ranks_each_product_once_and_ignores_the_future(name: str) -> None:
    past = SHOP.before(2 * DAY)
    top = recommend(METHODS[name](past, 2 * DAY), EVERYBODY, 5)
    assert top.shape == (3, 5)
    assert all(sorted(row) == [1, 2, 3, 4, 5] for row in top.tolist())
    assert top.tolist() == recommend(METHODS[name](SHOP.before(2 * DAY), 2 * DAY), EVERYBODY, 5).tolist()


def test_tuning_takes_the_best_value() -> None:
    tuned = search(
        "popularity", {"half_life_days": [1000.0, 0.2]}, SHOP, NOW, EVERYBODY[:1], Targets.from_lists([[4]]), "ndcg@1"
    )
    assert (tuned.settings, tuned.value) == ({"half_life_days": 0.2}, 1.0)


def test_antecedents_may_fade_with_their_age() -> None:
    by_age = METHODS["sequence_rules"](SHOP, NOW, half_life_days=2.0)
    expected = decayed_profile(SHOP, NOW, 2.0)
    np.testing.assert_array_equal(by_age.antecedents.toarray(), expected.toarray())
    assert by_age.about(SHOP, NOW, half_life_days=1.0).antecedents.sum() < expected.sum()
