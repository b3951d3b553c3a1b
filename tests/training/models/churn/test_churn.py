"""Churn: the booster's plain prediction is the calibrated probability, and what can be known is found."""

import itertools
from datetime import UTC, datetime, timedelta

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from features.scoring.bg_nbd import Rates
from features.scoring.churn import ChurnScore, summary
from features.signals import SIGNAL_NAMES
from training.data.training_set import TrainingSet
from training.models import boosted
from training.models.boosted import BoosterConfig
from training.models.churn.blend import (
    calibration_weights,
    fit_blend,
    fit_linear,
    independent_windows,
    level_weight,
)
from training.models.churn.train import ChurnConfig, past_cutoffs

CONFIG = BoosterConfig(learning_rate=0.2, num_leaves=4, min_data_in_leaf=20, max_rounds=60, patience=10)
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
    assert boosted.shrunk_rate(np.array([1.0, 1.0]), 0.1, prior_strength=98) == pytest.approx(0.118)


def test_the_logistic_baseline_puts_a_missing_value_at_the_far_end() -> None:
    recency = np.array([[1.0], [2.0], [50.0], [60.0]] * 25, dtype=np.float32)
    labels = np.array([0.0, 0.0, 1.0, 1.0] * 25)
    found = boosted.logistic_scores((recency, labels), np.array([[1.0], [60.0], [np.nan]], dtype=np.float32))
    assert found[0] < 0.1 < 0.9 < found[1]
    assert found[2] == pytest.approx(found[1])


def test_weights_of_rows_decide_what_calibration_finds() -> None:
    rng = np.random.default_rng(6)
    raw = rng.normal(size=40_000)
    late = np.arange(40_000) >= 20_000
    labels = (rng.random(40_000) < expit(raw + np.where(late, 1.0, -1.0))).astype(float)
    _, shift = boosted.platt(raw, labels, weights=late.astype(float) * 7)
    assert shift == pytest.approx(1.0, abs=0.05)


def test_a_shift_moves_the_mean_to_where_it_was_asked() -> None:
    log_odds = np.random.default_rng(1).normal(size=5000)
    for mean in (0.02, 0.5, 0.97):
        assert expit(log_odds + boosted.level_shift(log_odds, mean)).mean() == pytest.approx(mean, abs=1e-9)
    assert np.isfinite(boosted.level_shift(log_odds, 0.0))


def test_few_label_windows_leave_the_level_to_bg_nbd() -> None:
    start = datetime(2023, 1, 1, tzinfo=UTC)
    windows = [independent_windows(start + timedelta(days=days), start, 60.0) for days in (30, 60, 240, 900)]
    assert windows == [0.0, 0.0, 3.0, 14.0]
    assert [level_weight(n) for n in windows] == pytest.approx([1.0, 1.0, 0.5, 9 / 205])


def test_a_calibration_on_the_first_windows_is_brought_back_to_the_level_of_bg_nbd() -> None:
    rng = np.random.default_rng(8)
    config = CONFIG.model_copy(update={"max_rounds": 20})
    signals = np.zeros((1200, len(SIGNAL_NAMES)), dtype=np.float32)
    first = rng.uniform(20, 100, 1200)
    for name, values in (
        ("n_occasions", rng.poisson(2.0, 1200) + 1.0),
        ("days_since_first_purchase", first),
        ("days_since_occasion", first * rng.random(1200)),
    ):
        signals[:, SIGNAL_NAMES.index(name)] = values
    start, cutoff = datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 5, 1, tzinfo=UTC)
    customers = pd.Series([str(i) for i in range(1200)])
    entities = pd.DataFrame({"customer_id": customers, "as_of": pd.Timestamp("2023-03-01", tz="UTC"), "revenue": 0.0})
    labels = (rng.random(1200) < 0.05).astype(float)
    known = TrainingSet(entities, None, signals, SIGNAL_NAMES, labels, "churn", "")
    blend = fit_blend(known, signals, cutoff, start, 60.0, config, SIGNAL_NAMES, seed=0)
    silent = blend.score.rates.silence_probability(summary(signals), 60.0).mean()
    found = blend.probability(signals).mean()
    assert labels.mean() < found < silent
    assert logit(silent) - logit(found) < 0.15 * (logit(silent) - logit(labels.mean()))


