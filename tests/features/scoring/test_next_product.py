"""The folder of a registered model: what is missing is named, and trees that read other features are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from made_companions import made_companions

from features.errors import StoreError
from features.scoring.item_tables import COMPANIONS_FILE
from features.scoring.model_files import find_file, find_optional, read_metadata
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.next_product import POPULARITY_NAME, VOCABULARY_FILE, ProductFiles, ProductTrees
from features.scoring.popularity import ProductFacts, log_counts, network_popularity
from features.scoring.rerank import FEATURES
from features.state.event_arrays import product_code
from features.state.products import POPULARITY_DAYS, ProductStates, fold_purchases
from features.vocabulary import DAY_S


def grown(names: list[str]) -> lightgbm.Booster:
    x = np.random.default_rng(0).normal(size=(200, len(names)))
    data = lightgbm.Dataset(x, x[:, 0], feature_name=names, params={"verbosity": -1})
    return lightgbm.train({"objective": "regression", "verbosity": -1, "num_threads": 1, "num_leaves": 4}, data, 5)


def test_files_are_found_below_and_missing_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / VOCABULARY_FILE).write_text(json.dumps(["milk"]))
    assert find_file(tmp_path, VOCABULARY_FILE, "The model") == tmp_path / "extra" / VOCABULARY_FILE
    assert find_optional(tmp_path, "*.onnx") is None
    with pytest.raises(StoreError, match=r"The model holds no file \*\.onnx. Train it again."):
        ProductFiles.load(tmp_path, "The model")


def test_metadata_is_what_training_wrote(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == {}
    (tmp_path / "MLmodel").write_text("flavors: {}\nmetadata:\n  as_of_end: '2024-01-01'\n")
    assert read_metadata(tmp_path) == {"as_of_end": "2024-01-01"}


def test_trees_score_by_the_features_of_this_version_only() -> None:
    booster = grown(list(FEATURES))
    rows = np.random.default_rng(1).normal(size=(6, len(FEATURES))).astype(np.float32)
    trees = ProductTrees.of(booster.model_to_string(), "The model")
    np.testing.assert_allclose(trees.score(rows), booster.predict(rows), atol=1e-12)
    with pytest.raises(StoreError, match="The model reads other features of products"):
        ProductTrees.of(grown(["score", "place"]).model_to_string(), "The model")


def test_trees_that_order_by_themselves_take_the_networks_score_away() -> None:
    booster = grown(list(FEATURES))
    rows = np.random.default_rng(1).normal(size=(6, len(FEATURES))).astype(np.float32)
    alone = ProductTrees.of(booster.model_to_string(), "The model", from_network=False)
    score = rows[:, FEATURES.index("score")]
    np.testing.assert_allclose(score + alone.score(rows), booster.predict(rows), atol=1e-6)


def test_a_model_from_before_its_tables_were_as_they_are_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / VOCABULARY_FILE).write_text(json.dumps(["milk"]))
    (tmp_path / "model.onnx").write_bytes(one_number())
    made_companions(1).save(tmp_path / "now.npz")
    with np.load(tmp_path / "now.npz") as arrays:
        older = {name: array for name, array in arrays.items() if name != "half_life_days"}
    (tmp_path / "now.npz").unlink()
    np.savez(tmp_path / COMPANIONS_FILE, **older)
    with pytest.raises(StoreError, match=r"half_life_days is not a file.*Train the model again"):
        ProductFiles.load(tmp_path, "The champion")


class Popular:
    """A network whose scores are what it was told to be popular."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def run(self, names: list[str] | None, asked: dict[str, Any]) -> list[Any]:
        self.asked = asked
        return [np.tile(asked[POPULARITY_NAME], (len(asked["item"]), 1))]


FACTS = ProductFacts(
    ("milk", "tea", "cup", "pot"), ("food", "food", "things", None), (None,) * 4, np.array([1.0, 2.0, 3.0, 4.0])
)
INPUTS = {name: np.zeros((1, 2)) for name in INPUT_NAMES}


def files_of_milk_and_tea(n_spare: int = 2) -> ProductFiles:
    return ProductFiles(("milk", "tea"), Popular(), made_companions(2), popularity_days=7.0, n_spare=n_spare)


def sold(*purchases: tuple[str, float]) -> ProductStates:
    code = product_code([product for product, _ in purchases])
    return fold_purchases(ProductStates.empty(), code, np.array([day * DAY_S for _, day in purchases]))


