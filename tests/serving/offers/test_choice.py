"""The chances of options: exact shares of the draws, with a floor for every way, whatever the order of offers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays import BoolArray, FloatArray
from serving.decision.policy import choice_chances
from serving.offers.choice import Draws, OptionChances, option_chances

EVERY = np.ones((1, 2), np.bool_)


def chances(
    gross: FloatArray,
    lifts: FloatArray,
    allowed: BoolArray,
    costs: FloatArray | None = None,
    exploration: float = 0.1,
    temperature: float = 0.1,
) -> OptionChances:
    place = np.minimum(np.arange(len(gross)), len(lifts) - 1)
    costs = np.zeros(gross.shape) if costs is None else costs
    return option_chances(
        gross, costs, Draws(np.swapaxes(lifts, 1, 2)), place, allowed, exploration=exploration, temperature=temperature
    )


def test_an_offer_has_the_share_of_the_draws_that_it_wins() -> None:
    lifts = np.array([[[1.0, 2.0], [1.0, 0.5], [1.0, 0.9], [1.0, 1.1]]])  # (1 place, 4 draws, 2 offers)
    found = chances(np.array([[1e6, 1e6]]), lifts, EVERY, exploration=0.0)
    assert found.options.tolist() == [[0.5, 0.5]]
    assert found.nothing == 0.0


def test_a_way_is_drawn_softly_as_without_offers() -> None:
    values = {"email": 0.3, "nothing": 0.0, "post": 0.1}
    expected = choice_chances(values, exploration=0.2, temperature=0.15)
    found = chances(
        np.array([[0.3], [0.1]]), np.ones((1, 8, 1)), np.ones((2, 1), np.bool_), exploration=0.2, temperature=0.15
    )
    assert found.options[:, 0].tolist() == pytest.approx([expected["email"], expected["post"]])
    assert found.nothing == pytest.approx(expected["nothing"])


def test_what_is_not_allowed_has_no_chance_and_a_way_without_any_offer_takes_no_floor() -> None:
    allowed = np.array([[True, False], [False, False]])
    found = chances(np.array([[-5.0, 9.0], [9.0, 9.0]]), np.ones((1, 4, 2)), allowed)
    assert found.options.tolist() == [[pytest.approx(0.05), 0.0], [0.0, 0.0]]
    assert found.nothing == pytest.approx(0.95)


def test_where_nothing_is_allowed_nothing_is_certain() -> None:
    found = chances(np.ones((1, 2)), np.ones((1, 4, 2)), np.zeros((1, 2), np.bool_))
    assert (found.options.sum(), found.nothing) == (0.0, 1.0)


def test_a_cost_is_taken_off_in_every_draw() -> None:
    lifts = np.array([[[1.0, 1.5], [1.0, 3.0]]])
    found = chances(np.array([[10.0, 10.0]]), lifts, EVERY, np.array([[0.0, 10.0]]), exploration=0.0)
    assert found.options[0].tolist() == pytest.approx([0.5, 0.5])


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        chances(np.array([[np.nan, 1.0]]), np.ones((1, 4, 2)), EVERY)
    with pytest.raises(ValueError, match="finite"):
        Draws(np.array([[[np.inf]]]))


def one_by_one(
    gross: FloatArray, costs: FloatArray, lifts: FloatArray, allowed: BoolArray, exploration: float, temperature: float
) -> tuple[FloatArray, float]:
    """The policy as its words say it, draw by draw."""
    out, nothing, n_draws = np.zeros(gross.shape), 0.0, lifts.shape[1]
    for draw in range(n_draws):
        values = np.where(
            allowed, gross * lifts[np.minimum(np.arange(len(gross)), len(lifts) - 1), draw] - costs, -np.inf
        )
        ways = [arm for arm in range(len(gross)) if allowed[arm].any()]
        best = {str(arm): float(values[arm].max()) for arm in ways} | {"nothing": 0.0}
        shares = choice_chances(best, exploration=exploration, temperature=temperature)
        for arm in ways:
            out[arm, int(values[arm].argmax())] += shares[str(arm)] / n_draws
        nothing += shares["nothing"] / n_draws
    return out, nothing


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 6),
    st.floats(0, 1),
    st.floats(0.01, 3),
)
def test_chances_are_what_the_policy_does_sum_to_one_and_do_not_hang_on_the_order(
    seed: int, n_arms: int, n_offers: int, exploration: float, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    gross, costs = rng.normal(1, 2, (n_arms, n_offers)), rng.random((n_arms, n_offers))
    lifts, allowed = rng.gamma(2, 0.5, (n_arms, 8, n_offers)), rng.random((n_arms, n_offers)) < 0.7
    found = chances(gross, lifts, allowed, costs, exploration, temperature)
    assert found.options.sum() + found.nothing == pytest.approx(1.0, abs=1e-12)
    expected, nothing = one_by_one(gross, costs, lifts, allowed, exploration, temperature)
    assert np.allclose(found.options, expected, atol=1e-12)
    assert found.nothing == pytest.approx(nothing, abs=1e-12)
    n_ways = 1 + int(allowed.any(axis=1).sum())
    assert (found.options.sum(axis=1)[allowed.any(axis=1)] >= exploration / n_ways - 1e-12).all()
    assert (found.options[~allowed] == 0).all()
    order = rng.permutation(n_offers)
    permuted = chances(
        gross[:, order], lifts[:, :, order], allowed[:, order], costs[:, order], exploration, temperature
    )
    assert np.allclose(permuted.options, found.options[:, order], atol=1e-12)
