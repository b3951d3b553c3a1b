"""What was done with products in; the rhythm of buying, habits, sequence and cart afterwards out. Compiled into the kernel."""

import math
from typing import Any, Final

import numpy as np

from features.state.jit import inlined
from features.state.kernel_parts import decay, single
from features.state.layout import (
    CART_CHANNEL,
    CART_QUANTITY,
    CART_TIME,
    CART_WIDTH,
    EVENT_CODE_BASE,
    FIRST_PURCHASE,
    FORGOTTEN_BITS,
    FORGOTTEN_UNTIL,
    GAP_M2,
    GAP_MEAN,
    HABIT_BEGAN,
    HABIT_COUNT,
    HABIT_EARLIER,
    HABIT_FIRST,
    HABIT_GAP_S,
    HABIT_HALF_LIFE_DAYS,
    HABIT_LAST,
    HABIT_OCCASIONS,
    HABIT_WEIGHT,
    LAST_GAP,
    LAST_OCCASION,
    LAST_PURCHASE,
    N_CART,
    N_GAPS,
    N_HABIT,
    N_HABITS,
    N_HALF_LIVES,
    N_IN_CART,
    N_OCCASIONS,
    N_SEQ,
    OCCASION_GAP_S,
    OCCASION_VALUE,
    OCCASIONS,
    PREVIOUS_OCCASION_VALUE,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
    TIME_UNIT,
    TIME_UNITS_US,
)
from features.vocabulary import DAY_S, HALF_LIVES_DAYS

_PER_HALF_LIFE: Final = 1.0 / (np.array(HALF_LIVES_DAYS) * DAY_S)
_N_PLACES: Final = 3
_PLACE_BITS: Final = FORGOTTEN_BITS.bit_length() - 1
_PER_HABIT_HALF_LIFE: Final = 1.0 / (HABIT_HALF_LIFE_DAYS * DAY_S)


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
def find_habit(s: Any, product: int) -> Any:
    """Where a product stands in the table of habits, -1 where it does not."""
    for i in range(s.cursors[N_HABIT]):
        if s.habit_codes[i] == product:
            return i
    return -1


@inlined
def note_forgotten(bits: Any, product: int) -> None:
    """Put a product into the filter. Its code is a hash already: three pieces of it are three places."""
    for k in range(_N_PLACES):
        place = product >> _PLACE_BITS * k & FORGOTTEN_BITS - 1
        bits[place >> 3] |= 1 << (place & 7)


def in_filter(bits: Any, product: int) -> bool:
    """Whether a product may be in the filter; False is certain."""
    for k in range(_N_PLACES):
        place = product >> _PLACE_BITS * k & FORGOTTEN_BITS - 1
        if not bits[place >> 3] >> (place & 7) & 1:
            return False
    return True


may_be_forgotten = inlined(in_filter)


@inlined
def note_habit(s: Any, t: float, product: int) -> Any:
    """A product was bought: how often, since when and how regularly; returns where it stands in the table."""
    slot = find_habit(s, product)
    if slot >= 0:
        row = s.habits[slot]
        elapsed = t - row[HABIT_LAST]
        row[HABIT_WEIGHT] = single(row[HABIT_WEIGHT] * decay(elapsed * _PER_HABIT_HALF_LIFE) + 1.0)
        row[HABIT_COUNT] += 1.0 if elapsed > 0.0 else 0.0
        if elapsed >= HABIT_GAP_S:
            row[HABIT_OCCASIONS] += 1.0
            row[HABIT_BEGAN] = t
        row[HABIT_LAST] = t
        rank_habit(s, slot)
        return slot
    slot = s.cursors[N_HABIT]
    if slot < N_HABITS:
        s.cursors[N_HABIT] = slot + 1
    else:
        # The table is full: the product whose weight has decayed most makes room.
        slot = np.argmin(s.habit_ranks)
        forgotten = s.habits[slot, HABIT_LAST]
        if not s.scalars[FORGOTTEN_UNTIL] >= forgotten:
            s.scalars[FORGOTTEN_UNTIL] = forgotten
        note_forgotten(s.forgotten, s.habit_codes[slot])
    s.habit_codes[slot] = product
    s.habits[slot, HABIT_WEIGHT] = 1.0
    s.habits[slot, HABIT_LAST] = t
    s.habits[slot, HABIT_FIRST] = t
    s.habits[slot, HABIT_COUNT] = 1.0
    s.habits[slot, HABIT_OCCASIONS] = 1.0
    s.habits[slot, HABIT_BEGAN] = t
    s.habits[slot, HABIT_EARLIER] = 1.0 if may_be_forgotten(s.forgotten, product) else 0.0
    rank_habit(s, slot)
    return slot


@inlined
def remember(s: Any, t: float, kind: int, channel: int, product: int, value: float, habit: int) -> None:
    """The newest of the recent interactions; a full sequence forgets the oldest. `habit` is where a bought product stands."""
    head = s.cursors[SEQ_HEAD]
    s.seq_product[head] = product
    s.seq_event[head] = kind * EVENT_CODE_BASE + channel
    s.seq_time[head] = t
    s.seq_value[head] = value
    s.seq_habit[head] = habit
    s.cursors[SEQ_HEAD] = (head + 1) % SEQUENCE_LENGTH
    s.cursors[N_SEQ] = min(s.cursors[N_SEQ] + 1, SEQUENCE_LENGTH)


@inlined
def micros(t: float) -> Any:
    """Seconds as whole microseconds."""
    return np.int64(math.floor(t * 1e6 + 0.5))


@inlined
def note_unit(s: Any, t: float) -> None:
    """Times are stored in minutes or seconds as long as that holds all of them exactly."""
    unit = s.cursors[TIME_UNIT]
    while unit < 2 and micros(t) % TIME_UNITS_US[unit] != 0:
        unit += 1
    s.cursors[TIME_UNIT] = unit


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
                for k in range(CART_WIDTH):
                    s.cart[j, k] = s.cart[j + 1, k]
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
