"""Bytes of many customers as packing.py writes them in, flat lists of their numbers out; damaged ones raise IndexError."""

from typing import Any, Final

import numpy as np

from features.state.jit import bounded, bounded_inlined
from features.state.layout import (
    CAMPAIGN_MARK,
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CONSENT,
    EXPOSURE_CHANNEL,
    EXPOSURE_EARLIER,
    EXPOSURE_IGNORED,
    EXPOSURE_LAST,
    FORGOTTEN_BITS,
    HABIT_BEGAN,
    HABIT_COUNT,
    HABIT_EARLIER,
    HABIT_FIRST,
    HABIT_LAST,
    HABIT_OCCASIONS,
    HABIT_WEIGHT,
    LAST_CONTACT,
    LAST_RESPONSE,
    N_HALF_LIVES,
    N_SEQ_VALUES,
    PAIR_COUNTS,
    PAIR_LAST,
    PAIR_TOTAL,
    PAIR_VALUES,
    SCALARS,
    TIME_UNITS_US,
    UNANSWERED,
)
from features.state.packing import (
    CLOSE,
    EARLIER,
    EXPOSURE_BITS,
    FORGOT,
    LAYOUT_CODE,
    MARK_BITS,
    N_PRODUCT_LISTS,
    N_STATE_LISTS,
    OF_CAMPAIGN,
    PLAIN,
    PRODUCT_BYTES,
)

_N_SCALARS: Final = len(SCALARS)


@bounded_inlined
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


@bounded_inlined
def _signed(b: Any, at: int) -> Any:
    value, at = _varint(b, at)
    return (value >> 1) ^ -(value & 1), at


@bounded_inlined
def _bits(b: Any, at: int, n: int) -> Any:
    value = np.uint64(0)
    for k in range(n):
        value |= np.uint64(b[at + k]) << np.uint64(8 * k)
    return value


@bounded_inlined
def _double(b: Any, at: int) -> float:
    value: float = np.uint64(_bits(b, at, 8)).view(np.float64)
    return value


@bounded_inlined
def _single(b: Any, at: int) -> Any:
    return np.uint32(_bits(b, at, 4)).view(np.float32)


@bounded
def measure(b: Any, starts: Any, ends: Any, counts: Any) -> int:
    """Fill `counts` (n, lists) with the lengths of the lists of parts `b[starts[i]:ends[i]]`; an empty part has none.

    Returns the first part that has another layout or is damaged, -1 where there is none.
    """
    for row in range(len(starts)):
        counts[row, :] = 0
        at = starts[row]
        if at == ends[row]:
            continue
        length = ends[row] - at
        if length < 4 + counts.shape[1] or np.int64(_bits(b, at, 2)) != LAYOUT_CODE:
            return row
        if np.int64(_bits(b, at + 2, 2)) != length:
            return row
        at += 4
        for k in range(counts.shape[1]):
            counts[row, k], at = _varint(b, at)
            if not 0 <= counts[row, k] <= length:
                return row
    return -1


@bounded_inlined
def _after_lengths(b: Any, at: int, n_lists: int) -> int:
    at += 4
    for _ in range(n_lists):
        _, at = _varint(b, at)
    return at


@bounded
def read_state_parts(b: Any, starts: Any, ends: Any, counts: Any, out: Any) -> None:
    """Fill the arrays of `out` (a batch.StateLists of the lengths that `measure` found), one row after the other."""
    pair = contact = hour = line = exposure = 0
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
            out.cart_product[line] = np.int64(_bits(b, at, PRODUCT_BYTES))
            out.cart_stats[line, CART_CHANNEL] = b[at + 6]
            out.cart_stats[line, CART_QUANTITY] = _double(b, at + 7)
            out.cart_stats[line, CART_TIME] = _double(b, at + 15)
            at += 23
            line += 1
        at = _read_exposures(b, at, counts[row, 5], exposure, out)
        exposure += counts[row, 5]


@bounded_inlined
def _read_exposures(b: Any, at: int, n: int, first: int, out: Any) -> int:
    """`n` exposures into the rows of `out` from `first` on; returns where they end."""
    if n == 0:
        return at
    unit_us = TIME_UNITS_US[b[at] & 3]
    at += 1
    ticks = 0
    for i in range(first, first + n):
        code = np.int64(_bits(b, at, PRODUCT_BYTES))
        marks, at = _varint(b, at + PRODUCT_BYTES)
        out.exposure_code[i] = code + CAMPAIGN_MARK if marks & OF_CAMPAIGN else code
        step, at = _signed(b, at)
        ticks += step
        stats = out.exposure_stats[i]
        stats[EXPOSURE_LAST] = ticks * unit_us / 1e6
        stats[EXPOSURE_IGNORED] = marks >> EXPOSURE_BITS
        stats[EXPOSURE_CHANNEL] = marks >> MARK_BITS & 15
        stats[EXPOSURE_EARLIER] = 1.0 if marks & EARLIER else 0.0
    return at


@bounded
def read_product_parts(b: Any, starts: Any, ends: Any, counts: Any, out: Any) -> None:
    """Fill the arrays of `out` (a batch.ProductLists of the lengths that `measure` found), one row after the other."""
    habit = entry = 0
    for row in range(len(starts)):
        at = starts[row]
        if at == ends[row]:
            continue
        at = _after_lengths(b, at, N_PRODUCT_LISTS)
        unit_us = TIME_UNITS_US[b[at] & 3]
        forgot = b[at] & FORGOT
        at += 1
        if forgot:
            for k in range(FORGOTTEN_BITS // 8):
                out.forgotten[row, k] = b[at + k]
            at += FORGOTTEN_BITS // 8
        ticks = 0
        time = 0.0
        first = habit
        for _ in range(counts[row, 0]):
            stats = out.habit_stats[habit]
            out.habit_product[habit] = np.int64(_bits(b, at, PRODUCT_BYTES))
            marks, at = _varint(b, at + PRODUCT_BYTES)
            stats[HABIT_COUNT] = marks >> MARK_BITS
            stats[HABIT_EARLIER] = 1.0 if marks & EARLIER else 0.0
            stats[HABIT_WEIGHT] = 1.0
            if not marks & PLAIN:
                stats[HABIT_WEIGHT] = _single(b, at)
                at += 4
            step, at = _signed(b, at)
            if step != 0:
                ticks += step
                time = ticks * unit_us / 1e6
            stats[HABIT_LAST] = time
            stats[HABIT_FIRST] = time
            if not marks & PLAIN:
                before, at = _varint(b, at)
                stats[HABIT_FIRST] = (ticks - before) * unit_us / 1e6
            stats[HABIT_OCCASIONS] = stats[HABIT_COUNT]
            stats[HABIT_BEGAN] = time
            if marks & CLOSE:
                stats[HABIT_OCCASIONS], at = _varint(b, at)
                before, at = _varint(b, at)
                stats[HABIT_BEGAN] = (ticks - before) * unit_us / 1e6
            habit += 1
        n = counts[row, 1]
        for _ in range(n):
            reference, at = _varint(b, at)
            if reference > 0:
                out.seq_product[entry] = out.habit_product[first + reference - 1]
            else:
                out.seq_product[entry] = np.int64(_bits(b, at, PRODUCT_BYTES))
                at += PRODUCT_BYTES
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
