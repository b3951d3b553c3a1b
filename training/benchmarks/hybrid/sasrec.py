"""Sequences of item rows in, a vector per position out that points to the item that comes next: a causal transformer.

The architecture of Kang and McAuley (2018), "Self-Attentive Sequential Recommendation", with pre-norm blocks. Items share
one embedding between input and output. What else is known of an event (kind, channel, time gap) is added as an embedding
of its own, and so are an item's content codes (category, brand): a product that nobody bought yet has only those. Whether
one comes back to an item is learned apart from what items go together: see `CausalTransformer.again_scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_AGAIN_SCALE: Final = 10.0
"""Lets the few numbers of `again` travel far at the learning rate of the many."""


@dataclass(frozen=True)
class TransformerSize:
    """What fixes the shapes of the weights; `n_sides[j]` and `n_contents[j]` are numbers of codes, 0 being unknown."""

    n_items: int
    length: int = 50
    dim: int = 64
    n_blocks: int = 2
    n_heads: int = 2
    dropout: float = 0.2
    n_sides: tuple[int, ...] = ()
    n_contents: tuple[int, ...] = ()


class CausalTransformer(nn.Module):
    """Item rows start at 1; 0 is padding, always at the end, where no real position sees it."""

    content: Tensor

    def __init__(self, size: TransformerSize, content: Tensor | None = None) -> None:
        """`content` (V + 1, len(n_contents)) holds each item's codes; row 0 is zero."""
        super().__init__()
        self.size = size
        self.item = nn.Embedding(size.n_items + 1, size.dim, padding_idx=0)
        self.position = nn.Embedding(size.length, size.dim)
        self.sides = nn.ModuleList([nn.Embedding(n, size.dim, padding_idx=0) for n in size.n_sides])
        self.contents = nn.ModuleList([nn.Embedding(n, size.dim, padding_idx=0) for n in size.n_contents])
        self.blocks = nn.ModuleList([_Block(size.dim, size.n_heads, size.dropout) for _ in range(size.n_blocks)])
        self.norm = nn.LayerNorm(size.dim)
        self.again = nn.Parameter(torch.zeros(size.length.bit_length()))
        empty = torch.zeros(size.n_items + 1, 0, dtype=torch.int64)
        self.register_buffer("content", empty if content is None else content)
        for table in (self.item, self.position, *self.sides, *self.contents):
            nn.init.normal_(table.weight, std=0.02)
            if table is not self.position:
                with torch.no_grad():
                    table.weight[0] = 0

    def item_vectors(self, rows: Tensor) -> Tensor:
        """The vectors (..., D) of item rows (...): learned ones plus those of the items' content codes."""
        vectors: Tensor = self.item(rows)
        for j, table in enumerate(self.contents):
            vectors = vectors + table(self.content[rows, j])
        return vectors

    def again_gains(self) -> Tensor:
        """What an item's score gains from having been taken last 0, 1 to 2, 3 to 6, ... events ago.

        Each adds to the one before it, so that an age never met is like the one before.
        """
        return (self.again * _AGAIN_SCALE).cumsum(dim=0)

    def again_scores(self, item: Tensor) -> Tensor:
        """What an item's score gains (B, T, T) at position t from having been taken at s: -inf unless it was last then.

        A customer's own items need it: vectors that put what goes together near each other put an item nearest to itself.
        """
        length = item.shape[1]
        at = torch.arange(length)
        since = at.unsqueeze(1) - at  # (T, T): events from s to t
        gain = self.again_gains()[torch.log2(since.clamp(min=0) + 1.0).long()]
        follows = (item.unsqueeze(2) == item.unsqueeze(1)) & (since < 0)  # (B, s, s'): the same item, later
        next_at = torch.where(follows, at, length).amin(dim=2)  # (B, s)
        is_last = (since >= 0) & (next_at.unsqueeze(1) > at.unsqueeze(1)) & (item > 0).unsqueeze(1)
        return gain.masked_fill(~is_last, float("-inf"))

    def forward(self, item: Tensor, sides: Sequence[Tensor] = ()) -> Tensor:
        """The vector (B, T, D) after each event, from item rows and side codes (B, T), oldest first."""
        events = self.item_vectors(item) + self.position.weight[: item.shape[1]]  # (B, T, D)
        for table, codes in zip(self.sides, sides, strict=True):
            events = events + table(codes)
        events = functional.dropout(events, self.size.dropout, self.training)
        for block in self.blocks:
            events = block(events)
        return self.norm(events)


class _Block(nn.Module):
    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, events: Tensor) -> Tensor:
        batch, length, dim = events.shape
        qkv = self.qkv(self.norm_attention(events)).view(batch, length, 3, self.n_heads, dim // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, T, D / heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        events = events + functional.dropout(mixed, self.dropout, self.training)
        fed = functional.dropout(functional.gelu(self.wide(self.norm_feed(events))), self.dropout, self.training)
        return events + functional.dropout(self.narrow(fed), self.dropout, self.training)
