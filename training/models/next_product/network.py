"""The PyTorch network: a customer's recent events and habitual products in, a score for every product out.

A product in general scores by what the sequence of events points to, by what happened with it (a trace per event, fading)
and by how popular it is lately. The sequence is read twice: by causal transformer blocks (Kang and McAuley 2018,
"Self-Attentive Sequential Recommendation", with a learned bias per distance in place of positions) and by a pooling that
forgets with the events' age; items share one embedding between input and output. A product that the customer habitually
buys scores by how often and when it was bought, whether it is due, and what kind of product it is.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_MASKED: Final = -1e4
_N_HABIT_FEATURES: Final = 12


@dataclass(frozen=True)
class NetworkSize:
    """What fixes the shapes of the weights."""

    n_items: int
    n_kinds: int
    n_channels: int
    max_length: int = 64
    embedding_dim: int = 32
    repeat_dim: int = 8
    hidden_dim: int = 32
    n_heads: int = 4
    n_blocks: int = 0
    n_traces: int = 4
    dropout: float = 0.2


class NextProductNet(nn.Module):
    """Item rows start at 1; row 0 means padding or a product that the network does not know, and is ignored."""

    log_popularity: Tensor

    def __init__(self, size: NetworkSize, log_popularity: Tensor, start: Tensor | None = None) -> None:
        """`log_popularity` (V + 1,) is the log of each product's recent share of purchases; items start at `start` (V, D)."""
        super().__init__()
        dim, hidden = size.embedding_dim, size.hidden_dim
        self.size = size
        self.item = nn.Embedding(size.n_items + 1, dim, padding_idx=0)
        self.kind = nn.Embedding(size.n_kinds, dim)
        self.channel = nn.Embedding(size.n_channels, dim)
        self.time = nn.Linear(2, dim)
        self.blocks = nn.ModuleList([_Block(size) for _ in range(size.n_blocks)])
        self.norm = nn.LayerNorm(dim) if size.n_blocks else None
        self.pool = _TimeDecayedPool(dim, size.n_heads)
        self.summary = nn.Sequential(nn.GELU(), nn.Dropout(size.dropout), nn.Linear(dim, dim))
        self.item_bias = nn.Embedding(size.n_items + 1, 1, padding_idx=0)
        self.popularity_weight = nn.Parameter(torch.tensor(1.0))
        self.trace_kind = nn.Embedding(size.n_kinds, size.n_traces)
        self.trace_channel = nn.Embedding(size.n_channels, size.n_traces)
        self.trace_rate = nn.Parameter(torch.linspace(-1.0, 1.0, size.n_traces))
        self.trace_score = nn.Parameter(torch.zeros(size.n_traces))
        self.repeat = nn.Embedding(size.n_items + 1, size.repeat_dim, padding_idx=0)
        self.context = nn.Linear(dim, hidden, bias=False)
        self.habit_in = nn.Linear(_N_HABIT_FEATURES + size.n_traces + size.repeat_dim, hidden)
        last = nn.Linear(hidden, 1)
        self.habit_out = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), last)
        # The network starts as personal frequency with decay, and learns what to add to it.
        self.habit_level = nn.Parameter(torch.tensor(8.0))
        self.habit_frequency = nn.Parameter(torch.tensor(1.0))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.register_buffer("log_popularity", log_popularity)
        for table in (self.item, self.repeat, self.kind, self.channel):
            nn.init.normal_(table.weight, std=0.05)
        for table in (self.item_bias, self.trace_kind, self.trace_channel):
            nn.init.zeros_(table.weight)
        with torch.no_grad():
            if start is not None:
                self.item.weight[1:] = start
            self.item.weight[0] = 0
            self.repeat.weight[0] = 0

    def forward(
        self,
        item: Tensor,
        kind: Tensor,
        channel: Tensor,
        age_days: Tensor,
        habit_item: Tensor,
        habit_weight: Tensor,
        habit_age_days: Tensor,
        habit_gap_days: Tensor,
        habit_count: Tensor,
        log_popularity: Tensor | None = None,
    ) -> Tensor:
        """Scores (B, V + 1) from events (B, S), newest last, and habitual products (B, H), in any order.

        `log_popularity` (V + 1,) takes the place of the network's own.

        `habit_weight` is the decayed purchase count at the moment of asking, `habit_gap_days` the mean days between
        purchases (-1 where there was one only). Column 0 is minus infinity.
        """
        popularity = self.log_popularity if log_popularity is None else log_popularity
        item, kind, channel, age_days = self.newest(item, kind, channel, age_days)
        customer, trace, _ = self.read(item, kind, channel, age_days)
        scores = customer @ self.item.weight.T + self.item_bias.weight.T  # (B, V + 1)
        scores = scores + self.popularity_weight * popularity
        scores = scores.scatter_add(1, item, trace @ self.trace_score)
        traces = traces_of(habit_item, item, trace)
        habits = (habit_item, habit_weight, habit_age_days, habit_gap_days, habit_count)
        wanted_again = self.habit_scores(customer, traces, *habits, popularity[habit_item])
        scores = scores.scatter(1, habit_item, wanted_again)
        return torch.cat((torch.full_like(scores[:, :1], float("-inf")), scores[:, 1:]), dim=1)

    def newest(self, *events: Tensor) -> tuple[Tensor, ...]:
        """The events that the network looks at: the last `max_length` columns of each (B, S)."""
        return tuple(column[:, -self.size.max_length :] for column in events)

    def read(self, item: Tensor, kind: Tensor, channel: Tensor, age_days: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What events (B, S) say, newest last.

        The customer's vector now (B, D), the trace that each event leaves on its item (B, S, T), and the vector after each
        event as far as the blocks see it (B, S, D), which is zero without blocks.
        """
        known = (item > 0).to(age_days.dtype)  # (B, S)
        age = torch.log1p(age_days.clamp(min=0.0)) * known
        earlier = torch.cat((age_days[:, :1], age_days[:, :-1]), dim=1)
        gap = torch.log1p((earlier - age_days).clamp(min=0.0)) * known  # days since the event before
        content = self.item(item) + self.kind(kind) + self.channel(channel)
        events = content + self.time(torch.stack((age, gap), dim=-1))
        states = self.states(content, known)
        customer = self.summary(self.pool(events, age, known)) + states[:, -1]
        trace = (1.0 + self.trace_kind(kind) + self.trace_channel(channel)) * known.unsqueeze(-1)
        return customer, trace * torch.exp(-functional.softplus(self.trace_rate) * age.unsqueeze(-1)), states

    def states(self, content: Tensor, known: Tensor) -> Tensor:
        """What the blocks make of the events up to each one (B, S, D)."""
        if self.norm is None:
            return torch.zeros_like(content)
        events = functional.dropout(content, self.size.dropout, self.training)
        for block in self.blocks:
            events = block(events, known)
        states: Tensor = self.norm(events) * known.unsqueeze(-1)
        return states

    def habit_scores(
        self,
        customer: Tensor,
        habit_traces: Tensor,
        habit_item: Tensor,
        habit_weight: Tensor,
        habit_age_days: Tensor,
        habit_gap_days: Tensor,
        habit_count: Tensor,
        habit_log_popularity: Tensor,
    ) -> Tensor:
        """The score of each habitual product (B, H), in place of the one that products in general have."""
        features = torch.cat(
            (
                _habit_features(
                    habit_item, habit_weight, habit_age_days, habit_gap_days, habit_count, habit_log_popularity
                ),
                torch.log1p(habit_traces.clamp(min=0.0)),
                self.repeat(habit_item),
            ),
            dim=-1,
        )
        hidden = self.habit_in(features) + self.context(customer).unsqueeze(1)
        frequency = torch.log(habit_weight.clamp(min=0.0) + 1e-3)
        return self.habit_level + self.habit_frequency * frequency + self.habit_out(hidden).squeeze(-1)


def traces_of(wanted: Tensor, item: Tensor, trace: Tensor) -> Tensor:
    """The traces (B, S, T) of the events that are about each wanted item (B, H), summed: (B, H, T)."""
    return (wanted.unsqueeze(2) == item.unsqueeze(1)).to(trace.dtype) @ trace


class _TimeDecayedPool(nn.Module):
    """Learned queries attend to the events; each head has its own power-law forgetting in the events' age."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.relevance = nn.Linear(dim, n_heads)
        self.forgetting = nn.Parameter(torch.linspace(-1.0, 2.0, n_heads))
        self.mix = nn.Linear(dim * n_heads, dim)

    def forward(self, events: Tensor, log_age: Tensor, known: Tensor) -> Tensor:
        attention = self.relevance(events) - functional.softplus(self.forgetting) * log_age.unsqueeze(-1)
        attention = attention + (1.0 - known.unsqueeze(-1)) * _MASKED
        attention = torch.softmax(attention, dim=1) * known.unsqueeze(-1)  # (B, S, heads)
        return self.mix((attention.transpose(1, 2) @ events).flatten(1))  # (B, D)


class _Block(nn.Module):
    """One pre-norm transformer block; an event sees itself and earlier ones, by how many events they lie apart."""

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        dim = size.embedding_dim
        self.n_heads, self.dropout = size.n_heads, size.dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.distance = nn.Parameter(
            torch.zeros(size.n_heads, size.max_length.bit_length() + 1)
        )  # 0, 1 to 2, 3 to 6, ...

    def forward(self, events: Tensor, known: Tensor) -> Tensor:
        batch, length, dim = events.shape
        qkv = self.qkv(self.norm_attention(events)).reshape(batch, length, 3, self.n_heads, dim // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, S, D / heads)
        at = torch.arange(length)
        since = at.unsqueeze(1) - at  # (S, S): events from the one to the other
        octave = torch.log2(since.clamp(min=0) + 1.0).long()
        allowed = (since >= 0) & (known > 0)[:, None, None, :]  # (B, 1, S, S)
        bias = torch.where(allowed, self.distance[:, octave], _MASKED)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        events = events + functional.dropout(mixed, self.dropout, self.training)
        fed = functional.dropout(functional.gelu(self.wide(self.norm_feed(events))), self.dropout, self.training)
        return events + functional.dropout(self.narrow(fed), self.dropout, self.training)


def _habit_features(
    item: Tensor, weight: Tensor, age_days: Tensor, gap_days: Tensor, count: Tensor, popularity: Tensor
) -> Tensor:
    """Twelve numbers of about unit size per habitual product (B, H, 12)."""
    kept = (item > 0).to(weight.dtype)
    weight, count = weight.clamp(min=0.0) * kept, count.clamp(min=0.0) * kept
    age = torch.log1p(age_days.clamp(min=0.0))
    repeated = (gap_days >= 0).to(weight.dtype)
    gap = torch.log1p(gap_days.clamp(min=0.0)) * repeated
    due = (age - gap) * repeated
    total = weight.sum(dim=1, keepdim=True) + 1e-6
    n_habits = kept.sum(dim=1, keepdim=True)
    share = torch.log(weight / total + 1e-4)
    columns = (
        torch.log(weight + 1e-3),
        share,
        torch.log1p(count),
        torch.log(count + 1e-3) - torch.log(weight + 1e-3),
        age,
        gap,
        repeated,
        due,
        torch.exp(-due.abs()) * repeated,
        torch.log1p(n_habits).expand_as(weight),
        torch.log(total).expand_as(weight),
        popularity,
    )
    return torch.stack(columns, dim=-1) * 0.3
