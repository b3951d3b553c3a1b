"""The fold, compiled: scratch arrays of one customer and one event in, the same arrays after the event out.

`apply_event` is the only place where an event changes a state. kernel_batch.py runs it over customer-sorted events and writes
a row after every distinct moment; a live event runs it once. Both therefore compute the same bits.
"""

import math
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray
from features.events.payload import OF_OTHERS, PLACED_KINDS
from features.state.jit import in_place, inlined
from features.state.kernel_contacts import (
    note_consent,
    note_contact,
    note_exposures,
    note_profile,
    note_reaction,
)
from features.state.kernel_parts import count_pair, end_contract, note_action, note_contract, note_rating
from features.state.kernel_products import (
    drop_from_cart,
    find_habit,
    note_habit,
    note_purchase,
    note_unit,
    put_in_cart,
    rank_habit,
    remember,
    take_from_cart,
)
from features.state.kernel_returns import bring_back, mark_returns, settle
from features.state.layout import (
    CART_WIDTH,
    CHANNEL_WIDTH,
    COUNTERS,
    CURSOR_WIDTH,
    EVENT_CODE_BASE,
    EXPOSURE_WIDTH,
    FIRST_SEEN,
    FORGOTTEN_BITS,
    HABIT_BEGAN,
    HABIT_FIRST,
    HABIT_LAST,
    HABIT_WIDTH,
    IDENTIFIED,
    LAST_EVENT,
    LAST_RESPONSE,
    LAST_SEQ,
    LAST_STORE,
    N_BROUGHT_BACK,
    N_CART,
    N_CHANNELS,
    N_CONTACTS,
    N_EXPOSED,
    N_EXPOSURES,
    N_HABIT,
    N_HABITS,
    N_HOURS,
    N_KINDS,
    N_SEQ,
    PAIR_WIDTH,
    SCALARS,
    SEQUENCE_LENGTH,
    UNANSWERED,
    Scratch,
)
from features.vocabulary import CUSTOMER_KINDS, KIND_CODES, PRODUCT_KINDS, REACTION_KINDS, RESPONSE_KINDS, EventKind

SCALAR_START: Final = np.array([0.0 if name in COUNTERS else np.nan for name in SCALARS])
CHANNEL_START: Final = np.array([-1.0, 0.0, np.nan, np.nan])
"""A channel of which nothing is known: never asked for consent, nothing unanswered, never contacted, never answered."""


def _kind_mask(kinds: tuple[EventKind, ...]) -> BoolArray:
    mask = np.zeros(N_KINDS, dtype=np.bool_)
    mask[[KIND_CODES[kind] for kind in kinds]] = True
    return mask


