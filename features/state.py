"""Customer states: events in, encoded states out; the same fold for a whole history and for one event as it arrives.

A state is stored as two rows of plain arrays (Feast views `customer_state` and `customer_products`) whose fields are
listed in `STATE_FIELDS` and `PRODUCTS_FIELDS`. Ragged arrays keep a quiet customer small; every one of them is bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import fold_kernel as kernel
from features import fold_layout as layout
from features import fold_rows
from features.details import detail_column
from features.fold_layout import EventArrays, Floats, Ints, RowBuffers, Scratch
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Columns

STATE_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("last_seq", "int64"),
    ("scalars", "float64[]"),
    ("channel_stats", "float64[]"),
    ("pair_codes", "int32[]"),
    ("pair_stats", "float64[]"),
    ("contacts", "float64[]"),
    ("hour_bins", "int32[]"),
    ("hour_weights", "float64[]"),
    ("cart_product", "int64[]"),
    ("cart_stats", "float64[]"),
)
"""Fields of the view `customer_state` and their types."""
PRODUCTS_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("products_seq", "int64"),
    ("seq_product", "int64[]"),
    ("seq_event", "int32[]"),
    ("seq_time", "float64[]"),
    ("seq_value", "float32[]"),
    ("habit_product", "int64[]"),
    ("habit_stats", "float64[]"),
)
"""Fields of the view `customer_products` and their types."""
_ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "int64": pa.int64(),
    "int32[]": pa.list_(pa.int32()),
    "int64[]": pa.list_(pa.int64()),
    "float32[]": pa.list_(pa.float32()),
    "float64[]": pa.list_(pa.float64()),
}
_KEYS: Final = (
    pa.field(Columns.CUSTOMER_ID, pa.string()),
    pa.field(Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC")),
)
STATE_SCHEMA: Final = pa.schema([*_KEYS, *(pa.field(n, _ARROW_TYPES[t]) for n, t in STATE_FIELDS)])
PRODUCTS_SCHEMA: Final = pa.schema([*_KEYS, *(pa.field(n, _ARROW_TYPES[t]) for n, t in PRODUCTS_FIELDS)])
_FEW: Final = 32
"""Up to so many events are taken from Arrow value by value."""
_NO_EVENTS: Final = EventArrays(
    time=np.zeros(0),
    kind=np.zeros(0, np.int8),
    channel=np.zeros(0, np.int8),
    product=np.zeros(0, np.int64),
    quantity=np.zeros(0),
    value=np.zeros(0),
    seq=np.zeros(0, np.int64),
    detail=np.zeros(0),
    written=np.zeros(0, np.int8),
)


@dataclass(frozen=True)
class Ragged:
    """`n` lists of rows laid end to end: list i is `values[offsets[i]:offsets[i + 1]]`."""

    offsets: Ints  # (n + 1,)
    values: NDArray[Any]  # (m,) or (m, width)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[Any]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def rows(self) -> Ints:
        """For every value the list it belongs to, shape (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def positions(self, width: int) -> Ints:
        """For every value its column when lists are right-aligned in `width` columns, shape (m,)."""
        lengths = np.diff(self.offsets)
        starts, blanks = np.repeat(self.offsets[:-1], lengths), np.repeat(width - lengths, lengths)
        return np.asarray(np.arange(len(self.values)) - starts + blanks)

    def dense(self, width: int, fill: float) -> NDArray[Any]:
        """Right-aligned matrix (n, width), `fill` on the left; newest values last."""
        out = np.full((len(self), width), fill, dtype=self.values.dtype)
        out[self.rows(), self.positions(width)] = self.values
        return out

    def take(self, index: Ints) -> "Ragged":
        """The lists at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(offsets, self.values[source])

    @classmethod
    def concat(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """All lists of all parts, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([part.values for part in parts]))


