"""A state in the kernel's arrays in, the bytes that are stored out; bytes of many customers in, flat lists of their numbers out.

Both parts begin with a code of the layout and the lengths of their lists. Whole numbers are varints (seven bits a byte, low
ones first), sums are single precision, moments doubles; what still has its first value is left out. A product is six bytes,
one byte where the sequence names a habit; times of products are differences in the coarsest unit that holds them exactly.
"""

import math
import zlib
from typing import Any, Final

import numpy as np

from features.state.jit import in_place, inlined
from features.state.kernel_products import micros
from features.state.layout import (
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CONSENT,
    COUNTERS,
    HABIT_COUNT,
    HABIT_EARLIER,
    HABIT_FIRST,
    HABIT_LAST,
    HABIT_WEIGHT,
    LAST_CONTACT,
    LAST_RESPONSE,
    LAST_SEQ,
    N_CHANNELS,
    N_CONTACTS,
    N_HABIT,
    N_HALF_LIVES,
    N_HOURS_USED,
    N_IN_CART,
    N_PAIRS,
    N_SEQ,
    N_SEQ_VALUES,
    PAIR_COUNTS,
    PAIR_LAST,
    PAIR_TOTAL,
    PAIR_VALUES,
    SCALARS,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    TIME_UNIT,
    TIME_UNITS_US,
    UNANSWERED,
)
from features.vocabulary import CHANNELS, HALF_LIVES_DAYS, KINDS

_FORMAT: Final = 1
_LAYOUT_PARTS: Final = (_FORMAT, SCALARS, CHANNELS, KINDS, HALF_LIVES_DAYS)
LAYOUT_CODE: Final = zlib.crc32(repr(_LAYOUT_PARTS).encode()) & 0xFFFF
"""What both parts begin with, in two bytes: another one is of another version of the fold."""
N_STATE_LISTS: Final = 5
"""Lists of the state part: channels that have anything, pairs, contacts, hours, lines of the cart."""
N_PRODUCT_LISTS: Final = 2
"""Lists of the product part: habits, sequence."""
_N_SCALARS: Final = len(SCALARS)
_STARTS_AT_ZERO: Final = np.array([name in COUNTERS for name in SCALARS])
_PRODUCT_BYTES: Final = 6
_PLAIN, _EARLIER = 1, 2
"""Marks of a habit: bought at one moment, as one line; it may have been bought before."""


@inlined
def _put_varint(b: Any, at: int, value: int) -> int:
    rest = np.uint64(value)
    while rest >= np.uint64(128):
        b[at] = np.uint8(rest & np.uint64(127) | np.uint64(128))
        rest >>= np.uint64(7)
        at += 1
    b[at] = np.uint8(rest)
    return at + 1


@inlined
def _put_signed(b: Any, at: int, value: int) -> int:
    return _put_varint(b, at, (value << 1) ^ (value >> 63))


@inlined
def _put_bytes(b: Any, at: int, value: int, n: int) -> int:
    """The `n` low bytes of a number that is not negative."""
    for k in range(n):
        b[at + k] = np.uint8(value >> 8 * k & 255)
    return at + n


@inlined
def _put_double(b: Any, at: int, value: float) -> int:
    bits = np.float64(value).view(np.uint64)
    for k in range(8):
        b[at + k] = np.uint8(bits >> np.uint64(8 * k) & np.uint64(255))
    return at + 8


@inlined
def _put_single(b: Any, at: int, value: float) -> int:
    bits = np.float32(value).view(np.uint32)
    for k in range(4):
        b[at + k] = np.uint8(bits >> np.uint32(8 * k) & np.uint32(255))
    return at + 4


@inlined
def _is_start(i: int, value: float) -> bool:
    """Whether scalar `i` still has its first value."""
    start: bool = value == 0.0 if _STARTS_AT_ZERO[i] else math.isnan(value)
    return start


@inlined
def _has_anything(row: Any) -> bool:
    return not (
        row[CONSENT] == -1.0
        and row[UNANSWERED] == 0.0
        and math.isnan(row[LAST_CONTACT])
        and math.isnan(row[LAST_RESPONSE])
    )


