"""A return and all events before it in; the state as if what went back had not been bought out. Compiled into the kernel.

A return with an order takes from that order's purchases of the product, or from those that name no order; one without takes
from the newest. What is left of a purchase counts with its share of the value; one that went back whole did not happen: not
for the rhythm of buying, nor for habits, money and sequence. The record of the return stays.
"""

import math
from typing import Any, Final

import numpy as np

from features.state.jit import in_place, inlined
from features.state.kernel_parts import count_pair, drop_pairs
from features.state.kernel_products import find_habit, note_habit, note_purchase, remember
from features.state.layout import (
    COUNTERS,
    FIRST_PURCHASE,
    FORGOTTEN_UNTIL,
    GAP_M2,
    GAP_MEAN,
    LAST_GAP,
    LAST_OCCASION,
    LAST_PURCHASE,
    N_BROUGHT_BACK,
    N_GAPS,
    N_HABIT,
    N_HALF_LIVES,
    N_KINDS,
    N_OCCASIONS,
    N_SEQ,
    OCCASION_VALUE,
    OCCASIONS,
    PREVIOUS_OCCASION_VALUE,
    SCALARS,
    SEQ_HEAD,
    SEQUENCE_LENGTH,
)
from features.vocabulary import KIND_CODES, PRODUCT_KINDS, EventKind

_PURCHASE: Final = KIND_CODES[EventKind.PURCHASE]
_RETURN: Final = KIND_CODES[EventKind.RETURN]
_IS_PRODUCT: Final = np.isin(np.arange(len(KIND_CODES)), [KIND_CODES[kind] for kind in PRODUCT_KINDS])
_OF_PURCHASES: Final = np.array(
    [
        *(FIRST_PURCHASE, LAST_PURCHASE, LAST_OCCASION, N_OCCASIONS, GAP_MEAN, GAP_M2, N_GAPS, LAST_GAP),
        *(OCCASION_VALUE, PREVIOUS_OCCASION_VALUE, FORGOTTEN_UNTIL),
        *range(OCCASIONS, OCCASIONS + N_HALF_LIVES),
    ]
)
"""Scalars that nothing but purchases changes."""
_BEFORE_THEM: Final = np.array([0.0 if SCALARS[i] in COUNTERS else np.nan for i in _OF_PURCHASES])


@inlined
def _units(e: Any, i: int) -> float:
    """Units of a purchase: one where it does not say."""
    return 1.0 if math.isnan(e.quantity[i]) else e.quantity[i]


@inlined
def _kept(e: Any, i: int) -> float:
    """The share of a purchase that did not go back; all of one of no units."""
    units = _units(e, i)
    return 1.0 if units <= 0.0 else 1.0 - e.brought_back[i] / units


@in_place
def bring_back(s: Any, e: Any, begin: int, i: int) -> None:
    """Event `i` is a return: mark what it takes from the customer's purchases, which are among events `begin:i`.

    A return that does not say how many takes one purchase, with all of its units.
    """
    left = e.quantity[i]
    for same_order in (True, False):
        if same_order and e.order[i] == 0:
            continue
        for j in range(i - 1, begin - 1, -1):
            if left <= 0.0:
                return
            if e.kind[j] != _PURCHASE or e.product[j] != e.product[i]:
                continue
            if e.order[i] != 0 and e.order[j] != (e.order[i] if same_order else 0):
                continue
            there = _units(e, j) - e.brought_back[j]
            if there <= 0.0:
                continue
            taken = there if math.isnan(left) else min(left, there)
            e.brought_back[j] += taken
            s.cursors[N_BROUGHT_BACK] += 1
            if math.isnan(left):
                return
            left -= taken


@in_place
def mark_returns(s: Any, e: Any, begin: int, end: int) -> Any:
    """Mark what all returns among the customer's events `begin:end` take; the last that takes something, or -1."""
    last = -1
    for i in range(begin, end):
        if e.kind[i] == _PURCHASE:
            e.brought_back[i] = 0.0
        elif e.kind[i] == _RETURN and e.product[i] != 0:
            bring_back(s, e, begin, i)
            if s.cursors[N_BROUGHT_BACK] > 0:
                last = i
                s.cursors[N_BROUGHT_BACK] = 0
    return last


@in_place
def settle(s: Any, e: Any, begin: int, end: int) -> None:
    """Count the purchases among the customer's events `begin:end`, which are all so far, anew, without what went back."""
    s.cursors[N_BROUGHT_BACK] = 0
    for k in range(len(_OF_PURCHASES)):
        s.scalars[_OF_PURCHASES[k]] = _BEFORE_THEM[k]
    drop_pairs(s, _PURCHASE)
    s.cursors[N_HABIT] = 0
    s.forgotten[:] = 0
    for i in range(begin, end):
        if e.kind[i] != _PURCHASE:
            continue
        kept = _kept(e, i)
        if kept <= 0.0:
            continue
        value = e.value[i] if kept == 1.0 else e.value[i] * kept
        count_pair(s, e.channel[i] * N_KINDS + _PURCHASE, e.time[i], value)
        note_purchase(s, e.time[i], value)
        if e.product[i] != 0:
            note_habit(s, e.time[i], e.product[i])
    _recall(s, e, begin, end)


@inlined
def _recall(s: Any, e: Any, begin: int, end: int) -> None:
    """The sequence anew, without purchases that went back whole."""
    first, n = end, 0
    while first > begin and n < SEQUENCE_LENGTH:
        first -= 1
        if _is_in_sequence(e, first):
            n += 1
    s.cursors[N_SEQ] = 0
    s.cursors[SEQ_HEAD] = 0
    for i in range(first, end):
        if _is_in_sequence(e, i):
            habit = find_habit(s, e.product[i]) if e.kind[i] == _PURCHASE else -1
            value = e.value[i]
            if e.kind[i] == _PURCHASE:
                kept = _kept(e, i)
                value = value if kept == 1.0 else value * kept
            remember(s, e.time[i], e.kind[i], e.channel[i], e.product[i], value, habit)


@inlined
def _is_in_sequence(e: Any, i: int) -> bool:
    if e.product[i] == 0:
        return False
    kind = e.kind[i]
    if kind == _PURCHASE:
        return _kept(e, i) > 0.0
    return bool(_IS_PRODUCT[kind])