_IS_ACTION: Final = _kind_mask(CUSTOMER_KINDS)
_IS_PLACED: Final = _kind_mask(PLACED_KINDS)
_IS_PRODUCT: Final = _kind_mask(PRODUCT_KINDS)
_IS_REACTION: Final = _kind_mask(REACTION_KINDS)
_IS_RESPONSE: Final = _kind_mask(RESPONSE_KINDS)
_IS_BOOKKEEPING: Final = _kind_mask((EventKind.DECISION, EventKind.IDENTIFY, EventKind.ERASE))
"""Kinds that are about our records, not about behaviour: they change nothing of a state but what the customer is
known by."""
_ADD: Final = KIND_CODES[EventKind.ADD_TO_CART]
_REMOVE: Final = KIND_CODES[EventKind.REMOVE_FROM_CART]
_PURCHASE: Final = KIND_CODES[EventKind.PURCHASE]
_RETURN: Final = KIND_CODES[EventKind.RETURN]
_SEND: Final = KIND_CODES[EventKind.SEND]
_IMPRESSION: Final = KIND_CODES[EventKind.IMPRESSION]
_CLICK: Final = KIND_CODES[EventKind.CLICK]
_OUTCOME: Final = KIND_CODES[EventKind.OUTCOME]
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
        refused_at=np.empty(N_CHANNELS + 1),
        contacts=np.empty((N_CHANNELS, N_CONTACTS)),
        n_contacts=np.zeros(N_CHANNELS, dtype=np.int64),
        hour_slots=np.full(N_HOURS, -1),
        hour_bins=np.empty(N_HOURS, dtype=np.int32),
        hour_weights=np.empty(N_HOURS),
        seq_product=np.empty(SEQUENCE_LENGTH, dtype=np.int64),
        seq_event=np.empty(SEQUENCE_LENGTH, dtype=np.int32),
        seq_time=np.empty(SEQUENCE_LENGTH),
        seq_value=np.empty(SEQUENCE_LENGTH, dtype=np.float32),
        seq_habit=np.empty(SEQUENCE_LENGTH, dtype=np.int64),
        habit_codes=np.empty(N_HABITS, dtype=np.int64),
        habits=np.empty((N_HABITS, HABIT_WIDTH)),
        forgotten=np.zeros(FORGOTTEN_BITS // 8, dtype=np.uint8),
        habit_ranks=np.empty(N_HABITS),
        cart_codes=np.empty(N_CART, dtype=np.int64),
        cart=np.empty((N_CART, CART_WIDTH)),
        exposure_codes=np.empty(N_EXPOSURES, dtype=np.int64),
        exposures=np.empty((N_EXPOSURES, EXPOSURE_WIDTH)),
        cursors=np.zeros(CURSOR_WIDTH, dtype=np.int64),
    )
    reset(scratch)
    return scratch


@in_place
def reset(s: Any) -> None:
    """Forget everything: the state before the first event."""
    for i in range(len(SCALAR_START)):
        s.scalars[i] = SCALAR_START[i]
    s.pair_slots[:] = -1
    s.hour_slots[:] = -1
    for channel in range(N_CHANNELS):
        for k in range(CHANNEL_WIDTH):
            s.channels[channel, k] = CHANNEL_START[k]
    s.refused_at[:] = np.nan
    s.forgotten[:] = 0
    s.n_contacts[:] = 0
    s.cursors[:] = 0


@inlined
def tells_something(kind: int, detail: float) -> bool:
    """Whether an event is about the customer, as opposed to our own records of them: only then it changes a state."""
    tells: bool = not (_IS_BOOKKEEPING[kind] or (kind == _PROFILE and math.isnan(detail)))
    return tells


@in_place
def tell(e: Any, tells: Any) -> None:
    """Fill `tells` (m,) with `tells_something` of every event."""
    for i in range(len(tells)):
        tells[i] = tells_something(e.kind[i], e.detail[i])


