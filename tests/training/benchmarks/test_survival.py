"""The survival study: which weeks count, and that one hazard model gives every horizon its chance of silence."""

import numpy as np
import pytest

from training.benchmarks.survival import fit_survival, person_weeks
from training.models.boosted import BoosterConfig


def test_weeks_count_when_they_are_known_whole() -> None:
    row, week, label = person_weeks(np.array([3.0, 10.0, np.nan]), np.array([21.0, 20.0, 8.0]), n_weeks=3)
    found = sorted(zip(row.tolist(), week.tolist(), label.tolist(), strict=True))
    assert found == [(0, 0, 1.0), (1, 0, 0.0), (1, 1, 1.0), (2, 0, 0.0)]


def test_one_survival_model_answers_every_horizon() -> None:
    rng = np.random.default_rng(2)
    speed = rng.choice([0.01, 0.1], 6000)
    days = rng.exponential(1 / speed)
    features = np.column_stack([speed, rng.normal(size=6000)]).astype(np.float32)
    known = rng.uniform(7, 70, 6000)
    seen = np.where(days < known, days, np.nan)
    config = BoosterConfig(
        learning_rate=0.2,
        num_leaves=4,
        min_data_in_leaf=20,
        max_rounds=150,
        patience=10,
        feature_fraction=1.0,
    )
    model = fit_survival(features, seen, known, np.arange(6000) % 3, 60.0, config, seed=1)
    for horizon in (10.0, 28.0, 60.0):
        silence = model.silence(features, horizon)
        for one in (0.01, 0.1):
            assert silence[speed == one].mean() == pytest.approx(np.exp(-horizon * one), abs=0.05)