@inlined
def _put_state(s: Any, b: Any, at: int) -> int:
    """Write the state part at `at`; returns where it ends."""
    n_channels = 0
    n_contacts = 0
    for channel in range(N_CHANNELS):
        n_channels += 1 if _has_anything(s.channels[channel]) else 0
        n_contacts += min(s.n_contacts[channel], N_CONTACTS)
    at = _put_bytes(b, at, LAYOUT_CODE, 2)
    at = _put_varint(b, at, n_channels)
    at = _put_varint(b, at, s.cursors[N_PAIRS])
    at = _put_varint(b, at, n_contacts)
    at = _put_varint(b, at, s.cursors[N_HOURS_USED])
    at = _put_varint(b, at, s.cursors[N_IN_CART])
    for i in range(_N_SCALARS):
        if i % 8 == 0:
            mask = 0
            for k in range(i, min(i + 8, _N_SCALARS)):
                mask |= 0 if _is_start(k, s.scalars[k]) else 1 << k - i
            b[at] = mask
            at += 1
    for i in range(_N_SCALARS):
        if not _is_start(i, s.scalars[i]):
            at = _put_double(b, at, s.scalars[i])
    for channel in range(N_CHANNELS):
        row = s.channels[channel]
        if _has_anything(row):
            contacted, responded = not math.isnan(row[LAST_CONTACT]), not math.isnan(row[LAST_RESPONSE])
            b[at] = channel
            b[at + 1] = np.int64(row[CONSENT]) + 1 | (4 if contacted else 0) | (8 if responded else 0)
            at = _put_varint(b, at + 2, np.int64(row[UNANSWERED]))
            if contacted:
                at = _put_double(b, at, row[LAST_CONTACT])
            if responded:
                at = _put_double(b, at, row[LAST_RESPONSE])
    for i in range(s.cursors[N_PAIRS]):
        row = s.pairs[i]
        valued = False
        for h in range(N_HALF_LIVES):
            valued |= row[PAIR_VALUES + h] != 0.0
        at = _put_varint(b, at, s.pair_codes[i] * 2 + (1 if valued else 0))
        at = _put_double(b, at, row[PAIR_LAST])
        at = _put_varint(b, at, np.int64(row[PAIR_TOTAL]))
        for h in range(N_HALF_LIVES):
            at = _put_single(b, at, row[PAIR_COUNTS + h])
        if valued:
            for h in range(N_HALF_LIVES):
                at = _put_single(b, at, row[PAIR_VALUES + h])
    for channel in range(N_CHANNELS):
        n = s.n_contacts[channel]
        for k in range(max(0, n - N_CONTACTS), n):
            b[at] = channel
            at = _put_double(b, at + 1, s.contacts[channel, k % N_CONTACTS])
    for i in range(s.cursors[N_HOURS_USED]):
        b[at] = s.hour_bins[i]
        at = _put_single(b, at + 1, s.hour_weights[i])
    for i in range(s.cursors[N_IN_CART]):
        at = _put_bytes(b, at, s.cart_codes[i], _PRODUCT_BYTES)
        b[at] = np.int64(s.cart[i, CART_CHANNEL])
        at = _put_double(b, at + 1, s.cart[i, CART_QUANTITY])
        at = _put_double(b, at, s.cart[i, CART_TIME])
    return at


@inlined
def _ticks(t: float, unit: int) -> int:
    """A moment in whole units; the divisors are constants, so that none is divided by."""
    us = micros(t)
    if unit == 0:
        return us // TIME_UNITS_US[0]
    return us // TIME_UNITS_US[1] if unit == 1 else us


