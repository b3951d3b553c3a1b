"""Validation customers and a fitted network in, the trees that order its candidates out, with what ranks beside it.

The network did not learn from the validation period, so its scores there are what they will be later. The trees learn on
four fifths of its customers; the rest says when to stop and whether the trees order better than the network alone.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray

from features.product_ranking import (
    COMPANIONS_FILE,
    FEATURES,
    RANKER_FILE,
    Companions,
    Pool,
    candidate_pool,
    rerank,
)
from training.models.baselines import SequenceRules
from training.models.interactions import Interactions
from training.models.next_product_data import Examples, ProductVocabulary
from training.models.ranker import RankerConfig, lambdarank
from training.models.sequence import NextProductNet
from training.ranking_metrics import IntArray, Targets, hit_matrix, ranking_values, top_k

logger = logging.getLogger(__name__)

_BATCH = 256
_N_RULES_KEPT = 30
_CHECKED_SHARE = 0.2


@dataclass(frozen=True)
class ProductRanker:
    """Fitted trees and the validation figures of the customers that they did not learn from."""

    booster: lightgbm.Booster
    valid_network: float
    valid_ranker: float

    @property
    def helps(self) -> bool:
        """Whether the trees order better than the network alone."""
        return self.valid_ranker > self.valid_network

    def save(self, folder: Path, companions: Companions) -> list[Path]:
        """Write what serving needs beside the network; answers the files."""
        paths = [folder / RANKER_FILE, folder / COMPANIONS_FILE]
        self.booster.save_model(str(paths[0]))
        companions.save(paths[1])
        return paths


def companions_at(
    lines: Interactions, vocabulary: ProductVocabulary, now: float, log_popularity: torch.Tensor, window_days: float
) -> Companions:
    """Popularity and each product's strongest rules as of a moment (seconds), in the network's rows."""
    fitted = SequenceRules.fit(
        lines.before(now), now, max_distance=2, normalisation=0.5, shrinkage=20.0, window_days=window_days
    )
    rows = np.concatenate(([0], vocabulary.catalogue_rows))
    rules = fitted.rules[rows][:, rows].tocsr()
    item = np.zeros((len(rows), _N_RULES_KEPT), np.int32)
    weight = np.zeros((len(rows), _N_RULES_KEPT), np.float32)
    for row in range(1, len(rows)):
        part = slice(rules.indptr[row], rules.indptr[row + 1])
        strongest = np.argsort(-rules.data[part], kind="stable")[:_N_RULES_KEPT]
        item[row, : len(strongest)] = rules.indices[part][strongest]
        weight[row, : len(strongest)] = rules.data[part][strongest]
    return Companions(log_popularity.numpy().astype(np.float32), item, weight)


def fit_product_ranker(
    net: NextProductNet,
    valid: Examples,
    vocabulary: ProductVocabulary,
    companions: Companions,
    config: RankerConfig,
    metric: str,
    seed: int,
) -> ProductRanker | None:
    """Trees for a network whose popularity is that of the validation cutoff; None where there is too little to learn."""
    wanted = vocabulary.from_catalogue(valid.targets)
    order = np.random.default_rng(seed).permutation(len(valid))
    n_checked = int(len(valid) * _CHECKED_SHARE)
    checked, learned = np.sort(order[:n_checked]), np.sort(order[n_checked:])
    pool = pool_of(net, valid, companions)
    booster = lambdarank(*_grouped(pool, wanted, learned), *_grouped(pool, wanted, checked), FEATURES, config, seed)
    if booster is None:
        return None
    k = int(metric.split("@")[1])
    targets = _subset(valid.targets, checked)

    def value(scores_of: Callable[[NDArray[np.float32], dict[str, NDArray[np.generic]]], NDArray[np.float32]]) -> float:
        top = vocabulary.to_catalogue(_top(net, valid, checked, k, scores_of))
        return float(np.nanmean(ranking_values(top, targets, (k,))[metric]))

    return ProductRanker(
        booster,
        valid_network=value(lambda scores, _: scores),
        valid_ranker=value(lambda scores, inputs: rerank(scores, inputs, companions, booster)),
    )


def pool_of(net: NextProductNet, examples: Examples, companions: Companions) -> Pool:
    """The candidates of every example."""
    parts = [
        candidate_pool(scores, inputs, companions)
        for scores, inputs in _scored(net, examples, np.arange(len(examples)))
    ]
    return Pool(np.concatenate([part.items for part in parts]), np.concatenate([part.features for part in parts]))


def rank_with_trees(
    net: NextProductNet,
    examples: Examples,
    vocabulary: ProductVocabulary,
    companions: Companions,
    ranker: ProductRanker,
    k: int,
) -> IntArray:
    """The k best products (n, k) of each example, in catalogue rows."""
    top = _top(
        net,
        examples,
        np.arange(len(examples)),
        k,
        lambda scores, inputs: rerank(scores, inputs, companions, ranker.booster),
    )
    return vocabulary.to_catalogue(top)


def _scored(net: NextProductNet, examples: Examples, rows: IntArray):  # type: ignore[no-untyped-def]
    net.eval()
    with torch.inference_mode():
        for first in range(0, len(rows), _BATCH):
            batch = rows[first : first + _BATCH]
            scores = net(*examples.batch(batch)).numpy()
            yield scores, {name: array[batch] for name, array in examples.inputs.items()}


def _top(net: NextProductNet, examples: Examples, rows: IntArray, k: int, scores_of) -> IntArray:  # type: ignore[no-untyped-def]
    return np.concatenate([top_k(scores_of(*part), k) for part in _scored(net, examples, rows)])


def _grouped(pool: Pool, wanted: Targets, rows: IntArray) -> tuple[NDArray[np.float32], NDArray[np.float32], IntArray]:
    """Features, labels and group sizes of the customers `rows` who have a target among their candidates."""
    labels = hit_matrix(pool.items[rows], _subset(wanted, rows))
    useful = labels.any(axis=1)
    real = pool.items[rows][useful] > 0
    return pool.features[rows][useful][real], labels[useful][real].astype(np.float32), real.sum(axis=1)


def _subset(targets: Targets, rows: IntArray) -> Targets:
    return Targets.from_lists([targets.items[targets.indptr[row] : targets.indptr[row + 1]] for row in rows])
