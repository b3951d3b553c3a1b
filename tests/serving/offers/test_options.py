"""Options that are drawn: each by its own chance, a way by the sum of its offers, so that learning of ways stays right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.arrays import FloatArray
from features.vocabulary import NOTHING
from serving.decision.options import Options


def options(chances: FloatArray, nothing: float) -> Options:
    values = np.where(chances > 0, 1.0, -np.inf)
    arms = [f"way{number}" for number in range(len(chances))]
    offers = [f"offer{number}" for number in range(chances.shape[1])]
    return Options(arms, offers, chances, nothing, values, {}, "1")


def test_a_way_without_any_option_is_none() -> None:
    found = options(np.array([[0.25, 0.5], [0.0, 0.0]]), 0.25)
    assert found.of_arms() == {NOTHING: 0.25, "way0": 0.75}
    assert found.best_of_arms() == {"way0": 1.0, NOTHING: 0.0}
    assert found.likeliest(1) == {"way0": {"offer1": 0.5}}


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5))
def test_what_is_drawn_has_the_chance_that_is_told(seed: int, n_arms: int, n_offers: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.random(n_arms * n_offers + 1) * (rng.random(n_arms * n_offers + 1) < 0.7) + 1e-9
    weights /= weights.sum()
    found = options(weights[1:].reshape(n_arms, n_offers), float(weights[0]))
    choice = found.draw(str(seed))
    assert sum(choice.chances.values()) == pytest.approx(1.0)
    if choice.offer is None:
        assert (choice.arm, choice.pscore, choice.arm_pscore) == (NOTHING, weights[0], weights[0])
    else:
        row = list(found.arms).index(choice.arm)
        assert choice.pscore == found.chances[row, choice.offer] > 0
        assert choice.arm_pscore == pytest.approx(found.chances[row].sum())
    assert found.draw(str(seed)) == choice


def test_the_value_of_a_way_is_right_by_the_chance_of_the_way_and_wrong_by_that_of_its_offer() -> None:
    found = options(np.array([[0.1, 0.4], [0.3, 0.05]]), 0.15)
    reward = np.array([[2.0, 1.0], [0.5, 3.0]])
    n, by_arm, by_option = 4_000, [], []
    for number in range(n):
        choice = found.draw(f"seed {number}")
        is_first = choice.arm == "way0"
        earned = reward[0, choice.offer] if is_first else 0.0
        by_arm.append(earned / choice.arm_pscore if is_first else 0.0)  # type: ignore[operator]
        by_option.append(earned / choice.pscore)
    truth = (0.1 * 2.0 + 0.4 * 1.0) / 0.5
    assert np.mean(by_arm) == pytest.approx(truth, abs=4 * np.std(by_arm) / np.sqrt(n))
    assert np.mean(by_option) > 2 * truth
