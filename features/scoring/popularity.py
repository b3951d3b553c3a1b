"""Popularity as models read it: decayed purchase counts of products in, the network's and the trees' numbers of it out.

Training, as of its cutoffs, benchmarks and serving, as of now, all make them here; where the counts come from is theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.scoring.item_tables import Companions, Floats32, Ints32, Neighbours
from features.state.event_arrays import product_code
from features.state.products import POPULARITY_DAYS, ProductStates

_SMOOTHING: Final = 0.05
"""Purchases that every product has more than it has: what nobody bought is unpopular, not infinitely so."""
_N_BEST: Final = 8
_IN_CATEGORY: Final = POPULARITY_DAYS.index(14.0)


@dataclass(frozen=True, eq=False)
class ProductFacts:
    """What the product table says of its products; None, NaN or nothing where it does not."""

    product_ids: Sequence[str]
    category: Sequence[str | None]
    brand: Sequence[str | None]
    price: FloatArray

    @cached_property
    def code(self) -> IntArray:
        """The products' codes."""
        return product_code(self.product_ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Product id to place."""
        return {product_id: row for row, product_id in enumerate(self.product_ids)}

    def of(self, product_ids: Sequence[str]) -> "ProductFacts":
        """The facts of other products, in their order."""
        rows = [self.row_of.get(product_id) for product_id in product_ids]
        category, brand = (
            [None if row is None else words[row] for row in rows] for words in (self.category, self.brand)
        )
        price = np.array([np.nan if row is None else self.price[row] for row in rows])
        return ProductFacts(product_ids, category, brand, price)

    def described(self) -> "Described":
        """The same as numbers."""
        price = np.log(np.where(self.price > 0, self.price, np.nan))
        log_price = np.concatenate(([np.nan], price)).astype(np.float32)
        return Described(_numbered(self.category), _numbered(self.brand), log_price)


@dataclass(frozen=True, eq=False)
class Described:
    """What products are, as `Companions` tell it: the fields of the same names (V + 1,)."""

    category: Ints32
    brand: Ints32
    log_price: Floats32


def counts_of(states: ProductStates, code: IntArray, at_s: float) -> FloatArray:
    """Purchases (V + 1, len(POPULARITY_DAYS)) of products by their codes (V,), decayed to a moment; row 0 is padding."""
    row = states.rows_of(code)
    counts = np.zeros((len(code) + 1, len(POPULARITY_DAYS)))
    counts[1:][row >= 0] = states.take(row[row >= 0]).counts(at_s)
    return counts


def log_counts(counts: FloatArray) -> Floats32:
    """The trees' popularity (V + 1, len(POPULARITY_DAYS)); row 0 is zero."""
    value = np.log(counts + _SMOOTHING)
    value[0] = 0.0
    return value.astype(np.float32)


def network_popularity(counts: FloatArray, half_life_days: float, n_known: int) -> Floats32:
    """The network's popularity (V + 1,): about zero for the middle of the `n_known` products that it learned; row 0 is zero."""
    value = np.log(counts[:, POPULARITY_DAYS.index(half_life_days)] + _SMOOTHING)
    value -= value[1 : n_known + 1].mean()
    value[0] = 0.0
    return value.astype(np.float32)


def as_popular_as(companions: Companions, counts: FloatArray) -> Companions:
    """Companions (V + 1 rows) with everything in them that purchases of now decide."""
    count = counts[:, _IN_CATEGORY]
    return replace(
        companions,
        popularity=log_counts(counts),
        in_category=_share_of_group(companions.category, count),
        category_best=_best_of_group(companions.category, count),
    )


def counts_behind(log_counts: Floats32) -> FloatArray:
    """The counts (V + 1, len(POPULARITY_DAYS)) whose `log_counts` these are."""
    counts = np.maximum(np.exp(log_counts.astype(np.float64)) - _SMOOTHING, 0.0)
    counts[0] = 0.0
    return counts


def extended(companions: Companions, n_known: int, n_more: int) -> Companions:
    """Companions of the first `n_known` products and of `n_more` that are tied to none."""
    rules, pairs = (
        Neighbours(*(_padded(table, n_known, n_more) for table in (tied.item, tied.weight)))
        for tied in (companions.rules, companions.pairs)
    )
    return replace(companions, rules=rules, pairs=pairs)


def find_newcomers(
    facts: ProductFacts, states: ProductStates, known: Sequence[str], n_most: int, at_s: float
) -> list[str]:
    """Products of the table that were bought and that a model does not know, by their first purchase.

    Where there are more than `n_most`, those that sell best by now.
    """
    row = states.rows_of(facts.code)
    row[_rows_of(facts, tuple(known))] = -1
    place = np.flatnonzero(row >= 0)
    count = states.take(row[place]).counts(at_s)[:, _IN_CATEGORY]
    place = place[np.lexsort((facts.code[place], -count))[:n_most]]
    place = place[np.lexsort((facts.code[place], states.first_s[row[place]]))]
    return [facts.product_ids[at] for at in place.tolist()]


@lru_cache(maxsize=2)
def _rows_of(facts: ProductFacts, product_ids: tuple[str, ...]) -> IntArray:
    """Where products stand in the table, those that do: asked for a model's products every minute, and always the same."""
    rows = [facts.row_of[product_id] for product_id in product_ids if product_id in facts.row_of]
    return np.array(rows, dtype=np.int64)


def _padded(table: NDArray[Any], n_known: int, n_more: int) -> NDArray[Any]:
    if len(table) == n_known + 1 + n_more:
        return table
    return np.pad(table[: n_known + 1], ((0, n_more), (0, 0)))


def _numbered(words: Sequence[str | None]) -> Ints32:
    """Words (V,) as numbers from 1 (V + 1,); 0 for none."""
    number = {word: place for place, word in enumerate(sorted({word for word in words if word is not None}), start=1)}
    return np.array([0, *(0 if word is None else number[word] for word in words)], np.int32)


def _share_of_group(group: Ints32, count: FloatArray) -> Floats32:
    """Log of each product's share of its group's purchases; 0 where it has no group."""
    total = np.bincount(group, count)
    share = np.log((count + _SMOOTHING) / (total[group] + _SMOOTHING))
    return np.where(group > 0, share, 0.0).astype(np.float32)


def _best_of_group(group: Ints32, count: FloatArray) -> Ints32:
    """The best sellers (K + 1, B) of every group, best first."""
    best = np.zeros((int(group.max(initial=0)) + 1, _N_BEST), np.int32)
    rows = np.flatnonzero(group > 0)
    rows = rows[np.lexsort((rows, -count[rows], group[rows]))]
    starts = np.searchsorted(group[rows], group[rows])
    place = np.arange(len(rows)) - starts
    kept = place < _N_BEST
    best[group[rows][kept], place[kept]] = rows[kept]
    return best