@inlined
def _put_products(s: Any, b: Any, at: int) -> int:
    """Write the product part at `at`; returns where it ends."""
    unit, n_habits, n_seq = s.cursors[TIME_UNIT], s.cursors[N_HABIT], s.cursors[N_SEQ]
    at = _put_bytes(b, at, LAYOUT_CODE, 2)
    at = _put_varint(b, at, n_habits)
    at = _put_varint(b, at, n_seq)
    b[at] = unit
    at += 1
    before = 0
    time = 0.0  # of `before`: most products are of the same moment as the one before
    for i in range(n_habits):
        row = s.habits[i]
        plain = row[HABIT_COUNT] == 1.0 and row[HABIT_WEIGHT] == 1.0
        marks = (_PLAIN if plain else 0) | (_EARLIER if row[HABIT_EARLIER] > 0.0 else 0)
        at = _put_bytes(b, at, s.habit_codes[i], _PRODUCT_BYTES)
        at = _put_varint(b, at, np.int64(row[HABIT_COUNT]) << 2 | marks)
        if not plain:
            at = _put_single(b, at, row[HABIT_WEIGHT])
        step = 0
        if row[HABIT_LAST] != time:
            time = row[HABIT_LAST]
            ticks = _ticks(time, unit)
            step = ticks - before
            before = ticks
        at = _put_signed(b, at, step)
        if not plain:
            at = _put_varint(b, at, before - _ticks(row[HABIT_FIRST], unit))
    first = (s.cursors[SEQ_HEAD] - n_seq) % SEQUENCE_LENGTH
    for k in range(n_seq):
        i = (first + k) % SEQUENCE_LENGTH
        habit = s.seq_habit[i]
        if habit >= 0 and habit < n_habits and s.habit_codes[habit] == s.seq_product[i]:
            at = _put_varint(b, at, habit + 1)
        else:
            b[at] = 0
            at = _put_bytes(b, at + 1, s.seq_product[i], _PRODUCT_BYTES)
        at = _put_varint(b, at, s.seq_event[i])
        if s.seq_time[i] == time:
            at = _put_varint(b, at, 0)
            continue
        time = s.seq_time[i]
        ticks = _ticks(time, unit)
        at = _put_signed(b, at, ticks - before)
        before = ticks
    for k in range(max(0, n_seq - N_SEQ_VALUES), n_seq):
        at = _put_single(b, at, s.seq_value[(first + k) % SEQUENCE_LENGTH])
    return at


@in_place
def write_row(s: Any, b: Any, row: int, customer: int, t: float, products_changed: bool) -> None:
    """Encode the scratch state as row `row` of the buffers."""
    state = b.state_end[row - 1] if row > 0 else 0
    products = b.products_end[row - 1] if row > 0 else 0
    b.customer[row] = customer
    b.time[row] = t
    b.last_seq[row] = s.cursors[LAST_SEQ]
    b.products_changed[row] = products_changed
    b.state_end[row] = _put_state(s, b.state, state)
    b.products_end[row] = _put_products(s, b.products, products) if products_changed else products


