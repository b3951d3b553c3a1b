"""Item counts in, the negatives of a batch with their expected counts out, and the sampled softmax over them.

The correction is log Q (Bengio and Senecal 2008; Yi et al. 2019): a negative that is drawn often counts less each time.
"""

import numpy as np
import torch
from torch import Tensor

from training.models.causal_transformer import CausalTransformer
from training.ranking_metrics import IntArray


class NegativeSampler:
    """Draws the negatives that a batch shares, with the log of how many of each are expected."""

    def __init__(self, counts: IntArray, n_negatives: int, popular_share: float) -> None:
        """`counts` (V + 1,) says how often each item was taken; row 0 is padding and never drawn.

        A share `popular_share` is drawn by popularity to the power of 3/4, the rest evenly.
        """
        self.n = n_negatives
        popular = np.power(counts.astype(np.float64), 0.75)
        popular[0] = 0.0
        even = np.full(len(counts), 1.0 / max(len(counts) - 1, 1))
        even[0] = 0.0
        chance = popular_share * popular / max(popular.sum(), 1e-12) + (1 - popular_share) * even
        self._cumulated = np.cumsum(chance / chance.sum())
        self._log_expected = np.log(np.maximum(chance * self.n, 1e-12)).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Item rows (n,) and their log expected counts (n,)."""
        rows = np.searchsorted(self._cumulated, rng.random(self.n), side="right")
        rows = np.minimum(rows, len(self._cumulated) - 1)
        return torch.from_numpy(rows), torch.from_numpy(self._log_expected[rows])


def sampled_loss(net: CausalTransformer, states: Tensor, wanted: Tensor, drawn: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of the wanted items (M,) after states (M, D), against the drawn negatives; a mean over M."""
    negatives, log_expected = drawn
    vectors = net.item_vectors(torch.cat((negatives, wanted)))
    against = states @ vectors[: len(negatives)].T - log_expected  # (M, N)
    against = against.masked_fill(negatives == wanted.unsqueeze(1), float("-inf"))
    score = (states * vectors[len(negatives) :]).sum(dim=1)  # (M,)
    return (torch.logsumexp(torch.cat((score.unsqueeze(1), against), dim=1), dim=1) - score).mean()