@dataclass(frozen=True)
class StateBatch:
    """States of `n` customers, each as of its own last event. Times are seconds since the epoch, NaN means never."""

    scalars: Floats  # (n, S), see fold_kernel.SCALARS
    channels: Floats  # (n, channels, CHANNEL_WIDTH): consent, unanswered contacts, last contact, last response
    last_seq: Ints  # (n,) the newest log row folded in; 0 for none
    pair_codes: Ragged  # channel * kinds + kind
    pair_stats: Ragged  # (m, PAIR_WIDTH)
    contacts: Ragged  # (m, 2): channel, time; oldest first, at most 16
    hour_bins: Ragged  # hour of the week, Monday 00:00 UTC = 0, in order of first use
    hour_weights: Ragged  # as of the scalar "hours_from"; `hours` opens and decays them
    seq_product: Ragged  # product codes, oldest first, at most 128
    seq_event: Ragged  # kind * 16 + channel
    seq_time: Ragged
    seq_value: Ragged
    habit_product: Ragged  # at most 128
    habit_stats: Ragged  # (m, HABIT_WIDTH): weight at last, last, span in days, count
    cart_product: Ragged  # at most 32
    cart_stats: Ragged  # (m, CART_WIDTH): channel, units, time

    def __len__(self) -> int:
        return len(self.scalars)

    @classmethod
    def empty(cls, n: int) -> "StateBatch":
        """`n` customers of whom nothing is known."""
        return decode(None, None).take(np.zeros(n, dtype=np.int64))

    def take(self, index: Ints) -> "StateBatch":
        """The states at `index`, in that order; an index may repeat."""
        parts: dict[str, Any] = {
            name: part.take(index) if isinstance(part, Ragged) else part[index] for name, part in vars(self).items()
        }
        return StateBatch(**parts)

    @classmethod
    def concat(cls, parts: "Sequence[StateBatch]") -> "StateBatch":
        """All states of all parts, in order."""
        columns: dict[str, Any] = {}
        for name, first in vars(parts[0]).items():
            pieces = [getattr(part, name) for part in parts]
            columns[name] = Ragged.concat(pieces) if isinstance(first, Ragged) else np.concatenate(pieces)
        return cls(**columns)

    def hours(self) -> Floats:
        """Decayed number of active moments by hour of the week as of each customer's last action, shape (n, 168)."""
        out = np.zeros((len(self), layout.N_HOURS))
        rows = self.hour_bins.rows()
        later_days = (self.scalar("last_action") - self.scalar("hours_from")) / layout.DAY_S
        left = np.exp2(-np.nan_to_num(later_days) / layout.HOUR_HALF_LIFE_DAYS)
        out[rows, self.hour_bins.values] = self.hour_weights.values * left[rows]
        return out

    def scalar(self, name: str) -> Floats:
        """One scalar by its name in `fold_kernel.SCALARS`, shape (n,)."""
        return self.scalars[:, layout.SCALARS.index(name)]


def product_code(product_ids: Sequence[str]) -> Ints:
    """Product ids as positive 63-bit hashes, shape (n,): stable over processes and machines, 0 for a missing id."""
    values = np.asarray(product_ids, dtype=object)
    missing = np.array([not value for value in values], dtype=bool)
    codes = pd.util.hash_array(np.where(missing, "", values), categorize=len(values) > 1000)
    positive = (codes >> np.uint64(1)).astype(np.int64)
    return np.where(missing, 0, np.maximum(positive, 1))


def event_arrays(events: pa.Table) -> EventArrays:
    """Event columns as the kernel wants them, in the table's order.

    Needs occurred_at, kind, channel, quantity and value, and product_code or product_id; takes seq, and detail or
    properties, where they are there.
    """
    n = events.num_rows
    if n <= _FEW:
        return _few_arrays(events)
    if Columns.PRODUCT_CODE in events.column_names:
        product = events[Columns.PRODUCT_CODE].to_numpy().astype(np.int64, copy=False)
    else:
        product = product_code(events[Columns.PRODUCT_ID].to_pylist())
    seq = events[Columns.SEQ].to_numpy() if Columns.SEQ in events.column_names else np.zeros(n)
    micros = events[Columns.OCCURRED_AT].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return EventArrays(
        time=micros / 1e6,
        kind=_codes(events[Columns.KIND], KIND_CODES),
        channel=_codes(events[Columns.CHANNEL], CHANNEL_CODES),
        product=np.ascontiguousarray(product),
        quantity=_floats(events[Columns.QUANTITY]),
        value=_floats(events[Columns.VALUE]),
        seq=seq.astype(np.int64),
        detail=_details(events),
        written=_written(events),
    )


