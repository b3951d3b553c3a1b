"""Item counts in, the negatives of a batch with their expected counts out, and the sampled softmax over them.

The correction is log Q (Bengio and Senecal 2008; Yi et al. 2019): a negative that is drawn often counts less each time.
"""

import numpy as np
import torch
from torch import Tensor

from features.arrays import IntArray
from training.benchmarks.hybrid.sasrec import CausalTransformer


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


def sampled_loss(
    net: CausalTransformer, states: Tensor, known: Tensor, wanted: Tensor, drawn: tuple[Tensor, Tensor]
) -> Tensor:
    """Cross-entropy of the wanted items (B, T) after states (B, T, D) and known items (B, T); a mean over real positions.

    It runs over the wanted item, the customer's own items so far (exact) and the drawn negatives.
    """
    negatives, log_expected = drawn
    row, at = (wanted > 0).nonzero(as_tuple=True)  # (M,) each
    target, state = wanted[row, at], states[row, at]  # (M,), (M, D)
    vectors = net.item_vectors(torch.cat((negatives, target)))
    against = state @ vectors[: len(negatives)].T - log_expected  # (M, N)
    not_against = (_first_at(known, negatives)[row] <= at.unsqueeze(1)) | (negatives == target.unsqueeze(1))
    against = against.masked_fill(not_against, float("-inf"))
    again = net.again_scores(known)
    is_own = again > float("-inf")
    is_target = (known.unsqueeze(1) == wanted.unsqueeze(2)) & is_own
    own = (states @ net.item_vectors(known).transpose(1, 2) + again).masked_fill(is_target, float("-inf"))[row, at]
    gained = torch.where(is_target, again, 0.0).sum(dim=2)[row, at]
    score = (state * vectors[len(negatives) :]).sum(dim=1) + gained  # (M,)
    return (torch.logsumexp(torch.cat((score.unsqueeze(1), own, against), dim=1), dim=1) - score).mean()


def _first_at(known: Tensor, items: Tensor) -> Tensor:
    """The first place (B, N) of each of the items (N,) among the known ones (B, T); T where it is not."""
    length = known.shape[1]
    distinct, place = torch.unique(items, return_inverse=True)
    found = torch.searchsorted(distinct, known.contiguous()).clamp(max=len(distinct) - 1)
    found = torch.where(distinct[found] == known, found, len(distinct))
    first = torch.full((len(known), len(distinct) + 1), length)
    first = first.scatter_reduce(1, found, torch.arange(length).expand_as(known), "amin")
    return first[:, place]
