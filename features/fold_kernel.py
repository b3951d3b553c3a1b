"""The fold, compiled: scratch arrays of one customer and one event in, the same arrays after the event out.

`apply_event` is the only place where an event changes a state. `fold_rows` runs it over customer-sorted events and writes
a row after every distinct moment; a live event runs it once. Both therefore compute the same bits.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.details import BITS_PER_ANSWER, NO, PROFILING_SHIFT, YES
from features.vocabulary import (
    CHANNELS,
    CUSTOMER_KINDS,
    HALF_LIVES_DAYS,
    KIND_CODES,
    KINDS,
    PRODUCT_KINDS,
    RESPONSE_KINDS,
    EventKind,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_CHANNELS: Final = len(CHANNELS)
N_KINDS: Final = len(KINDS)
N_HALF_LIVES: Final = len(HALF_LIVES_DAYS)
N_HOURS: Final = 168
SEQUENCE_LENGTH: Final = 128
N_HABITS: Final = 128
N_CART: Final = 32
N_CONTACTS: Final = 16
DAY_S: Final = 86_400.0
OCCASION_GAP_S: Final = 3_600.0
"""Purchases (or actions) closer together than this are one occasion: lines of a basket, clicks of a visit."""
HABIT_HALF_LIFE_DAYS: Final = 60.0
"""Half-life of a product's weight in the table of habitual products."""
HOUR_HALF_LIFE_DAYS: Final = 90.0
"""Half-life of the hour-of-week histogram."""

SCALARS: Final[tuple[str, ...]] = (
    "first_seen",
    "last_event",
    "last_action",
    "n_action_occasions",
    "first_purchase",
    "last_purchase",
    "last_occasion",
    "n_occasions",
    "gap_mean_days",
    "gap_m2",
    "n_gaps",
    "last_gap_days",
    "occasion_value",
    "previous_occasion_value",
    "hours_at",
    *(f"occasions_{half_life:g}d" for half_life in HALF_LIVES_DAYS),
    "profiling",
    "n_ratings",
    "rating_mean",
    "last_rating",
)
"""Names of the scalar part of a state. Times are seconds since the epoch; NaN means never (or, of profiling: not asked)."""
(
    FIRST_SEEN,
    LAST_EVENT,
    LAST_ACTION,
    N_ACTION_OCCASIONS,
    FIRST_PURCHASE,
    LAST_PURCHASE,
    LAST_OCCASION,
    N_OCCASIONS,
    GAP_MEAN,
    GAP_M2,
    N_GAPS,
    LAST_GAP,
    OCCASION_VALUE,
    PREVIOUS_OCCASION_VALUE,
    HOURS_AT,
    OCCASIONS,
) = range(16)
PROFILING, N_RATINGS, RATING_MEAN, LAST_RATING = range(OCCASIONS + N_HALF_LIVES, OCCASIONS + N_HALF_LIVES + 4)
COUNTERS: Final = frozenset(
    {"n_action_occasions", "n_occasions", "n_gaps", "gap_m2", "occasion_value", "n_ratings"}
    | {name for name in SCALARS if name.startswith("occasions_")}
)
"""Scalars that start at 0; all others start as NaN."""
_SCALAR_START: Final = np.array([0.0 if name in COUNTERS else np.nan for name in SCALARS])

PAIR_LAST, PAIR_TOTAL, PAIR_COUNTS = 0, 1, 2
PAIR_VALUES: Final = PAIR_COUNTS + N_HALF_LIVES
PAIR_WIDTH: Final = PAIR_VALUES + N_HALF_LIVES
"""Columns of a (channel, kind) pair: last time, total, then a decayed count and a decayed value per half-life."""
CONSENT, UNANSWERED, LAST_CONTACT, LAST_RESPONSE = range(4)
CHANNEL_WIDTH: Final = 4
HABIT_WEIGHT, HABIT_LAST, HABIT_SPAN, HABIT_COUNT = range(4)
HABIT_WIDTH: Final = 4
CART_CHANNEL, CART_QUANTITY, CART_TIME = range(3)
CART_WIDTH: Final = 3
N_TOUCHED, N_CONTACT, CONTACT_HEAD, N_SEQ, SEQ_HEAD, N_HABIT, N_IN_CART, LAST_SEQ = range(8)
CURSOR_WIDTH: Final = 8
UNWRITTEN, WRITTEN, REWRITTEN = range(3)
"""Whether a moment gets a state row: no, as it is told of behaviour, or in any case, because the past before it is another."""
EVENT_CODE_BASE: Final = 16
"""A sequence's event code is kind * 16 + channel."""