def test_as_of_a_moment_the_network_and_the_trees_are_told_the_same() -> None:
    now = files_of_milk_and_tea().as_of(sold(("tea", 0), ("tea", 7), ("milk", 7)), FACTS, 14 * DAY_S)

    logs = np.log(np.array([0.5, 0.25 + 0.5]) + 0.05)
    assert now.product_ids == ("milk", "tea")
    assert now.companions is not None
    assert now.companions.popularity[1:, POPULARITY_DAYS.index(7.0)].tolist() == pytest.approx(logs, abs=1e-6)
    assert now.scores(INPUTS)[0].tolist() == pytest.approx([0.0, *(logs - logs.mean())], abs=1e-6)
    assert now.companions.category.tolist() == [0, 1, 1]
    assert now.companions.log_price[1:].tolist() == pytest.approx([0.0, np.log(2)])


def test_products_that_were_first_sold_later_have_the_popularity_of_now() -> None:
    files = files_of_milk_and_tea()
    one = files.as_of(sold(("milk", 0), ("cup", 3)), FACTS, 7 * DAY_S)
    two = one.as_of(sold(("milk", 0), ("cup", 3), ("pot", 6), ("pot", 6)), FACTS, 7 * DAY_S)

    assert (one.product_ids, two.product_ids) == (("milk", "tea", "cup"), ("milk", "tea", "cup", "pot"))
    assert (one.n_known, two.n_known, two.n_newcomers) == (2, 2, 2)
    assert two.companions is not None
    assert two.companions.category.tolist() == [0, 1, 1, 2, 0]
    assert two.companions.rules.item.shape == (5, 2)
    scores = two.scores(INPUTS)[0]
    assert scores.shape == (5,)
    assert scores.argmax() == 4
    assert two.log_popularity is not None
    assert two.log_popularity.shape == (5,)
    assert one.log_popularity is not None
    assert one.log_popularity.shape == (5,)  # the network is asked with all of its rows
    back = two.as_of(sold(("milk", 0)), FACTS, 7 * DAY_S)
    assert back.product_ids == ("milk", "tea")
    kept = two.as_of(sold(("milk", 0)), FACTS, 7 * DAY_S, newcomers=("cup", "pot"))
    assert kept.product_ids is two.product_ids


def test_no_more_come_than_the_network_has_rows_for() -> None:
    states = sold(("cup", 3), ("pot", 6), ("pot", 6))
    assert files_of_milk_and_tea(n_spare=1).as_of(states, FACTS, 7 * DAY_S).product_ids == ("milk", "tea", "pot")
    assert files_of_milk_and_tea(n_spare=0).as_of(states, FACTS, 7 * DAY_S).product_ids == ("milk", "tea")


def test_a_network_that_brings_its_popularity_along_stays_as_it_is() -> None:
    files = replace(files_of_milk_and_tea(), popularity_days=None)
    assert files.as_of(sold(("cup", 3)), FACTS, 7 * DAY_S) is files
    with pytest.raises(KeyError, match=POPULARITY_NAME):
        files.scores(INPUTS)  # it is not told what is popular


def test_until_it_is_told_what_is_popular_now_it_goes_by_the_end_of_its_training(tmp_path: Path) -> None:
    counts = np.array([0.0, 1.0, 4.0])[:, None] * np.ones(len(POPULARITY_DAYS))
    made_companions(2, popularity=log_counts(counts)).save(tmp_path / COMPANIONS_FILE)
    (tmp_path / VOCABULARY_FILE).write_text(json.dumps(["milk", "tea"]))
    (tmp_path / "model.onnx").write_bytes(one_number())
    (tmp_path / "MLmodel").write_text(json.dumps({"metadata": {"popularity_days": 7.0, "n_spare": 3}}))

    files = ProductFiles.load(tmp_path, "The model")

    assert (files.n_spare, files.popularity_days, files.n_known) == (3, 7.0, 2)
    assert files.log_popularity is not None
    padded = np.pad(counts, ((0, 3), (0, 0)))
    np.testing.assert_allclose(files.log_popularity, network_popularity(padded, 7.0, 2), atol=1e-5)


def one_number() -> bytes:
    """The smallest graph that opens."""
    number = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    same = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "same", [number], [same])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