def fold_timeline(timeline: pa.Table, row_capacity: int = 20_000) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Fold a timeline sorted by (customer_id, occurred_at, event_id); yields (state rows, products rows) in pieces.

    There is a state row for every distinct (customer, time) and a products row wherever the product part changed. Where
    the timeline has the columns `epoch` and `written` (see timeline.py), it is sorted by customer and epoch, and every
    epoch is folded from nothing.
    """
    events = event_arrays(timeline)
    ids = pc.dictionary_encode(timeline[Columns.CUSTOMER_ID]).combine_chunks()
    customers, names = ids.indices.to_numpy().astype(np.int64), ids.dictionary
    if Columns.EPOCH in timeline.column_names:
        epochs = timeline[Columns.EPOCH].to_numpy()
        begins = np.append(True, (np.diff(customers) != 0) | (np.diff(epochs) != 0))
        customers, names = np.cumsum(begins) - 1, names.take(pa.array(customers[begins]))
    scratch, buffers, start = kernel.new_scratch(), new_buffers(row_capacity), 0
    while start < len(customers):
        start, n_rows = fold_rows.fold_rows(scratch, events, customers, start, buffers)
        if n_rows:
            yield _to_tables(buffers, n_rows, names)


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


def changes_state(events: EventArrays) -> NDArray[np.bool_]:
    """Which events are about the customer, as opposed to our own records of them, shape (m,)."""
    return np.asarray(kernel.telling(events))


def fold_arrays(state: StateBatch, events: EventArrays) -> StateBatch:
    """`fold_events` of event columns."""
    if len(events.time) == 0:
        return state
    scratch = _to_scratch(state)
    kernel.apply_events(scratch, events, 0, len(events.time))
    buffers = new_buffers(1)
    fold_rows.write_row(scratch, buffers, 0, 0, scratch.scalars[layout.LAST_EVENT], True)
    return _to_batch(buffers)


def decode(states: pa.Table | None, products: pa.Table | None) -> StateBatch:
    """Stored rows as a batch; row i of both tables is the same customer, and a null row is a customer without history.

    Either table may be None (then that part is empty); columns beyond the fields are ignored.
    """
    n = next((table.num_rows for table in (states, products) if table is not None), 1)
    blank = _blank()
    scalars = np.repeat(blank.scalars, n, axis=0)
    channels = np.repeat(blank.channels, n, axis=0)
    last_seq = np.zeros(n, dtype=np.int64)
    if states is not None:
        known = np.flatnonzero(states["scalars"].is_valid().to_numpy())
        scalars[known] = _ragged(states["scalars"]).values.reshape(len(known), scalars.shape[1])
        channels[known] = _ragged(states["channel_stats"]).values.reshape(len(known), *channels.shape[1:])
        last_seq = states["last_seq"].fill_null(0).to_numpy().astype(np.int64)

    def part(table: pa.Table | None, name: str, empty: Ragged, width: int = 0) -> Ragged:
        if table is None:
            return Ragged(np.zeros(n + 1, dtype=np.int64), empty.values[:0])
        return _ragged(table[name], width, empty.values.dtype)

    return StateBatch(
        scalars=scalars,
        channels=channels,
        last_seq=last_seq,
        pair_codes=part(states, "pair_codes", blank.pair_codes),
        pair_stats=part(states, "pair_stats", blank.pair_stats, layout.PAIR_WIDTH),
        contacts=part(states, "contacts", blank.contacts, 2),
        hour_bins=part(states, "hour_bins", blank.hour_bins),
        hour_weights=part(states, "hour_weights", blank.hour_weights),
        seq_product=part(products, "seq_product", blank.seq_product),
        seq_event=part(products, "seq_event", blank.seq_event),
        seq_time=part(products, "seq_time", blank.seq_time),
        seq_value=part(products, "seq_value", blank.seq_value),
        habit_product=part(products, "habit_product", blank.habit_product),
        habit_stats=part(products, "habit_stats", blank.habit_stats, layout.HABIT_WIDTH),
        cart_product=part(states, "cart_product", blank.cart_product),
        cart_stats=part(states, "cart_stats", blank.cart_stats, layout.CART_WIDTH),
    )


def decode_one(values: Mapping[str, Any]) -> StateBatch:
    """One stored state (n = 1) from its fields by name: ints and flat arrays; a field that is missing is empty.

    The hot path's `decode`: no Arrow, a few microseconds.
    """
    blank = _blank()

    def part(name: str, empty: Ragged, width: int = 0) -> Ragged:
        if values.get(name) is None:
            return empty
        flat = np.asarray(values[name], dtype=empty.values.dtype)
        matrix = flat.reshape(-1, width) if width else flat
        return Ragged(_one_offsets(len(matrix)), matrix)

    scalars, channels = values.get("scalars"), values.get("channel_stats")
    return StateBatch(
        scalars=blank.scalars if scalars is None else np.asarray(scalars, dtype=np.float64).reshape(1, -1),
        channels=blank.channels if channels is None else np.asarray(channels).reshape(blank.channels.shape),
        last_seq=np.array([values.get("last_seq", 0)], dtype=np.int64),
        pair_codes=part("pair_codes", blank.pair_codes),
        pair_stats=part("pair_stats", blank.pair_stats, layout.PAIR_WIDTH),
        contacts=part("contacts", blank.contacts, 2),
        hour_bins=part("hour_bins", blank.hour_bins),
        hour_weights=part("hour_weights", blank.hour_weights),
        seq_product=part("seq_product", blank.seq_product),
        seq_event=part("seq_event", blank.seq_event),
        seq_time=part("seq_time", blank.seq_time),
        seq_value=part("seq_value", blank.seq_value),
        habit_product=part("habit_product", blank.habit_product),
        habit_stats=part("habit_stats", blank.habit_stats, layout.HABIT_WIDTH),
        cart_product=part("cart_product", blank.cart_product),
        cart_stats=part("cart_stats", blank.cart_stats, layout.CART_WIDTH),
    )


@lru_cache(maxsize=1_000)
def _one_offsets(length: int) -> Ints:
    """Offsets of one list; shared, hence not to be written to."""
    offsets = np.array([0, length], dtype=np.int64)
    offsets.flags.writeable = False
    return offsets


def encode(batch: StateBatch, customer_ids: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """A batch as the rows that are stored (state rows, products rows), stamped with each state's last event."""
    micros = np.round(np.nan_to_num(batch.scalar("last_event")) * 1e6).astype(np.int64)
    keys = [pa.array(customer_ids, pa.string()), pa.array(micros).cast(pa.timestamp("us", tz="UTC"))]
    state = [
        pa.array(batch.last_seq),
        _fixed_list(batch.scalars),
        _fixed_list(batch.channels.reshape(len(batch), -1)),
        *(_list(getattr(batch, name)) for name, _ in STATE_FIELDS[3:]),
    ]
    products = [pa.array(batch.last_seq), *(_list(getattr(batch, name)) for name, _ in PRODUCTS_FIELDS[1:])]
    return (
        pa.Table.from_arrays([*keys, *state], schema=STATE_SCHEMA),
        pa.Table.from_arrays([*keys, *products], schema=PRODUCTS_SCHEMA),
    )


