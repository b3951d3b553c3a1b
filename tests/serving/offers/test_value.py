"""Values of options, computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.offers.value import Worth, anyway_probability, retention_weight

NAN = math.nan


def worth(**changes: object) -> Worth:
    """Two ways (e-mail of unknown effect, post of a known one), two offers."""
    fields: dict[str, object] = {
        "response": np.array([0.2, 0.1]),
        "gain": np.array([NAN, 1.5]),
        "cost": np.array([0.01, 0.5]),
        "response_value": 5.0,
        "money": np.array([5.0, 20.0]),
        "anyway": np.array([0.0, 0.4]),
        "boost": np.array([1.0, 1.0]),
        "offer_cost": np.array([0.0, 0.25]),
    }
    return Worth(**{**fields, **changes})  # type: ignore[arg-type]


def test_an_option_is_worth_its_responses_times_money_less_its_costs() -> None:
    values = worth().values(np.array([[1.0, 1.0], [1.0, 1.0]]))
    assert values[0, 0] == pytest.approx(0.2 * 5.0 - 0.01)
    assert values[0, 1] == pytest.approx(0.2 * (1 - 0.4) * 20.0 - 0.01 - 0.25)


def test_a_known_effect_is_what_a_message_adds_so_that_nothing_is_taken_off_for_what_comes_anyway() -> None:
    values = worth().values(np.ones((2, 2)))
    assert values[1, 0] == pytest.approx(1.5)  # the very gain, at the money that it was counted in
    assert values[1, 1] == pytest.approx((1.5 + 0.5) / 5.0 * 20.0 - 0.5 - 0.25)


def test_the_lift_of_an_offer_multiplies_what_it_brings_and_not_what_it_costs() -> None:
    values = worth().values(np.array([[2.0, 0.5], [0.0, 3.0]]))
    assert values[0, 0] == pytest.approx(0.2 * 2 * 5.0 - 0.01)
    assert values[0, 1] == pytest.approx(0.2 * 0.5 * 0.6 * 20.0 - 0.26)
    assert values[1, 0] == pytest.approx(-0.5)


def test_who_may_leave_counts_more_and_every_contact_tires() -> None:
    values = worth(retention_weight=retention_weight(0.5, 0.6), fatigue=0.1).values(np.ones((2, 2)))
    assert values[0, 0] == pytest.approx(0.2 * 5.0 * 1.3 - 0.01 - 0.1)


def test_a_boost_pushes_a_gain_and_makes_no_loss_smaller() -> None:
    boosted = worth(boost=np.array([3.0, 0.1]), gain=np.array([NAN, -1.0])).values(np.ones((2, 2)))
    assert boosted[0, 0] == pytest.approx(0.2 * 5.0 * 3.0 - 0.01)
    assert boosted[0, 1] == pytest.approx(0.2 * 0.6 * 20.0 * 0.1 - 0.26)
    assert boosted[1].tolist() == pytest.approx([-1.0, (-1.0 + 0.5) / 5.0 * 20.0 - 0.75])


def test_terms_say_what_a_value_is_made_of() -> None:
    of_options = worth(retention_weight=1.2, fatigue=0.05)
    terms = of_options.terms(0, 1, 1.5)
    said = terms.plain()
    assert said == {
        "response_probability": 0.2,
        "effect": None,
        "lift": 1.5,
        "anyway_probability": 0.4,
        "money": 20.0,
        "retention_weight": 1.2,
        "boost": 1.0,
        "cost": 0.01,
        "offer_cost": 0.25,
        "fatigue": 0.05,
        "value": round(0.2 * 1.5 * 0.6 * 20 * 1.2 - 0.31, 6),
    }
    assert of_options.terms(1, 0, 1.0).effect == 1.5


@pytest.mark.parametrize("gains", [(NAN, 1.5), (NAN, -3.0), (0.4, NAN)])
def test_terms_say_the_very_value_that_is_weighed(gains: tuple[float, float]) -> None:
    of_options = worth(gain=np.array(gains), boost=np.array([2.0, 0.5]), retention_weight=1.3, fatigue=0.1)
    lift = np.array([[0.5, 1.5], [2.0, 0.8]])
    told = [[of_options.terms(arm, offer, float(lift[arm, offer])).value for offer in (0, 1)] for arm in (0, 1)]
    assert np.allclose(told, of_options.values(lift), atol=1e-12)


def test_a_response_of_who_will_surely_leave_counts_more_by_the_weight() -> None:
    assert retention_weight(1.0, 0.5) == 1.5
    assert retention_weight(None, 0.5) == retention_weight(NAN, 0.5) == retention_weight(0.9, 0.0) == 1.0


def test_what_is_bought_every_ten_days_is_bought_within_a_week_by_every_second() -> None:
    # ten days after the last of nine purchases: S(10) = 3 e^-2, S(17) = 4.4 e^-3.4, the habit ends with chance 0.1
    silent, later = 3 * math.exp(-2), 4.4 * math.exp(-3.4)
    by_hand = 0.9 * (silent - later) / (0.1 + 0.9 * silent)
    assert anyway_probability(9, 10.0, 10.0, 7.0) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.5012, abs=1e-4)


def test_without_a_gap_nothing_is_bought_anyway() -> None:
    assert anyway_probability(1, None, 3.0, 7.0) == 0.0
    assert anyway_probability(0, None, 0.0, 7.0) == 0.0


@given(
    st.integers(2, 50),
    st.floats(0.1, 400),
    st.floats(0, 2_000),
    st.floats(0, 60),
    st.floats(0, 60),
)
def test_the_chance_is_one_and_grows_with_the_time_that_is_given(
    count: int, gap_days: float, last_days: float, within_days: float, more_days: float
) -> None:
    chance = anyway_probability(count, gap_days, last_days, within_days)
    assert 0.0 <= chance <= 1.0
    assert anyway_probability(count, gap_days, last_days, within_days + more_days) >= chance - 1e-12


def test_a_habit_that_lapsed_long_ago_brings_nobody_back() -> None:
    assert anyway_probability(6, 7.0, 100.0, 7.0) < 0.001
