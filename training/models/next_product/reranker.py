"""A fitted network and moments of the past in, trees that order what it and its companions put forward out.

The trees learn from several moments. The newest one, which the network never learned from, is that of the validation period:
half of its customers are learned from, the others say whether the trees help. Every customer counts twice, once with the
whole range and once with what they never bought, so that the same trees also rank where only new products are wanted.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from features.arrays import BoolArray, Float32Array, IntArray
from features.scoring.item_tables import Companions
from features.scoring.rerank import FEATURES, PARTS, TRANSFORMER, Inputs, Trees, beside_network, candidate_pool, rerank
from training.data.interactions import Interactions, decayed_profile
from training.evaluation.ranking import hit_matrix, ranking_values, top_k
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import Examples, ProductVocabulary
from training.models.next_product.network import NextProductNet
from training.models.recommenders.lambdamart import Grouped, lambdarank, sample

_BATCH = 256
_HABIT_LEVEL = 8.0
_SCORE = FEATURES.index("score")


@dataclass(frozen=True)
class Moment:
    """Customers as of one cutoff, and what was known of products then.

    `sold` (V + 1,) are the products that anybody had bought: no other can be ranked. `bought` (n, V + 1) is what each
    customer had.
    """

    examples: Examples
    companions: Companions
    log_popularity: torch.Tensor
    sold: BoolArray
    bought: sparse.csr_array

    def take(self, rows: IntArray) -> "Moment":
        """The customers `rows`."""
        return replace(self, examples=self.examples.take(rows), bought=self.bought[rows])


@dataclass(frozen=True)
class ProductRanker:
    """Fitted trees, and what they were worth to customers whom they had not learned from."""

    booster: lightgbm.Booster
    trees: Trees
    """What they add to the network's scores."""
    valid_network: float
    valid_ranker: float
    standard_error: float

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain."""
        gain = self.booster.feature_importance("gain")
        return dict(zip(FEATURES, (gain / max(gain.sum(), 1e-12)).round(4).tolist(), strict=True))

    @property
    def helps(self) -> bool:
        """Whether the trees order better than the network alone, by more than chance would."""
        return self.valid_ranker - self.valid_network > 2 * self.standard_error


def bought_before(past: Interactions, vocabulary: ProductVocabulary, customers: IntArray) -> sparse.csr_array:
    """What each customer (n,) ever bought in `past`, in the network's rows (n, V + 1)."""
    rows = np.concatenate(([0], vocabulary.catalogue_rows))
    return decayed_profile(past, 0.0, np.inf)[customers][:, rows].tocsr()


Scored = tuple[NextProductNet, Moment]
"""Customers, and the network that scores them."""


def fit_product_ranker(
    past: Sequence[Scored],
    judging: Scored,
    vocabulary: ProductVocabulary,
    config: NextProductConfig,
    metric: str,
    seed: int,
) -> ProductRanker | None:
    """Trees from the moments `past`, and what they are worth to those who judge; None where there is too little to learn.

    Where `ranker.from_network` says so they are added to the network's scores, and learn only what the network gets wrong.
    """
    learned = _learnable(past, vocabulary, config, seed)
    if learned is None:
        return None
    start = learned.features[:, _SCORE] if config.ranker.from_network else None
    booster = lambdarank(learned, FEATURES, config.ranker, seed, start=start)
    trees = booster.predict if config.ranker.from_network else beside_network(booster.predict)
    k = int(metric.split("@")[1])
    network, with_trees = (
        ranking_values(
            rank_moment(*judging, vocabulary, scorer, k, parts=config.parts), judging[1].examples.targets, (k,)
        )[metric]
        for scorer in (None, trees)
    )
    gain = with_trees - network
    return ProductRanker(
        booster,
        trees,
        valid_network=float(np.nanmean(network)),
        valid_ranker=float(np.nanmean(with_trees)),
        standard_error=float(np.nanstd(gain) / np.sqrt(np.isfinite(gain).sum())),
    )


def rank_moment(
    net: NextProductNet,
    moment: Moment,
    vocabulary: ProductVocabulary,
    trees: Trees | None,
    k: int,
    *,
    only_new: bool = False,
    parts: Collection[str] = PARTS,
) -> IntArray:
    """The k best products (n, k) of each customer in catalogue rows; with `only_new` none that they bought before."""
    tops = []
    for scores, inputs, _ in scored(net, moment, parts, only_new=only_new):
        if trees is not None:
            scores, _ = rerank(scores, inputs, moment.companions, trees, parts)
        tops.append(top_k(scores, k))
    return vocabulary.to_catalogue(np.concatenate(tops))


def scored(
    net: NextProductNet, moment: Moment, parts: Collection[str], *, only_new: bool
) -> Iterator[tuple[Float32Array, dict[str, NDArray[np.generic]], IntArray]]:
    """The network's scores, its inputs and the customers' rows, batch after batch."""
    examples = moment.examples
    net.log_popularity.copy_(moment.log_popularity)
    net.eval()
    with torch.inference_mode():
        for first in range(0, len(examples), _BATCH):
            rows = np.arange(first, min(first + _BATCH, len(examples)))
            inputs = {name: array[rows] for name, array in examples.inputs.items()}
            if TRANSFORMER in parts:
                scores = net(*examples.batch(rows)).numpy()
            else:
                scores = frequency_scores(inputs, moment.log_popularity.numpy())
            scores[:, ~moment.sold] = -np.inf
            if only_new:
                scores[moment.bought[rows].toarray() > 0] = -np.inf
            yield scores, inputs, rows


def frequency_scores(inputs: Inputs, log_popularity: Float32Array) -> Float32Array:
    """What a network says (n, V + 1) that learned nothing: how often a customer took a product, and else its popularity."""
    scores = np.tile(log_popularity.astype(np.float32), (len(inputs["habit_item"]), 1))
    often = np.log(inputs["habit_weight"] + 1e-3) + _HABIT_LEVEL
    np.put_along_axis(scores, inputs["habit_item"].astype(np.int64), often.astype(np.float32), axis=1)
    scores[:, 0] = -np.inf
    return scores


def _learnable(
    past: Sequence[Scored], vocabulary: ProductVocabulary, config: NextProductConfig, seed: int
) -> Grouped | None:
    """Candidates of a sample of customers with a target among them; None where nobody has one."""
    n_each = config.ranker.max_customers // max(len(past), 1)
    groups = []
    for net, moment in past:
        chosen = moment.take(sample(len(moment.examples), n_each, seed))
        wanted = vocabulary.from_catalogue(chosen.examples.targets)
        for only_new in (False, True) if config.with_new else (False,):
            for scores, inputs, rows in scored(net, chosen, config.parts, only_new=only_new):
                pool = candidate_pool(scores, inputs, moment.companions, config.parts)
                labels = hit_matrix(pool.items, wanted.take(rows))
                useful = labels.any(axis=1)
                real = pool.items[useful] > 0
                groups.append(
                    Grouped(pool.features[useful][real], labels[useful][real].astype(np.float32), real.sum(axis=1))
                )
    if not any(len(group.sizes) for group in groups):
        return None
    return Grouped(
        np.concatenate([group.features for group in groups]),
        np.concatenate([group.labels for group in groups]),
        np.concatenate([group.sizes for group in groups]),
    )
