"""The fold, compiled: scratch arrays of one customer and one event in, the same arrays after the event out.

`apply_event` is the only place where an event changes a state. `fold_rows` runs it over customer-sorted events and writes
a row after every distinct moment; a live event runs it once. Both therefore compute the same bits.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from numba import config as numba_config
from numba import njit
from numpy.typing import NDArray

from features.details import BITS_PER_ANSWER, NO, NO_PREFERENCE, PREFERENCE_SHIFT, PROFILING_SHIFT, YES
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

_Function = TypeVar("_Function", bound=Callable[..., Any])
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
    "hours_from",
    *(f"occasions_{half_life:g}d" for half_life in HALF_LIVES_DAYS),
    "profiling",
    "n_ratings",
    "rating_mean",
    "last_rating",
    "preferred_channel",
)
"""Names of the scalar part of a state. Times are seconds since the epoch; NaN means never (or, of profiling and
the preferred channel, a channel's code: not said)."""
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
    HOURS_FROM,
    OCCASIONS,
) = range(16)
PROFILING, N_RATINGS, RATING_MEAN, LAST_RATING, PREFERRED_CHANNEL = range(
    OCCASIONS + N_HALF_LIVES, OCCASIONS + N_HALF_LIVES + 5
)
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
N_PAIRS, N_CONTACT, CONTACT_HEAD, N_SEQ, SEQ_HEAD, N_HABIT, N_IN_CART, LAST_SEQ, N_HOURS_USED = range(9)
CURSOR_WIDTH: Final = 9
UNWRITTEN, WRITTEN, REWRITTEN = range(3)
"""Whether a moment gets a state row: no, as it is told of behaviour, or in any case, because the past before it is another."""
EVENT_CODE_BASE: Final = 16
"""A sequence's event code is kind * 16 + channel."""

_PER_HALF_LIFE: Final = 1.0 / (np.array(HALF_LIVES_DAYS) * DAY_S)
_PER_HABIT_HALF_LIFE: Final = 1.0 / (HABIT_HALF_LIFE_DAYS * DAY_S)
_PER_HOUR_HALF_LIFE: Final = 1.0 / (HOUR_HALF_LIFE_DAYS * DAY_S)
_FINE: Final = 256
_FINE_POWERS: Final = np.exp2(-np.arange(_FINE) / _FINE)
_WHOLE_POWERS: Final = np.exp2(-np.arange(1_100.0))
_LN_STEP: Final = math.log(2.0) / _FINE
_MAX_HOUR_SCALE: Final = 256.0
"""Half-lives after which the weights of the hours are brought to a new moment, long before they overflow."""


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
_RETURN: Final = KIND_CODES[EventKind.RETURN]
_SEND: Final = KIND_CODES[EventKind.SEND]
_SUBSCRIBE: Final = KIND_CODES[EventKind.SUBSCRIBE]
_UNSUBSCRIBE: Final = KIND_CODES[EventKind.UNSUBSCRIBE]
_PROFILE: Final = KIND_CODES[EventKind.PROFILE]
_FEEDBACK: Final = KIND_CODES[EventKind.FEEDBACK]


def _sources_digest() -> str:
    """Of the files whose words and numbers are compiled in: numba looks at the date of this file only."""
    sources = (
        Path(__file__).with_name(name).read_bytes() for name in ("vocabulary.py", "details.py", "fold_kernel.py")
    )
    return hashlib.sha256(b"".join(sources)).hexdigest()[:16]


# A channel that is added to the vocabulary must not meet code that was compiled for one channel less.
numba_config.CACHE_DIR = str(Path(__file__).parent / "__pycache__" / f"fold-{_sources_digest()}")  # type: ignore[attr-defined]


def _compiled(function: _Function) -> _Function:
    return cast(_Function, njit(cache=True)(function))


def _part(function: _Function) -> _Function:
    """Compile into the callers: a call hands over dozens of pointers, and costs more than most parts' work."""
    return cast(_Function, njit(cache=True, forceinline=True)(function))


