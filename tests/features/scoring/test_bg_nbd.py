"""BG/NBD against a published fit, against counting simulated customers, and where it must be sane."""

import numpy as np
import pytest

from features.scoring.bg_nbd import Rates, Spend, Summary

CDNOW = Rates(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""Rates in weeks, as published by Fader, Hardie and Lee (2005) for the CDNOW sample."""
KNOWN = Summary(np.array([2.0]), np.array([30.43]), np.array([38.86]))


def test_the_published_customer_is_expected_to_buy_as_published() -> None:
    assert CDNOW.expected_purchases(KNOWN, 39.0)[0] == pytest.approx(1.226, abs=0.002)


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
