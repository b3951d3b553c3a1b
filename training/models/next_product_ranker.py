"""Validation customers and a fitted network in, the trees that order its candidates out, with what ranks beside it.

The network did not learn from the validation period, so its scores there are what they will be later. Trees that learned
from three quarters of its customers order the candidates of the rest: so it shows whether they do it better than the network.
"""

from collections.abc import Iterator
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
    tree_scores,
)
from training.models.baselines import SequenceRules
from training.models.interactions import Interactions
from training.models.next_product_data import Examples, ProductVocabulary
from training.models.ranker import Grouped, RankerConfig, lambdarank
from training.models.sequence import NextProductNet
from training.ranking_metrics import IntArray, Targets, hit_matrix, ranking_values, top_k

_BATCH = 256
_N_RULES_KEPT = 30
_N_FOLDS = 4


@dataclass(frozen=True)
class ProductRanker:
    """Trees fitted on all validation customers; the figures are of trees that had not seen the customer."""

    booster: lightgbm.Booster
    valid_network: float
    valid_ranker: float
    standard_error: float

    @property
    def helps(self) -> bool:
        """Whether the trees order better than the network alone, by more than chance would."""
        return self.valid_ranker - self.valid_network > 2 * self.standard_error

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
    """Trees for a network whose popularity is that of the validation cutoff; None where there is too little to learn.

    They are added to the network's scores, so that they learn only what the network gets wrong.
    """
    pool = pool_of(net, valid, companions)
    wanted = vocabulary.from_catalogue(valid.targets)
    fold = np.random.default_rng(seed).integers(0, _N_FOLDS, len(valid))
    scores = np.full(pool.items.shape, -np.inf)
    for number in range(_N_FOLDS):
        booster = _fit(pool, wanted, np.flatnonzero(fold != number), config, seed)
        if booster is None:
            return None
        rows = np.flatnonzero(fold == number)
        scores[rows] = tree_scores(Pool(pool.items[rows], pool.features[rows]), booster.predict)
    k = int(metric.split("@")[1])

    def values(of: NDArray[np.floating]) -> NDArray[np.float64]:
        order = np.argsort(np.where(pool.items > 0, -of, np.inf), axis=1, kind="stable")[:, :k]
        top = vocabulary.to_catalogue(np.take_along_axis(pool.items, order, axis=1))
        return ranking_values(top, valid.targets, (k,))[metric]

    network = values(pool.features[:, :, FEATURES.index("score")])
    with_trees = values(scores)
    gain = with_trees - network
    booster = _fit(pool, wanted, np.arange(len(valid)), config, seed)
    assert booster is not None
    return ProductRanker(
        booster,
        valid_network=float(np.nanmean(network)),
        valid_ranker=float(np.nanmean(with_trees)),
        standard_error=float(np.nanstd(gain) / np.sqrt(np.isfinite(gain).sum())),
    )


def pool_of(net: NextProductNet, examples: Examples, companions: Companions) -> Pool:
    """The candidates of every example."""
    parts = [candidate_pool(scores, inputs, companions) for scores, inputs in _scored(net, examples)]
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
    tops = [
        top_k(rerank(scores, inputs, companions, ranker.booster.predict), k)
        for scores, inputs in _scored(net, examples)
    ]
    return vocabulary.to_catalogue(np.concatenate(tops))


def _scored(
    net: NextProductNet, examples: Examples
) -> Iterator[tuple[NDArray[np.float32], dict[str, NDArray[np.generic]]]]:
    """The network's scores and inputs, batch after batch."""
    net.eval()
    with torch.inference_mode():
        for first in range(0, len(examples), _BATCH):
            batch = np.arange(first, min(first + _BATCH, len(examples)))
            scores = net(*examples.batch(batch)).numpy()
            yield scores, {name: array[batch] for name, array in examples.inputs.items()}


def _fit(pool: Pool, wanted: Targets, rows: IntArray, config: RankerConfig, seed: int) -> lightgbm.Booster | None:
    """Trees for the customers `rows`, on top of the network's scores."""
    labels = hit_matrix(pool.items[rows], _subset(wanted, rows))
    useful = labels.any(axis=1)
    if not useful.any():
        return None
    real = pool.items[rows][useful] > 0
    features = pool.features[rows][useful][real]
    return lambdarank(
        Grouped(features, labels[useful][real].astype(np.float32), real.sum(axis=1)),
        None,
        FEATURES,
        config,
        seed,
        start=features[:, FEATURES.index("score")],
    )


def _subset(targets: Targets, rows: IntArray) -> Targets:
    return Targets.from_lists([targets.items[targets.indptr[row] : targets.indptr[row + 1]] for row in rows])
