"""A next-product model's files and customer states in, ranked products out: scores without the network's code."""

import numpy as np

from features.arrays import FloatArray, IntArray
from features.scoring.model_inputs import CodeRows, model_inputs
from features.scoring.next_product import ProductFiles
from features.scoring.rerank import rerank
from features.state.batch import StateBatch
from training.evaluation.ranking import top_k

_BATCH = 256


def rank_with_files(files: ProductFiles, states: StateBatch, as_of_s: FloatArray, k: int) -> IntArray:
    """The k best products (n, k) of states (n,) at moments (n,), as the model's rows (row i + 1 is `product_ids[i]`)."""
    to_rows = CodeRows(files.product_ids)
    parts = []
    for start in range(0, len(states), _BATCH):
        index = np.arange(start, min(start + _BATCH, len(states)))
        inputs = model_inputs(states.take(index), as_of_s[index], to_rows)
        scores = files.scores(inputs)
        if files.trees is not None and files.companions is not None:
            scores, _ = rerank(scores, inputs, files.companions, files.trees.score)
        parts.append(top_k(scores, k))
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)
