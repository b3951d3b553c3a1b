"""Metrics against scikit-learn and against hand-made cases; intervals against what is known of them."""

import numpy as np
import pytest
from sklearn import metrics as sk

from features.evaluation.resampling import Metric, Sampled, mean, resample
from training.evaluation import metrics


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    scores = np.round(rng.random(400), 2)  # rounded: with ties
    labels = (rng.random(400) < scores**2).astype(float)
    return labels, scores, rng.integers(0, 3, 400).astype(float)  # weights, as a resample gives them


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.auc, sk.roc_auc_score),
        (metrics.average_precision, sk.average_precision_score),
        (metrics.brier, sk.brier_score_loss),
    ],
)
def test_equals_scikit_learn_with_ties_and_weights(ours, theirs, sample) -> None:
    labels, scores, weights = sample
    assert ours(labels, scores)(weights) == pytest.approx(theirs(labels, scores, sample_weight=weights))


def test_log_loss_equals_scikit_learn(sample) -> None:
    labels, scores, weights = sample
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    expected = sk.log_loss(labels, clipped, sample_weight=weights)
    assert metrics.log_loss(labels, clipped)(weights) == pytest.approx(expected)


def test_a_weight_of_two_is_the_row_twice(sample) -> None:
    labels, scores, weights = sample
    repeated = np.repeat(np.arange(400), weights.astype(int))
    ones = np.ones(len(repeated))
    for make in (metrics.auc, metrics.average_precision, metrics.log_loss, metrics.brier, metrics.lift):
        assert make(labels, scores)(weights) == pytest.approx(make(labels[repeated], scores[repeated])(ones))


def test_lift_of_a_perfect_and_of_a_constant_score() -> None:
    labels = np.array([1.0] * 10 + [0.0] * 90)
    assert metrics.lift(labels, labels)(np.ones(100)) == pytest.approx(10.0)
    assert metrics.lift(labels, np.full(100, 0.3))(np.ones(100)) == pytest.approx(1.0)


def test_right_chances_show_the_ece_that_luck_gives() -> None:
    rng = np.random.default_rng(0)
    chances = rng.beta(2, 3, 3000)
    shown = [metrics.ece(rng.random(3000) < chances, chances)(np.ones(3000)) for _ in range(400)]
    assert metrics.ece_by_chance(chances) == pytest.approx(np.mean(shown), rel=0.03)


def test_ece_is_the_gap_between_said_and_happened() -> None:
    labels = np.array([1.0, 0.0, 0.0, 0.0] * 25)
    assert metrics.ece(labels, np.full(100, 0.25))(np.ones(100)) == pytest.approx(0.0)
    assert metrics.ece(labels, np.full(100, 0.45))(np.ones(100)) == pytest.approx(0.20)


def test_the_interval_of_a_mean_has_the_width_that_theory_says() -> None:
    values = np.random.default_rng(2).normal(5.0, 2.0, 1000)
    found = metrics.bootstrap_mean(values, n_bootstrap=2000)
    half = 1.96 * values.std() / np.sqrt(1000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_customers_are_resampled_whole() -> None:
    values = np.repeat(np.random.default_rng(3).normal(0.0, 1.0, 50), 20)  # 50 customers, 20 equal rows each
    customers = np.repeat(np.arange(50), 20)
    by_customer = metrics.bootstrap_mean(values, customers)
    by_row = metrics.bootstrap_mean(values)
    assert by_customer.high - by_customer.low > 3 * (by_row.high - by_row.low)


def test_a_difference_is_paired() -> None:
    values = np.random.default_rng(4).normal(0.0, 10.0, 300)
    statistics = {"ours": mean(values + 0.1), "theirs": mean(values)}
    sampled = resample(statistics, np.arange(300))
    found = sampled["ours"].minus(sampled["theirs"]).metric()
    assert found == Metric(pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))


def test_without_positives_there_is_no_auc_and_no_interval() -> None:
    found = metrics.bootstrap(metrics.auc(np.zeros(5), np.arange(5)), np.arange(5))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_better_knows_which_way_is_up() -> None:
    assert metrics.better("auc", 0.8, 0.7)
    assert metrics.better("log_loss/mailer", 0.3, 0.4)
    assert not metrics.better("log_loss", 0.4, 0.4)
    assert metrics.better("revenue_bias", -0.1, 0.3) and not metrics.better("revenue_bias", -0.3, 0.1)


def test_profit_is_best_where_only_churners_are_reached() -> None:
    labels = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    perfect = metrics.max_profit(labels, labels)(np.ones(10))
    assert perfect == pytest.approx(0.2 * (0.3 * 190.0 - 1.0), rel=0.01)
    turned = metrics.max_profit(labels, 1 - labels)(np.ones(10))
    assert 0 <= turned < perfect
    assert metrics.max_profit(np.zeros(10), labels)(np.ones(10)) == 0.0
    doubled = metrics.max_profit(labels, labels)(np.full(10, 2.0))
    assert doubled == pytest.approx(perfect)


def test_returners_are_looked_for_at_the_low_end() -> None:
    labels = np.array([1.0] * 5 + [0.0] * 5)
    assert metrics.returners_lift(labels, labels, fraction=0.5)(np.ones(10)) == pytest.approx(2.0)
    assert metrics.returners_lift(labels, -labels, fraction=0.5)(np.ones(10)) == pytest.approx(0.0)


def test_the_interval_of_a_calibration_error_holds_it_though_resampling_only_adds_to_it() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random(2000)
    labels = (rng.random(2000) < scores).astype(float)
    sampled = resample({"ece": metrics.ece(labels, scores)}, np.arange(2000))["ece"]
    found = sampled.metric()
    assert np.median(sampled.draws) > sampled.point + sampled.draws.std()
    assert 0 <= found.low < found.value < found.high
    assert found.high - found.low <= np.quantile(sampled.draws, 0.975) - np.quantile(sampled.draws, 0.025) + 1e-12


def test_an_interval_that_was_not_moved_by_resampling_is_plain_percentiles() -> None:
    draws = np.random.default_rng(6).normal(1.0, 0.1, 500)
    found = Sampled(1.05, draws).metric()
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
