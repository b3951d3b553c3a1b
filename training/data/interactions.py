"""Interactions as flat arrays, who took what and when; and the sparse matrices over them that recommenders are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

import numpy as np
from scipy import sparse

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.vocabulary import DAY_S

SECONDS_PER_DAY: Final = DAY_S
_TIE_BREAK: Final = 1e-6
_TIE_BREAK_HALF_LIFE_DAYS: Final = 14.0


@dataclass(frozen=True)
class Side:
    """One more thing known of every line: `code` (n,) in [0, n_codes), 0 where it is not known."""

    code: IntArray
    n_codes: int


@dataclass(frozen=True)
class Interactions:
    """What customers took, one line per (customer, basket, item), sorted by customer and then time.

    `customer` in [0, n_customers), `item` rows from 1 to n_items, `basket` numbers that grow over a customer's time
    and are not shared by customers, `time` in seconds. `sides` says by name what else is known of each line.
    """

    customer: IntArray
    item: IntArray
    basket: IntArray
    time: FloatArray
    n_customers: int
    n_items: int
    sides: Mapping[str, Side] = field(default_factory=dict)

    def before(self, moment: float) -> "Interactions":
        """What happened strictly before `moment` (seconds)."""
        return self.select(self.time < moment)

    def select(self, mask: BoolArray) -> "Interactions":
        """The lines where `mask` holds."""
        return Interactions(
            self.customer[mask],
            self.item[mask],
            self.basket[mask],
            self.time[mask],
            self.n_customers,
            self.n_items,
            {name: Side(side.code[mask], side.n_codes) for name, side in self.sides.items()},
        )

    def since(self, moment: float) -> "Interactions":
        """What happened at or after `moment` (seconds)."""
        return self.select(self.time >= moment)

    def decay(self, half_life_days: float, now: float) -> FloatArray:
        """`2^(-age / half-life)` of each line at `now`; an infinite half-life counts all lines alike."""
        return np.exp2(-(now - self.time) / SECONDS_PER_DAY / half_life_days)


class Recommender(Protocol):
    """A fitted method."""

    def scores(self, customers: IntArray) -> Float32Array:
        """Scores (n, n_items + 1) of the whole catalogue for customers (n,); column 0 is padding."""
        ...

    def about(self, data: Interactions, now: float, **asked: Any) -> Self:
        """What was learned, asked about other histories of the same customers and items.

        `asked` replaces settings that nothing learned depends on; their names are in `ASKED`.
        """
        ...


def decayed_profile(data: Interactions, now: float, half_life_days: float) -> sparse.csr_array:
    """How often each customer took each item (n_customers, n_items + 1), every time decayed by its age at `now`."""
    weight = data.decay(half_life_days, now).astype(np.float32)
    shape = (data.n_customers, data.n_items + 1)
    return sparse.coo_array((weight, (data.customer, data.item)), shape=shape).tocsr()


def recent_profile(data: Interactions, n_recent: int, decay: float) -> sparse.csr_array:
    """The same over each customer's last `n_recent` baskets, decayed by how many baskets ago it was."""
    number = np.concatenate(([0], np.cumsum(data.basket[1:] != data.basket[:-1])))
    last = np.zeros(data.n_customers, np.int64)
    np.maximum.at(last, data.customer, number)
    back = last[data.customer] - number
    kept = back < n_recent
    shape = (data.n_customers, data.n_items + 1)
    weight = np.power(decay, back[kept]).astype(np.float32)
    return sparse.coo_array((weight, (data.customer[kept], data.item[kept])), shape=shape).tocsr()


def basket_matrix(data: Interactions, by_customer: bool = False) -> tuple[sparse.csr_array, IntArray]:
    """Baskets (or, pooled, customers) by items, ones where an item is in, and whose each row is."""
    unit = data.customer if by_customer else data.basket
    new = np.concatenate(([True], unit[1:] != unit[:-1])) if len(unit) else np.empty(0, bool)
    number = np.cumsum(new) - 1
    shape = (int(new.sum()), data.n_items + 1)
    matrix = sparse.coo_array((np.ones(len(number), np.float32), (number, data.item)), shape=shape).tocsr()
    matrix.data[:] = 1.0
    return matrix, data.customer[new]


def tie_break(data: Interactions, now: float) -> Float32Array:
    """Recent popularity (n_items + 1,), so small that it only decides where a method has nothing else to say."""
    popularity = np.bincount(data.item, data.decay(_TIE_BREAK_HALF_LIFE_DAYS, now), data.n_items + 1).astype(np.float32)
    return popularity / max(float(popularity.max()), 1e-12) * np.float32(_TIE_BREAK)


def scaled(scores: Float32Array) -> Float32Array:
    """Each row divided by its largest value."""
    return scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-12)