_HALF_LIVES_S: Final = np.array(HALF_LIVES_DAYS) * DAY_S
_HABIT_HALF_LIFE_S: Final = HABIT_HALF_LIFE_DAYS * DAY_S
_HOUR_HALF_LIFE_S: Final = HOUR_HALF_LIFE_DAYS * DAY_S


def _kind_mask(kinds: tuple[EventKind, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(N_KINDS, dtype=np.bool_)
    mask[[KIND_CODES[kind] for kind in kinds]] = True
    return mask


_IS_ACTION: Final = _kind_mask(CUSTOMER_KINDS)
_IS_PRODUCT: Final = _kind_mask(PRODUCT_KINDS)
_IS_RESPONSE: Final = _kind_mask(RESPONSE_KINDS)
_IS_BOOKKEEPING: Final = _kind_mask((EventKind.DECISION, EventKind.IDENTIFY, EventKind.ERASE))
"""Kinds that are about our records, not about behaviour: they change no state."""
_ADD: Final = KIND_CODES[EventKind.ADD_TO_CART]
_REMOVE: Final = KIND_CODES[EventKind.REMOVE_FROM_CART]
_PURCHASE: Final = KIND_CODES[EventKind.PURCHASE]
_SEND: Final = KIND_CODES[EventKind.SEND]
_SUBSCRIBE: Final = KIND_CODES[EventKind.SUBSCRIBE]
_UNSUBSCRIBE: Final = KIND_CODES[EventKind.UNSUBSCRIBE]
_PROFILE: Final = KIND_CODES[EventKind.PROFILE]
_FEEDBACK: Final = KIND_CODES[EventKind.FEEDBACK]


class Scratch(NamedTuple):
    """The dense state of one customer, as the kernel works on it."""

    scalars: Floats  # (S,)
    pairs: Floats  # (channels * kinds, PAIR_WIDTH)
    touched: Ints  # (channels * kinds,) codes of the pairs in use, in order of first use
    channels: Floats  # (channels, CHANNEL_WIDTH)
    contacts: Floats  # (N_CONTACTS, 2) ring of (channel, time)
    hours: Floats  # (168,)
    seq_codes: Ints  # (SEQUENCE_LENGTH, 2) ring of (product, event code)
    seq_floats: Floats  # (SEQUENCE_LENGTH, 2) ring of (time, value)
    habit_codes: Ints  # (N_HABITS,)
    habits: Floats  # (N_HABITS, HABIT_WIDTH)
    habit_ranks: Floats  # (N_HABITS,) log2 of the weight, moved to a common moment; derived, not stored
    cart_codes: Ints  # (N_CART,)
    cart: Floats  # (N_CART, CART_WIDTH)
    cursors: Ints  # (CURSOR_WIDTH,)


class EventArrays(NamedTuple):
    """Events as columns; all of length m."""

    time: Floats  # seconds since the epoch
    kind: NDArray[np.int8]
    channel: NDArray[np.int8]
    product: Ints  # 0 where there is none
    quantity: Floats  # NaN where there is none
    value: Floats  # NaN where there is none
    seq: Ints
    detail: Floats  # what the properties say, see details.py; NaN where there is nothing


class RowBuffers(NamedTuple):
    """Where `fold_rows` writes encoded states: fixed columns plus ragged ones with offsets."""

    customer: Ints  # (R,)
    time: Floats  # (R,)
    last_seq: Ints  # (R,)
    products_changed: NDArray[np.bool_]  # (R,) whether the product part differs from the row before
    scalars: Floats  # (R, S)
    channels: Floats  # (R, channels * CHANNEL_WIDTH)
    pair_end: Ints  # (R,) end offset into pair_codes / pair_stats
    pair_codes: NDArray[np.int32]
    pair_stats: Floats  # (M, PAIR_WIDTH)
    contact_end: Ints
    contacts: Floats  # (M, 2)
    hour_end: Ints
    hour_bins: NDArray[np.int32]
    hour_weights: Floats
    seq_end: Ints
    seq_product: Ints
    seq_event: NDArray[np.int32]
    seq_time: Floats
    seq_value: NDArray[np.float32]
    habit_end: Ints
    habit_codes: Ints
    habits: Floats  # (M, HABIT_WIDTH)
    cart_end: Ints
    cart_codes: Ints
    cart: Floats  # (M, CART_WIDTH)


def new_scratch() -> Scratch:
    """The state of a customer of whom nothing is known."""
    scratch = Scratch(
        scalars=np.empty(len(SCALARS)),
        pairs=np.empty((N_CHANNELS * N_KINDS, PAIR_WIDTH)),
        touched=np.zeros(N_CHANNELS * N_KINDS, dtype=np.int64),
        channels=np.empty((N_CHANNELS, CHANNEL_WIDTH)),
        contacts=np.empty((N_CONTACTS, 2)),
        hours=np.empty(N_HOURS),
        seq_codes=np.empty((SEQUENCE_LENGTH, 2), dtype=np.int64),
        seq_floats=np.empty((SEQUENCE_LENGTH, 2)),
        habit_codes=np.empty(N_HABITS, dtype=np.int64),
        habits=np.empty((N_HABITS, HABIT_WIDTH)),
        habit_ranks=np.empty(N_HABITS),
        cart_codes=np.empty(N_CART, dtype=np.int64),
        cart=np.empty((N_CART, CART_WIDTH)),
        cursors=np.zeros(CURSOR_WIDTH, dtype=np.int64),
    )
    reset(scratch)
    return scratch


@njit(cache=True)
def reset(s: Any) -> None:
    """Forget everything: the state before the first event."""
    s.scalars[:] = _SCALAR_START
    for i in range(s.cursors[N_TOUCHED]):
        s.pairs[s.touched[i], :] = 0.0
        s.pairs[s.touched[i], PAIR_LAST] = np.nan
    if s.cursors[N_TOUCHED] == 0:
        s.pairs[:, :] = 0.0
        s.pairs[:, PAIR_LAST] = np.nan
    s.channels[:, CONSENT] = -1.0
    s.channels[:, UNANSWERED] = 0.0
    s.channels[:, LAST_CONTACT] = np.nan
    s.channels[:, LAST_RESPONSE] = np.nan
    s.hours[:] = 0.0
    s.cursors[:] = 0


@njit(cache=True)
def decay(elapsed_s: float, half_life_s: float) -> float:
    """What is left of 1 after `elapsed_s` seconds."""
    left: float = np.exp2(-elapsed_s / half_life_s)
    return left


@njit(cache=True)
def _count_pair(s: Any, pair: int, t: float, value: float) -> None:
    row = s.pairs[pair]
    if math.isnan(row[PAIR_LAST]):
        s.touched[s.cursors[N_TOUCHED]] = pair
        s.cursors[N_TOUCHED] += 1
        row[PAIR_LAST] = t
    elapsed = t - row[PAIR_LAST]
    row[PAIR_LAST] = t
    row[PAIR_TOTAL] += 1.0
    for h in range(N_HALF_LIVES):
        left = decay(elapsed, _HALF_LIVES_S[h]) if elapsed > 0.0 else 1.0
        row[PAIR_COUNTS + h] = row[PAIR_COUNTS + h] * left + 1.0
        row[PAIR_VALUES + h] *= left
        if not math.isnan(value):
            row[PAIR_VALUES + h] += value


@njit(cache=True)
def _note_action(s: Any, t: float) -> None:
    last = s.scalars[LAST_ACTION]
    s.scalars[LAST_ACTION] = t
    if not math.isnan(last) and t - last <= OCCASION_GAP_S:
        return
    s.scalars[N_ACTION_OCCASIONS] += 1.0
    hours_at = s.scalars[HOURS_AT]
    if not math.isnan(hours_at):
        s.hours[:] = s.hours * decay(t - hours_at, _HOUR_HALF_LIFE_S)
    s.scalars[HOURS_AT] = t
    # The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC.
    s.hours[(int(t // 3600.0) + 72) % N_HOURS] += 1.0


@njit(cache=True)
def _note_purchase(s: Any, t: float, value: float) -> None:
    x = s.scalars
    if math.isnan(x[FIRST_PURCHASE]):
        x[FIRST_PURCHASE] = t
    new_occasion = math.isnan(x[LAST_PURCHASE]) or t - x[LAST_PURCHASE] > OCCASION_GAP_S
    x[LAST_PURCHASE] = t
    if new_occasion:
        if not math.isnan(x[LAST_OCCASION]):
            elapsed = t - x[LAST_OCCASION]
            gap = elapsed / DAY_S
            x[N_GAPS] += 1.0
            mean = 0.0 if math.isnan(x[GAP_MEAN]) else x[GAP_MEAN]
            delta = gap - mean
            x[GAP_MEAN] = mean + delta / x[N_GAPS]
            x[GAP_M2] += delta * (gap - x[GAP_MEAN])
            x[LAST_GAP] = gap
            x[PREVIOUS_OCCASION_VALUE] = x[OCCASION_VALUE]
            for h in range(N_HALF_LIVES):
                x[OCCASIONS + h] *= decay(elapsed, _HALF_LIVES_S[h])
        for h in range(N_HALF_LIVES):
            x[OCCASIONS + h] += 1.0
        x[LAST_OCCASION] = t
        x[N_OCCASIONS] += 1.0
        x[OCCASION_VALUE] = 0.0
    if not math.isnan(value):
        x[OCCASION_VALUE] += value


@njit(cache=True)
def rank_habit(s: Any, i: int) -> None:
    """Renew the rank of habit `i`: ranks compare decayed weights without decaying them."""
    s.habit_ranks[i] = math.log2(s.habits[i, HABIT_WEIGHT]) + s.habits[i, HABIT_LAST] / _HABIT_HALF_LIFE_S


@njit(cache=True)
def _note_habit(s: Any, t: float, product: int) -> None:
    n = s.cursors[N_HABIT]
    for i in range(n):
        if s.habit_codes[i] == product:
            row = s.habits[i]
            elapsed = t - row[HABIT_LAST]
            row[HABIT_WEIGHT] = row[HABIT_WEIGHT] * decay(elapsed, _HABIT_HALF_LIFE_S) + 1.0
            row[HABIT_SPAN] += elapsed / DAY_S
            row[HABIT_COUNT] += 1.0 if elapsed > 0.0 else 0.0
            row[HABIT_LAST] = t
            rank_habit(s, i)
            return
    slot = n
    if n < N_HABITS:
        s.cursors[N_HABIT] = n + 1
    else:
        # The table is full: the product whose weight has decayed most makes room.
        slot = np.argmin(s.habit_ranks)
    s.habit_codes[slot] = product
    s.habits[slot, HABIT_WEIGHT] = 1.0
    s.habits[slot, HABIT_LAST] = t
    s.habits[slot, HABIT_SPAN] = 0.0
    s.habits[slot, HABIT_COUNT] = 1.0
    rank_habit(s, slot)


@njit(cache=True)
def _drop_from_cart(s: Any, product: int) -> None:
    n = s.cursors[N_IN_CART]
    for i in range(n):
        if s.cart_codes[i] == product:
            for j in range(i, n - 1):
                s.cart_codes[j] = s.cart_codes[j + 1]
                s.cart[j, :] = s.cart[j + 1, :]
            s.cursors[N_IN_CART] = n - 1
            return


@njit(cache=True)
def _put_in_cart(s: Any, t: float, channel: int, product: int, quantity: float) -> None:
    units = 1.0 if math.isnan(quantity) else quantity
    for i in range(s.cursors[N_IN_CART]):
        if s.cart_codes[i] == product:
            units += s.cart[i, CART_QUANTITY]
            _drop_from_cart(s, product)
            break
    if s.cursors[N_IN_CART] == N_CART:
        _drop_from_cart(s, s.cart_codes[0])
    slot = s.cursors[N_IN_CART]
    s.cart_codes[slot] = product
    s.cart[slot, CART_CHANNEL] = channel
    s.cart[slot, CART_QUANTITY] = units
    s.cart[slot, CART_TIME] = t
    s.cursors[N_IN_CART] = slot + 1


@njit(cache=True)
def _remember(s: Any, t: float, kind: int, channel: int, product: int, value: float) -> None:
    head = s.cursors[SEQ_HEAD]
    s.seq_codes[head, 0] = product
    s.seq_codes[head, 1] = kind * EVENT_CODE_BASE + channel
    s.seq_floats[head, 0] = t
    s.seq_floats[head, 1] = value
    s.cursors[SEQ_HEAD] = (head + 1) % SEQUENCE_LENGTH
    s.cursors[N_SEQ] = min(s.cursors[N_SEQ] + 1, SEQUENCE_LENGTH)


@njit(cache=True)
def _note_contact(s: Any, t: float, channel: int) -> None:
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    head = s.cursors[CONTACT_HEAD]
    s.contacts[head, 0] = channel
    s.contacts[head, 1] = t
    s.cursors[CONTACT_HEAD] = (head + 1) % N_CONTACTS
    s.cursors[N_CONTACT] = min(s.cursors[N_CONTACT] + 1, N_CONTACTS)


@njit(cache=True)
def tells_something(kind: int, detail: float) -> bool:
    """Whether an event is about the customer, as opposed to our own records of them: only then it changes a state."""
    told: bool = not (_IS_BOOKKEEPING[kind] or (kind == _PROFILE and math.isnan(detail)))
    return told


@njit(cache=True)
def telling(e: Any) -> Any:
    """`tells_something` of every event, shape (m,)."""
    told = np.empty(len(e.kind), dtype=np.bool_)
    for i in range(len(told)):
        told[i] = tells_something(e.kind[i], e.detail[i])
    return told


@njit(cache=True)
def _note_profile(s: Any, detail: float) -> None:
    answers = np.int64(detail)
    for channel in range(N_CHANNELS):
        answer = answers >> BITS_PER_ANSWER * channel & 3
        if answer == YES:
            s.channels[channel, CONSENT] = 1.0
        elif answer == NO:
            s.channels[channel, CONSENT] = 0.0
    answer = answers >> PROFILING_SHIFT & 3
    if answer == YES:
        s.scalars[PROFILING] = 1.0
    elif answer == NO:
        s.scalars[PROFILING] = 0.0


@njit(cache=True)
def _note_rating(s: Any, rating: float) -> None:
    x = s.scalars
    x[N_RATINGS] += 1.0
    mean = 0.0 if math.isnan(x[RATING_MEAN]) else x[RATING_MEAN]
    x[RATING_MEAN] = mean + (rating - mean) / x[N_RATINGS]
    x[LAST_RATING] = rating


@njit(cache=True)
def apply_event(
    s: Any, t: float, kind: int, channel: int, product: int, quantity: float, value: float, seq: int, detail: float
) -> bool:
    """Fold one event, not older than the state, into `s`; returns whether the product part changed."""
    s.cursors[LAST_SEQ] = max(s.cursors[LAST_SEQ], seq)
    if not tells_something(kind, detail):
        return False
    if math.isnan(s.scalars[FIRST_SEEN]):
        s.scalars[FIRST_SEEN] = t
    s.scalars[LAST_EVENT] = t
    _count_pair(s, channel * N_KINDS + kind, t, value)
    if _IS_ACTION[kind]:
        _note_action(s, t)
    if _IS_RESPONSE[kind]:
        s.channels[channel, UNANSWERED] = 0.0
        s.channels[channel, LAST_RESPONSE] = t
    elif kind == _SEND:
        _note_contact(s, t, channel)
    elif kind == _SUBSCRIBE:
        s.channels[channel, CONSENT] = 1.0
    elif kind == _UNSUBSCRIBE:
        s.channels[channel, CONSENT] = 0.0
    elif kind == _PURCHASE:
        _note_purchase(s, t, value)
    elif kind == _PROFILE:
        _note_profile(s, detail)
    elif kind == _FEEDBACK and not math.isnan(detail):
        _note_rating(s, detail)
    if product == 0 or not _IS_PRODUCT[kind]:
        return False
    _remember(s, t, kind, channel, product, value)
    if kind == _PURCHASE:
        _note_habit(s, t, product)
        _drop_from_cart(s, product)
    elif kind == _ADD:
        _put_in_cart(s, t, channel, product, quantity)
    elif kind == _REMOVE:
        _drop_from_cart(s, product)
    return True


@njit(cache=True)
def rank_habits(s: Any) -> None:
    """Derive the ranks of all habits of a state that was read back."""
    for i in range(s.cursors[N_HABIT]):
        rank_habit(s, i)


@njit(cache=True)
def apply_events(s: Any, e: Any, start: int, stop: int) -> None:
    """Fold events `start:stop`, which are in order and not older than the state."""
    for i in range(start, stop):
        apply_event(
            s, e.time[i], e.kind[i], e.channel[i], e.product[i], e.quantity[i], e.value[i], e.seq[i], e.detail[i]
        )


@njit(cache=True)
def _ends(b: Any, row: int) -> Any:
    """Offsets at which the ragged parts of `row` begin."""
    if row == 0:
        return 0, 0, 0, 0, 0, 0
    r = row - 1
    return b.pair_end[r], b.contact_end[r], b.hour_end[r], b.seq_end[r], b.habit_end[r], b.cart_end[r]


@njit(cache=True)
def write_row(s: Any, b: Any, row: int, customer: int, t: float, products_changed: bool) -> None:
    """Encode the scratch state as row `row` of the buffers."""
    pair, contact, hour, seq, habit, cart = _ends(b, row)
    b.customer[row] = customer
    b.time[row] = t
    b.last_seq[row] = s.cursors[LAST_SEQ]
    b.products_changed[row] = products_changed
    b.scalars[row, :] = s.scalars
    for c in range(N_CHANNELS):
        for k in range(CHANNEL_WIDTH):
            b.channels[row, c * CHANNEL_WIDTH + k] = s.channels[c, k]
    for i in range(s.cursors[N_TOUCHED]):
        b.pair_codes[pair] = s.touched[i]
        b.pair_stats[pair, :] = s.pairs[s.touched[i], :]
        pair += 1
    for i in range(s.cursors[N_CONTACT]):
        b.contacts[contact, :] = s.contacts[(s.cursors[CONTACT_HEAD] - s.cursors[N_CONTACT] + i) % N_CONTACTS, :]
        contact += 1
    for i in range(N_HOURS):
        if s.hours[i] > 0.0:
            b.hour_bins[hour] = i
            b.hour_weights[hour] = s.hours[i]
            hour += 1
    if products_changed:
        for i in range(s.cursors[N_SEQ]):
            at = (s.cursors[SEQ_HEAD] - s.cursors[N_SEQ] + i) % SEQUENCE_LENGTH
            b.seq_product[seq] = s.seq_codes[at, 0]
            b.seq_event[seq] = s.seq_codes[at, 1]
            b.seq_time[seq] = s.seq_floats[at, 0]
            b.seq_value[seq] = s.seq_floats[at, 1]
            seq += 1
        for i in range(s.cursors[N_HABIT]):
            b.habit_codes[habit] = s.habit_codes[i]
            b.habits[habit, :] = s.habits[i, :]
            habit += 1
    for i in range(s.cursors[N_IN_CART]):
        b.cart_codes[cart] = s.cart_codes[i]
        b.cart[cart, :] = s.cart[i, :]
        cart += 1
    b.pair_end[row] = pair
    b.contact_end[row] = contact
    b.hour_end[row] = hour
    b.seq_end[row] = seq
    b.habit_end[row] = habit
    b.cart_end[row] = cart


@njit(cache=True)
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


@njit(cache=True)
def fold_rows(s: Any, e: Any, customers: Any, written: Any, start: int, b: Any) -> Any:
    """Fold customer-sorted events from `start` until the buffers are full or the events end.

    `customers` holds each event's customer row number. A state row is written after the last event of every distinct
    (customer, time); not where `written`, the same for all events of a moment, is UNWRITTEN, and where it is REWRITTEN
    even if nothing was told. Returns (next event, rows written); the scratch carries over, so the next call goes on there.
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
        anew = written[i] == REWRITTEN and not math.isnan(s.scalars[FIRST_SEEN])
        if anew or (behaved and written[i] != UNWRITTEN):
            write_row(s, b, row, customers[i], e.time[i], changed or anew)
            row += 1
        i = j
    return i, row
