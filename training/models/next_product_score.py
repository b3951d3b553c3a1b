"""A registered next-product model's files and customer states in, ranked products out: scores without the network's code."""

import json
from functools import partial
from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray

from features.errors import StoreError
from features.product_companions import COMPANIONS_FILE, Companions
from features.product_ranking import RANKER_FILE, rerank
from features.sequences import model_inputs
from features.state import StateBatch
from training.models.next_product_data import CodeRows
from training.models.onnx_export import open_session, score_onnx
from training.ranking_metrics import IntArray, top_k

_BATCH = 256


def rank_with_file(
    folder: Path, states: StateBatch, as_of_s: NDArray[np.float64], catalogue: NDArray[np.object_], k: int
) -> IntArray:
    """The k best products (n, k) of states (n,) at moments (n,), as catalogue rows (row i + 1 is `catalogue[i]`).

    Products of the model that the catalogue lacks are answered as 0. Raises StoreError when files are missing.
    """
    graph = next(iter(sorted(folder.rglob("*.onnx"))), None)
    words = next(iter(sorted(folder.rglob("vocabulary.json"))), None)
    if graph is None or words is None:
        raise StoreError(f"{folder} holds no next-product model.", repair="Train it again: omni train next-product")
    product_ids = json.loads(words.read_text(encoding="utf-8"))
    row_of = {str(name): row for row, name in enumerate(catalogue, start=1)}
    rows = np.array([0, *(row_of.get(name, 0) for name in product_ids)], dtype=np.int64)
    session, to_rows = open_session(str(graph)), CodeRows(product_ids)
    trees = next(iter(sorted(folder.rglob(RANKER_FILE))), None)
    booster = None if trees is None else lightgbm.Booster(model_file=str(trees))
    companions = None if trees is None else Companions.load(trees.with_name(COMPANIONS_FILE))
    parts = []
    for start in range(0, len(states), _BATCH):
        index = np.arange(start, min(start + _BATCH, len(states)))
        inputs = model_inputs(states.take(index), as_of_s[index], to_rows)
        scores = score_onnx(session, inputs)
        if booster is not None and companions is not None:
            scores, _ = rerank(scores, inputs, companions, partial(booster.predict, num_threads=1))
        parts.append(rows[top_k(scores, k)])
    return np.concatenate(parts) if parts else np.empty((0, k), np.int64)
