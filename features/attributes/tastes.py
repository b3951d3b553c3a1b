"""What customers buy most lately and the product table in, their shares and affinities by category and brand out.

A share is the part of the customer's purchases, decayed, that fell on a category or brand; an affinity is that share over the
population's, with PRIOR purchases of the population's mix added, so that one bottle of wine makes nobody a wine lover.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.vocabulary import Columns

AXES: Final = (Columns.CATEGORY, Columns.BRAND)
"""What tastes are told by."""
PRIOR: Final = 3.0
"""Purchases of the population's mix that count beside a customer's own."""
ToCodes = Callable[[Sequence[str | None]], IntArray]


@dataclass(frozen=True, eq=False)
class ProductGroups:
    """Products by the codes that states hold, and the category or brand of each."""

    codes: IntArray  # (P,), ascending
    group: IntArray  # (P,) into `names`
    names: tuple[str, ...]

    def __call__(self, codes: IntArray) -> IntArray:
        """The group (m,) of each product; -1 where none is known."""
        if not len(self.codes):
            return np.full(len(codes), -1)
        at = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[at] == codes, self.group[at], -1)

    @classmethod
    def of(cls, product_ids: Sequence[str], groups: Sequence[str | None], to_codes: ToCodes) -> "ProductGroups":
        """Products and the group of each; who has none is left out."""
        known = [(product, group) for product, group in zip(product_ids, groups, strict=True) if group]
        names = tuple(sorted({group for _, group in known}))
        place = {name: i for i, name in enumerate(names)}
        codes = to_codes([product for product, _ in known])
        order = np.argsort(codes, kind="stable")
        return cls(codes[order], np.array([place[group] for _, group in known], np.int64)[order], names)


@dataclass(frozen=True, eq=False)
class Tastes:
    """Decayed purchases (m,) of customers (m,), numbered from 0, of groups (m,)."""

    rows: IntArray
    group: IntArray
    weight: FloatArray
    n: int
    groups: ProductGroups

    @classmethod
    def of(cls, rows: IntArray, products: IntArray, weights: FloatArray, n: int, groups: ProductGroups) -> "Tastes":
        """Of n customers' purchases (m,) by the codes of products; what is in no group is left out."""
        group = groups(products)
        known = (group >= 0) & (weights > 0)
        return cls(rows[known], group[known], weights[known], n, groups)

    @property
    def totals(self) -> FloatArray:
        """Purchases in any group (n,)."""
        totals: FloatArray = np.bincount(self.rows, weights=self.weight, minlength=self.n).astype(np.float64)
        return totals

    @property
    def population(self) -> FloatArray:
        """The share of every group in everybody's purchases."""
        sums = np.bincount(self.group, weights=self.weight, minlength=len(self.groups.names))
        return np.asarray(sums / max(float(sums.sum()), 1e-12))

    def share(self, name: str) -> FloatArray:
        """The share (n,) of one group; NaN for who bought nothing that is in any. KeyError for a name of no group."""
        if name not in self.groups.names:
            raise KeyError(name)
        theirs = self.group == self.groups.names.index(name)
        bought = np.bincount(self.rows[theirs], weights=self.weight[theirs], minlength=self.n)
        shares: FloatArray = np.divide(bought, self.totals, out=np.full(self.n, np.nan), where=self.totals > 0)
        return shares

    def affinity(self, name: str) -> FloatArray:
        """The share (n,) of one group over the population's; 1 is as everybody. KeyError for a name of no group."""
        usual = float(self.population[self.groups.names.index(name)]) if name in self.groups.names else 0.0
        shares, totals = self.share(name), self.totals
        return np.asarray((shares * totals / max(usual, 1e-12) + PRIOR) / (totals + PRIOR))

    def top(self) -> tuple[list[str | None], FloatArray, FloatArray]:
        """The group that each bought most (n,), its share and its affinity; None and NaN for who bought nothing."""
        of_pair = np.bincount(self.rows * max(len(self.groups.names), 1) + self.group, weights=self.weight)
        pairs = np.flatnonzero(of_pair)
        rows, group = np.divmod(pairs, max(len(self.groups.names), 1))
        order = np.lexsort((group, -of_pair[pairs], rows))
        first = order[np.unique(rows[order], return_index=True)[1]]
        names: list[str | None] = [None] * self.n
        share, affinity = np.full(self.n, np.nan), np.full(self.n, np.nan)
        at, most, totals = rows[first], of_pair[pairs][first], self.totals
        for row, place in zip(at.tolist(), group[first].tolist(), strict=True):
            names[row] = self.groups.names[place]
        share[at] = most / totals[at]
        affinity[at] = (most / self.population[group[first]] + PRIOR) / (totals[at] + PRIOR)
        return names, share, affinity
