"""The fold: a customer's state and events in, the state after them out; the same for a whole history and for one event.

States are kept as arrays (batch.py) and stored as rows of two Feast views (encoding.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray, FloatArray, IntArray
from features.attributes.rows import SaidSoFar, said, with_values
from features.attributes.values import merged
from features.state import kernel, kernel_batch, layout, packing
from features.state.batch import StateBatch, rows_in_buffers
from features.state.encoding import PRODUCTS_SCHEMA, encode_buffers
from features.state.event_arrays import decides, event_arrays, named_by_decisions, nameless
from features.state.layout import EventArrays
from features.state.order import in_order
from features.state.scratch import flat, fold_group, to_scratch
from features.vocabulary import KIND_CODES, Columns, EventKind

_RETURN = KIND_CODES[EventKind.RETURN]


class FoldedRows(NamedTuple):
    """Rows of both views, and those customers who have to be folded again from all of their events."""

    states: pa.Table
    products: pa.Table
    anew: list[str]


def fold_timeline(timeline: pa.Table, row_capacity: int = 20_000) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Fold a timeline sorted by customer_id and occurred_at; yields (state rows, products rows) in pieces.

    There is a state row for every distinct (customer, time) and a products row wherever the product part changed. Where
    the timeline has the columns `epoch` and `written` (see offline/timeline.py), it is sorted by customer and epoch, and every
    epoch is folded from nothing.
    """
    events = event_arrays(timeline)
    ids = pc.dictionary_encode(timeline[Columns.CUSTOMER_ID]).combine_chunks()
    customers, names = ids.indices.to_numpy().astype(np.int64), ids.dictionary
    if Columns.EPOCH in timeline.column_names:
        epochs = timeline[Columns.EPOCH].to_numpy()
        begins = np.append(True, (np.diff(customers) != 0) | (np.diff(epochs) != 0))
        customers, names = np.cumsum(begins) - 1, names.take(pa.array(customers[begins]))
    so_far = SaidSoFar(timeline, customers)
    events = in_order(named_by_decisions(events, customers), customers)
    scratch, buffers, start = kernel.new_scratch(), layout.new_buffers(row_capacity), 0
    while start < len(customers):
        start, n_rows = kernel_batch.fold_rows(scratch, events, customers, start, buffers)
        if n_rows:
            states, products = encode_buffers(buffers, n_rows, names)
            yield so_far.before(states, buffers.customer[:n_rows]), products
    after = so_far.rest()
    if after is not None:
        yield after, PRODUCTS_SCHEMA.empty_table()


def fold_customer(events: pa.Table) -> StateBatch:
    """The state of one customer from all of their events, sorted by occurred_at; n = 1."""
    return fold_events(StateBatch.empty(1), events)


def fold_events(state: StateBatch, events: pa.Table) -> StateBatch:
    """The state (n = 1) after `events`, which are sorted by occurred_at and newer than the state; see `fold_arrays`."""
    return with_said(fold_arrays(state, customer_arrays(events)), events)


def with_said(state: StateBatch, events: pa.Table) -> StateBatch:
    """The state (n = 1) with what `events` say of the customer's attributes, which no compiled fold looks at."""
    values = [value for _, value in said(events)]
    return state.with_attributes([merged(state.attributes[0], values)]) if values else state


def customer_arrays(events: pa.Table) -> EventArrays:
    """Events of one customer, sorted by occurred_at, as the columns that the fold reads, in the order in which they count."""
    return in_order(named_by_decisions(event_arrays(events)))


def fold_newer(state: StateBatch, events: EventArrays) -> StateBatch | None:
    """`fold_arrays`, or None where the customer has to be folded again from all of their events.

    That is where an event that changes a state is not newer than this one; where something was brought back, which may have
    been bought at any time; and where a message names a decision, or a decision was made, of before the state: decisions tell
    what messages were about.
    """
    last_event_s = state.scalar("last_event")[0]
    if (events.time[changes_state(events)] <= last_event_s).any() or takes_back(events).any():
        return None
    if nameless(events).any() or (events.time[decides(events)] < last_event_s).any():
        return None
    return fold_arrays(state, events)


