"""Events of the same moment in, the order in which they count out: the same wherever they are folded."""

from typing import Final

import numpy as np

from features.arrays import IntArray
from features.state.layout import EventArrays
from features.vocabulary import KIND_CODES, KINDS, EventKind

KINDS_IN_ORDER: Final[tuple[EventKind, ...]] = (
    *(EventKind.IDENTIFY, EventKind.ERASE, EventKind.DECISION),
    *(EventKind.SEND, EventKind.IMPRESSION, EventKind.DELIVER, EventKind.IGNORE, EventKind.OPEN, EventKind.CLICK),
    *(EventKind.VISIT, EventKind.SEARCH, EventKind.VIEW, EventKind.CALL, EventKind.CHAT),
    *(EventKind.ADD_TO_CART, EventKind.REMOVE_FROM_CART, EventKind.PURCHASE, EventKind.RETURN),
    *(EventKind.OUTCOME, EventKind.FEEDBACK),
    *(EventKind.SUBSCRIBE, EventKind.PROFILE, EventKind.UNSUBSCRIBE),
)
"""Contacts before answers, the cart before the purchase, the purchase before its return, consent before its refusal.

Where an export knows only the minute or the day, a customer did them in that order far more often than in another.
Events of one kind count in the order in which they arrived, and those that arrived together by their ids.
"""
_RANK: Final = np.array([KINDS_IN_ORDER.index(kind) for kind in KINDS])
_UNSUBSCRIBE: Final = KIND_CODES[EventKind.UNSUBSCRIBE]
_BEFORE_SUBSCRIBE: Final = KINDS_IN_ORDER.index(EventKind.SUBSCRIBE) - 0.5


def in_order(events: EventArrays, customers: IntArray | None = None) -> EventArrays:
    """`events` with those of one moment in the order in which they count; sorted by customer and time they are already.

    `customers` (m,) are numbers of each event's customer, and may be left out where there is one. The end of a contract comes
    before the beginning of one: a contract that is changed on a day ends and begins on it.
    """
    same = events.time[1:] == events.time[:-1]
    if customers is not None:
        same &= customers[1:] == customers[:-1]
    if not same.any():
        return events
    rank = _RANK[events.kind].astype(np.float64)
    rank[(events.kind == _UNSUBSCRIBE) & (events.product != 0)] = _BEFORE_SUBSCRIBE
    later = (rank[1:] < rank[:-1]) | ((rank[1:] == rank[:-1]) & (events.seq[1:] < events.seq[:-1]))
    if not (same & later).any():
        return events
    moment = np.concatenate([[0], np.cumsum(~same)])
    is_mixed = np.zeros(moment[-1] + 1, np.bool_)
    is_mixed[moment[1:][same & later]] = True
    out_of_order = np.flatnonzero(is_mixed[moment])
    place = np.arange(len(moment))
    place[out_of_order] = out_of_order[np.lexsort((events.seq[out_of_order], rank[out_of_order], moment[out_of_order]))]
    return EventArrays._make(column[place] for column in events)