@inlined
def _varint(b: Any, at: int) -> Any:
    """(value, where it ends)."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while b[at] >= 128:
        value |= np.uint64(b[at] & 127) << shift
        shift += np.uint64(7)
        at += 1
    value |= np.uint64(b[at]) << shift
    return np.int64(value), at + 1


@inlined
def _signed(b: Any, at: int) -> Any:
    value, at = _varint(b, at)
    return (value >> 1) ^ -(value & 1), at


@inlined
def _bits(b: Any, at: int, n: int) -> Any:
    value = np.uint64(0)
    for k in range(n):
        value |= np.uint64(b[at + k]) << np.uint64(8 * k)
    return value


@inlined
def _double(b: Any, at: int) -> float:
    value: float = np.uint64(_bits(b, at, 8)).view(np.float64)
    return value


@inlined
def _single(b: Any, at: int) -> Any:
    return np.uint32(_bits(b, at, 4)).view(np.float32)


@in_place
def measure(b: Any, starts: Any, ends: Any, counts: Any) -> int:
    """Fill `counts` (n, lists) with the lengths of the lists of parts `b[starts[i]:ends[i]]`; an empty part has none.

    Returns the first part that has another layout, -1 where all have this one.
    """
    for row in range(len(starts)):
        counts[row, :] = 0
        at = starts[row]
        if at == ends[row]:
            continue
        if ends[row] - at < 2 + counts.shape[1] or np.int64(_bits(b, at, 2)) != LAYOUT_CODE:
            return row
        at += 2
        for k in range(counts.shape[1]):
            counts[row, k], at = _varint(b, at)
    return -1


@inlined
def _after_lengths(b: Any, at: int, n_lists: int) -> int:
    at += 2
    for _ in range(n_lists):
        _, at = _varint(b, at)
    return at


@in_place
def read_state_parts(b: Any, starts: Any, ends: Any, counts: Any, out: Any) -> None:
    """Fill the arrays of `out` (a batch.StateLists of the lengths that `measure` found), one row after the other."""
    pair = contact = hour = line = 0
    for row in range(len(starts)):
        at = starts[row]
        if at == ends[row]:
            continue
        mask = at = _after_lengths(b, at, N_STATE_LISTS)
        at += (_N_SCALARS + 7) // 8
        for i in range(_N_SCALARS):
            if b[mask + i // 8] >> i % 8 & 1:
                out.scalars[row, i] = _double(b, at)
                at += 8
        for _ in range(counts[row, 0]):
            values = out.channels[row, b[at]]
            marks = np.int64(b[at + 1])
            values[CONSENT] = (marks & 3) - 1.0
            values[UNANSWERED], at = _varint(b, at + 2)
            if marks & 4:
                values[LAST_CONTACT] = _double(b, at)
                at += 8
            if marks & 8:
                values[LAST_RESPONSE] = _double(b, at)
                at += 8
        for _ in range(counts[row, 1]):
            code, at = _varint(b, at)
            out.pair_codes[pair] = code >> 1
            stats = out.pair_stats[pair]
            stats[PAIR_LAST] = _double(b, at)
            stats[PAIR_TOTAL], at = _varint(b, at + 8)
            for h in range(N_HALF_LIVES):
                stats[PAIR_COUNTS + h] = _single(b, at)
                at += 4
            for h in range(N_HALF_LIVES):
                if code & 1:
                    stats[PAIR_VALUES + h] = _single(b, at)
                    at += 4
                else:
                    stats[PAIR_VALUES + h] = 0.0
            pair += 1
        for _ in range(counts[row, 2]):
            out.contacts[contact, 0] = b[at]
            out.contacts[contact, 1] = _double(b, at + 1)
            at += 9
            contact += 1
        for _ in range(counts[row, 3]):
            out.hour_bins[hour] = b[at]
            out.hour_weights[hour] = _single(b, at + 1)
            at += 5
            hour += 1
        for _ in range(counts[row, 4]):
            out.cart_product[line] = np.int64(_bits(b, at, _PRODUCT_BYTES))
            out.cart_stats[line, CART_CHANNEL] = b[at + 6]
            out.cart_stats[line, CART_QUANTITY] = _double(b, at + 7)
            out.cart_stats[line, CART_TIME] = _double(b, at + 15)
            at += 23
            line += 1


@in_place
def read_product_parts(b: Any, starts: Any, ends: Any, counts: Any, out: Any) -> None:
    """Fill the arrays of `out` (a batch.ProductLists of the lengths that `measure` found), one row after the other."""
    habit = entry = 0
    for row in range(len(starts)):
        at = starts[row]
        if at == ends[row]:
            continue
        at = _after_lengths(b, at, N_PRODUCT_LISTS)
        unit_us = TIME_UNITS_US[b[at]]
        at += 1
        ticks = 0
        time = 0.0
        first = habit
        for _ in range(counts[row, 0]):
            stats = out.habit_stats[habit]
            out.habit_product[habit] = np.int64(_bits(b, at, _PRODUCT_BYTES))
            marks, at = _varint(b, at + _PRODUCT_BYTES)
            stats[HABIT_COUNT] = marks >> 2
            stats[HABIT_EARLIER] = 1.0 if marks & _EARLIER else 0.0
            stats[HABIT_WEIGHT] = 1.0
            if not marks & _PLAIN:
                stats[HABIT_WEIGHT] = _single(b, at)
                at += 4
            step, at = _signed(b, at)
            if step != 0:
                ticks += step
                time = ticks * unit_us / 1e6
            stats[HABIT_LAST] = time
            stats[HABIT_FIRST] = time
            if not marks & _PLAIN:
                before, at = _varint(b, at)
                stats[HABIT_FIRST] = (ticks - before) * unit_us / 1e6
            habit += 1
        n = counts[row, 1]
        for k in range(n):
            reference, at = _varint(b, at)
            if reference > 0:
                out.seq_product[entry] = out.habit_product[first + reference - 1]
            else:
                out.seq_product[entry] = np.int64(_bits(b, at, _PRODUCT_BYTES))
                at += _PRODUCT_BYTES
            out.seq_event[entry], at = _varint(b, at)
            step, at = _signed(b, at)
            if step != 0:
                ticks += step
                time = ticks * unit_us / 1e6
            out.seq_time[entry] = time
            out.seq_value[entry] = np.nan
            entry += 1
        for k in range(max(0, n - N_SEQ_VALUES), n):
            out.seq_value[entry - n + k] = _single(b, at)
            at += 4
