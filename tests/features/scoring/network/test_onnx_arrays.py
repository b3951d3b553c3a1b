"""The arrays of an ONNX file: as the package `onnx` reads them, and nothing of what cannot be read."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from features.scoring.network.onnx_arrays import float_arrays


def written(path: Path, *tensors: onnx.TensorProto) -> Path:
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "made", [], [out], list(tensors))
    onnx.save(helper.make_model(graph), str(path))
    return path


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=200), st.lists(st.integers(0, 300), max_size=3).map(tuple), min_size=1, max_size=4
    )
)
def test_arrays_are_as_the_package_reads_them(shapes: dict[str, tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    expected = {name: rng.random(tuple(n % 7 for n in shape), np.float32) for name, shape in shapes.items()}
    with TemporaryDirectory() as folder:
        path = written(
            Path(folder) / "a.onnx", *(onnx.numpy_helper.from_array(array, name) for name, array in expected.items())
        )
        found = float_arrays(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_other_numbers_and_other_forms_are_left_out(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.onnx",
        onnx.numpy_helper.from_array(np.array([1, 2]), "ints"),
        helper.make_tensor("listed", TensorProto.FLOAT, [2], [1.0, 2.0]),
        onnx.numpy_helper.from_array(np.array([3.0], np.float32), "kept"),
    )
    assert {name: array.tolist() for name, array in float_arrays(path).items()} == {"kept": [3.0]}


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", onnx.numpy_helper.from_array(np.ones(50, np.float32), "ones"))
    content = path.read_bytes()
    for size in (len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="ends within"):
            float_arrays(path)
