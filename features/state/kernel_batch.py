"""The fold over many customers: sorted events in, encoded states out, a row after every moment or one for each customer."""

import math
from typing import Any

import numpy as np

from features.state.jit import compiled, inlined
from features.state.kernel import apply_event, reset, tells_something
from features.state.layout import (
    CART_WIDTH,
    CONTACT_HEAD,
    FIRST_SEEN,
    HABIT_WIDTH,
    LAST_EVENT,
    LAST_SEQ,
    N_CART,
    N_CHANNELS,
    N_CONTACT,
    N_CONTACTS,
    N_HABIT,
    N_HABITS,
    N_HOURS,
    N_HOURS_USED,
    N_IN_CART,
    N_KINDS,
    N_PAIRS,
    N_SEQ,
    PAIR_WIDTH,
    REWRITTEN,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    UNWRITTEN,
)


@inlined
def _ends(b: Any, row: int) -> Any:
    """Offsets at which the ragged parts of `row` begin."""
    if row == 0:
        return 0, 0, 0, 0, 0, 0
    r = row - 1
    return b.pair_end[r], b.contact_end[r], b.hour_end[r], b.seq_end[r], b.habit_end[r], b.cart_end[r]


@inlined
def _copy(target: Any, at: int, source: Any, start: int, n: int) -> None:
    for i in range(np.uint64(n)):
        target[np.uint64(at) + i] = source[np.uint64(start) + i]


@compiled
def write_row(s: Any, b: Any, row: int, customer: int, t: float, products_changed: bool) -> None:
    """Encode the scratch state as row `row` of the buffers."""
    pair, contact, hour, seq, habit, cart = _ends(b, row)
    b.customer[row] = customer
    b.time[row] = t
    b.last_seq[row] = s.cursors[LAST_SEQ]
    b.products_changed[row] = products_changed
    b.scalars[row, :] = s.scalars
    b.channels[row, :] = s.channels.reshape(-1)
    n = s.cursors[N_PAIRS]
    _copy(b.pair_codes, pair, s.pair_codes, 0, n)
    _copy(b.pair_stats.reshape(-1), pair * PAIR_WIDTH, s.pairs.reshape(-1), 0, n * PAIR_WIDTH)
    pair += n
    for i in range(s.cursors[N_CONTACT]):
        at = (s.cursors[CONTACT_HEAD] - s.cursors[N_CONTACT] + i) % N_CONTACTS
        b.contacts[contact, 0] = s.contacts[at, 0]
        b.contacts[contact, 1] = s.contacts[at, 1]
        contact += 1
    n = s.cursors[N_HOURS_USED]
    _copy(b.hour_bins, hour, s.hour_bins, 0, n)
    _copy(b.hour_weights, hour, s.hour_weights, 0, n)
    hour += n
    if products_changed:
        n = s.cursors[N_SEQ]
        # the ring in time order: what lies before its end, then what lies from its beginning
        first = (s.cursors[SEQ_HEAD] - n) % SEQUENCE_LENGTH
        n_first = min(n, SEQUENCE_LENGTH - first)
        for start, length in ((first, n_first), (0, n - n_first)):
            _copy(b.seq_product, seq, s.seq_product, start, length)
            _copy(b.seq_event, seq, s.seq_event, start, length)
            _copy(b.seq_time, seq, s.seq_time, start, length)
            _copy(b.seq_value, seq, s.seq_value, start, length)
            seq += length
        n = s.cursors[N_HABIT]
        _copy(b.habit_codes, habit, s.habit_codes, 0, n)
        _copy(b.habits.reshape(-1), habit * HABIT_WIDTH, s.habits.reshape(-1), 0, n * HABIT_WIDTH)
        habit += n
    n = s.cursors[N_IN_CART]
    _copy(b.cart_codes, cart, s.cart_codes, 0, n)
    _copy(b.cart.reshape(-1), cart * CART_WIDTH, s.cart.reshape(-1), 0, n * CART_WIDTH)
    cart += n
    b.pair_end[row] = pair
    b.contact_end[row] = contact
    b.hour_end[row] = hour
    b.seq_end[row] = seq
    b.habit_end[row] = habit
    b.cart_end[row] = cart


@inlined
def _has_room(b: Any, row: int) -> bool:
    if row >= len(b.customer):
        return False
    pair, contact, hour, seq, habit, cart = _ends(b, row)
    room: bool = (
        pair + N_CHANNELS * N_KINDS <= len(b.pair_codes)
        and contact + N_CONTACTS <= len(b.contacts)
        and hour + N_HOURS <= len(b.hour_bins)
        and seq + SEQUENCE_LENGTH <= len(b.seq_product)
        and habit + N_HABITS <= len(b.habit_codes)
        and cart + N_CART <= len(b.cart_codes)
    )
    return room


@compiled
def fold_rows(s: Any, e: Any, customers: Any, start: int, b: Any) -> Any:
    """Fold customer-sorted events from `start` until the buffers are full or the events end.

    `customers` holds each event's customer row number. A state row is written after the last event of every distinct
    (customer, time); not where the events of that moment are UNWRITTEN, and where they are REWRITTEN even if nothing was
    told. Returns (next event, rows written); the scratch carries over, so the next call goes on there.
    """
    row = 0
    changed = False
    behaved = False
    i = start
    n = len(customers)
    while i < n:
        if i == 0 or customers[i] != customers[i - 1]:
            reset(s)
        if not _has_room(b, row):
            break
        # All events of one moment are folded before a row is written, so a break never splits a moment.
        j = i
        changed = False
        behaved = False
        while j < n and customers[j] == customers[i] and e.time[j] == e.time[i]:
            if apply_event(
                s, e.time[j], e.kind[j], e.channel[j], e.product[j], e.quantity[j], e.value[j], e.seq[j], e.detail[j]
            ):
                changed = True
            if tells_something(e.kind[j], e.detail[j]):
                behaved = True
            j += 1
        anew = e.written[i] == REWRITTEN and not math.isnan(s.scalars[FIRST_SEEN])
        if anew or (behaved and e.written[i] != UNWRITTEN):
            write_row(s, b, row, customers[i], e.time[i], changed or anew)
            row += 1
        i = j
    return i, row


@compiled
def fold_newest(s: Any, e: Any, customers: Any, start: int, b: Any) -> Any:
    """`fold_rows` with one row per customer, their newest state; returns (next event, rows written)."""
    row = 0
    i = start
    n = len(customers)
    while i < n and _has_room(b, row):
        reset(s)
        j = i
        while j < n and customers[j] == customers[i]:
            apply_event(
                s, e.time[j], e.kind[j], e.channel[j], e.product[j], e.quantity[j], e.value[j], e.seq[j], e.detail[j]
            )
            j += 1
        if not math.isnan(s.scalars[LAST_EVENT]):
            write_row(s, b, row, customers[i], s.scalars[LAST_EVENT], True)
            row += 1
        i = j
    return i, row
