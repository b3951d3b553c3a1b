"""The folder of a registered model: what is missing is named, and trees that read other features are refused."""

import json
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import pytest
from made_companions import made_companions

from features.errors import StoreError
from features.scoring.item_tables import COMPANIONS_FILE
from features.scoring.model_files import find_file, find_optional, read_metadata
from features.scoring.next_product import VOCABULARY_FILE, ProductFiles, ProductTrees
from features.scoring.rerank import FEATURES


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
    trees = ProductTrees.of(booster, "The model")
    np.testing.assert_allclose(trees.score(rows), booster.predict(rows), atol=1e-12)
    with pytest.raises(StoreError, match="The model reads other features of products"):
        ProductTrees.of(grown(["score", "place"]), "The model")


def test_trees_that_order_by_themselves_take_the_networks_score_away() -> None:
    booster = grown(list(FEATURES))
    rows = np.random.default_rng(1).normal(size=(6, len(FEATURES))).astype(np.float32)
    alone = ProductTrees.of(booster, "The model", from_network=False)
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


def one_number() -> bytes:
    """The smallest graph that opens."""
    number = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    same = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "same", [number], [same])
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