class Scratch(NamedTuple):
    """The dense state of one customer, as the kernel works on it."""

    scalars: Floats  # (S,)
    pair_slots: Ints  # (channels * kinds,) row of a pair in the next two; -1 while it never happened
    pair_codes: NDArray[np.int32]  # (channels * kinds,) in order of first use
    pairs: Floats  # (channels * kinds, PAIR_WIDTH)
    channels: Floats  # (channels, CHANNEL_WIDTH)
    contacts: Floats  # (N_CONTACTS, 2) ring of (channel, time)
    hour_slots: Ints  # (168,) row of an hour in the next two; -1 while it has no weight
    hour_bins: NDArray[np.int32]  # (168,) in order of first use
    hour_weights: Floats  # (168,) as of HOURS_FROM
    seq_product: Ints  # (SEQUENCE_LENGTH,) ring, as the next three
    seq_event: NDArray[np.int32]
    seq_time: Floats
    seq_value: NDArray[np.float32]
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
    written: NDArray[np.int8]  # whether the moment gets a state row: UNWRITTEN, WRITTEN or REWRITTEN


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
        pair_slots=np.full(N_CHANNELS * N_KINDS, -1),
        pair_codes=np.empty(N_CHANNELS * N_KINDS, dtype=np.int32),
        pairs=np.empty((N_CHANNELS * N_KINDS, PAIR_WIDTH)),
        channels=np.empty((N_CHANNELS, CHANNEL_WIDTH)),
        contacts=np.empty((N_CONTACTS, 2)),
        hour_slots=np.full(N_HOURS, -1),
        hour_bins=np.empty(N_HOURS, dtype=np.int32),
        hour_weights=np.empty(N_HOURS),
        seq_product=np.empty(SEQUENCE_LENGTH, dtype=np.int64),
        seq_event=np.empty(SEQUENCE_LENGTH, dtype=np.int32),
        seq_time=np.empty(SEQUENCE_LENGTH),
        seq_value=np.empty(SEQUENCE_LENGTH, dtype=np.float32),
        habit_codes=np.empty(N_HABITS, dtype=np.int64),
        habits=np.empty((N_HABITS, HABIT_WIDTH)),
        habit_ranks=np.empty(N_HABITS),
        cart_codes=np.empty(N_CART, dtype=np.int64),
        cart=np.empty((N_CART, CART_WIDTH)),
        cursors=np.zeros(CURSOR_WIDTH, dtype=np.int64),
    )
    reset(scratch)
    return scratch


@_compiled
def reset(s: Any) -> None:
    """Forget everything: the state before the first event."""
    s.scalars[:] = _SCALAR_START
    s.pair_slots[:] = -1
    s.hour_slots[:] = -1
    s.channels[:, CONSENT] = -1.0
    s.channels[:, UNANSWERED] = 0.0
    s.channels[:, LAST_CONTACT] = np.nan
    s.channels[:, LAST_RESPONSE] = np.nan
    s.cursors[:] = 0


@_part
def decay(half_lives: float) -> float:
    """2 to the minus `half_lives`, which is not negative: what is left of 1.

    Two looked-up powers times a short series, within 1e-15 of the exact value: a third of the time of `exp2`.
    """
    steps = half_lives * _FINE
    if steps >= 1_080.0 * _FINE:
        return 0.0
    whole = np.int64(steps + 0.5)
    z = (steps - whole) * _LN_STEP
    series = 1.0 - z * (1.0 - z * (0.5 - z * (1.0 / 6.0 - z / 24.0)))
    left: float = _WHOLE_POWERS[whole >> 8] * _FINE_POWERS[whole & 255] * series
    return left


@_part
def _count_pair(s: Any, pair: int, t: float, value: float) -> None:
    slot = s.pair_slots[pair]
    if slot < 0:
        slot = s.cursors[N_PAIRS]
        s.cursors[N_PAIRS] = slot + 1
        s.pair_slots[pair] = slot
        s.pair_codes[slot] = pair
        s.pairs[slot, :] = 0.0
        s.pairs[slot, PAIR_LAST] = t
    row = s.pairs[slot]
    elapsed = t - row[PAIR_LAST]
    row[PAIR_LAST] = t
    row[PAIR_TOTAL] += 1.0
    if elapsed > 0.0:
        for h in range(N_HALF_LIVES):
            left = decay(elapsed * _PER_HALF_LIFE[h])
            row[PAIR_COUNTS + h] *= left
            row[PAIR_VALUES + h] *= left
    for h in range(N_HALF_LIVES):
        row[PAIR_COUNTS + h] += 1.0
    if not math.isnan(value):
        for h in range(N_HALF_LIVES):
            row[PAIR_VALUES + h] += value


