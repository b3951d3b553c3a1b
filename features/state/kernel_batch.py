"""The fold over many customers: sorted events in, encoded states out, a row after every moment or one for each customer."""

import math
from typing import Any

from features.state.jit import in_place, inlined
from features.state.kernel import apply_events, apply_moment, reset
from features.state.layout import (
    LAST_EVENT,
    MAX_PRODUCTS_BYTES,
    MAX_STATE_BYTES,
    REWRITTEN,
    UNWRITTEN,
)
from features.state.packing import write_row


@inlined
def _has_room(b: Any, row: int) -> bool:
    if row >= len(b.customer):
        return False
    if row == 0:
        return True
    room: bool = b.state_end[row - 1] + MAX_STATE_BYTES <= len(b.state) and b.products_end[
        row - 1
    ] + MAX_PRODUCTS_BYTES <= len(b.products)
    return room


@inlined
def _customer_end(customers: Any, i: int) -> int:
    """The event after the last one of event `i`'s customer."""
    end = i
    while end < len(customers) and customers[end] == customers[i]:
        end += 1
    return end


@in_place
def fold_rows(s: Any, e: Any, customers: Any, start: int, b: Any) -> Any:
    """Fold customer-sorted events from `start` until the buffers are full or the events end.

    `customers` holds each event's customer row number. A state row is written after the last event of every distinct
    (customer, time); not where the events of that moment are UNWRITTEN, and where they are REWRITTEN even if nothing was
    told. Returns (next event, rows written); the scratch carries over, so the next call goes on there.
    """
    row = 0
    i = start
    begin = start
    while begin > 0 and begin < len(customers) and customers[begin - 1] == customers[start]:
        begin -= 1
    end = _customer_end(customers, i)
    while i < len(customers):
        if i == end:
            begin, end = i, _customer_end(customers, i)
        if i == begin:
            reset(s)
        if not _has_room(b, row):
            break
        # All events of one moment are folded before a row is written, so a break never splits a moment.
        at = i
        i, changed, behaved = apply_moment(s, e, begin, at, end, False)
        anew = e.written[at] == REWRITTEN and not math.isnan(s.scalars[LAST_EVENT])
        if anew or (behaved and e.written[at] != UNWRITTEN):
            write_row(s, b, row, customers[at], e.time[at], changed or anew)
            row += 1
    return i, row


@in_place
def fold_newest(s: Any, e: Any, customers: Any, start: int, b: Any) -> Any:
    """`fold_rows` with one row per customer, their newest state; returns (next event, rows written)."""
    row = 0
    i = start
    while i < len(customers) and _has_room(b, row):
        reset(s)
        begin, end = i, _customer_end(customers, i)
        apply_events(s, e, begin, end)
        i = end
        if not math.isnan(s.scalars[LAST_EVENT]):
            write_row(s, b, row, customers[begin], s.scalars[LAST_EVENT], True)
            row += 1
    return i, row
