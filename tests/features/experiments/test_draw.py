"""Who gets which variant: never drawn anew, by the shares, whatever else draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from features.experiments.draw import place_of, variant_of
from features.experiments.experiment import Experiment

CUSTOMERS = [f"c{number}" for number in range(6_000)]


def experiment(*shares: float, name: str = "warmer") -> Experiment:
    return Experiment(name=name, variants=[{"name": f"v{n}", "share": share} for n, share in enumerate(shares)])


def test_the_draw_is_what_it_always_was() -> None:
    assert place_of("c1", "warmer") == pytest.approx(0.1698710550633865, abs=1e-15)
    assert [variant_of(name, experiment(0.5, 0.5)) for name in ("c1", "c2", "c3", "c4")] == [0, 0, 1, 0]


def test_variants_get_their_shares_and_the_rest_is_left_alone() -> None:
    drawn = [variant_of(name, experiment(0.2, 0.3)) for name in CUSTOMERS]
    counts = [drawn.count(0), drawn.count(1), drawn.count(None)]
    assert stats.chisquare(counts, [1_200, 1_800, 3_000]).pvalue > 0.001


def test_two_experiments_draw_independently() -> None:
    first, second = experiment(0.5, 0.5), experiment(0.5, 0.5, name="colder")
    both = [[0, 0], [0, 0]]
    for name in CUSTOMERS:
        both[variant_of(name, first) or 0][variant_of(name, second) or 0] += 1
    assert stats.chi2_contingency(both).pvalue > 0.001


@given(st.text(max_size=40), st.floats(0.01, 0.5))
def test_a_variant_that_comes_later_takes_nobody_from_those_before(unit: str, share: float) -> None:
    narrow, wide = variant_of(unit, experiment(0.2, 0.25)), variant_of(unit, experiment(0.2, 0.25, share))
    assert narrow is None or wide == narrow


@given(st.text(max_size=40))
def test_thirds_leave_nobody_out(unit: str) -> None:
    assert variant_of(unit, experiment(1 / 3, 1 / 3, 1 / 3)) in (0, 1, 2)
