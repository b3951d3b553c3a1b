"""Product states: how much and since when each product is bought, as sums that fade; purchases are folded in, in any order.

The same fold runs over the whole timeline (the build), up to any moment of the past (training), and over purchases as they
come in (the stream). A sum holds what was bought up to the product's last purchase, and is exact at any later moment.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray, IntArray
from features.state.event_arrays import product_code
from features.vocabulary import DAY_S, Columns, EventKind

POPULARITY_DAYS: Final = (3.0, 7.0, 14.0, 28.0, 90.0)
"""Half-lives in days of the decayed purchase counts, in that order."""
_HALF_LIVES_S: Final = np.array(POPULARITY_DAYS) * DAY_S


@dataclass(frozen=True)
class ProductStates:
    """Every product that was ever bought, by ascending code."""

    code: IntArray  # (n,) see `product_code`
    count: FloatArray  # (n, len(POPULARITY_DAYS)) purchases, decayed to `last_s`
    first_s: FloatArray  # (n,) first purchase, seconds since the epoch
    last_s: FloatArray  # (n,) last purchase

    @classmethod
    def empty(cls) -> Self:
        """Nothing was bought yet."""
        return cls(np.zeros(0, np.int64), np.zeros((0, len(POPULARITY_DAYS))), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.code)

    def take(self, rows: IntArray) -> "ProductStates":
        """The products `rows`, which ascend."""
        return ProductStates(self.code[rows], self.count[rows], self.first_s[rows], self.last_s[rows])

    def counts(self, at_s: float) -> FloatArray:
        """The counts (n, len(POPULARITY_DAYS)) decayed on to a moment, in seconds since the epoch."""
        return self.count * _fade(np.maximum(at_s - self.last_s, 0.0))

    def rows_of(self, code: IntArray) -> IntArray:
        """The rows of products by their codes, in the same shape; -1 for one that was never bought."""
        if not len(self):
            return np.full(np.shape(code), -1)
        at = np.minimum(np.searchsorted(self.code, code), len(self) - 1)
        rows: IntArray = np.where(self.code[at] == code, at, -1)
        return rows


def fold_purchases(states: ProductStates, code: IntArray, time_s: FloatArray) -> ProductStates:
    """The states with more purchases in them: products (m,) and moments (m,) in any order."""
    if not len(code):
        return states
    codes = np.union1d(states.code, code)
    known, row = np.searchsorted(codes, states.code), np.searchsorted(codes, code)
    first, last = np.full(len(codes), np.inf), np.full(len(codes), -np.inf)
    first[known], last[known] = states.first_s, states.last_s
    np.minimum.at(first, row, time_s)
    np.maximum.at(last, row, time_s)
    count = np.zeros((len(codes), len(POPULARITY_DAYS)))
    count[known] = states.count * _fade(last[known] - states.last_s)
    added = _fade(last[row] - time_s)
    for place in range(count.shape[1]):
        count[:, place] += np.bincount(row, added[:, place], len(codes))
    return ProductStates(codes, count, first, last)


def purchases(events: pa.Table) -> tuple[IntArray, FloatArray, IntArray]:
    """Codes, moments (seconds) and seqs (m,) of the purchases of a product among a log's or a timeline's events."""
    kind, product = (events[name].cast(pa.string()) for name in (Columns.KIND, Columns.PRODUCT_ID))
    bought = events.filter(
        pc.and_(pc.equal(kind, EventKind.PURCHASE.value), pc.fill_null(pc.not_equal(product, ""), False))
    )
    moments = bought[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    codes = product_code(bought[Columns.PRODUCT_ID].to_pylist())
    return codes, moments / 1e6, bought[Columns.SEQ].to_numpy().astype(np.int64)


def _fade(elapsed_s: FloatArray) -> FloatArray:
    """What is left of one purchase (m, len(POPULARITY_DAYS)) after seconds (m,)."""
    left: FloatArray = np.exp2(-elapsed_s[:, None] / _HALF_LIVES_S)
    return left