def takes_back(events: EventArrays) -> BoolArray:
    """Which events may take back a purchase, shape (m,)."""
    return np.asarray((events.kind == _RETURN) & (events.product != 0))


def changes_state(events: EventArrays) -> BoolArray:
    """Which events are about the customer, as opposed to our own records of them, shape (m,)."""
    tells = np.empty(len(events.kind), dtype=np.bool_)
    kernel.tell(events, tells)
    return tells


def fold_arrays(state: StateBatch, events: EventArrays) -> StateBatch:
    """`fold_events` of event columns. Raises ValueError for a return on top of a state that does not hold what was bought."""
    if len(events.time) == 0:
        return state
    if takes_back(events).any() and not np.isnan(state.scalar("first_purchase")[0]):
        raise ValueError("A return needs all events of the customer: fold them from nothing.")
    scratch = to_scratch(state)
    kernel.apply_events(scratch, events, 0, len(events.time))
    buffers = layout.new_buffers(1)
    packing.write_row(scratch, buffers, 0, 0, scratch.scalars[layout.LAST_EVENT], True)
    folded = rows_in_buffers(buffers, 1)
    return folded.with_attributes([state.attributes[0]]) if len(state.attributes.values) else folded


def fold_on(names: Sequence[str], batch: StateBatch, events: pa.Table, seqs: Mapping[str, int]) -> FoldedRows:
    """Customers' states (n,) with `events` on top, which are one customer's after the other's, sorted by occurred_at.

    `seqs` are log rows up to which each customer is done with, whatever the events are. `fold_newer` says who has to be
    folded again. There is no row for somebody of whom nothing is known even then.
    """
    place = {name: i for i, name in enumerate(names)}
    of_event = [place[name] for name in events[Columns.RESOLVED_CUSTOMER_ID].to_pylist()]
    customers = np.array(of_event, dtype=np.int64)
    if (np.diff(customers) < 0).any():
        order = np.argsort(customers, kind="stable")
        events, customers = events.take(pa.array(order)), customers[order]
    arrays = in_order(named_by_decisions(event_arrays(events), customers), customers)
    wrong = _not_newer(batch, arrays, customers)
    bounds = np.searchsorted(customers, np.arange(len(names) + 1))
    if wrong:
        is_kept = np.array([place not in wrong for place in range(len(names))])
        arrays = EventArrays._make(column[is_kept[customers]] for column in arrays)
        batch, bounds = (
            batch.take(np.flatnonzero(is_kept)),
            np.concatenate([[0], np.cumsum(np.diff(bounds)[is_kept])]),
        )
    kept = [name for i, name in enumerate(names) if i not in wrong]
    buffers = layout.new_buffers(len(kept), whole=True)
    n = fold_group(kernel.new_scratch(), flat(batch), arrays, bounds, buffers)
    done = np.array([seqs[name] for name in kept], dtype=np.int64)
    buffers.last_seq[:n] = np.maximum(buffers.last_seq[:n], done[buffers.customer[:n]])
    states, products = encode_buffers(buffers, n, pa.array(kept, pa.string()))
    values: dict[str, FloatArray] = {name: batch.attributes[row] for row, name in enumerate(kept)}
    for row, value in said(events):
        name = names[customers[row]]
        if name in values:
            values[name] = merged(values[name], [value])
    return FoldedRows(with_values(states, values), products, [name for i, name in enumerate(names) if i in wrong])


def _not_newer(batch: StateBatch, events: EventArrays, customers: IntArray) -> set[int]:
    """Places of the customers of whom something happened that cannot be folded on top of their state."""
    last_event = batch.scalar("last_event")[customers]
    known = ~np.isnan(last_event)
    wrong = known & changes_state(events) & (events.time <= last_event)
    wrong |= known & (takes_back(events) | nameless(events))
    wrong |= known & decides(events) & (events.time < last_event)
    return set(customers[wrong].tolist())
