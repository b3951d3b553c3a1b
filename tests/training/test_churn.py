"""Churn: the booster's plain prediction is the calibrated probability, and what can be known is found."""

from datetime import UTC, datetime

import lightgbm as lgb
import numpy as np
import pytest
from scipy.special import expit

from training.labels import Span
from training.models import boosted
from training.models.boosted import BoosterConfig
from training.models.churn import ChurnConfig, snapshot_times

CONFIG = BoosterConfig(learning_rate=0.2, num_leaves=4, min_data_in_leaf=20, max_rounds=60, early_stopping_rounds=10)
NAMES = ("a", "b", "c")
Rows = tuple[np.ndarray, np.ndarray]


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    return features, (rng.random(n) < expit(2.0 * features[:, 0] - 1.5)).astype(float)


@pytest.fixture(scope="module")
def fitted() -> boosted.Fitted:
    return boosted.fit_calibrated(rows(3000, 0), rows(1000, 1), NAMES, CONFIG, seed=7)


def test_folding_the_calibration_equals_applying_it(fitted: boosted.Fitted) -> None:
    features, labels = rows(3000, 0)
    data = lgb.Dataset(features, labels, feature_name=list(NAMES))
    plain = lgb.train(boosted.parameters(CONFIG, 7), data, num_boost_round=15)
    folded = boosted.fold_calibration(plain, 0.7, -0.4)
    expected = expit(0.7 * plain.predict(features, raw_score=True) - 0.4)
    np.testing.assert_allclose(folded.predict(features), expected, atol=1e-12)


def test_the_saved_file_predicts_the_calibrated_probability(fitted: boosted.Fitted, tmp_path) -> None:
    fitted.booster.save_model(str(tmp_path / "model.lgb"))
    features, labels = rows(20_000, 2)
    found = lgb.Booster(model_file=str(tmp_path / "model.lgb")).predict(features)
    np.testing.assert_array_equal(found, fitted.booster.predict(features))
    for low, high in ((0.0, 0.1), (0.2, 0.4), (0.6, 0.9)):
        inside = (found >= low) & (found < high)
        assert found[inside].mean() == pytest.approx(labels[inside].mean(), abs=0.04)


def test_contributions_still_add_up_to_the_probability(fitted: boosted.Fitted) -> None:
    features, _ = rows(50, 3)
    contributions = fitted.booster.predict(features, pred_contrib=True)
    np.testing.assert_allclose(expit(contributions.sum(axis=1)), fitted.booster.predict(features), atol=1e-9)


def test_the_same_seed_gives_the_same_trees(fitted: boosted.Fitted) -> None:
    again = boosted.fit_calibrated(rows(3000, 0), rows(1000, 1), NAMES, CONFIG, seed=7)
    assert again.booster.model_to_string() == fitted.booster.model_to_string()


def test_platt_finds_the_slope_and_shift_that_were_put_in() -> None:
    rng = np.random.default_rng(5)
    raw = rng.normal(size=50_000)
    labels = (rng.random(50_000) < expit(0.5 * raw + 0.8)).astype(float)
    slope, shift = boosted.platt(raw, labels)
    assert slope == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(0.8, abs=0.03)


def test_platt_never_turns_a_ranking_around() -> None:
    raw = np.linspace(-2, 2, 1000)
    slope, shift = boosted.platt(raw, (raw < 0).astype(float))
    assert slope == 0.0
    assert expit(shift) == pytest.approx(0.5)


def test_a_constant_booster_answers_its_rate() -> None:
    booster = boosted.constant_booster(0.037, NAMES)
    np.testing.assert_allclose(booster.predict(rows(10, 4)[0]), 0.037)
    assert booster.feature_name() == list(NAMES)


def test_a_rate_from_few_rows_is_pulled_to_the_prior() -> None:
    assert boosted.shrunk_rate(np.array([1.0, 1.0]), 0.1, prior_rows=98) == pytest.approx(0.118)


def test_the_logistic_baseline_puts_a_missing_value_at_the_far_end() -> None:
    recency = np.array([[1.0], [2.0], [50.0], [60.0]] * 25, dtype=np.float32)
    labels = np.array([0.0, 0.0, 1.0, 1.0] * 25)
    found = boosted.logistic_scores((recency, labels), np.array([[1.0], [60.0], [np.nan]], dtype=np.float32))
    assert found[0] < 0.1 < 0.9 < found[1]
    assert found[2] == pytest.approx(found[1])


def test_no_training_window_touches_validation_or_test() -> None:
    config = ChurnConfig(horizon_days=28, step_days=7, warmup_days=56)
    span = Span(datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    cutoffs, split = snapshot_times(span, config)
    assert cutoffs[0] >= datetime(2023, 2, 26, tzinfo=UTC)
    assert (split.train_end - cutoffs[-1]).days == 28
    assert (split.valid_end - split.train_end).days == 28
    assert split.test_end == span.end
