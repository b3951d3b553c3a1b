"""The fold, compiled: scratch arrays of one customer and one event in, the same arrays after the event out.

`apply_event` is the only place where an event changes a state. fold_rows.py runs it over customer-sorted events and writes
a row after every distinct moment; a live event runs it once. Both therefore compute the same bits.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.details import (
    BITS_PER_ANSWER,
    NO,
    NO_PREFERENCE,
    PLACED_KINDS,
    PREFERENCE_SHIFT,
    PROFILING_SHIFT,
    YES,
)
from features.fold_compile import compiled, inlined
from features.fold_layout import (
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CART_WIDTH,
    CHANNEL_WIDTH,
    CONSENT,
    CONTACT_HEAD,
    COUNTERS,
    CURSOR_WIDTH,
    DAY_S,
    EVENT_CODE_BASE,
    FIRST_PURCHASE,
    FIRST_SEEN,
    GAP_M2,
    GAP_MEAN,
    HABIT_COUNT,
    HABIT_HALF_LIFE_DAYS,
    HABIT_LAST,
    HABIT_SPAN,
    HABIT_WEIGHT,
    HABIT_WIDTH,
    HOUR_HALF_LIFE_DAYS,
    HOURS_FROM,
    LAST_ACTION,
    LAST_CONTACT,
    LAST_EVENT,
    LAST_GAP,
    LAST_OCCASION,
    LAST_PURCHASE,
    LAST_RATING,
    LAST_RESPONSE,
    LAST_SEQ,
    LAST_STORE,
    N_ACTION_OCCASIONS,
    N_CART,
    N_CHANNELS,
    N_CONTACT,
    N_CONTACTS,
    N_GAPS,
    N_HABIT,
    N_HABITS,
    N_HALF_LIVES,
    N_HOURS,
    N_HOURS_USED,
    N_IN_CART,
    N_KINDS,
    N_OCCASIONS,
    N_PAIRS,
    N_RATINGS,
    N_SEQ,
    OCCASION_GAP_S,
    OCCASION_VALUE,
    OCCASIONS,
    PAIR_COUNTS,
    PAIR_LAST,
    PAIR_TOTAL,
    PAIR_VALUES,
    PAIR_WIDTH,
    PREFERRED_CHANNEL,
    PREVIOUS_OCCASION_VALUE,
    PROFILING,
    RATING_MEAN,
    SCALARS,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    UNANSWERED,
    Scratch,
)
from features.vocabulary import (
    CUSTOMER_KINDS,
    HALF_LIVES_DAYS,
    KIND_CODES,
    PRODUCT_KINDS,
    RESPONSE_KINDS,
    EventKind,
)

_SCALAR_START: Final = np.array([0.0 if name in COUNTERS else np.nan for name in SCALARS])
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
_IS_PLACED: Final = _kind_mask(PLACED_KINDS)
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


@compiled
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


@inlined
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


@inlined
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


@inlined
def _note_action(s: Any, t: float) -> None:
    last = s.scalars[LAST_ACTION]
    s.scalars[LAST_ACTION] = t
    if not math.isnan(last) and t - last <= OCCASION_GAP_S:
        return
    s.scalars[N_ACTION_OCCASIONS] += 1.0
    # The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC.
    _note_hour(s, t, (int(t // 3600.0) + 72) % N_HOURS)


@inlined
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


@inlined
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


@inlined
def rank_habit(s: Any, i: int) -> None:
    """Renew the rank of habit `i`: ranks compare decayed weights without decaying them."""
    s.habit_ranks[i] = math.log2(s.habits[i, HABIT_WEIGHT]) + s.habits[i, HABIT_LAST] * _PER_HABIT_HALF_LIFE


@inlined
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


@inlined
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


@inlined
def _take_from_cart(s: Any, product: int, quantity: float) -> None:
    """Units that were taken out; all of them where the event does not say how many."""
    for i in range(s.cursors[N_IN_CART]):
        if s.cart_codes[i] == product and quantity < s.cart[i, CART_QUANTITY]:
            s.cart[i, CART_QUANTITY] -= quantity
            return
    _drop_from_cart(s, product)


@inlined
def _drop_from_cart(s: Any, product: int) -> None:
    n = s.cursors[N_IN_CART]
    for i in range(n):
        if s.cart_codes[i] == product:
            for j in range(i, n - 1):
                s.cart_codes[j] = s.cart_codes[j + 1]
                s.cart[j, :] = s.cart[j + 1, :]
            s.cursors[N_IN_CART] = n - 1
            return


@inlined
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


@inlined
def _remember(s: Any, t: float, kind: int, channel: int, product: int, value: float) -> None:
    head = s.cursors[SEQ_HEAD]
    s.seq_product[head] = product
    s.seq_event[head] = kind * EVENT_CODE_BASE + channel
    s.seq_time[head] = t
    s.seq_value[head] = value
    s.cursors[SEQ_HEAD] = (head + 1) % SEQUENCE_LENGTH
    s.cursors[N_SEQ] = min(s.cursors[N_SEQ] + 1, SEQUENCE_LENGTH)


@inlined
def _note_contact(s: Any, t: float, channel: int) -> None:
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    head = s.cursors[CONTACT_HEAD]
    s.contacts[head, 0] = channel
    s.contacts[head, 1] = t
    s.cursors[CONTACT_HEAD] = (head + 1) % N_CONTACTS
    s.cursors[N_CONTACT] = min(s.cursors[N_CONTACT] + 1, N_CONTACTS)


@inlined
def tells_something(kind: int, detail: float) -> bool:
    """Whether an event is about the customer, as opposed to our own records of them: only then it changes a state."""
    told: bool = not (_IS_BOOKKEEPING[kind] or (kind == _PROFILE and math.isnan(detail)))
    return told


@compiled
def telling(e: Any) -> Any:
    """`tells_something` of every event, shape (m,)."""
    told = np.empty(len(e.kind), dtype=np.bool_)
    for i in range(len(told)):
        told[i] = tells_something(e.kind[i], e.detail[i])
    return told


@inlined
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


@inlined
def _note_rating(s: Any, rating: float) -> None:
    x = s.scalars
    x[N_RATINGS] += 1.0
    mean = 0.0 if math.isnan(x[RATING_MEAN]) else x[RATING_MEAN]
    x[RATING_MEAN] = mean + (rating - mean) / x[N_RATINGS]
    x[LAST_RATING] = rating


@inlined
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
        if _IS_PLACED[kind] and not math.isnan(detail):
            s.scalars[LAST_STORE] = detail
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


@compiled
def rank_habits(s: Any) -> None:
    """Derive the ranks of all habits of a state that was read back."""
    for i in range(s.cursors[N_HABIT]):
        rank_habit(s, i)


@compiled
def apply_events(s: Any, e: Any, start: int, stop: int) -> None:
    """Fold events `start:stop`, which are in order and not older than the state."""
    for i in range(start, stop):
        apply_event(
            s, e.time[i], e.kind[i], e.channel[i], e.product[i], e.quantity[i], e.value[i], e.seq[i], e.detail[i]
        )
