"""The fold, compiled: scratch arrays of one customer and one event in, the same arrays after the event out.

`apply_event` is the only place where an event changes a state. kernel_batch.py runs it over customer-sorted events and writes
a row after every distinct moment; a live event runs it once. Both therefore compute the same bits.
"""

import math
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray
from features.events.payload import PLACED_KINDS
from features.state.jit import compiled, inlined
from features.state.kernel_parts import (
    count_pair,
    drop_from_cart,
    end_contract,
    note_action,
    note_contact,
    note_contract,
    note_habit,
    note_profile,
    note_purchase,
    note_rating,
    put_in_cart,
    rank_habit,
    remember,
    take_from_cart,
    undo_habit,
)
from features.state.layout import (
    CART_WIDTH,
    CHANNEL_WIDTH,
    CONSENT,
    COUNTERS,
    CURSOR_WIDTH,
    FIRST_SEEN,
    HABIT_WIDTH,
    LAST_CONTACT,
    LAST_EVENT,
    LAST_RESPONSE,
    LAST_SEQ,
    LAST_STORE,
    N_CART,
    N_CHANNELS,
    N_CONTACTS,
    N_HABIT,
    N_HABITS,
    N_HOURS,
    N_KINDS,
    PAIR_WIDTH,
    SCALARS,
    SEQUENCE_LENGTH,
    UNANSWERED,
    Scratch,
)
from features.vocabulary import CUSTOMER_KINDS, KIND_CODES, PRODUCT_KINDS, RESPONSE_KINDS, EventKind

_SCALAR_START: Final = np.array([0.0 if name in COUNTERS else np.nan for name in SCALARS])


def _kind_mask(kinds: tuple[EventKind, ...]) -> BoolArray:
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
def tells_something(kind: int, detail: float) -> bool:
    """Whether an event is about the customer, as opposed to our own records of them: only then it changes a state."""
    tells: bool = not (_IS_BOOKKEEPING[kind] or (kind == _PROFILE and math.isnan(detail)))
    return tells


@compiled
def telling(e: Any) -> Any:
    """`tells_something` of every event, shape (m,)."""
    tells = np.empty(len(e.kind), dtype=np.bool_)
    for i in range(len(tells)):
        tells[i] = tells_something(e.kind[i], e.detail[i])
    return tells


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
    count_pair(s, channel * N_KINDS + kind, t, value)
    if _IS_ACTION[kind]:
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
    elif kind == _SUBSCRIBE:
        s.channels[channel, CONSENT] = 1.0
    elif kind == _UNSUBSCRIBE:
        s.channels[channel, CONSENT] = 0.0
    elif kind == _PURCHASE:
        note_purchase(s, t, value)
    elif kind == _PROFILE:
        note_profile(s, detail)
    elif kind == _FEEDBACK and not math.isnan(detail):
        note_rating(s, detail)
    if product == 0 or not _IS_PRODUCT[kind]:
        return False
    remember(s, t, kind, channel, product, value)
    if kind == _PURCHASE:
        note_habit(s, t, product)
        drop_from_cart(s, product)
    elif kind == _ADD:
        put_in_cart(s, t, channel, product, quantity)
    elif kind == _REMOVE:
        take_from_cart(s, product, quantity)
    elif kind == _RETURN:
        undo_habit(s, product)
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
