"""One part of a state and what happened in, that part afterwards out: pairs, hours, purchases, habits, cart, contacts, wishes.

Compiled into the kernel (kernel.py), which decides which parts an event is for.
"""

import math
from typing import Any, Final

import numpy as np

from features.events.payload import (
    BITS_PER_ANSWER,
    NO,
    NO_PREFERENCE,
    PREFERENCE_SHIFT,
    PROFILING_SHIFT,
    YES,
)
from features.state.jit import inlined
from features.state.layout import (
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CONSENT,
    CONTACT_HEAD,
    CONTRACT_ENDED,
    CONTRACT_ENDS,
    CONTRACT_SINCE,
    CONTRACT_VALUE,
    EVENT_CODE_BASE,
    FIRST_PURCHASE,
    GAP_M2,
    GAP_MEAN,
    HABIT_COUNT,
    HABIT_HALF_LIFE_DAYS,
    HABIT_LAST,
    HABIT_SPAN,
    HABIT_WEIGHT,
    HOUR_HALF_LIFE_DAYS,
    HOURS_FROM,
    LAST_ACTION,
    LAST_CONTACT,
    LAST_GAP,
    LAST_OCCASION,
    LAST_PURCHASE,
    LAST_RATING,
    N_ACTION_OCCASIONS,
    N_CART,
    N_CHANNELS,
    N_CONTACT,
    N_CONTACTS,
    N_CONTRACTS_OPENED,
    N_GAPS,
    N_HABIT,
    N_HABITS,
    N_HALF_LIVES,
    N_HOURS,
    N_HOURS_USED,
    N_IN_CART,
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
    PREFERRED_CHANNEL,
    PREVIOUS_OCCASION_VALUE,
    PROFILING,
    RATING_MEAN,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    UNANSWERED,
)
from features.vocabulary import DAY_S, HALF_LIVES_DAYS

