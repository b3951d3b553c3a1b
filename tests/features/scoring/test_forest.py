"""The flat walk over trees against LightGBM's own predictions: missing values, zeros, links, and several boosters at once."""

import re

import lightgbm
import numpy as np
import pytest

from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.tree_text import TextModel

N_SIGNALS = 9


def rows(n: int, seed: int) -> np.ndarray:
    """Signals with gaps, exact zeros and numbers that lie on a split."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, N_SIGNALS)), 1)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[rng.random(x.shape) < 0.2] = 0.0
    return x.astype(np.float32)


def grown(columns: list[int], seed: int, **parameters: object) -> lightgbm.Booster:
    rng = np.random.default_rng(seed)
    x = rows(500, seed)[:, columns]
    y = (np.nan_to_num(x[:, 0], nan=0.7) + 0.5 * rng.normal(size=500) > 0).astype(float)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, **parameters}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), 12)


def forest_of(booster: lightgbm.Booster, columns: list[int], where: str = "a model") -> Forest:
    return Forest.of(TextModel.of(booster.model_to_string(), where), np.array(columns), where)


CASES = {
    "missing values go their own way": ([4, 2, 7], {}),
    "zero stands for missing": ([1, 0], {"zero_as_missing": True}),
    "missing values count as zero": ([3, 8, 5], {"use_missing": False}),
    "a steeper link": ([6, 1], {"sigmoid": 2.5}),
    "no link": ([0, 1, 2, 3], {"objective": "l2"}),
    "trees of one leaf": ([2], {"min_data_in_leaf": 400}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_booster_answers_as_lightgbm_does(case: str) -> None:
    columns, parameters = CASES[case]
    booster, asked = grown(columns, 1, **parameters), rows(400, 2)
    forest = forest_of(booster, columns)
    mine = asked[:, columns]
    np.testing.assert_allclose(forest.predict(asked)[:, 0], booster.predict(mine), rtol=0, atol=1e-12)
    np.testing.assert_allclose(forest.raw(asked)[:, 0], booster.predict(mine, raw_score=True), rtol=0, atol=1e-12)


def test_several_boosters_answer_together_as_each_does_alone() -> None:
    boosters = [
        (columns, grown(columns, seed, **parameters)) for seed, (columns, parameters) in enumerate(CASES.values())
    ]
    forest = Forest.joined([forest_of(booster, columns) for columns, booster in boosters])
    asked = rows(50, 3)
    each = np.column_stack([booster.predict(asked[:, columns]) for columns, booster in boosters])
    np.testing.assert_allclose(forest.predict(asked), each, rtol=0, atol=1e-12)
    one_by_one = np.concatenate([forest.predict(asked[[i]]) for i in range(50)])
    np.testing.assert_array_equal(forest.predict(asked), one_by_one)


@pytest.mark.parametrize("case", CASES)
def test_contributions_add_up_and_lie_where_the_trees_look(case: str) -> None:
    columns, parameters = CASES[case]
    forest = forest_of(grown(columns, 1, **parameters), columns)
    asked = rows(40, 2)
    counted = forest.contributions(asked)
    rest = forest.raw(asked)[:, 0] - counted.sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    assert not counted[:, [column for column in range(N_SIGNALS) if column not in columns]].any()
    if "leaf" not in case:
        assert (
            np.abs(counted[:, columns[0]]).mean() > np.abs(counted[:, columns[1:]]).mean()
        )  # the answer is made of it


def test_what_cannot_be_walked_is_refused() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (300, 1)), rng.random(300)
    for objective, told in (("poisson", "'poisson'"), ("quantile", "'quantile'")):
        grown = lightgbm.train({"objective": objective, "verbosity": -1}, lightgbm.Dataset(x, y), 1)
        with pytest.raises(StoreError, match=f"model 3 was grown for {told}"):
            forest_of(grown, [0], "model 3")


@pytest.mark.parametrize("case", CASES)
def test_shapley_values_are_those_of_lightgbm(case: str) -> None:
    columns, parameters = CASES[case]
    booster, asked = grown(columns, 1, **parameters), rows(100, 2)
    shares = forest_of(booster, columns).shapley(asked)
    expected = np.asarray(booster.predict(asked[:, columns], pred_contrib=True))[:, :-1]
    np.testing.assert_allclose(shares[:, columns], expected, rtol=0, atol=1e-9)
    assert not shares[:, [column for column in range(N_SIGNALS) if column not in columns]].any()


def test_shapley_values_of_deep_trees_that_split_on_a_column_again_and_again() -> None:
    booster = grown([0, 1], 4, min_data_in_leaf=1, num_leaves=120)
    asked = rows(100, 5)
    expected = np.asarray(booster.predict(asked[:, [0, 1]], pred_contrib=True))[:, :-1]
    np.testing.assert_allclose(forest_of(booster, [0, 1]).shapley(asked)[:, :2], expected, rtol=0, atol=1e-9)


def test_a_leaf_that_no_row_came_by_divides_by_nothing() -> None:
    text = re.sub(
        r"leaf_count=.*", lambda line: re.sub(r"\d+", "0", line[0], count=1), grown([0, 1], 1).model_to_string()
    )
    shares = Forest.of(TextModel.of(text, "a model"), np.array([0, 1]), "a model").shapley(rows(50, 2))
    assert np.isfinite(shares).all() and shares.any()
