"""The policy: its chances are exact, its floor holds, and the same seed always chooses the same arm."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.policy import choice_chances, choose, uniform

VALUES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=8)
EXPLORATION = st.floats(0, 1)
TEMPERATURE = st.floats(1e-3, 1e3)


@given(VALUES, EXPLORATION, TEMPERATURE)
def test_chances_sum_to_one_and_keep_the_floor(
    values: dict[str, float], exploration: float, temperature: float
) -> None:
    chances = choice_chances(values, exploration=exploration, temperature=temperature)
    assert set(chances) == set(values)
    assert math.isclose(math.fsum(chances.values()), 1.0, rel_tol=1e-12)
    assert min(chances.values()) >= exploration / len(values) * (1 - 1e-12)


@given(VALUES, st.floats(0, 0.99), TEMPERATURE)
def test_a_better_arm_never_has_a_smaller_chance(
    values: dict[str, float], exploration: float, temperature: float
) -> None:
    chances = choice_chances(values, exploration=exploration, temperature=temperature)
    ordered = sorted(values, key=lambda arm: values[arm])
    for worse, better in pairwise(ordered):
        assert chances[worse] <= chances[better] * (1 + 1e-12)


@given(VALUES, EXPLORATION, TEMPERATURE, st.text(max_size=20))
def test_a_choice_is_reproducible_and_its_pscore_is_its_chance(
    values: dict[str, float], exploration: float, temperature: float, seed: str
) -> None:
    first = choose(values, seed, exploration=exploration, temperature=temperature)
    again = choose(dict(reversed(values.items())), seed, exploration=exploration, temperature=temperature)
    assert first == again
    assert first.pscore == first.chances[first.arm] > 0.0


def test_known_chances() -> None:
    chances = choice_chances({"a": math.log(3.0), "b": 0.0}, exploration=0.2, temperature=1.0)
    assert chances == pytest.approx({"a": 0.8 * 0.75 + 0.1, "b": 0.8 * 0.25 + 0.1})


def test_frequencies_follow_the_pscore() -> None:
    values = {"a": 0.2, "b": 0.1, "nothing": 0.0}
    counts = Counter(choose(values, f"d-{i}", exploration=0.1, temperature=0.1).arm for i in range(20_000))
    chances = choice_chances(values, exploration=0.1, temperature=0.1)
    for arm, chance in chances.items():
        spread = 4 * math.sqrt(chance * (1 - chance) / 20_000)
        assert counts[arm] / 20_000 == pytest.approx(chance, abs=spread)


@given(st.text(max_size=50))
def test_uniform_is_in_the_half_open_interval(seed: str) -> None:
    assert 0.0 <= uniform(seed) < 1.0


@pytest.mark.parametrize("values", [{}, {"a": math.nan}, {"a": math.inf}])
def test_no_arm_or_no_number_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="arm"):
        choose(values, "s", exploration=0.1, temperature=0.1)
