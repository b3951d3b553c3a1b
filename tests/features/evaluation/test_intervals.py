"""Intervals of policy values: the quantiles by hand, and that they hold the truth where few rewards carry a value."""

import numpy as np
import pytest
from scipy.stats import gamma, norm

from features.evaluation.intervals import MAX_SKEWNESS, gain, intervals, skew_corrected
from features.evaluation.off_policy import DecisionLog, evaluate, single_arm
from features.evaluation.resampling import Sampled
from training.evaluation.metrics import bootstrap_mean


def test_draws_without_skewness_give_percentiles_at_weibull_positions() -> None:
    found = skew_corrected(Sampled(0.0, np.arange(-99.0, 100.0)))  # 199 draws: the k-th stands at k / 200
    assert (found.value, found.low, found.high) == pytest.approx((0.0, -95.0, 95.0))


def test_skewed_draws_move_both_ends_the_way_of_the_long_tail() -> None:
    draws = gamma(25).ppf(np.arange(1, 1_000) / 1_000)
    centred = draws - draws.mean()
    a = float((centred**3).mean() / (centred**2).mean() ** 1.5) / 6
    levels = [norm.cdf(a + (a + z) / (1 - a * (a + z))) for z in (-1.959964, 1.959964)]
    found = skew_corrected(Sampled(1.0, draws))
    assert 0 < a < MAX_SKEWNESS / 6
    assert [found.low, found.high] == pytest.approx(gamma(25).ppf(levels), rel=1e-3)  # the draws are its quantiles
    mirrored = skew_corrected(Sampled(-1.0, -draws))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_draws_that_do_not_vary_or_are_not_there_have_the_plain_interval() -> None:
    same = gain(Sampled(2.0, np.full(50, 2.0)), Sampled(2.0, np.full(50, 2.0)))
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    undefined = skew_corrected(Sampled(1.0, np.full(50, np.nan)))
    assert np.isnan([undefined.low, undefined.high]).all()


def test_only_policy_values_are_corrected() -> None:
    skewed = Sampled(1.0, np.random.default_rng(0).exponential(size=500))
    found = intervals({"policy_value_dr": skewed, "qini_email": skewed}, "policy_value_")
    assert found["qini_email"] == skewed.metric()
    assert found["policy_value_dr"] == skew_corrected(skewed)
    assert found["policy_value_dr"].high > found["qini_email"].high


def test_a_value_that_few_conversions_carry_is_held_where_percentiles_miss_it() -> None:
    n, rate, logs = 400, 0.03, 200  # an arm with a chance of one half: about six conversions
    true_value = rate * np.exp(0.125)
    held = {"percentiles": 0, "corrected": 0}
    for seed in range(logs):
        rng = np.random.default_rng(seed)
        action = rng.integers(0, 2, n)
        log = DecisionLog(action, np.full(n, 0.5), (rng.random(n) < rate) * rng.lognormal(0, 0.5, n), 2)
        plain = bootstrap_mean(np.where(action == 1, 2 * log.reward, 0.0), n_bootstrap=300, seed=seed)
        ours = evaluate(log, single_arm(n, 2, 1), n_bootstrap=300, seed=seed).estimates["ips"]
        held["percentiles"] += plain.low <= true_value <= plain.high
        held["corrected"] += ours.low <= true_value <= ours.high
    assert held["corrected"] / logs >= 0.92
    assert held["corrected"] - held["percentiles"] >= 0.01 * logs