def _few_arrays(events: pa.Table) -> EventArrays:
    """`event_arrays` by way of Python values: for a few events that takes a tenth of what Arrow's functions take."""
    if events.num_rows == 0:
        return _NO_EVENTS
    names = events.column_names

    def values(name: str) -> list[Any]:
        found: list[Any] = events.column(name).to_pylist()
        return found

    if Columns.PRODUCT_CODE in names:
        product = values(Columns.PRODUCT_CODE)
    else:
        product = [_one_code(product_id) if product_id else 0 for product_id in values(Columns.PRODUCT_ID)]
    return EventArrays(
        time=events.column(Columns.OCCURRED_AT).to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6,
        kind=np.array([KIND_CODES[kind] for kind in values(Columns.KIND)], dtype=np.int8),
        channel=np.array([CHANNEL_CODES[channel] for channel in values(Columns.CHANNEL)], dtype=np.int8),
        product=np.array(product, dtype=np.int64),
        quantity=np.array(values(Columns.QUANTITY), dtype=np.float64),  # None becomes NaN
        value=np.array(values(Columns.VALUE), dtype=np.float64),
        seq=np.array(values(Columns.SEQ) if Columns.SEQ in names else [0] * len(product), dtype=np.int64),
        detail=_details(events),
        written=_written(events),
    )


