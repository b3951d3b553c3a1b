"""A fitted network and moments of the past in, trees that order what it and its companions put forward out.

The trees learn from several moments. The newest one, which the network never learned from, is that of the validation period:
half of its customers are learned from, the others say whether the trees help. Every customer counts twice, once with the
whole range and once with what they never bought, so that the same trees also rank where only new products are wanted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from features.arrays import BoolArray, Float32Array, IntArray
from features.scoring.item_tables import Companions
from features.scoring.rerank import FEATURES, candidate_pool, rerank
from training.data.interactions import Interactions, decayed_profile
from training.evaluation.ranking import hit_matrix, ranking_values, top_k
from training.models.next_product.data import Examples, ProductVocabulary
from training.models.next_product.network import NextProductNet
from training.models.recommenders.lambdamart import Grouped, RankerConfig, lambdarank, sample

_BATCH = 256
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
    valid_network: float
    valid_ranker: float
    standard_error: float

    @property
    def helps(self) -> bool:
        """Whether the trees order better than the network alone, by more than chance would."""
        return self.valid_ranker - self.valid_network > 2 * self.standard_error


def bought_before(past: Interactions, vocabulary: ProductVocabulary, customers: IntArray) -> sparse.csr_array:
    """What each customer (n,) ever bought in `past`, in the network's rows (n, V + 1)."""
    rows = np.concatenate(([0], vocabulary.catalogue_rows))
    return decayed_profile(past, 0.0, np.inf)[customers][:, rows].tocsr()


def fit_product_ranker(
    net: NextProductNet,
    past: Sequence[Moment],
    valid: Moment,
    vocabulary: ProductVocabulary,
    config: RankerConfig,
    metric: str,
    seed: int,
) -> ProductRanker | None:
    """Trees from moments `past` and half of `valid`; None where there is too little to learn, or where they do not help.

    They are added to the network's scores, so that they learn only what the network gets wrong.
    """
    mixed = np.random.default_rng(seed).permutation(len(valid.examples))
    learned_from, asked = (valid.take(np.sort(mixed[half::2])) for half in (0, 1))
    learned = _learnable(net, [*past, learned_from], vocabulary, config, seed)
    if learned is None:
        return None
    trees = lambdarank(learned, None, FEATURES, config, seed, start=learned.features[:, _SCORE])
    k = int(metric.split("@")[1])
    network, with_trees = (
        ranking_values(rank_moment(net, asked, vocabulary, booster, k), asked.examples.targets, (k,))[metric]
        for booster in (None, trees)
    )
    gain = with_trees - network
    found = ProductRanker(
        trees,
        valid_network=float(np.nanmean(network)),
        valid_ranker=float(np.nanmean(with_trees)),
        standard_error=float(np.nanstd(gain) / np.sqrt(np.isfinite(gain).sum())),
    )
    return found if found.helps else None


def rank_moment(
    net: NextProductNet,
    moment: Moment,
    vocabulary: ProductVocabulary,
    booster: lightgbm.Booster | None,
    k: int,
    *,
    only_new: bool = False,
) -> IntArray:
    """The k best products (n, k) of each customer in catalogue rows; with `only_new` none that they bought before."""
    tops = []
    for scores, inputs, _ in _scored(net, moment, only_new=only_new):
        if booster is not None:
            scores, _ = rerank(scores, inputs, moment.companions, booster.predict)
        tops.append(top_k(scores, k))
    return vocabulary.to_catalogue(np.concatenate(tops))


def _scored(
    net: NextProductNet, moment: Moment, *, only_new: bool
) -> Iterator[tuple[Float32Array, dict[str, NDArray[np.generic]], IntArray]]:
    """The network's scores, its inputs and the customers' rows, batch after batch."""
    examples = moment.examples
    net.log_popularity.copy_(moment.log_popularity)
    net.eval()
    with torch.inference_mode():
        for first in range(0, len(examples), _BATCH):
            rows = np.arange(first, min(first + _BATCH, len(examples)))
            scores = net(*examples.batch(rows)).numpy()
            scores[:, ~moment.sold] = -np.inf
            if only_new:
                scores[moment.bought[rows].toarray() > 0] = -np.inf
            yield scores, {name: array[rows] for name, array in examples.inputs.items()}, rows


def _learnable(
    net: NextProductNet, moments: Sequence[Moment], vocabulary: ProductVocabulary, config: RankerConfig, seed: int
) -> Grouped | None:
    """Candidates of a sample of customers with a target among them; None where nobody has one."""
    n_each = config.max_customers // max(len(moments), 1)
    parts = []
    for moment in moments:
        chosen = moment.take(sample(len(moment.examples), n_each, seed))
        wanted = vocabulary.from_catalogue(chosen.examples.targets)
        for only_new in (False, True):
            for scores, inputs, rows in _scored(net, chosen, only_new=only_new):
                pool = candidate_pool(scores, inputs, moment.companions)
                labels = hit_matrix(pool.items, wanted.take(rows))
                useful = labels.any(axis=1)
                real = pool.items[useful] > 0
                parts.append(
                    Grouped(pool.features[useful][real], labels[useful][real].astype(np.float32), real.sum(axis=1))
                )
    if not any(len(part.sizes) for part in parts):
        return None
    return Grouped(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )
