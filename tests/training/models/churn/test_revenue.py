"""Expected revenue where it is known which of its two parts is right."""

import numpy as np
import pandas as pd
import pytest

from features.scoring.bg_nbd import Rates, Spend
from features.scoring.churn import ChurnScore, recent_pace
from features.signals import SIGNAL_NAMES
from training.data.training_set import TrainingSet
from training.models.churn.revenue import measure_revenue, pace_weight

N = 2000
RATES = Rates(0.8, 20.0, 0.9, 3.0, modified=True)
SCORE = ChurnScore(30.0, RATES, RATES, None, (0.0, 0.0, 1.0), 1.0, 0.0, Spend(6.0, 4.0, 15.0))


def signals(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.zeros((N, len(SIGNAL_NAMES)), dtype=np.float32)
    occasions = rng.poisson(3.0, N) + 1.0
    for name, values in (
        ("n_occasions", occasions),
        ("days_since_first_purchase", np.full(N, 120.0)),
        ("days_since_occasion", rng.uniform(1, 60, N)),
        ("occasions_365d", occasions),
        ("spend_365d", occasions * rng.gamma(4.0, 5.0, N)),
        ("spend_30d", rng.gamma(1.0, 40.0, N)),
    ):
        found[:, SIGNAL_NAMES.index(name)] = values
    return found


def snapshot(features: np.ndarray, revenue: np.ndarray) -> TrainingSet:
    entities = pd.DataFrame({"customer_id": [str(i) for i in range(N)], "revenue": revenue})
    return TrainingSet(entities, None, features, SIGNAL_NAMES, np.zeros(N), "churn", "")


def test_the_pace_is_what_steady_spending_comes_to() -> None:
    steady = np.zeros((1, len(SIGNAL_NAMES)), dtype=np.float32)
    steady[0, SIGNAL_NAMES.index("spend_30d")] = sum(2.0 * 0.5 ** (age / 30) for age in np.arange(0.5, 1000))
    assert recent_pace(steady, 10.0)[0] == pytest.approx(20.0, rel=1e-3)
    steady[0, SIGNAL_NAMES.index("spend_30d")] = np.nan
    assert recent_pace(steady, 10.0)[0] == 0.0


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_the_share_of_the_pace_that_made_the_past_is_found(share: float) -> None:
    features = signals()
    truth = (1 - share) * SCORE.expected_revenue(features) + share * recent_pace(features, 30.0)
    spent = truth * np.random.default_rng(1).gamma(2.0, 0.5, N)
    assert pace_weight(SCORE, snapshot(features, spent), np.ones(N)) == pytest.approx(share, abs=0.04)


def test_a_model_without_values_has_no_pace_and_no_figures() -> None:
    silent = ChurnScore(30.0, RATES, RATES, None, (0.0, 0.0, 1.0), 1.0, 0.0)
    rows = snapshot(signals(), np.zeros(N))
    assert pace_weight(silent, rows, np.ones(N)) == 0.0
    assert measure_revenue(silent, rows, rows.entities["customer_id"].to_numpy(), 0) == ({}, {})


def test_the_blend_is_measured_beside_both_of_its_parts() -> None:
    features = signals()
    model, pace = SCORE.expected_revenue(features), recent_pace(features, 30.0)
    spent = 0.5 * (model + pace) + np.where(np.arange(N) % 2 == 0, 1.0, -1.0)
    half = ChurnScore.from_json(SCORE.to_json().replace('"pace": 0.0', '"pace": 0.5'))
    rows = snapshot(features, spent)
    ours, rivals = measure_revenue(half, rows, rows.entities["customer_id"].to_numpy(), 0)
    assert ours["revenue_rmse"].value == pytest.approx(1.0)
    assert ours["revenue_bias"].value == pytest.approx(0.0, abs=1e-9)
    assert rivals["gamma_gamma"]["revenue_bias"].value == pytest.approx((model - spent).mean())
    assert rivals["recent_pace"]["revenue_mae"].value == pytest.approx(np.abs(pace - spent).mean())
    assert ours["revenue_rmse_gain"].value == pytest.approx(rivals["recent_pace"]["revenue_rmse"].value - 1.0)
    assert ours["revenue_rmse_gain"].low > 0
