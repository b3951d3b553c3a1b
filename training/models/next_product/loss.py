"""The training loss, without scoring every product: customers' inputs and the products of their next baskets in.

The softmax runs over the customer's own products (habits and latest events, exact), their targets (exact) and a set of
candidates that the whole batch shares: the most popular products (exact) and a uniform sample of the rest, each of which
stands for many (log Q correction, Bengio and Senecal 2008). Beside the next basket, every event of a sequence may be
asked for the item of the event after it where that is new to the customer: so the whole history teaches what goes together,
and the moments teach what is come back to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.models.next_product.network import NextProductNet, traces_of

_OUT = -1e9
_MAX_POSITIONS = 4096
"""Most events of one batch that are asked for their next item; more are sampled."""


@dataclass(frozen=True)
class BatchTargets:
    """The wanted products of a batch, flat: entry j wants `item[j]` for the customer `owner[j]` with weight `weight[j]`.

    The weights of one customer sum to one, so every customer counts alike.
    """

    owner: Tensor
    item: Tensor
    weight: Tensor


@dataclass(frozen=True)
class SharedCandidates:
    """Rows of the shared candidates (C,), distinct, and the log of how many products each stands for (C,)."""

    item: Tensor
    log_weight: Tensor


class CandidateSampler:
    """Draws shared candidates: the `n_popular` most popular of V products and `n_negatives` of the rest."""

    def __init__(self, counts: NDArray[np.floating], n_popular: int, n_negatives: int) -> None:
        """`counts` (V + 1,) says how popular each row is; row 0 is padding."""
        order = np.argsort(-counts[1:], kind="stable") + 1
        self._popular, self._rest = order[:n_popular], order[n_popular:]
        self._n_negatives = min(n_negatives, len(self._rest))

    def draw(self, rng: np.random.Generator) -> SharedCandidates:
        """A fresh set."""
        # A permutation's slice would cost time linear in V: duplicates are drawn and dropped instead.
        drawn = np.unique(rng.integers(0, max(len(self._rest), 1), self._n_negatives))
        random = self._rest[drawn]
        log_weight = np.zeros(len(self._popular) + len(random), dtype=np.float32)
        if len(random):
            log_weight[len(self._popular) :] = np.log(len(self._rest) / len(random))
        items = np.concatenate((self._popular, random))
        return SharedCandidates(torch.from_numpy(items), torch.from_numpy(log_weight))


@dataclass(frozen=True)
class PopularityAt:
    """Log-popularity (M, V + 1) of M moments, and the moment (B,) of each customer of a batch."""

    table: Tensor
    moment: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """Each customer's values for its own item rows (B, K)."""
        return self.table.flatten()[self.moment.unsqueeze(1) * self.table.shape[1] + rows]

    def of_shared(self, rows: Tensor) -> Tensor:
        """Each customer's values (B, C) for item rows (C,) that all share."""
        return self.table[:, rows][self.moment]

    def of_owned(self, owner: Tensor, rows: Tensor) -> Tensor:
        """The values (M,) for item rows (M,) of the customers `owner` (M,)."""
        return self.table[self.moment[owner], rows]


def sampled_softmax_loss(
    net: NextProductNet,
    inputs: Sequence[Tensor],
    popularity: PopularityAt,
    targets: BatchTargets,
    shared: SharedCandidates,
    sequence_weight: float = 0.0,
    n_latest: int = 16,
) -> Tensor:
    """Cross-entropy between the wanted products and the softmax of the scores, a mean over customers with a basket.

    `inputs` are those of `NextProductNet.forward`; the products of the `n_latest` newest events count as the customer's
    own beside the habits. `sequence_weight` times the mean loss of the sequences' own next items is added.
    """
    item, kind, channel, age_days = net.newest(*inputs[:4])
    read = net.read(item, kind, channel, age_days)
    loss = read[0].sum() * 0.0
    if len(targets.owner):
        loss = _next_basket_loss(net, read, item, inputs[4:], popularity, targets, shared, n_latest)
    if sequence_weight > 0:
        loss = loss + sequence_weight * _next_item_loss(net, read[2], item, popularity, shared)
    return loss


