"""Interactions in, a fitted causal transformer out: every position predicts the next item, against sampled negatives.

The softmax runs over the wanted item and negatives that the whole batch shares. Sequences of about one length share a
batch, so little is padding. After every epoch the state goes to a checkpoint, where one is asked for, and a fit that was
cut short goes on from there.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits
from torch import Tensor

from features.arrays import Float32Array, IntArray
from training.benchmarks.hybrid.checkpoint import FitCheckpoint, fingerprint
from training.benchmarks.hybrid.negatives import NegativeSampler, sampled_loss
from training.benchmarks.hybrid.sasrec import CausalTransformer, TransformerSize
from training.data.interactions import Interactions, decayed_profile
from training.models.recommenders.baselines import SequenceRules
from training.task import Progress

_SCORE_BATCH: Final = 256


class TransformerConfig(BaseModel):
    """Size and pace of the transformer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(50, ge=2)
    """Newest events that it looks at."""
    dim: int = Field(64, ge=4)
    """Size of every vector; a multiple of n_heads."""
    n_blocks: int = Field(1, ge=1)
    """Transformer blocks."""
    n_heads: int = Field(2, ge=1)
    """Attention heads."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the activations dropped while learning."""
    start_scale: float = Field(0.1, ge=0)
    """Length per dimension of the item vectors at the start, the singular vectors of smoothed rules; 0 starts at random."""
    learning_rate: float = Field(2e-3, gt=0)
    """Highest rate of the one-cycle schedule."""
    weight_decay: float = Field(0.0, ge=0)
    """Pull of all weights towards zero (AdamW)."""
    batch_size: int = Field(128, ge=2)
    """Most sequences a step."""
    batch_events: int = Field(512, ge=2)
    """Most events a step, padding counted: long histories learn in as small steps as short ones."""
    n_negatives: int = Field(1024, ge=1)
    """Negatives that a batch shares."""
    popular_share: float = Field(0.5, ge=0, le=1)
    """Share of the negatives that is drawn by popularity to the power of 3/4; the rest is drawn evenly."""
    inputs: tuple[Literal["kind", "channel", "gap"], ...] = ("kind", "channel", "gap")
    """What it reads of an event beside the item, where that is known: `Interactions.sides`."""
    max_epochs: int = Field(8, ge=1)
    """Most passes over the sequences."""
    max_events: int = Field(4_000_000, ge=1)
    """Most events in all passes together: a large file gets fewer passes, at least one."""
    patience: int = Field(3, ge=1)
    """Passes without a better validation value before the fit stops."""
    n_threads: int = Field(1, ge=1)
    """Threads of torch; on cores shared with other work one is much faster than two."""