def test_a_constraint_holds_everywhere() -> None:
    features, labels = rows(3000, 0)
    config = CONFIG.model_copy(update={"lowers": ("a",)})
    data = lgb.Dataset(features, labels, feature_name=list(NAMES))
    booster = lgb.train(boosted.parameters(config, 7, NAMES), data, num_boost_round=15)
    line = np.zeros((50, 3), dtype=np.float32)
    line[:, 0] = np.linspace(-3, 3, 50)
    assert (np.diff(booster.predict(line, raw_score=True)) <= 1e-12).all()


def test_no_past_window_touches_the_test() -> None:
    config = ChurnConfig(horizon_days=28, step_days=7, warmup_days=56)
    start, cutoff = datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC)
    past = past_cutoffs(start, cutoff, config)
    assert past[0] >= datetime(2023, 2, 26, tzinfo=UTC)
    assert past[-1] == datetime(2023, 11, 3, tzinfo=UTC)
    assert {(later - sooner).days for sooner, later in itertools.pairwise(past)} == {7}
    few = config.model_copy(update={"max_cutoffs": 3})
    assert past_cutoffs(start, cutoff, few) == past[-3:]
    long = past_cutoffs(datetime(2022, 1, 1, tzinfo=UTC), cutoff, few)
    assert long == [datetime(2022, 12, 2, tzinfo=UTC), *past[-3:]]


def test_a_short_history_gives_one_cutoff_or_none() -> None:
    config = ChurnConfig(horizon_days=60, warmup_days=56)
    start = datetime(2023, 1, 1, tzinfo=UTC)
    assert past_cutoffs(start, datetime(2023, 3, 20, tzinfo=UTC), config) == [datetime(2023, 1, 19, tzinfo=UTC)]
    assert past_cutoffs(start, datetime(2023, 2, 1, tzinfo=UTC), config) == []


def test_the_season_a_year_ago_outweighs_the_latest_cutoffs() -> None:
    cutoff, start = datetime(2024, 12, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
    as_of = pd.Series(pd.to_datetime(["2023-12-01", "2024-06-01", "2024-09-02"], utc=True))
    weights = calibration_weights(as_of, cutoff, start, 90.0)
    assert weights[0] == pytest.approx(3.0, abs=0.1)
    assert weights[1] == pytest.approx(weights[2] / 2 ** (93 / 90))
    late_start = calibration_weights(as_of, cutoff, datetime(2023, 9, 1, tzinfo=UTC), 90.0)
    assert late_start[0] < late_start[2]


def test_the_score_survives_its_file_and_its_shares_add_up() -> None:
    rng = np.random.default_rng(4)
    signals = rng.uniform(0, 50, (40, len(SIGNAL_NAMES))).astype(np.float32)
    signals[:, SIGNAL_NAMES.index("days_since_first_purchase")] = 100.0
    rates = Rates(0.5, 6.0, 0.9, 1.6, modified=True)
    empty = ChurnScore(28.0, rates, rates, None, (0.0, 0.0, 1.0), 1.0, 0.0)
    labels = (signals[:, 0] > 25).astype(float)
    linear = fit_linear(signals, empty.silence(signals), labels)
    score = ChurnScore(28.0, rates, rates, linear, (0.4, 0.4, 0.2), 0.9, -0.3)
    assert ChurnScore.from_json(score.to_json()) == score
    trees = rng.normal(size=(40, len(SIGNAL_NAMES)))
    total = score.contributions(signals, trees).sum(axis=1)
    rest = score.log_odds(signals, trees.sum(axis=1)) - total
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
