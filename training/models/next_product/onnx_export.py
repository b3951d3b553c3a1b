"""A fitted next-product network in, an ONNX graph out that was checked to give the same scores."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.arrays import Float32Array
from features.errors import StoreError
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.network.halves import SplitNetwork
from features.scoring.network.onnx_arrays import float_arrays
from features.scoring.next_product import (
    OUTPUT_NAME,
    POPULARITY_NAME,
    SCORE_TOLERANCE,
    network_scores,
    open_session,
)
from training.models.next_product.network import NextProductNet

OPSET = 18


def export_onnx(net: NextProductNet, example: Sequence[Tensor]) -> onnx.ModelProto:
    """The network as a graph with a free batch size, asked with customers and with what is popular (POPULARITY_NAME).

    `example` (B >= 2 rows) traces it and checks it.
    Raises StoreError when onnxruntime's scores, or those of the network in its halves, differ from torch's by more than 1e-4.
    """
    net.eval()
    free = {name: {0: "batch"} for name in (*INPUT_NAMES, OUTPUT_NAME)}
    with TemporaryDirectory() as folder, _quietly(), torch.no_grad():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net,
            (*example, net.log_popularity),
            str(path),
            input_names=[*INPUT_NAMES, POPULARITY_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=OPSET,
            dynamic_axes=free,
            # onnxruntime folds constants when it loads the file; a file where they are not folded yet is half the size.
            do_constant_folding=False,
            # The tracing exporter takes half a second where the one built on torch.export takes ten (torch 2.13), with
            # the same scores and the same speed of the file.
            dynamo=False,
        )
        model, split = onnx.load(path), SplitNetwork.of(float_arrays(path), net.size.max_length)
        expected = net(*example).numpy()
    session = open_session(model.SerializeToString())
    inputs, popularity = as_arrays(example), net.log_popularity.numpy()
    _need_equal("The exported model's", network_scores(session, inputs, popularity), expected)
    if split is not None:
        base = split.base(popularity)
        _need_equal("The split network's", split.scores(inputs, popularity, base, len(base)), expected)
    return model


def _need_equal(whose: str, scores: Float32Array, expected: Float32Array) -> None:
    difference = float(np.abs(scores[:, 1:] - expected[:, 1:]).max())
    if not difference <= SCORE_TOLERANCE or not np.isneginf(scores[:, 0]).all():
        raise StoreError(
            f"{whose} scores differ from the network's by {difference:g}.",
            repair="Report this with the versions that `omni doctor` prints.",
        )


def as_arrays(inputs: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    """The network's inputs by name."""
    return {name: tensor.numpy() for name, tensor in zip(INPUT_NAMES, inputs, strict=True)}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    # The exporter announces its steps on stdout and warns about its own internals.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
