"""The fold: a customer's state and events in, the state after them out; the same for a whole history and for one event.

States are kept as arrays (batch.py) and stored as rows of two Feast views (encoding.py).
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray
from features.state import kernel, kernel_batch, layout
from features.state.batch import StateBatch, first_row
from features.state.encoding import encode_buffers
from features.state.event_arrays import event_arrays
from features.state.layout import EventArrays, Scratch
from features.vocabulary import Columns


def fold_timeline(timeline: pa.Table, row_capacity: int = 20_000) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Fold a timeline sorted by (customer_id, occurred_at, event_id); yields (state rows, products rows) in pieces.

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
    scratch, buffers, start = kernel.new_scratch(), layout.new_buffers(row_capacity), 0
    while start < len(customers):
        start, n_rows = kernel_batch.fold_rows(scratch, events, customers, start, buffers)
        if n_rows:
            yield encode_buffers(buffers, n_rows, names)


def fold_customer(events: pa.Table) -> StateBatch:
    """The state of one customer from all of their events, in (occurred_at, event_id) order; n = 1."""
    return fold_events(StateBatch.empty(1), events)


def fold_events(state: StateBatch, events: pa.Table) -> StateBatch:
    """The state (n = 1) after `events`, which are in (occurred_at, event_id) order and newer than the state."""
    return fold_arrays(state, event_arrays(events))


def fold_newer(state: StateBatch, events: EventArrays) -> StateBatch | None:
    """`fold_arrays`, or None where an event that changes a state is not newer than this one.

    Then the customer has to be folded again from all of their events.
    """
    if (events.time[changes_state(events)] <= state.scalar("last_event")[0]).any():
        return None
    return fold_arrays(state, events)


def changes_state(events: EventArrays) -> BoolArray:
    """Which events are about the customer, as opposed to our own records of them, shape (m,)."""
    return np.asarray(kernel.telling(events))


def fold_arrays(state: StateBatch, events: EventArrays) -> StateBatch:
    """`fold_events` of event columns."""
    if len(events.time) == 0:
        return state
    scratch = _to_scratch(state)
    kernel.apply_events(scratch, events, 0, len(events.time))
    buffers = layout.new_buffers(1)
    kernel_batch.write_row(scratch, buffers, 0, 0, scratch.scalars[layout.LAST_EVENT], True)
    return first_row(buffers)


def _to_scratch(state: StateBatch) -> Scratch:
    """A batch of n = 1 as the kernel's dense arrays: the inverse of `write_row`."""
    s = kernel.new_scratch()
    s.scalars[:] = state.scalars[0]
    s.channels[:] = state.channels[0]
    codes = state.pair_codes.values
    s.pair_codes[: len(codes)], s.pair_slots[codes] = codes, np.arange(len(codes))
    s.pairs[: len(codes)] = state.pair_stats.values
    hours = state.hour_bins.values
    s.hour_bins[: len(hours)], s.hour_slots[hours] = hours, np.arange(len(hours))
    s.hour_weights[: len(hours)] = state.hour_weights.values
    n_contacts, n_seq = len(state.contacts.values), len(state.seq_product.values)
    n_habits, n_cart = len(state.habit_product.values), len(state.cart_product.values)
    s.contacts[:n_contacts] = state.contacts.values
    s.seq_product[:n_seq] = state.seq_product.values
    s.seq_event[:n_seq] = state.seq_event.values
    s.seq_time[:n_seq] = state.seq_time.values
    s.seq_value[:n_seq] = state.seq_value.values
    s.habit_codes[:n_habits] = state.habit_product.values
    s.habits[:n_habits] = state.habit_stats.values
    s.cart_codes[:n_cart] = state.cart_product.values
    s.cart[:n_cart] = state.cart_stats.values
    cursors = s.cursors
    cursors[layout.N_PAIRS], cursors[layout.LAST_SEQ] = len(codes), state.last_seq[0]
    cursors[layout.N_CONTACT], cursors[layout.CONTACT_HEAD] = n_contacts, n_contacts % layout.N_CONTACTS
    cursors[layout.N_SEQ], cursors[layout.SEQ_HEAD] = n_seq, n_seq % layout.SEQUENCE_LENGTH
    cursors[layout.N_HOURS_USED] = len(hours)
    cursors[layout.N_HABIT], cursors[layout.N_IN_CART] = n_habits, n_cart
    kernel.rank_habits(s)
    return s