@_part
def _note_action(s: Any, t: float) -> None:
    last = s.scalars[LAST_ACTION]
    s.scalars[LAST_ACTION] = t
    if not math.isnan(last) and t - last <= OCCASION_GAP_S:
        return
    s.scalars[N_ACTION_OCCASIONS] += 1.0
    # The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC.
    _note_hour(s, t, (int(t // 3600.0) + 72) % N_HOURS)


@_part
def _note_hour(s: Any, t: float, hour: int) -> None:
    """Add 1 to the hour as of `t`. Nothing is decayed: later weights are larger instead, all as of HOURS_FROM."""
    if math.isnan(s.scalars[HOURS_FROM]):
        s.scalars[HOURS_FROM] = t
    later = (t - s.scalars[HOURS_FROM]) * _PER_HOUR_HALF_LIFE
    if later > _MAX_HOUR_SCALE:
        for i in range(s.cursors[N_HOURS_USED]):
            s.hour_weights[i] *= decay(later)
        s.scalars[HOURS_FROM] = t
        later = 0.0
    slot = s.hour_slots[hour]
    if slot < 0:
        slot = s.cursors[N_HOURS_USED]
        s.cursors[N_HOURS_USED] = slot + 1
        s.hour_slots[hour] = slot
        s.hour_bins[slot] = hour
        s.hour_weights[slot] = 0.0
    s.hour_weights[slot] += 1.0 / decay(later)


@_part
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
                x[OCCASIONS + h] *= decay(elapsed * _PER_HALF_LIFE[h])
        for h in range(N_HALF_LIVES):
            x[OCCASIONS + h] += 1.0
        x[LAST_OCCASION] = t
        x[N_OCCASIONS] += 1.0
        x[OCCASION_VALUE] = 0.0
    if not math.isnan(value):
        x[OCCASION_VALUE] += value


@_part
def rank_habit(s: Any, i: int) -> None:
    """Renew the rank of habit `i`: ranks compare decayed weights without decaying them."""
    s.habit_ranks[i] = math.log2(s.habits[i, HABIT_WEIGHT]) + s.habits[i, HABIT_LAST] * _PER_HABIT_HALF_LIFE


@_part
def _note_habit(s: Any, t: float, product: int) -> None:
    n = s.cursors[N_HABIT]
    for i in range(n):
        if s.habit_codes[i] == product:
            row = s.habits[i]
            elapsed = t - row[HABIT_LAST]
            row[HABIT_WEIGHT] = row[HABIT_WEIGHT] * decay(elapsed * _PER_HABIT_HALF_LIFE) + 1.0
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


@_part
def _undo_habit(s: Any, product: int) -> None:
    """A returned product: its last purchase, which weighs 1, does not count; one that was bought once is no habit."""
    n = s.cursors[N_HABIT]
    for i in range(n):
        if s.habit_codes[i] == product:
            s.habits[i, HABIT_WEIGHT] -= 1.0
            s.habits[i, HABIT_COUNT] -= 1.0
            if s.habits[i, HABIT_COUNT] > 0.0 and s.habits[i, HABIT_WEIGHT] > 0.0:
                rank_habit(s, i)
                return
            s.habit_codes[i] = s.habit_codes[n - 1]
            s.habits[i, :] = s.habits[n - 1, :]
            s.habit_ranks[i] = s.habit_ranks[n - 1]
            s.cursors[N_HABIT] = n - 1
            return


@_part
def _take_from_cart(s: Any, product: int, quantity: float) -> None:
    """Units that were taken out; all of them where the event does not say how many."""
    for i in range(s.cursors[N_IN_CART]):
        if s.cart_codes[i] == product and quantity < s.cart[i, CART_QUANTITY]:
            s.cart[i, CART_QUANTITY] -= quantity
            return
    _drop_from_cart(s, product)


@_part
def _drop_from_cart(s: Any, product: int) -> None:
    n = s.cursors[N_IN_CART]
    for i in range(n):
        if s.cart_codes[i] == product:
            for j in range(i, n - 1):
                s.cart_codes[j] = s.cart_codes[j + 1]
                s.cart[j, :] = s.cart[j + 1, :]
            s.cursors[N_IN_CART] = n - 1
            return


@_part
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


@_part
def _remember(s: Any, t: float, kind: int, channel: int, product: int, value: float) -> None:
    head = s.cursors[SEQ_HEAD]
    s.seq_product[head] = product
    s.seq_event[head] = kind * EVENT_CODE_BASE + channel
    s.seq_time[head] = t
    s.seq_value[head] = value
    s.cursors[SEQ_HEAD] = (head + 1) % SEQUENCE_LENGTH
    s.cursors[N_SEQ] = min(s.cursors[N_SEQ] + 1, SEQUENCE_LENGTH)


@_part
def _note_contact(s: Any, t: float, channel: int) -> None:
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    head = s.cursors[CONTACT_HEAD]
    s.contacts[head, 0] = channel
    s.contacts[head, 1] = t
    s.cursors[CONTACT_HEAD] = (head + 1) % N_CONTACTS
    s.cursors[N_CONTACT] = min(s.cursors[N_CONTACT] + 1, N_CONTACTS)


@_part
def tells_something(kind: int, detail: float) -> bool:
    """Whether an event is about the customer, as opposed to our own records of them: only then it changes a state."""
    told: bool = not (_IS_BOOKKEEPING[kind] or (kind == _PROFILE and math.isnan(detail)))
    return told


@_compiled
def telling(e: Any) -> Any:
    """`tells_something` of every event, shape (m,)."""
    told = np.empty(len(e.kind), dtype=np.bool_)
    for i in range(len(told)):
        told[i] = tells_something(e.kind[i], e.detail[i])
    return told


@_part
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
    preferred = answers >> PREFERENCE_SHIFT & 15
    if preferred == NO_PREFERENCE:
        s.scalars[PREFERRED_CHANNEL] = np.nan
    elif preferred > 0:
        s.scalars[PREFERRED_CHANNEL] = preferred - 1


@_part
def _note_rating(s: Any, rating: float) -> None:
    x = s.scalars
    x[N_RATINGS] += 1.0
    mean = 0.0 if math.isnan(x[RATING_MEAN]) else x[RATING_MEAN]
    x[RATING_MEAN] = mean + (rating - mean) / x[N_RATINGS]
    x[LAST_RATING] = rating


@_part
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
        _take_from_cart(s, product, quantity)
    elif kind == _RETURN:
        _undo_habit(s, product)
    return True


@_compiled
def rank_habits(s: Any) -> None:
    """Derive the ranks of all habits of a state that was read back."""
    for i in range(s.cursors[N_HABIT]):
        rank_habit(s, i)


@_compiled
def apply_events(s: Any, e: Any, start: int, stop: int) -> None:
    """Fold events `start:stop`, which are in order and not older than the state."""
    for i in range(start, stop):
        apply_event(
            s, e.time[i], e.kind[i], e.channel[i], e.product[i], e.quantity[i], e.value[i], e.seq[i], e.detail[i]
        )


@_part
def _ends(b: Any, row: int) -> Any:
    """Offsets at which the ragged parts of `row` begin."""
    if row == 0:
        return 0, 0, 0, 0, 0, 0
    r = row - 1
    return b.pair_end[r], b.contact_end[r], b.hour_end[r], b.seq_end[r], b.habit_end[r], b.cart_end[r]


@_part
def _copy(target: Any, at: int, source: Any, start: int, n: int) -> None:
    for i in range(np.uint64(n)):
        target[np.uint64(at) + i] = source[np.uint64(start) + i]


@_compiled
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


@_part
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


@_compiled
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


@_compiled
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