@inlined
def apply_event(s: Any, e: Any, begin: int, i: int, marked: bool) -> bool:
    """Fold event `i`, not older than the state, into `s`; returns whether the product part changed.

    `begin` is the customer's first event. What a return takes is only marked (`marked`: it is already): `settle` counts it.
    """
    t, kind, channel, product, value, detail = e.time[i], e.kind[i], e.channel[i], e.product[i], e.value[i], e.detail[i]
    s.cursors[LAST_SEQ] = max(s.cursors[LAST_SEQ], e.seq[i])
    if e.identified[i] != 0:
        s.scalars[IDENTIFIED] = np.float64(np.int64(s.scalars[IDENTIFIED]) | e.identified[i])
    if not tells_something(kind, detail):
        return False
    of_others = kind in (_SUBSCRIBE, _UNSUBSCRIBE) and detail == OF_OTHERS
    if math.isnan(s.scalars[FIRST_SEEN]) and not of_others:
        s.scalars[FIRST_SEEN] = t
    s.scalars[LAST_EVENT] = t
    count_pair(s, channel * N_KINDS + kind, t, value)
    if _IS_ACTION[kind] and not of_others:
        note_action(s, t)
        if _IS_PLACED[kind] and not math.isnan(detail):
            s.scalars[LAST_STORE] = detail
    if _IS_RESPONSE[kind]:
        s.channels[channel, UNANSWERED] = 0.0
        s.channels[channel, LAST_RESPONSE] = t
    elif kind == _SEND:
        note_contact(s, t, channel)
    elif kind == _SUBSCRIBE and product != 0:
        note_contract(s, t, value, detail)
    elif kind == _UNSUBSCRIBE and product != 0:
        end_contract(s, t)
    elif kind in (_SUBSCRIBE, _UNSUBSCRIBE):
        note_consent(s, t, channel, kind == _SUBSCRIBE)
    elif kind == _PURCHASE:
        if not marked:
            e.brought_back[i] = 0.0
        note_purchase(s, t, value)
    elif kind == _PROFILE:
        note_profile(s, t, detail)
    elif kind == _FEEDBACK and not math.isnan(detail):
        note_rating(s, detail)
    if kind in (_SEND, _IMPRESSION):
        note_exposures(s, t, channel, product, e.campaign[i], kind == _SEND)
    elif _IS_REACTION[kind] and s.cursors[N_EXPOSED] > 0:
        note_reaction(s, channel, product, e.campaign[i], kind in (_CLICK, _OUTCOME))
    if product == 0 or not _IS_PRODUCT[kind]:
        return False
    note_unit(s, t)
    habit = -1
    if kind == _PURCHASE:
        habit = note_habit(s, t, product)
        drop_from_cart(s, product)
    elif kind == _ADD:
        put_in_cart(s, t, channel, product, e.quantity[i])
    elif kind == _REMOVE:
        take_from_cart(s, product, e.quantity[i])
    elif kind == _RETURN and not marked:
        bring_back(s, e, begin, i)
    remember(s, t, kind, channel, product, value, habit)
    return True


@inlined
def apply_moment(s: Any, e: Any, begin: int, start: int, stop: int, marked: bool) -> Any:
    """Fold the events of the moment of event `start`, all of which come before event `stop`; of `marked` see `apply_event`.

    Returns (the event after them, whether the product part changed, whether any was about the customer, or named
    an identifier of a new kind).
    """
    changed = False
    behaved = False
    identified = s.scalars[IDENTIFIED]
    i = start
    while i < stop and e.time[i] == e.time[start]:
        if apply_event(s, e, begin, i, marked):
            changed = True
        if tells_something(e.kind[i], e.detail[i]):
            behaved = True
        i += 1
    if s.cursors[N_BROUGHT_BACK] > 0:
        settle(s, e, begin, i)
    known_by_more = s.scalars[IDENTIFIED] != identified and not math.isnan(s.scalars[LAST_EVENT])
    return i, changed, behaved or known_by_more


@in_place
def derive(s: Any) -> None:
    """What is not stored of a state: ranks of habits, where products of the sequence stand, the unit of time."""
    for i in range(s.cursors[N_HABIT]):
        rank_habit(s, i)
        for column in (HABIT_LAST, HABIT_FIRST, HABIT_BEGAN):
            note_unit(s, s.habits[i, column])
    for i in range(s.cursors[N_SEQ]):
        note_unit(s, s.seq_time[i])
        bought = s.seq_event[i] // EVENT_CODE_BASE == _PURCHASE
        s.seq_habit[i] = find_habit(s, s.seq_product[i]) if bought else -1


@in_place
def apply_events(s: Any, e: Any, start: int, stop: int) -> None:
    """Fold events `start:stop` of one customer, which are in order and not older than the state.

    What returns among them take is looked for among them, and counted once, at the last that takes something: the state is
    the one that counting at each of them ends in, and a customer with thousands of returns is folded in no time.
    """
    last = mark_returns(s, e, start, stop)
    i = start
    while i < stop:
        i, _, _ = apply_moment(s, e, start, i, stop, True)
        if 0 <= last < i:
            settle(s, e, start, i)
            last = -1
