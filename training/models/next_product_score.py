"""A registered next-product model's files and customer states in, ranked products out: scores without the network's code."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.next_product_files import ProductFiles, network_scores
from features.product_ranking import rerank
from features.sequences import CodeRows, model_inputs
from features.state import StateBatch
from training.ranking_metrics import IntArray, top_k

_BATCH = 256


def rank_with_file(
    folder: Path, states: StateBatch, as_of_s: NDArray[np.float64], catalogue: NDArray[np.object_], k: int
) -> IntArray:
    """The k best products (n, k) of states (n,) at moments (n,), as catalogue rows (row i + 1 is `catalogue[i]`).

    Products of the model that the catalogue lacks are answered as 0. Raises StoreError when files are missing.
    """
    files = ProductFiles.load(folder, "The champion")
    row_of = {str(name): row for row, name in enumerate(catalogue, start=1)}
    rows = np.array([0, *(row_of.get(name, 0) for name in files.product_ids)], dtype=np.int64)
    to_rows = CodeRows(files.product_ids)
    parts = []
    for start in range(0, len(states), _BATCH):
        index = np.arange(start, min(start + _BATCH, len(states)))
        inputs = model_inputs(states.take(index), as_of_s[index], to_rows)
        scores = network_scores(files.session, inputs)
        if files.trees is not None and files.companions is not None:
            scores, _ = rerank(scores, inputs, files.companions, files.trees.score)
        parts.append(rows[top_k(scores, k)])
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)
