"""The compiled churn score against the readable one, over all scores and customers that there may be."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.scoring.bg_nbd import Rates, Spend, Summary
from features.scoring.churn import LINEAR_SIGNALS, ChurnScore, Linear, prospects
from features.scoring.churn_kernel import CompiledChurn
from features.signals import SIGNAL_NAMES, signal_index

RATE = st.floats(0.02, 30.0)
RATES = st.builds(Rates, r=RATE, alpha=RATE, a=RATE, b=st.floats(0.02, 500.0))
SPENDS = st.one_of(st.none(), st.builds(Spend, p=st.floats(0.5, 9.0), q=st.floats(0.5, 9.0), v=st.floats(0.1, 90.0)))
WEIGHT = st.floats(-2.0, 2.0)


@st.composite
def scores(draw: st.DrawFn) -> ChurnScore:
    """A score as training may find it, and many that it would not."""
    n = len(LINEAR_SIGNALS)
    several = st.lists(WEIGHT, min_size=n + 2, max_size=n + 2)
    scale = st.lists(st.floats(0.1, 5.0), min_size=n + 2, max_size=n + 2)
    linear = Linear(
        names=LINEAR_SIGNALS,
        fill=tuple(draw(several)[:n]),
        mean=tuple(draw(several)),
        scale=tuple(draw(scale)),
        weights=tuple(draw(several)),
        intercept=draw(WEIGHT),
    )
    modified = draw(RATES)
    return ChurnScore(
        horizon_days=draw(st.sampled_from([7.0, 28.0, 365.0])),
        rates=draw(RATES),
        modified=Rates(modified.r, modified.alpha, modified.a, modified.b, modified=True),
        linear=draw(st.sampled_from([None, linear])),
        mix=(draw(WEIGHT), draw(WEIGHT), draw(WEIGHT)),
        slope=draw(WEIGHT),
        shift=draw(WEIGHT),
        spend=draw(SPENDS),
        pace=draw(st.sampled_from([0.0, 0.4])),
        buyers_only=draw(st.booleans()),
    )


def customers(n: int, rng: np.random.Generator) -> np.ndarray:
    """Signals of buyers, prospects and people of whom not everything is known."""
    signals = rng.exponential(20.0, (n, len(SIGNAL_NAMES))).astype(np.float32)
    for name in (*LINEAR_SIGNALS, "spend_30d"):
        signals[rng.random(n) < 0.1, SIGNAL_NAMES.index(name)] = np.nan
    first, last, occasions = signal_index(("days_since_first_purchase", "days_since_occasion", "n_occasions"))
    signals[:, first] = signals[:, last] + rng.exponential(100.0, n)
    signals[:, occasions] = rng.choice([0, 1, 2, 5, 90, 700], n)
    signals[rng.random(n) < 0.2, last] = np.nan
    for name in ("spend_365d", "occasions_365d"):
        signals[rng.random(n) < 0.2, SIGNAL_NAMES.index(name)] = 0.0
    return signals


@settings(max_examples=150, deadline=None)
@given(score=scores(), seed=st.integers(0, 2**32 - 1))
def test_any_score_answers_as_the_readable_one(score: ChurnScore, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signals, trees, compiled = customers(30, rng), rng.normal(0, 3, 30), CompiledChurn(score)
    nobody = prospects(signals)
    expected = np.where(nobody & score.buyers_only, np.nan, score.probability(signals, trees))
    np.testing.assert_allclose(compiled.chances(signals, trees), expected, rtol=1e-9, atol=1e-12)
    purchases, revenue = compiled.expectations(signals)
    exact = {
        "rtol": 5e-4,
        "atol": 1e-5,
    }  # the readable form is a quadrature where a float's range ends, and rounds at a = 1
    np.testing.assert_allclose(purchases, np.where(nobody, np.nan, score.expected_purchases(signals)), **exact)
    money = score.expected_revenue(signals)
    if money is None:
        assert revenue is None
    else:
        np.testing.assert_allclose(revenue, np.where(nobody, np.nan, money), **exact)


USUAL = st.builds(
    Rates, r=st.floats(0.2, 3.0), alpha=st.floats(1.0, 50.0), a=st.floats(0.1, 0.9), b=st.floats(0.5, 400.0)
)


@settings(max_examples=60, deadline=None)
@given(rates=USUAL, spend=SPENDS, seed=st.integers(0, 2**32 - 1))
def test_usual_rates_give_the_same_digits(rates: Rates, spend: Spend | None, seed: int) -> None:
    modified = Rates(rates.r, rates.alpha, rates.a, rates.b, modified=True)
    score = ChurnScore(28.0, rates, modified, None, (1.0, 0.0, 0.0), 1.0, 0.0, spend)
    signals = customers(30, np.random.default_rng(seed))
    often, last = signal_index(("n_occasions", "days_since_occasion"))
    signals[:, often] = np.minimum(signals[:, often], 90)
    buyers = signals[np.isfinite(signals[:, last])]
    purchases, revenue = CompiledChurn(score).expectations(buyers)
    np.testing.assert_allclose(purchases, score.expected_purchases(buyers), rtol=1e-9)
    money = score.expected_revenue(buyers)
    if money is not None:
        np.testing.assert_allclose(revenue, money, rtol=1e-9)


@pytest.mark.parametrize("a", [0.25, 1 - 1e-9, 1.0, 1 + 1e-7, 4.0])
@pytest.mark.parametrize("occasions", [1, 2, 90, 700])
def test_where_a_float_ends_and_at_the_pole_the_series_goes_on(occasions: int, a: float) -> None:
    """Against the hypergeometric function in as many digits as it takes."""
    rates = Rates(1.2, 7.5, a, 330.0, modified=True)
    signals = np.full((1, len(SIGNAL_NAMES)), np.nan, np.float32)
    names = ("n_occasions", "days_since_first_purchase", "days_since_occasion")
    signals[0, signal_index(names)] = occasions, 20.0, 3.0
    purchases, _ = CompiledChurn(ChurnScore(28.0, rates, rates, None, (1.0, 0.0, 0.0), 1.0, 0.0)).expectations(signals)
    with mpmath.workdps(60):
        x, share = occasions - 1, mpmath.mpf(28.0) / (mpmath.mpf(7.5) + 20 + 28)
        near = mpmath.mpf(a) + (mpmath.mpf(10) ** -30 if a == 1.0 else 0)
        shape, stays = mpmath.mpf(1.2) + x, mpmath.mpf(330.0) + x + 1
        total = near + stays - 1
        left = (1 - share) ** shape * mpmath.hyp2f1(shape, stays, total, share, maxterms=10**6)
        there = rates.alive_probability(Summary(np.array([float(x)]), np.array([17.0 if x else 0.0]), np.array([20.0])))
        expected = float(total / (near - 1) * (1 - left)) * there[0]
    assert purchases[0] == pytest.approx(expected, rel=1e-9)


def test_who_is_beyond_the_series_is_answered_by_the_readable_form() -> None:
    rates = Rates(0.3, 1e-6, 0.5, 2.0, modified=True)
    score = ChurnScore(28.0, rates, rates, None, (1.0, 0.0, 0.0), 1.0, 0.0)
    signals = customers(8, np.random.default_rng(1))
    signals[:, signal_index(("days_since_first_purchase",))] = 0.0  # the rate is near 0
    purchases, revenue = CompiledChurn(score).expectations(signals)
    buyers = ~prospects(signals)
    np.testing.assert_allclose(purchases[buyers], score.expected_purchases(signals)[buyers], rtol=1e-12)
    assert np.isnan(purchases[~buyers]).all() and revenue is None