@dataclass(frozen=True)
class Sequences:
    """Stretches of events, oldest first: the i-th is the lines [start[i], end[i]) of the flat arrays."""

    item: IntArray
    sides: tuple[IntArray, ...]
    start: IntArray
    end: IntArray

    @classmethod
    def of(cls, data: Interactions, length: int, inputs: Sequence[str] = ()) -> "Sequences":
        """The last `length` lines of each customer; `inputs` names those of the data's sides that are kept."""
        start, end = _borders(data)
        return cls(data.item, _codes(data, inputs), np.maximum(start, end - length), end)

    @classmethod
    def windows(cls, data: Interactions, length: int, inputs: Sequence[str] = ()) -> "Sequences":
        """Every customer's whole history in stretches of at most `length` lines, each beginning with the last one's end.

        So every line but a customer's first follows another once, and histories of one line are left out.
        """
        start, end = _borders(data)
        n_windows = -(-np.maximum(end - start - 1, 0) // (length - 1))
        customer = np.repeat(np.arange(data.n_customers), n_windows)
        back = np.arange(len(customer)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        ends = end[customer] - back * (length - 1)
        return cls(data.item, _codes(data, inputs), np.maximum(start[customer], ends - length), ends)

    @property
    def sizes(self) -> IntArray:
        """Events of each stretch (n,)."""
        return self.end - self.start

    def batch(self, rows: IntArray) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Item rows and side codes (B, T), padded with 0 at the end."""
        sizes = self.sizes[rows]
        column = np.arange(max(int(sizes.max(initial=1)), 1))
        inside = column < sizes[:, None]
        at = np.where(inside, self.start[rows][:, None] + column, 0)
        tables = [torch.from_numpy(np.where(inside, codes[at], 0)) for codes in (self.item, *self.sides)]
        return tables[0], tuple(tables[1:])


@dataclass(frozen=True)
class TransformerRecommender:
    """A fitted network that scores the whole catalogue after a customer's last event."""

    net: CausalTransformer
    histories: Sequences
    taken: sparse.csr_array
    """How often each customer took each item (n_customers, n_items + 1)."""
    inputs: tuple[str, ...]
    """Sides that it reads."""

    @classmethod
    def of(cls, net: CausalTransformer, data: Interactions, inputs: tuple[str, ...]) -> Self:
        """The network asked about these histories."""
        return cls(net, Sequences.of(data, net.size.length, inputs), decayed_profile(data, 0.0, np.inf), inputs)

    def scores(self, customers: IntArray) -> Float32Array:
        self.net.eval()
        found = np.zeros((len(customers), self.net.size.n_items + 1), np.float32)
        sizes = self.histories.sizes[customers]
        order = np.argsort(sizes, kind="stable")
        order = order[sizes[order] > 0]
        with torch.inference_mode():
            vectors = self.net.item_vectors(torch.arange(self.net.size.n_items + 1))
            for first in range(0, len(order), _SCORE_BATCH):
                rows = order[first : first + _SCORE_BATCH]
                item, sides = self.histories.batch(customers[rows])
                last = torch.from_numpy(sizes[rows] - 1)
                state = self.net(item, sides)[torch.arange(len(rows)), last]
                scores = state @ vectors.T
                again = self.net.again_scores(item)[torch.arange(len(rows)), last]  # (B, T)
                scores = scores.scatter_add(1, item, torch.where(again.isinf(), 0.0, again))
                # What was taken before the sequence begins is as old as anything in it.
                older = torch.from_numpy(self.taken[customers[rows]].toarray()).scatter(1, item, 0.0) > 0
                found[rows] = (scores + older * self.net.again_gains()[-1]).numpy()
        return found

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        return self.of(self.net, data, self.inputs)


def fit_transformer(
    data: Interactions,
    now: float,
    config: TransformerConfig,
    seed: int,
    *,
    validate: Callable[[TransformerRecommender], float] | None = None,
    start_from: TransformerRecommender | None = None,
    content: Tensor | None = None,
    checkpoint: Path | None = None,
    progress: Progress = lambda _: None,
) -> TransformerRecommender:
    """Fit on every position of every history; the weights of the best epoch by `validate`, or of the last one, stay.

    `start_from` goes on from a fitted network instead of a new one. `checkpoint` names a file that is written after every
    epoch and read at the start where it belongs to the same data, settings and seed.
    """
    torch.set_num_threads(config.n_threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    if start_from is not None:
        net = copy.deepcopy(start_from.net)
    else:
        net = new_transformer(data, now, config, seed, content)
    inputs = known_inputs(data, config)
    # One event more than the network looks at: the oldest is only ever an input, the newest only ever wanted.
    histories = Sequences.windows(data, config.length + 1, inputs)
    model = TransformerRecommender.of(net, data, inputs)
    n_epochs = n_affordable(config, int(histories.sizes.sum()))
    if not len(histories.sizes):
        return model
    negatives = NegativeSampler(
        np.bincount(data.item, minlength=data.n_items + 1), config.n_negatives, config.popular_share
    )
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True
    )
    steps = len(batch_borders(histories.sizes, config.batch_size, config.batch_events)) * n_epochs + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps, pct_start=max(0.1, 2 / steps)
    )
    save = FitCheckpoint(
        checkpoint, fingerprint(data, f"{config.model_dump_json()} {seed}"), net, optimizer, schedule, rng
    )
    first, best, kept = save.load()
    for epoch in range(first, n_epochs):
        loss = _epoch(net, histories, negatives, optimizer, schedule, config, rng)
        text = f"transformer: epoch {epoch + 1} of at most {n_epochs}, loss {loss:.3f}"
        if validate is None:
            best, kept = (epoch, float("nan")), net.state_dict()
        else:
            value = validate(model)
            text += f", validation {value:.4f}"
            if not value <= best[1]:
                best, kept = (epoch, value), copy.deepcopy(net.state_dict())
        progress(text)
        save.store(epoch + 1, best, kept)
        if epoch - best[0] >= config.patience:
            break
    net.load_state_dict(kept)
    net.eval()
    return model


def n_affordable(config: TransformerConfig, n_events: int) -> int:
    """How many passes over `n_events` the settings allow."""
    return max(1, min(config.max_epochs, config.max_events // max(n_events, 1)))


def known_inputs(data: Interactions, config: TransformerConfig) -> tuple[str, ...]:
    """Those of the wanted inputs that the data have."""
    return tuple(name for name in config.inputs if name in data.sides)


def new_transformer(
    data: Interactions,
    now: float,
    config: TransformerConfig,
    seed: int,
    content: Tensor | None = None,
) -> CausalTransformer:
    """An unfitted network; items that follow each other often start near each other."""
    n_contents = () if content is None else tuple(int(n) + 1 for n in content.max(dim=0).values)
    size = TransformerSize(
        n_items=data.n_items,
        length=config.length,
        dim=config.dim,
        n_blocks=config.n_blocks,
        n_heads=config.n_heads,
        dropout=config.dropout,
        n_sides=tuple(data.sides[name].n_codes for name in known_inputs(data, config)),
        n_contents=n_contents,
    )
    net = CausalTransformer(size, content)
    if config.start_scale > 0 and data.n_items > config.dim:
        with torch.no_grad():
            net.item.weight[1:] = torch.from_numpy(start_vectors(data, now, config.dim, seed) * config.start_scale)
    return net


def start_vectors(data: Interactions, now: float, dim: int, seed: int) -> Float32Array:
    """Item vectors (V, dim) of length sqrt(dim) whose products follow the smoothed rules between items."""
    rules = SequenceRules.fit(data, now, max_distance=10, distance_decay=0.8, shrinkage=10.0, backward=1.0).rules
    # Sums in another order would be another start: one seed, one result on any number of cores.
    with threadpool_limits(1):
        left, values, _ = randomized_svd(rules[1:, 1:], dim, n_iter=4, random_state=seed)
    vectors = left * np.sqrt(values)
    vectors *= math.sqrt(dim) / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)
    # Turned at random, so that every dimension carries as much as any other.
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    return (vectors @ turn).astype(np.float32)


def _borders(data: Interactions) -> tuple[IntArray, IntArray]:
    """Where each customer's lines begin and end."""
    everybody = np.arange(data.n_customers)
    return np.searchsorted(data.customer, everybody), np.searchsorted(data.customer, everybody, side="right")


def _codes(data: Interactions, inputs: Sequence[str]) -> tuple[IntArray, ...]:
    return tuple(data.sides[name].code for name in inputs)


def _epoch(
    net: CausalTransformer,
    histories: Sequences,
    negatives: NegativeSampler,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    config: TransformerConfig,
    rng: np.random.Generator,
) -> float:
    net.train()
    total, n = 0.0, 0
    for rows in _by_length(histories.sizes, config, rng):
        item, sides = histories.batch(rows)
        known, wanted = item[:, :-1], item[:, 1:]
        states = net(known, tuple(codes[:, :-1] for codes in sides))  # (B, T, D)
        loss = sampled_loss(net, states, known, wanted, negatives.draw(rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        n_wanted = int((wanted > 0).sum())
        total, n = total + float(loss.detach()) * n_wanted, n + n_wanted
    return total / n


def batch_borders(sizes: IntArray, batch_size: int, batch_events: int) -> list[int]:
    """Where batches of sequences begin when those with these sizes (n,) are sorted, longest first."""
    longest_first = -np.sort(-sizes)
    borders, first = [], 0
    while first < len(sizes):
        borders.append(first)
        first += min(batch_size, max(1, batch_events // int(longest_first[first])))
    return borders


def _by_length(sizes: IntArray, config: TransformerConfig, rng: np.random.Generator) -> Iterator[IntArray]:
    """Batches of sequences (n,) of about one length, in random order; those of one length meet others every time."""
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    batches = np.split(order, batch_borders(sizes, config.batch_size, config.batch_events)[1:])
    for i in rng.permutation(len(batches)):
        yield batches[i]