def _details(events: pa.Table) -> Floats:
    if Columns.DETAIL in events.column_names:
        return _floats(events[Columns.DETAIL])
    return detail_column(events)


def _written(events: pa.Table) -> NDArray[np.int8]:
    if Columns.WRITTEN in events.column_names:
        return np.asarray(events[Columns.WRITTEN].to_numpy(), dtype=np.int8)
    return np.full(events.num_rows, layout.WRITTEN, dtype=np.int8)


@lru_cache(maxsize=100_000)
def _one_code(product_id: str) -> int:
    return int(product_code([product_id])[0])


def _codes(column: pa.ChunkedArray, codes: dict[str, int]) -> NDArray[np.int8]:
    encoded = pc.dictionary_encode(column.cast(pa.string())).combine_chunks()
    lookup = np.array([codes[value] for value in encoded.dictionary.to_pylist()], dtype=np.int8)
    return lookup[encoded.indices.to_numpy()] if len(lookup) else np.zeros(0, dtype=np.int8)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.array(column.cast(pa.float64()).fill_null(np.nan).to_numpy())


def new_buffers(rows: int) -> RowBuffers:
    """Room for `rows` state rows; the ragged parts hold at least one row of the largest possible size."""
    n_pairs = layout.N_CHANNELS * layout.N_KINDS
    pairs, contacts, hours = n_pairs + 24 * rows, 16 + 8 * rows, layout.N_HOURS + 40 * rows
    sequence, habits, cart = 128 + 128 * rows, 128 + 128 * rows, 32 + 8 * rows
    return RowBuffers(
        customer=np.zeros(rows, np.int64),
        time=np.zeros(rows),
        last_seq=np.zeros(rows, np.int64),
        products_changed=np.zeros(rows, np.bool_),
        scalars=np.zeros((rows, len(layout.SCALARS))),
        channels=np.zeros((rows, layout.N_CHANNELS * layout.CHANNEL_WIDTH)),
        pair_end=np.zeros(rows, np.int64),
        pair_codes=np.zeros(pairs, np.int32),
        pair_stats=np.zeros((pairs, layout.PAIR_WIDTH)),
        contact_end=np.zeros(rows, np.int64),
        contacts=np.zeros((contacts, 2)),
        hour_end=np.zeros(rows, np.int64),
        hour_bins=np.zeros(hours, np.int32),
        hour_weights=np.zeros(hours),
        seq_end=np.zeros(rows, np.int64),
        seq_product=np.zeros(sequence, np.int64),
        seq_event=np.zeros(sequence, np.int32),
        seq_time=np.zeros(sequence),
        seq_value=np.zeros(sequence, np.float32),
        habit_end=np.zeros(rows, np.int64),
        habit_codes=np.zeros(habits, np.int64),
        habits=np.zeros((habits, layout.HABIT_WIDTH)),
        cart_end=np.zeros(rows, np.int64),
        cart_codes=np.zeros(cart, np.int64),
        cart=np.zeros((cart, layout.CART_WIDTH)),
    )


