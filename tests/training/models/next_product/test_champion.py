"""Champions of older versions: what they bring along of the test period is taken out, or they are not compared with."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from features.errors import StoreError
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.next_product import OUTPUT_NAME, network_scores
from training.models.next_product.champion import with_popularity

BROUGHT = np.array([0.0, 1.0, -1.0], np.float32)


def old_network(path: Path, popularity_name: str = "log_popularity") -> Path:
    """A network that scores a customer's one item by three times its popularity, whose graph holds that as a constant."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in INPUT_NAMES]
    score = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [3])
    constants = [
        numpy_helper.from_array(BROUGHT, popularity_name),
        numpy_helper.from_array(np.array([3.0], np.float32), "popularity_weight"),
    ]
    product = helper.make_node("Mul", [popularity_name, "popularity_weight"], [OUTPUT_NAME])
    graph = helper.make_graph([product], "old", inputs, [score], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_an_older_network_is_told_what_was_popular_at_the_cutoff(tmp_path: Path) -> None:
    session = with_popularity(old_network(tmp_path / "model.onnx"), np.array([0.0, -2.0, 5.0], np.float32))

    scores = network_scores(session, {name: np.zeros(1, np.float32) for name in INPUT_NAMES})

    assert scores.tolist() == [0.0, -6.0, 15.0]


def test_one_that_cannot_be_told_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="sold after the test began") as refusal:
        with_popularity(old_network(tmp_path / "model.onnx", "merged"), BROUGHT)
    assert "omni promote next-product --force" in str(refusal.value.repair)
