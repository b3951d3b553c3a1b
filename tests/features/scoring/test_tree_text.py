"""LightGBM's text read without LightGBM: the same trees as its own `dump_model` tells, and nothing that is damaged."""

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreError
from features.scoring.forest import Forest
from features.scoring.tree_text import MISSING, TextModel


def data(seed: int, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(400, columns)), 1)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[rng.random(x.shape) < 0.2] = 0.0
    return x, (np.nan_to_num(x[:, 0]) + rng.normal(size=400) > 0).astype(float)


def grown(seed: int = 1, rounds: int = 6, **parameters: object) -> lightgbm.Booster:
    x, y = data(seed)
    every = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, **parameters}
    group = [100] * 4 if every["objective"] == "lambdarank" else None
    return lightgbm.train(every, lightgbm.Dataset(x, y, group=group), rounds)


def told(tree: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The nodes and leaves of a tree as `dump_model` tells them, each before all below it, left before right."""
    if "leaf_value" in tree:
        return [("leaf", tree["leaf_value"], tree.get("leaf_count"))]
    names = ("split_feature", "threshold", "missing_type", "default_left", "internal_count", "internal_value")
    node = [tree[name] for name in names]
    node[-1] = pytest.approx(node[-1], rel=1e-14)  # LightGBM reads this one number by a quick, inexact way
    return [tuple(node), *told(tree["left_child"]), *told(tree["right_child"])]


def read(model: TextModel, number: int, at: int) -> list[tuple[Any, ...]]:
    tree = model.trees[number]
    if at < 0:
        return [("leaf", tree.leaf[~at], tree.leaf_count[~at])]
    node = (
        tree.feature[at],
        tree.threshold[at],
        MISSING[tree.missing[at]],
        tree.default_left[at],
        tree.count[at],
        tree.inner[at],
    )
    return [node, *read(model, number, tree.left[at]), *read(model, number, tree.right[at])]


FORMS: dict[str, dict[str, object]] = {
    "binary": {},
    "a steeper link": {"sigmoid": 2.5},
    "regression": {"objective": "l2"},
    "ranking": {"objective": "lambdarank"},
    "zero stands for missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "trees of one leaf": {"min_data_in_leaf": 390},
    "many leaves": {"num_leaves": 200, "min_data_in_leaf": 1},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "monotone": {"monotone_constraints": [1, 0, 0, -1]},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_what_lightgbm_says_of_it(form: str) -> None:
    saved = grown(**FORMS[form]).model_to_string()
    booster = lightgbm.Booster(model_str=saved)
    dumped, model = booster.dump_model(), TextModel.of(saved, "a model")
    assert model.names == tuple(booster.feature_name())
    assert model.objective == dumped["objective"]
    assert len(model.trees) == len(dumped["tree_info"])
    for number, tree in enumerate(dumped["tree_info"]):
        expected = told(tree["tree_structure"])
        mine = read(model, number, 0 if len(model.trees[number].feature) else ~0)
        one_leaf = len(expected) == 1  # of which LightGBM tells no count
        assert [row[: 2 if one_leaf else 6] for row in mine] == [row[: 2 if one_leaf else 6] for row in expected]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    leaves=st.integers(2, 40),
    rate=st.sampled_from([0.01, 0.1, 1.0]),
    missing=st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}]),
)
def test_any_model_answers_as_in_lightgbm(seed: int, leaves: int, rate: float, missing: dict[str, object]) -> None:
    booster = grown(seed, num_leaves=leaves, learning_rate=rate, **missing)
    forest = Forest.of(TextModel.of(booster.model_to_string(), "a model"), np.arange(4), "a model")
    asked = data(seed + 1)[0].astype(np.float32)
    np.testing.assert_allclose(forest.predict(asked)[:, 0], booster.predict(asked), rtol=0, atol=1e-12)
    shares = np.asarray(booster.predict(asked[:20], pred_contrib=True))[:, :-1]
    np.testing.assert_allclose(forest.shapley(asked[:20]), shares, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"objective": "multiclass", "num_class": 2}, "another kind than boosted trees"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "another kind than boosted trees"),
        ({"objective": "l2", "linear_tree": True}, "lines in its leaves"),
    ],
)
def test_what_is_no_sum_of_leaves_is_refused(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(StoreError, match=f"model 3 .*{words}"):
        TextModel.of(grown(**parameters).model_to_string(), "model 3")


def test_splits_by_category_are_refused() -> None:
    rng = np.random.default_rng(0)
    kinds, y = rng.integers(0, 4, (300, 1)), rng.random(300)
    by_kind = lightgbm.train(
        {"objective": "l2", "verbosity": -1, "min_data_in_leaf": 5},
        lightgbm.Dataset(kinds, y + (kinds[:, 0] == 2), categorical_feature=[0]),
        2,
    )
    with pytest.raises(StoreError, match="model 3 splits by categories"):
        TextModel.of(by_kind.model_to_string(), "model 3")


SAVED = grown(num_leaves=6).model_to_string()


def changed(name: str, value: str) -> str:
    """The text with one line of the second tree replaced."""
    before, _, second = SAVED.partition("\nTree=1\n")
    lines = [f"{name}={value}" if line.startswith(f"{name}=") else line for line in second.split("\n")]
    return f"{before}\nTree=1\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its end is missing"),
        ("garbage\nend of trees", "its end is missing"),
        (SAVED[: len(SAVED) // 3], "its end is missing"),
        (SAVED.replace("feature_names=", "feature_titles="), "'feature_names'"),
        (SAVED.replace("\nTree=3\n", "\nTrees=3\n"), "it has 5 trees of 6"),
        (changed("threshold", "1 2 three 4 5"), "could not convert string to float"),
        (changed("threshold", "1 2"), "threshold has 2 numbers of 5"),
        (changed("split_feature", "0 1 2 3 4"), "a split is of nothing that it knows"),
        (changed("split_feature", "0 1 2 3 -1"), "a split is of nothing that it knows"),
        (changed("decision_type", "2 2 2 2 12"), "a split is of nothing that it knows"),
        (changed("left_child", "0 0 0 0 0"), "its nodes do not make a tree"),
        (changed("left_child", "9 9 9 9 9"), "its nodes do not make a tree"),
        (changed("left_child", "-9 -9 -9 -9 -9"), "its nodes do not make a tree"),
        (changed("num_leaves", "0"), "numbers of -1"),
    ],
)
def test_what_is_damaged_is_refused(text: str, words: str) -> None:
    with pytest.raises(StoreError, match=f"model 3 has trees that cannot be read: .*{words}"):
        TextModel.of(text, "model 3")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(SAVED) - 1), n=st.integers(0, 30), text=st.text("0123456789-= \n.e", max_size=8))
def test_damage_anywhere_is_refused_or_harmless(at: int, n: int, text: str) -> None:
    try:
        model = TextModel.of(SAVED[:at] + text + SAVED[at + n :], "a model")
        forest = Forest.of(model, np.arange(len(model.names)), "a model")
    except StoreError:
        return
    assert forest.raw(np.zeros((1, len(model.names)), np.float32)).shape == (1, 1)