@cache
def _blank() -> StateBatch:
    buffers = new_buffers(1)
    fold_rows.write_row(kernel.new_scratch(), buffers, 0, 0, np.nan, True)
    return _to_batch(buffers)


def _to_batch(b: RowBuffers) -> StateBatch:
    """The one row in the buffers as a batch of n = 1."""

    def part(end: Ints, values: NDArray[Any]) -> Ragged:
        return Ragged(_one_offsets(int(end[0])), values[: end[0]])

    return StateBatch(
        scalars=b.scalars[:1],
        channels=b.channels[:1].reshape(1, layout.N_CHANNELS, layout.CHANNEL_WIDTH),
        last_seq=b.last_seq[:1],
        pair_codes=part(b.pair_end, b.pair_codes),
        pair_stats=part(b.pair_end, b.pair_stats),
        contacts=part(b.contact_end, b.contacts),
        hour_bins=part(b.hour_end, b.hour_bins),
        hour_weights=part(b.hour_end, b.hour_weights),
        seq_product=part(b.seq_end, b.seq_product),
        seq_event=part(b.seq_end, b.seq_event),
        seq_time=part(b.seq_end, b.seq_time),
        seq_value=part(b.seq_end, b.seq_value),
        habit_product=part(b.habit_end, b.habit_codes),
        habit_stats=part(b.habit_end, b.habits),
        cart_product=part(b.cart_end, b.cart_codes),
        cart_stats=part(b.cart_end, b.cart),
    )


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


def _to_tables(b: RowBuffers, n: int, customers: pa.Array) -> tuple[pa.Table, pa.Table]:
    micros = pa.array(np.round(b.time[:n] * 1e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))
    keys = [customers.take(pa.array(b.customer[:n])), micros]
    seq = pa.array(b.last_seq[:n])

    def part(end: Ints, values: NDArray[Any]) -> pa.Array:
        offsets = np.concatenate([[0], end[:n]])
        return _list(Ragged(offsets, values[: offsets[-1]]))

    state = pa.Table.from_arrays(
        [
            *keys,
            seq,
            _fixed_list(b.scalars[:n]),
            _fixed_list(b.channels[:n]),
            part(b.pair_end, b.pair_codes),
            part(b.pair_end, b.pair_stats),
            part(b.contact_end, b.contacts),
            part(b.hour_end, b.hour_bins),
            part(b.hour_end, b.hour_weights),
            part(b.cart_end, b.cart_codes),
            part(b.cart_end, b.cart),
        ],
        schema=STATE_SCHEMA,
    )
    products = pa.Table.from_arrays(
        [
            *keys,
            seq,
            part(b.seq_end, b.seq_product),
            part(b.seq_end, b.seq_event),
            part(b.seq_end, b.seq_time),
            part(b.seq_end, b.seq_value),
            part(b.habit_end, b.habit_codes),
            part(b.habit_end, b.habits),
        ],
        schema=PRODUCTS_SCHEMA,
    )
    return state, products.filter(pa.array(b.products_changed[:n]))


def _list(part: Ragged) -> pa.Array:
    width = 1 if part.values.ndim == 1 else part.values.shape[1]
    # pa.array copies nothing here, so the values must not be the buffers that the next piece overwrites.
    values = pa.array(part.values.reshape(-1).copy())
    return pa.ListArray.from_arrays(pa.array((part.offsets * width).astype(np.int32)), values)


def _fixed_list(matrix: Floats) -> pa.Array:
    n, width = matrix.shape
    return pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1, dtype=np.int32) * width), pa.array(matrix.reshape(-1).copy())
    )


def _ragged(column: pa.ChunkedArray | pa.Array, width: int = 0, dtype: Any = None) -> Ragged:
    """A list column as Ragged; a null list is an empty one."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    values = array.flatten().to_numpy(zero_copy_only=False)
    if dtype is not None:
        values = values.astype(dtype, copy=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if width:
        return Ragged(offsets // width, values.reshape(-1, width))
    return Ragged(offsets, values)
