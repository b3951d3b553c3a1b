"""A state in the kernel's arrays in, the bytes that are stored out; unpacking.py reads them.

Both parts begin with a code of the layout, their own length and the lengths of their lists. Whole numbers are varints (seven
bits a byte, low ones first), sums are single precision, moments doubles; what still has its first value is left out. A product
is six bytes, one byte where the sequence names a habit; times of products are differences in the coarsest unit that holds
them exactly.
"""

import math
import zlib
from typing import Any, Final

import numpy as np

from features.state.jit import in_place, inlined
from features.state.kernel_products import micros
from features.state.layout import (
    CAMPAIGN_MARK,
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CONSENT,
    COUNTERS,
    EXPOSURE_CHANNEL,
    EXPOSURE_EARLIER,
    EXPOSURE_IGNORED,
    EXPOSURE_LAST,
    FORGOTTEN_BITS,
    FORGOTTEN_UNTIL,
    HABIT_BEGAN,
    HABIT_COUNT,
    HABIT_EARLIER,
    HABIT_FIRST,
    HABIT_LAST,
    HABIT_OCCASIONS,
    HABIT_WEIGHT,
    LAST_CONTACT,
    LAST_RESPONSE,
    LAST_SEQ,
    N_CHANNELS,
    N_CONTACTS,
    N_EXPOSED,
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

_FORMAT: Final = 5
_LAYOUT_PARTS: Final = (_FORMAT, SCALARS, CHANNELS, KINDS, HALF_LIVES_DAYS)
LAYOUT_CODE: Final = zlib.crc32(repr(_LAYOUT_PARTS).encode()) & 0xFFFF
"""What both parts begin with, in two bytes, before their own length in two: another code is of another version of the fold."""
N_STATE_LISTS: Final = 6
"""Lists of the state part: channels that have anything, pairs, contacts, hours, lines of the cart, exposures."""
N_PRODUCT_LISTS: Final = 2
"""Lists of the product part: habits, sequence."""
_N_SCALARS: Final = len(SCALARS)
_STARTS_AT_ZERO: Final = np.array([name in COUNTERS for name in SCALARS])
PRODUCT_BYTES: Final = 6
FORGOT: Final = 4
"""Mark beside the unit of time: a filter of forgotten products follows."""
PLAIN, EARLIER, CLOSE = 1, 2, 4
"""Marks of a habit: bought at one moment, as one line; it may have been bought before; some occasion was of several moments."""
MARK_BITS: Final = 3
OF_CAMPAIGN: Final = 1
"""Mark of an exposure, beside EARLIER: of a campaign. The channel's four bits follow the marks."""
EXPOSURE_BITS: Final = MARK_BITS + 4


@inlined
def _put_varint(b: Any, at: int, value: Any) -> int:
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
def _ticks(t: float, unit: int) -> Any:
    """A moment in whole units; the divisors are constants, so that none is divided by."""
    us = micros(t)
    if unit == 0:
        return us // TIME_UNITS_US[0]
    return us // TIME_UNITS_US[1] if unit == 1 else us


@inlined
def _put_exposures(s: Any, b: Any, at: int) -> int:
    """Products and campaigns that there were contacts about, their times in a unit of their own; or nothing."""
    n = s.cursors[N_EXPOSED]
    if n == 0:
        return at
    unit = 0
    for i in range(n):
        while unit < 2 and micros(s.exposures[i, EXPOSURE_LAST]) % TIME_UNITS_US[unit] != 0:
            unit += 1
    b[at] = unit
    at += 1
    before = 0
    for i in range(n):
        row, code = s.exposures[i], s.exposure_codes[i]
        marks = (EARLIER if row[EXPOSURE_EARLIER] > 0.0 else 0) | (OF_CAMPAIGN if code >= CAMPAIGN_MARK else 0)
        where = np.int64(row[EXPOSURE_CHANNEL]) << MARK_BITS
        at = _put_bytes(b, at, code & CAMPAIGN_MARK - 1, PRODUCT_BYTES)
        at = _put_varint(b, at, np.int64(row[EXPOSURE_IGNORED]) << EXPOSURE_BITS | where | marks)
        ticks = _ticks(row[EXPOSURE_LAST], unit)
        at = _put_signed(b, at, ticks - before)
        before = ticks
    return at


@inlined
def _put_state(s: Any, b: Any, at: int) -> int:
    """Write the state part at `at`; returns where it ends."""
    n_channels = 0
    n_contacts = 0
    for channel in range(N_CHANNELS):
        n_channels += 1 if _has_anything(s.channels[channel]) else 0
        n_contacts += min(s.n_contacts[channel], N_CONTACTS)
    start = at
    at = _put_bytes(b, at, LAYOUT_CODE, 2) + 2
    at = _put_varint(b, at, n_channels)
    at = _put_varint(b, at, s.cursors[N_PAIRS])
    at = _put_varint(b, at, n_contacts)
    at = _put_varint(b, at, s.cursors[N_HOURS_USED])
    at = _put_varint(b, at, s.cursors[N_IN_CART])
    at = _put_varint(b, at, s.cursors[N_EXPOSED])
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
        at = _put_bytes(b, at, s.cart_codes[i], PRODUCT_BYTES)
        b[at] = np.int64(s.cart[i, CART_CHANNEL])
        at = _put_double(b, at + 1, s.cart[i, CART_QUANTITY])
        at = _put_double(b, at, s.cart[i, CART_TIME])
    at = _put_exposures(s, b, at)
    _put_bytes(b, start + 2, at - start, 2)
    return at


@inlined
def _put_products(s: Any, b: Any, at: int) -> int:
    """Write the product part at `at`; returns where it ends."""
    unit, n_habits, n_seq = s.cursors[TIME_UNIT], s.cursors[N_HABIT], s.cursors[N_SEQ]
    start = at
    at = _put_bytes(b, at, LAYOUT_CODE, 2) + 2
    at = _put_varint(b, at, n_habits)
    at = _put_varint(b, at, n_seq)
    forgot = not math.isnan(s.scalars[FORGOTTEN_UNTIL])
    b[at] = unit | (FORGOT if forgot else 0)
    at += 1
    if forgot:
        for k in range(FORGOTTEN_BITS // 8):
            b[at + k] = s.forgotten[k]
        at += FORGOTTEN_BITS // 8
    before = 0
    time = 0.0  # of `before`: most products are of the same moment as the one before
    for i in range(n_habits):
        row = s.habits[i]
        plain = row[HABIT_COUNT] == 1.0 and row[HABIT_WEIGHT] == 1.0
        close = row[HABIT_OCCASIONS] != row[HABIT_COUNT]
        marks = (PLAIN if plain else 0) | (EARLIER if row[HABIT_EARLIER] > 0.0 else 0) | (CLOSE if close else 0)
        at = _put_bytes(b, at, s.habit_codes[i], PRODUCT_BYTES)
        at = _put_varint(b, at, np.int64(row[HABIT_COUNT]) << MARK_BITS | marks)
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
        if close:
            at = _put_varint(b, at, np.int64(row[HABIT_OCCASIONS]))
            at = _put_varint(b, at, before - _ticks(row[HABIT_BEGAN], unit))
    first = (s.cursors[SEQ_HEAD] - n_seq) % SEQUENCE_LENGTH
    for k in range(n_seq):
        i = (first + k) % SEQUENCE_LENGTH
        habit = s.seq_habit[i]
        if habit >= 0 and habit < n_habits and s.habit_codes[habit] == s.seq_product[i]:
            at = _put_varint(b, at, habit + 1)
        else:
            b[at] = 0
            at = _put_bytes(b, at + 1, s.seq_product[i], PRODUCT_BYTES)
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
    _put_bytes(b, start + 2, at - start, 2)
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
