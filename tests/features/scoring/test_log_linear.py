"""The logistic part's arithmetic by hand, and the blend of log-odds."""

import numpy as np
import pytest
from scipy.special import expit

from features.scoring.log_linear import LogLinear, clipped_log_odds, filled_logarithms, signed_log1p, weighted_sum


def test_the_logarithm_keeps_the_sign_and_what_is_missing() -> None:
    logs = signed_log1p(np.array([0.0, np.e - 1, 1 - np.e, np.nan], dtype=np.float32))
    assert logs[:3] == pytest.approx([0.0, 1.0, -1.0], abs=1e-7)
    assert np.isnan(logs[3])
    assert logs.dtype == np.float64


def test_a_missing_or_endless_value_is_filled_before_the_logarithm() -> None:
    logs = filled_logarithms(np.array([[np.nan, 1.0], [np.inf, -1.0]]), np.array([np.e - 1, 9.0]))
    assert logs == pytest.approx(np.array([[1.0, np.log(2)], [1.0, -np.log(2)]]))


def test_a_regression_counts_standardised_logarithms_and_the_other_models_odds() -> None:
    model = LogLinear(("a",), (0.0,), (1.0, 0.0, 2.0), (2.0, 1.0, 0.5), (3.0, 10.0, 1.0), 0.25)
    odds = np.array([[0.5, 3.0]])
    # (log(1 + e^3 - 1) - 1) / 2 * 3 + 0.5 * 10 + (3 - 2) / 0.5 + 0.25
    assert model.score(np.array([[np.exp(3) - 1]]), odds) == pytest.approx([3.0 + 5.0 + 2.0 + 0.25])


def test_the_blend_weighs_trees_the_linear_part_and_the_second_form_of_silence() -> None:
    silence = np.array([[100.0, 4.0]])
    assert weighted_sum((0.5, 0.25, 0.25), np.array([2.0]), np.array([8.0]), silence) == pytest.approx([4.0])
    assert weighted_sum((0.5, 0.25, 0.25), np.array([2.0]), None, silence) == pytest.approx([2.0])


def test_certainty_is_kept_off_zero_and_one() -> None:
    assert expit(clipped_log_odds(np.array([0.0, 0.3, 1.0]))) == pytest.approx([1e-4, 0.3, 1 - 1e-4])
