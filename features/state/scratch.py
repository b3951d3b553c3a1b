"""States of a batch in, the kernel's dense arrays of one of them out, to be folded on and written; compiled.

`fold_group` does all three for many customers in one call.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import ByteArray, Float32Array, FloatArray, IntArray
from features.state import kernel
from features.state.batch import StateBatch
from features.state.jit import in_place
from features.state.kernel import apply_events, derive, reset
from features.state.layout import (
    CART_WIDTH,
    CHANNEL_WIDTH,
    EXPOSURE_WIDTH,
    FORGOTTEN_BITS,
    HABIT_WIDTH,
    LAST_EVENT,
    LAST_SEQ,
    N_CHANNELS,
    N_EXPOSED,
    N_HABIT,
    N_HOURS_USED,
    N_IN_CART,
    N_PAIRS,
    N_SEQ,
    PAIR_WIDTH,
    SCALARS,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    Scratch,
)
from features.state.packing import write_row

_PAIRS, _CONTACTS, _HOURS, _SEQUENCE, _HABITS, _CART, _EXPOSURES = range(7)
_N_SCALARS = len(SCALARS)


class FlatStates(NamedTuple):
    """A StateBatch of n customers as the kernel reads it: `at` says where each one's lists begin and end."""

    at: IntArray  # (7, n + 1) offsets of pairs, contacts, hours, sequence, habits, cart, exposures
    scalars: FloatArray
    channels: FloatArray
    last_seq: IntArray
    pair_codes: NDArray[np.int32]
    pair_stats: FloatArray
    contacts: FloatArray
    hour_bins: NDArray[np.int32]
    hour_weights: FloatArray
    seq_product: IntArray
    seq_event: NDArray[np.int32]
    seq_time: FloatArray
    seq_value: Float32Array
    habit_product: IntArray
    habit_stats: FloatArray
    forgotten: ByteArray
    cart_product: IntArray
    cart_stats: FloatArray
    exposure_code: IntArray
    exposure_stats: FloatArray


def flat(batch: StateBatch) -> FlatStates:
    """The arrays of a batch, not copied."""
    lists = (
        *(batch.pair_codes, batch.contacts, batch.hour_bins, batch.seq_product),
        *(batch.habit_product, batch.cart_product, batch.exposure_code),
    )
    arrays = {name: getattr(part, "values", part) for name, part in vars(batch).items() if name in FlatStates._fields}
    return FlatStates(at=np.stack([part.offsets for part in lists]), **arrays)


def to_scratch(state: StateBatch, row: int = 0) -> Scratch:
    """Customer `row` of a batch as arrays that the kernel folds into."""
    s = kernel.new_scratch()
    load(s, flat(state), row)
    return s


@in_place
def load(s: Any, a: Any, row: int) -> None:
    """Put customer `row` of `a`, FlatStates, in the place of whatever the scratch held."""
    reset(s)
    for i in range(_N_SCALARS):
        s.scalars[i] = a.scalars[row, i]
    for channel in range(N_CHANNELS):
        for k in range(CHANNEL_WIDTH):
            s.channels[channel, k] = a.channels[row, channel, k]
    start, n = a.at[_PAIRS, row], a.at[_PAIRS, row + 1] - a.at[_PAIRS, row]
    for i in range(n):
        s.pair_codes[i] = a.pair_codes[start + i]
        s.pair_slots[a.pair_codes[start + i]] = i
        for k in range(PAIR_WIDTH):
            s.pairs[i, k] = a.pair_stats[start + i, k]
    s.cursors[N_PAIRS] = n
    for i in range(a.at[_CONTACTS, row], a.at[_CONTACTS, row + 1]):
        of = np.int64(a.contacts[i, 0])
        s.contacts[of, s.n_contacts[of]] = a.contacts[i, 1]
        s.n_contacts[of] += 1
    start, n = a.at[_HOURS, row], a.at[_HOURS, row + 1] - a.at[_HOURS, row]
    for i in range(n):
        s.hour_bins[i] = a.hour_bins[start + i]
        s.hour_slots[a.hour_bins[start + i]] = i
        s.hour_weights[i] = a.hour_weights[start + i]
    s.cursors[N_HOURS_USED] = n
    start, n = a.at[_SEQUENCE, row], a.at[_SEQUENCE, row + 1] - a.at[_SEQUENCE, row]
    for i in range(n):
        s.seq_product[i] = a.seq_product[start + i]
        s.seq_event[i] = a.seq_event[start + i]
        s.seq_time[i] = a.seq_time[start + i]
        s.seq_value[i] = a.seq_value[start + i]
    s.cursors[N_SEQ], s.cursors[SEQ_HEAD] = n, n % SEQUENCE_LENGTH
    start, n = a.at[_HABITS, row], a.at[_HABITS, row + 1] - a.at[_HABITS, row]
    for i in range(n):
        s.habit_codes[i] = a.habit_product[start + i]
        for k in range(HABIT_WIDTH):
            s.habits[i, k] = a.habit_stats[start + i, k]
    s.cursors[N_HABIT] = n
    for i in range(FORGOTTEN_BITS // 8):
        s.forgotten[i] = a.forgotten[row, i]
    start, n = a.at[_CART, row], a.at[_CART, row + 1] - a.at[_CART, row]
    for i in range(n):
        s.cart_codes[i] = a.cart_product[start + i]
        for k in range(CART_WIDTH):
            s.cart[i, k] = a.cart_stats[start + i, k]
    s.cursors[N_IN_CART] = n
    start, n = a.at[_EXPOSURES, row], a.at[_EXPOSURES, row + 1] - a.at[_EXPOSURES, row]
    for i in range(n):
        s.exposure_codes[i] = a.exposure_code[start + i]
        for k in range(EXPOSURE_WIDTH):
            s.exposures[i, k] = a.exposure_stats[start + i, k]
    s.cursors[N_EXPOSED] = n
    s.cursors[LAST_SEQ] = a.last_seq[row]
    derive(s)


@in_place
def fold_group(s: Any, a: Any, e: Any, bounds: Any, b: Any) -> int:
    """Fold events `bounds[i]:bounds[i + 1]` on top of customer i of `a` (FlatStates), for every customer; returns rows written.

    Each customer's events are in order and not older than the state. The row of customer i names `i`; there is none for
    somebody of whom nothing is known even then. The buffers have room for a row of each.
    """
    row = 0
    for i in range(len(bounds) - 1):
        load(s, a, i)
        apply_events(s, e, bounds[i], bounds[i + 1])
        if not math.isnan(s.scalars[LAST_EVENT]):
            write_row(s, b, row, i, s.scalars[LAST_EVENT], True)
            row += 1
    return row
