"""BG/NBD against a published fit, against counting simulated customers, and where it must be sane."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln, expit, log_expit

from features.scoring.bg_nbd import Rates, Spend, Summary

CDNOW = Rates(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""Rates in weeks, as published by Fader, Hardie and Lee (2005) for the CDNOW sample."""
KNOWN = Summary(np.array([2.0]), np.array([30.43]), np.array([38.86]))


def test_the_published_customer_is_expected_to_buy_as_published() -> None:
    assert CDNOW.expected_purchases(KNOWN, 39.0)[0] == pytest.approx(1.226, abs=0.0005)


SHAPES = (
    (0.243, 4.414, 0.793, 2.426),  # CDNOW
    (1.23, 7.56, 0.26, 343.9),  # a supermarket's regular customers: hardly anybody ever leaves
    (0.8, 60.0, 1.0, 3.0),  # the closed form's pole
    (0.8, 60.0, 1.0 + 1e-7, 3.0),
    (20.0, 1.0, 8000.0, 8000.0),  # where a fit's bounds are
    (2.0, 100.0, 50.0, 0.05),
)


@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_expected_purchases_are_the_integral_that_they_stand_for(
    shape: tuple[float, float, float, float], modified: bool
) -> None:
    rates = Rates(*shape, modified=modified)
    repeats, last, age = np.array(
        [(0.0, 0.0, 0.0), (0, 0, 200), (3, 150, 200), (1, 4, 5), (40, 380, 400), (600, 700, 710)]
    ).T
    known = Summary(repeats, last, age)
    for horizon in (1.0, 28.0, 365.0, 3650.0):
        expected = [_integral(rates, x, t, horizon) for x, t in zip(repeats, age, strict=True)]
        answer = rates.expected_purchases(known, horizon)
        np.testing.assert_allclose(answer, rates.alive_probability(known) * expected, rtol=2e-5, atol=1e-12)


def test_expected_purchases_grow_with_the_horizon_and_are_finite_at_every_bound_of_a_fit() -> None:
    small, large = np.exp(-9.0), np.exp(9.0)
    known = Summary(np.array([0.0, 2.0, 500.0]), np.array([0.0, 30.0, 900.0]), np.array([1.0, 40.0, 1000.0]))
    for r, alpha, a, b in product((small, large), (small, large), (small, 1.0, large), (small, large)):
        rates = Rates(r, alpha, a, b, modified=True)
        short, long = rates.expected_purchases(known, 7.0), rates.expected_purchases(known, 700.0)
        assert np.isfinite(long).all()
        assert ((short >= 0) & (long >= short * (1 - 1e-6))).all()


def _integral(rates: Rates, repeats: float, age: float, horizon: float) -> float:
    """Mean purchases of a customer who is there: over the log-odds of the dropout probability, which is Beta."""
    shape, reach = rates.r + repeats, horizon / (rates.alpha + age)
    a, b = rates.a, rates.b + repeats + rates.modified

    def bought(odds: float) -> float:
        leaves = expit(odds)
        density = np.exp(a * log_expit(odds) + b * log_expit(-odds) - betaln(a, b))
        return float(density * -np.expm1(-shape * np.log1p(leaves * reach)) / leaves)

    middle, width = np.log(a / b), np.sqrt(1 / a + 1 / b)
    inner = middle + width * np.array([-40.0, -8.0, -2.0, 0.0, 2.0, 8.0, 40.0])
    edges = np.array([inner[0] - 45 / a, *inner, inner[-1] + 45 / b])  # the tails fall like exp(a x) and exp(-b x)
    return float(sum(quad(bought, low, high, epsabs=0, epsrel=1e-9, limit=200)[0] for low, high in pairwise(edges)))


def test_silence_is_what_simulated_customers_do() -> None:
    rng = np.random.default_rng(3)
    n, age, horizon = 60_000, 40.0, 20.0
    rates = Rates(r=1.0, alpha=8.0, a=1.0, b=3.0, modified=True)
    speed = rng.gamma(rates.r, 1 / rates.alpha, n)
    leaves = rng.beta(rates.a, rates.b, n)
    bought, last, silent = np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    clock, there = np.zeros(n), rng.random(n) >= leaves
    while there.any():
        clock = np.where(there, clock + rng.exponential(1 / speed), np.inf)
        before, after = there & (clock <= age), there & (clock > age) & (clock <= age + horizon)
        bought, last = bought + before, np.where(before, clock, last)
        silent &= ~after
        there &= (clock <= age + horizon) & (rng.random(n) >= leaves)
    found = rates.silence_probability(Summary(bought, last, np.full(n, age)), horizon)
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.0)):
        inside = (found >= low) & (found < high)
        mean = found[inside].mean()
        error = np.sqrt(mean * (1 - mean) / inside.sum())
        assert error < 0.015
        assert silent[inside].mean() == pytest.approx(mean, abs=3.5 * error)


def test_longer_horizons_are_less_silent_and_never_impossible() -> None:
    rng = np.random.default_rng(0)
    age = rng.uniform(0, 400, 500)
    known = Summary(rng.integers(0, 200, 500).astype(float), age * rng.random(500), age)
    for rates in (CDNOW, Rates(0.5, 6.0, 0.9, 1.6, modified=True)):
        short, long = rates.silence_probability(known, 7.0), rates.silence_probability(known, 70.0)
        assert ((short >= long) & (long >= 0) & (short <= 1)).all()


def test_somebody_who_never_bought_has_no_history() -> None:
    known = Summary.of_signals(np.array([np.nan]), np.array([np.nan]), np.array([np.nan]))
    assert (known.repeats[0], known.last_days[0], known.age_days[0]) == (0.0, 0.0, 0.0)


def test_a_purchase_is_worth_the_customers_own_mean_the_more_of_them_were_seen() -> None:
    spend = Spend(p=6.25, q=3.74, v=15.44)
    everybody = 6.25 * 15.44 / 2.74
    found = spend.expected_value(np.array([0.0, 1.0, 1000.0]), np.array([np.nan, 100.0, 100.0]))
    assert found[0] == pytest.approx(everybody)
    assert everybody < found[1] < 100.0
    assert found[2] == pytest.approx(100.0, abs=0.1)