def _next_basket_loss(
    net: NextProductNet,
    read: tuple[Tensor, Tensor, Tensor],
    item: Tensor,
    habits: Sequence[Tensor],
    popularity: PopularityAt,
    targets: BatchTargets,
    shared: SharedCandidates,
    n_latest: int,
) -> Tensor:
    habit_item, habit_weight, habit_age_days, habit_gap_days, habit_count = habits
    customer, trace, _ = read
    event_score = trace @ net.trace_score  # (B, S)

    latest = _distinct(item[:, -n_latest:], habit_item)  # (B, L)
    own = torch.cat((habit_item, latest), dim=1)  # (B, O), a product at most once
    habit_score = net.habit_scores(
        customer,
        traces_of(habit_item, item, trace),
        habit_item,
        habit_weight,
        habit_age_days,
        habit_gap_days,
        habit_count,
        popularity.of(habit_item),
    )
    latest_score = (net.item(latest) @ customer.unsqueeze(-1)).squeeze(-1) + net.item_bias(latest).squeeze(-1)
    latest_score = latest_score + net.popularity_weight * popularity.of(latest)
    latest_score = latest_score + (traces_of(latest, item, trace) @ net.trace_score)
    own_score = torch.cat((habit_score, latest_score), dim=1).masked_fill(own == 0, _OUT)

    shared_score = customer @ net.item(shared.item).T + net.item_bias(shared.item).T + shared.log_weight
    shared_score = shared_score + net.popularity_weight * popularity.of_shared(shared.item)
    place = torch.full((net.size.n_items + 1,), len(shared.item), dtype=torch.int64)
    place[shared.item] = torch.arange(len(shared.item))
    counted = torch.zeros(len(item), len(shared.item) + 1, dtype=torch.bool).scatter_(1, place[own], True)
    shared_score = shared_score.masked_fill(counted[:, :-1], _OUT)

    owner, wanted = targets.owner, targets.item
    is_it = own[owner] == wanted.unsqueeze(1)  # (M, O)
    is_own = is_it.any(dim=1)
    of_own = (own_score[owner] * is_it).sum(dim=1)
    other = (net.item(wanted) * customer[owner]).sum(dim=1) + net.item_bias(wanted).squeeze(-1)
    other = other + net.popularity_weight * popularity.of_owned(owner, wanted)
    other = other + ((item[owner] == wanted.unsqueeze(1)) * event_score[owner]).sum(dim=1)
    score = torch.where(is_own, of_own, other)  # (M,)

    # A target that is neither the customer's own nor an exact shared candidate joins the denominator itself.
    exact = torch.cat((shared.log_weight == 0, torch.tensor([False])))
    joins = ~is_own & ~exact[place[wanted]]
    total = torch.logsumexp(torch.cat((own_score, shared_score), dim=1), dim=1)  # (B,)
    odds = torch.exp((score - total[owner]).clamp(max=30.0)) * joins
    total = total + torch.log1p(torch.zeros_like(total).index_add(0, owner, odds))
    return (total[owner] * targets.weight - score * targets.weight).sum() / targets.weight.sum()


def _next_item_loss(
    net: NextProductNet, states: Tensor, item: Tensor, popularity: PopularityAt, shared: SharedCandidates
) -> Tensor:
    """Mean cross-entropy of what comes next in the sequences (B, S), where it is new, after the states (B, S, D)."""
    wanted = item[:, 1:]
    at = torch.arange(wanted.shape[1])
    came = (item[:, :-1].unsqueeze(1) == wanted.unsqueeze(2)) & (at <= at.unsqueeze(1))  # (B, S - 1, S - 1)
    asked = (wanted > 0) & (item[:, :-1] > 0) & ~came.any(dim=2)
    row, place = asked.nonzero(as_tuple=True)  # (M,) each
    if not len(row):
        return states.sum() * 0.0
    if len(row) > _MAX_POSITIONS:
        drawn = torch.randperm(len(row))[:_MAX_POSITIONS]
        row, place = row[drawn], place[drawn]
    target, state = wanted[row, place], states[row, place]  # (M,), (M, D)
    against = state @ net.item(shared.item).T + net.item_bias(shared.item).T + shared.log_weight  # (M, C)
    against = against + net.popularity_weight * popularity.of_shared(shared.item)[row]
    known = _first_at(item, shared.item)[row] <= place.unsqueeze(1)
    against = against.masked_fill(known | (shared.item == target.unsqueeze(1)), _OUT)
    score = (state * net.item(target)).sum(dim=1) + net.item_bias(target).squeeze(-1)
    score = score + net.popularity_weight * popularity.of_owned(row, target)
    return (torch.logsumexp(torch.cat((score.unsqueeze(1), against), dim=1), dim=1) - score).mean()


def _first_at(item: Tensor, distinct: Tensor) -> Tensor:
    """The first place (B, C) of each of the distinct items (C,) in the sequences (B, S); S where it is not."""
    length = item.shape[1]
    ordered, order = distinct.sort()
    rank = torch.searchsorted(ordered, item.contiguous()).clamp(max=len(ordered) - 1)
    column = torch.where(ordered[rank] == item, order[rank], len(ordered))
    first = torch.full((len(item), len(ordered) + 1), length)
    return first.scatter_reduce(1, column, torch.arange(length).expand_as(item), "amin")[:, :-1]


def _distinct(rows: Tensor, others: Tensor) -> Tensor:
    """`rows` (B, L) with 0 in place of what is repeated later in the row or is among `others` (B, H)."""
    length = rows.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    repeated = ((rows.unsqueeze(2) == rows.unsqueeze(1)) & later).any(dim=2)
    owned = (rows.unsqueeze(2) == others.unsqueeze(1)).any(dim=2)
    return rows.masked_fill(repeated | owned, 0)
