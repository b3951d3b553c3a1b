"""The fit of the network: examples in, the weights of the best epoch out, by the sampled softmax and the validation period.

Customers of about one length share a batch, so little is padding. A fit that was cut short goes on from its checkpoint.
"""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from features.arrays import IntArray
from training.evaluation.ranking import Targets, ranking_values, top_k
from training.models.next_product.checkpoint import FitCheckpoint, FitState, fingerprint
from training.models.next_product.data import Examples, ProductVocabulary
from training.models.next_product.loss import (
    BatchTargets,
    CandidateSampler,
    PopularityAt,
    sampled_softmax_loss,
)
from training.models.next_product.network import NextProductNet
from training.task import Progress

logger = logging.getLogger(__name__)

OnEpoch = Callable[[int, float], None]
"""Takes the number of an epoch, from 0, and its validation value."""

_SCORE_BATCH = 256


@dataclass(frozen=True)
class FitSettings:
    """Pace and length of the fit."""

    max_epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_popular: int
    n_negatives: int
    batch_events: int
    sequence_weight: float
    metric: str = "ndcg@10"


@dataclass(frozen=True)
class FitHistory:
    """One number per epoch, and the epoch (from 0) whose weights were kept."""

    loss: list[float]
    valid: list[float]
    best: int


def fit_network(
    net: NextProductNet,
    train: Examples,
    valid: Examples | None,
    vocabulary: ProductVocabulary,
    popularity: Tensor,
    valid_popularity: Tensor,
    settings: FitSettings,
    seed: int,
    progress: Progress,
    on_epoch: OnEpoch = lambda *_: None,
    checkpoint: Path | None = None,
) -> FitHistory:
    """Fit in place and leave the weights of the best epoch in `net`, or of the last one where nothing validates.

    `popularity` (M, V + 1) holds the log-popularity of the moments that `train.moment` names; `valid_popularity` (V + 1,)
    that of the validation cutoff, which is left in the network. `checkpoint` names a file that is written after every
    epoch and read at the start where it belongs to the same examples, settings and seed.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    wanted = vocabulary.from_catalogue(train.targets)
    lengths = train.lengths()
    usable = np.flatnonzero((wanted.sizes > 0) | ((lengths > 1) & (settings.sequence_weight > 0)))
    if not len(usable):
        return FitHistory([], [], 0)
    sampler = CandidateSampler(popularity[-1].numpy(), settings.n_popular, settings.n_negatives)
    lengths = lengths[usable]
    steps = len(batch_borders(lengths, settings.batch_size, settings.batch_events))
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    total_steps = steps * settings.max_epochs + 1
    # On a handful of customers a tenth is one step or less, and a warm-up of one step divides by zero in torch.
    warm_up = max(0.1, 2 / total_steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=total_steps, pct_start=warm_up
    )
    net.log_popularity.copy_(valid_popularity)
    saved = FitCheckpoint(
        checkpoint, fingerprint(train, f"{settings} {net.size} {seed}"), net, optimizer, schedule, rng
    )
    progressed = saved.load()
    losses, values, best, kept = progressed.losses, progressed.values, progressed.best, progressed.kept
    for epoch in range(len(losses), settings.max_epochs):
        net.train()
        total = 0.0
        for part in _batches(lengths, settings, rng):
            rows = usable[part]
            loss = sampled_softmax_loss(
                net,
                train.batch(rows, int(lengths[part].max())),
                PopularityAt(popularity, torch.from_numpy(train.moment[rows])),
                batch_targets(wanted, rows),
                sampler.draw(rng),
                settings.sequence_weight,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(usable))
        values.append(float("nan") if valid is None else _value(net, valid, vocabulary, settings.metric))
        progress(
            f"next-product: epoch {epoch + 1} of at most {settings.max_epochs}, loss {losses[-1]:.3f}, "
            f"validation {settings.metric} {values[-1]:.4f}"
        )
        on_epoch(epoch, values[-1])
        if valid is None or values[-1] > values[best] or epoch == 0:
            best, kept = epoch, copy.deepcopy(net.state_dict())
        saved.store(FitState(losses, values, best, kept))
        if epoch - best >= settings.patience:
            break
    net.load_state_dict(kept)
    net.eval()
    return FitHistory(losses, values, best)


def batch_borders(lengths: IntArray, batch_size: int, batch_events: int) -> list[int]:
    """Where batches begin when examples of these lengths (n,), in events, are sorted, longest first."""
    longest_first = -np.sort(-lengths)
    borders, first = [], 0
    while first < len(lengths):
        borders.append(first)
        first += min(batch_size, max(1, batch_events // max(int(longest_first[first]), 1)))
    return borders


def _batches(lengths: IntArray, settings: FitSettings, rng: np.random.Generator) -> Iterator[IntArray]:
    """Examples (n,) of about one length, so that little is padding, in random order; each time they meet others."""
    order = rng.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    batches = np.split(order, batch_borders(lengths, settings.batch_size, settings.batch_events)[1:])
    for number in rng.permutation(len(batches)):
        yield batches[number]


def batch_targets(targets: Targets, rows: IntArray) -> BatchTargets:
    """The targets of some customers; each customer's weights sum to one."""
    sizes = targets.sizes[rows]
    owner = np.repeat(np.arange(len(rows)), sizes)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    items = targets.items[targets.indptr[rows][owner] + inside]
    weight = (1.0 / sizes[owner]).astype(np.float32)
    return BatchTargets(torch.from_numpy(owner), torch.from_numpy(items), torch.from_numpy(weight))


def rank(net: NextProductNet, examples: Examples, vocabulary: ProductVocabulary, k: int) -> IntArray:
    """The k best products of each example (n, k), in catalogue rows."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(examples), _SCORE_BATCH):
            rows = np.arange(start, min(start + _SCORE_BATCH, len(examples)))
            parts.append(top_k(net(*examples.batch(rows)).numpy(), k))
    return vocabulary.to_catalogue(np.concatenate(parts))


def _value(net: NextProductNet, examples: Examples, vocabulary: ProductVocabulary, metric: str) -> float:
    k = int(metric.split("@")[1])
    return float(np.nanmean(ranking_values(rank(net, examples, vocabulary, k), examples.targets, (k,))[metric]))
