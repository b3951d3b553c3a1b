"""The additive regression: what training fitted, column by column, inside the data, beyond it and without any."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from sklearn.linear_model import LogisticRegression

from features.scoring.additive import DEGREE, AdditiveLogit, Term
from training.models.churn.contract import Design, Encoded


def fitted() -> tuple[Design, LogisticRegression, AdditiveLogit]:
    rng = np.random.default_rng(0)
    numbers = np.column_stack([rng.normal(size=400), np.repeat([0.0, 0.0, 0.0, 1.0], 100), rng.gamma(1.0, 9.0, 400)])
    numbers[::50, 0] = np.nan
    levels = (rng.random((400, 1)) < 0.3).astype(float)
    data = Encoded(numbers, levels, ("a", "b", "c", "plan=x"))
    labels = (rng.random(400) < 1 / (1 + np.exp(-(np.nan_to_num(numbers[:, 0]) ** 2) + 1))).astype(float)
    design = Design.fit(data, 5)
    model = LogisticRegression(C=0.1).fit(design.matrix(data), labels)
    return design, model, design.additive(model)


def test_it_is_the_regression_inside_the_data_and_beyond() -> None:
    design, model, additive = fitted()
    numbers = np.array([[0.1, 0.0, 3.0], [-9.0, 1.0, 900.0], [9.0, 3.0, -5.0], [np.nan, 1.0, 0.5]])
    asked = Encoded(numbers, np.array([[0.0], [1.0], [0.0], [1.0]]), design.names)
    expected = model.decision_function(design.matrix(asked))
    columns = np.column_stack([asked.numeric, asked.levels])
    np.testing.assert_allclose(additive.log_odds(columns), expected, atol=1e-9)
    np.testing.assert_allclose(additive.parts(columns).sum(axis=1) + additive.intercept, expected, atol=1e-9)


def test_it_survives_json() -> None:
    _, _, additive = fitted()
    assert AdditiveLogit.of_plain(json.loads(json.dumps(additive.to_plain()))) == additive


def test_few_values_are_a_straight_line_and_a_missing_one_is_filled() -> None:
    term = Term("b", 2.0, (0.5,))
    assert term(np.array([1.0, np.nan, -4.0])).tolist() == pytest.approx([0.5, 1.0, -2.0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_inner=st.integers(0, 6))
def test_a_spline_is_that_of_scipy_and_straight_beyond(seed: int, n_inner: int) -> None:
    rng = np.random.default_rng(seed)
    inner = np.sort(rng.normal(size=n_inner + 2) * 10)
    knots = np.concatenate([[inner[0]] * DEGREE, inner, [inner[-1]] * DEGREE])
    weights = rng.normal(size=len(knots) - DEGREE - 1)
    spline, (low, high) = BSpline(knots, weights, DEGREE), inner[[0, -1]]
    inside = np.concatenate([rng.uniform(low, high, 20), inner])
    found = Term("x", 0.0, tuple(weights), tuple(knots))
    np.testing.assert_allclose(found(inside), spline(inside), rtol=1e-9, atol=1e-9)
    beyond = [spline(low) - 7 * spline(low, nu=1), spline(high) + 7 * spline(high, nu=1)]
    np.testing.assert_allclose(found(np.array([low - 7, high + 7])), beyond, rtol=1e-6, atol=1e-9)
