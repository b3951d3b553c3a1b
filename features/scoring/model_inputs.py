"""Customer states in, the arrays that the next-product model reads out: the same for training and for serving."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.state import layout
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
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

ToRows = Callable[[IntArray], IntArray]
"""Product codes to vocabulary rows, in the same shape: 0 for padding and products that are not in the vocabulary."""


class CodeRows:
    """The ToRows of a vocabulary: row i + 1 is id i."""

    def __init__(self, product_ids: Sequence[str]) -> None:
        codes = product_code(product_ids)
        order = np.argsort(codes, kind="stable")
        self._codes, self._rows = codes[order], order + 1

    def __call__(self, codes: IntArray) -> IntArray:
        at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        found: IntArray = np.where(self._codes[at] == codes, self._rows[at], 0)
        return found


def model_inputs(states: StateBatch, as_of_s: FloatArray, to_rows: ToRows) -> dict[str, NDArray[np.generic]]:
    """One (n, 128) array per INPUT_NAMES, right-aligned, the newest event last, and STORE (n,): events and habitual products.

    `as_of_s` (n,) is in seconds since the epoch. Padding has item 0; ages are days before `as_of_s`; a habit's weight is
    decayed to `as_of_s`; its gap is the mean number of days between purchases, -1 where there was only one.
    """
    as_of = np.asarray(as_of_s, dtype=np.float64)[:, None]
    length = layout.SEQUENCE_LENGTH
    item = to_rows(states.seq_product.dense(length, 0))
    event = states.seq_event.dense(length, 0).astype(np.int64)
    age = (as_of - states.seq_time.dense(length, 0.0)) / DAY_S
    habit_item = to_rows(states.habit_product.dense(layout.N_HABITS, 0))
    columns = (layout.HABIT_WEIGHT, layout.HABIT_LAST, layout.HABIT_FIRST, layout.HABIT_COUNT)
    weight, last, first, count = (_habit(states, column) for column in columns)
    habit_age = np.where(habit_item > 0, (as_of - last) / DAY_S, 0.0)
    decayed = weight * np.exp2(-habit_age / layout.HABIT_HALF_LIFE_DAYS)
    gap = np.where(count > 1, (last - first) / DAY_S / np.maximum(count - 1, 1), UNKNOWN_GAP_DAYS)
    return {
        "item": item,
        "kind": event // layout.EVENT_CODE_BASE,
        "channel": event % layout.EVENT_CODE_BASE,
        "age_days": np.where(item > 0, age, 0.0).astype(np.float32),
        "habit_item": habit_item,
        "habit_weight": np.where(habit_item > 0, decayed, 0.0).astype(np.float32),
        "habit_age_days": habit_age.astype(np.float32),
        "habit_gap_days": gap.astype(np.float32),
        "habit_count": np.where(habit_item > 0, count, 0.0).astype(np.float32),
        STORE: states.scalar("last_store"),
    }


def _habit(states: StateBatch, column: int) -> FloatArray:
    out = np.zeros((len(states), layout.N_HABITS))
    part = states.habit_stats
    out[part.rows(), part.positions(layout.N_HABITS)] = part.values[:, column]
    return out