_PER_HALF_LIFE: Final = 1.0 / (np.array(HALF_LIVES_DAYS) * DAY_S)
_PER_HABIT_HALF_LIFE: Final = 1.0 / (HABIT_HALF_LIFE_DAYS * DAY_S)
_PER_HOUR_HALF_LIFE: Final = 1.0 / (HOUR_HALF_LIFE_DAYS * DAY_S)
_FINE: Final = 256
_FINE_POWERS: Final = np.exp2(-np.arange(_FINE) / _FINE)
_WHOLE_POWERS: Final = np.exp2(-np.arange(1_100.0))
_LN_STEP: Final = math.log(2.0) / _FINE
_MAX_HOUR_SCALE: Final = 256.0
"""Half-lives after which the weights of the hours are brought to a new moment, long before they overflow."""


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
def count_pair(s: Any, pair: int, t: float, value: float) -> None:
    """One more event of a (channel, kind) pair, with its value, in all half-lives."""
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
def note_action(s: Any, t: float) -> None:
    """The customer did something: the moment, and the hour of the week."""
    last = s.scalars[LAST_ACTION]
    s.scalars[LAST_ACTION] = t
    if not math.isnan(last) and t - last <= OCCASION_GAP_S:
        return
    s.scalars[N_ACTION_OCCASIONS] += 1.0
    # The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC.
    note_hour(s, t, (int(t // 3600.0) + 72) % N_HOURS)


@inlined
def note_hour(s: Any, t: float, hour: int) -> None:
    """Add 1 to the hour of the week as of `t`. Nothing is decayed: later weights are larger, all as of HOURS_FROM."""
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
def note_purchase(s: Any, t: float, value: float) -> None:
    """A line was bought: gaps between occasions, and their values."""
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
def note_habit(s: Any, t: float, product: int) -> None:
    """A product was bought: how often, since when and how regularly."""
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
def undo_habit(s: Any, product: int) -> None:
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
def take_from_cart(s: Any, product: int, quantity: float) -> None:
    """Units were taken out of the cart, all of them where the event does not say how many; an empty line goes."""
    for i in range(s.cursors[N_IN_CART]):
        if s.cart_codes[i] == product and quantity < s.cart[i, CART_QUANTITY]:
            s.cart[i, CART_QUANTITY] -= quantity
            return
    drop_from_cart(s, product)


@inlined
def drop_from_cart(s: Any, product: int) -> None:
    """A product is in the cart no longer."""
    n = s.cursors[N_IN_CART]
    for i in range(n):
        if s.cart_codes[i] == product:
            for j in range(i, n - 1):
                s.cart_codes[j] = s.cart_codes[j + 1]
                s.cart[j, :] = s.cart[j + 1, :]
            s.cursors[N_IN_CART] = n - 1
            return


@inlined
def put_in_cart(s: Any, t: float, channel: int, product: int, quantity: float) -> None:
    """Units were put in the cart; a full cart forgets the oldest line."""
    units = 1.0 if math.isnan(quantity) else quantity
    for i in range(s.cursors[N_IN_CART]):
        if s.cart_codes[i] == product:
            units += s.cart[i, CART_QUANTITY]
            drop_from_cart(s, product)
            break
    if s.cursors[N_IN_CART] == N_CART:
        drop_from_cart(s, s.cart_codes[0])
    slot = s.cursors[N_IN_CART]
    s.cart_codes[slot] = product
    s.cart[slot, CART_CHANNEL] = channel
    s.cart[slot, CART_QUANTITY] = units
    s.cart[slot, CART_TIME] = t
    s.cursors[N_IN_CART] = slot + 1


@inlined
def remember(s: Any, t: float, kind: int, channel: int, product: int, value: float) -> None:
    """The newest of the recent interactions; a full sequence forgets the oldest."""
    head = s.cursors[SEQ_HEAD]
    s.seq_product[head] = product
    s.seq_event[head] = kind * EVENT_CODE_BASE + channel
    s.seq_time[head] = t
    s.seq_value[head] = value
    s.cursors[SEQ_HEAD] = (head + 1) % SEQUENCE_LENGTH
    s.cursors[N_SEQ] = min(s.cursors[N_SEQ] + 1, SEQUENCE_LENGTH)


@inlined
def note_contact(s: Any, t: float, channel: int) -> None:
    """The customer was contacted: one more unanswered, and the time for caps."""
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    head = s.cursors[CONTACT_HEAD]
    s.contacts[head, 0] = channel
    s.contacts[head, 1] = t
    s.cursors[CONTACT_HEAD] = (head + 1) % N_CONTACTS
    s.cursors[N_CONTACT] = min(s.cursors[N_CONTACT] + 1, N_CONTACTS)


@inlined
def note_profile(s: Any, detail: float) -> None:
    """Consents and preferences as events/payload.py packs them."""
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
def note_rating(s: Any, rating: float) -> None:
    """A survey answer: the mean of all, and the latest."""
    x = s.scalars
    x[N_RATINGS] += 1.0
    mean = 0.0 if math.isnan(x[RATING_MEAN]) else x[RATING_MEAN]
    x[RATING_MEAN] = mean + (rating - mean) / x[N_RATINGS]
    x[LAST_RATING] = rating


@inlined
def note_contract(s: Any, t: float, value: float, ends: float) -> None:
    """A contract begins, or the running one is renewed or changed: then its beginning stays. `ends` is NaN for an open end."""
    x = s.scalars
    if x[CONTRACT_ENDS] <= t:  # never true of an open end
        end_contract(s, t)
    if math.isnan(x[CONTRACT_SINCE]):
        x[CONTRACT_SINCE] = t
    x[CONTRACT_VALUE] = value
    x[CONTRACT_ENDS] = ends
    x[N_CONTRACTS_OPENED] += 1.0


@inlined
def end_contract(s: Any, t: float) -> None:
    """The running contract ends now, or has ended at its term."""
    x = s.scalars
    x[CONTRACT_ENDED] = x[CONTRACT_ENDS] if x[CONTRACT_ENDS] <= t else t
    x[CONTRACT_SINCE] = np.nan
    x[CONTRACT_VALUE] = np.nan
    x[CONTRACT_ENDS] = np.nan
