"""Customer states in, the arrays that the next-product model reads out: the same for training and for serving."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.state import layout
from features.state.batch import StateBatch
from features.state.event_arrays import PRODUCT_CODE_BITS, product_code
from features.state.jit import inlined, released
from features.vocabulary import DAY_S

INPUT_NAMES: Final = (
    "item",
    "kind",
    "channel",
    "age_days",
    "habit_item",
    "habit_weight",
    "habit_age_days",
    "habit_gap_days",
    "habit_count",
)
"""Names of the network's inputs; each is (n, 128)."""
STORE: Final = "store"
"""What only the trees beside the network read: the code of the last store (n,), NaN where there is none."""
UNKNOWN_GAP_DAYS: Final = -1.0
"""Gap of a product that was bought once."""


class CodeRows:
    """Product codes to vocabulary rows: row i + 1 is id i, and 0 is padding and whatever is not in the vocabulary."""

    def __init__(self, product_ids: Sequence[str]) -> None:
        codes = product_code(product_ids)
        order = np.argsort(codes, kind="stable")
        self.table: IntArray = np.column_stack([codes[order], order + 1])
        """Codes, ascending, and the row of each (V, 2)."""
        bits = min(len(codes).bit_length(), PRODUCT_CODE_BITS)
        self.shift = PRODUCT_CODE_BITS - bits
        """Codes are hashes, so their first bits spread them evenly: what is left after this shift is a bucket of about one."""
        self.buckets: IntArray = np.searchsorted(self.table[:, 0], np.arange((1 << bits) + 1) << self.shift)
        """Where each bucket begins in the table, and the last one ends."""

    def __call__(self, codes: IntArray) -> IntArray:
        """Codes of any shape to rows in the same shape."""
        at = np.minimum(np.searchsorted(self.table[:, 0], codes), len(self.table) - 1)
        found: IntArray = np.where(self.table[at, 0] == codes, self.table[at, 1], 0)
        return found


def model_inputs(states: StateBatch, as_of_s: FloatArray, to_rows: CodeRows) -> dict[str, NDArray[np.generic]]:
    """One (n, 128) array per INPUT_NAMES, right-aligned, the newest event last, and STORE (n,): events and habitual products.

    `as_of_s` (n,) is in seconds since the epoch. Padding has item 0; ages are days before `as_of_s`; a habit's weight is
    decayed to `as_of_s`; its gap is the mean number of days between purchases, -1 where there was only one.
    """
    n, length = len(states), layout.SEQUENCE_LENGTH
    whole = np.zeros((4, n, length), np.int64)
    real = np.zeros((5, n, length), np.float32)
    real[3] = UNKNOWN_GAP_DAYS
    _fill(
        states.seq_product.offsets,
        states.seq_product.values,
        states.seq_event.values,
        states.seq_time.values,
        states.habit_product.offsets,
        states.habit_product.values,
        states.habit_stats.values,
        np.asarray(as_of_s, dtype=np.float64),
        to_rows.table,
        to_rows.buckets,
        to_rows.shift,
        whole,
        real,
    )
    item, kind, channel, habit_item = whole
    age, habit_weight, habit_age, habit_gap, habit_count = real
    return {
        "item": item,
        "kind": kind,
        "channel": channel,
        "age_days": age,
        "habit_item": habit_item,
        "habit_weight": habit_weight,
        "habit_age_days": habit_age,
        "habit_gap_days": habit_gap,
        "habit_count": habit_count,
        STORE: states.scalar("last_store"),
    }


@inlined
def _row_of(code: int, table: Any, buckets: Any, shift: int) -> Any:
    """The vocabulary row of a product."""
    bucket = code >> shift
    for i in range(buckets[bucket], buckets[bucket + 1]):
        if table[i, 0] == code:
            return table[i, 1]
    return 0


@released
def _fill(
    seq_at: IntArray,
    seq_product: IntArray,
    seq_event: Any,
    seq_time: FloatArray,
    habit_at: IntArray,
    habit_product: IntArray,
    habit_stats: FloatArray,
    as_of: FloatArray,
    table: IntArray,
    buckets: IntArray,
    shift: int,
    whole: Any,
    real: Any,
) -> None:
    """Write the inputs of n customers into `whole` (4, n, 128) and `real` (5, n, 128), which hold what padding has."""
    for row in range(len(as_of)):
        begin, end = seq_at[row], seq_at[row + 1]
        for i in range(begin, end):
            at = whole.shape[2] - end + i
            item = _row_of(seq_product[i], table, buckets, shift)
            whole[0, row, at] = item
            whole[1, row, at] = seq_event[i] // layout.EVENT_CODE_BASE
            whole[2, row, at] = seq_event[i] % layout.EVENT_CODE_BASE
            if item > 0:
                real[0, row, at] = (as_of[row] - seq_time[i]) / DAY_S
        begin, end = habit_at[row], habit_at[row + 1]
        for i in range(begin, end):
            at = whole.shape[2] - end + i
            habit = habit_stats[i]
            count = habit[layout.HABIT_COUNT]
            if count > 1:
                between_days = (habit[layout.HABIT_LAST] - habit[layout.HABIT_FIRST]) / DAY_S
                real[3, row, at] = between_days / (count - 1)
            item = _row_of(habit_product[i], table, buckets, shift)
            if item > 0:
                age = (as_of[row] - habit[layout.HABIT_LAST]) / DAY_S
                whole[3, row, at] = item
                real[1, row, at] = habit[layout.HABIT_WEIGHT] * np.exp2(-age / layout.HABIT_HALF_LIFE_DAYS)
                real[2, row, at] = age
                real[4, row, at] = count
