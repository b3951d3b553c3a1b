"""States in, the rows that are stored out, and back: two views of plain arrays per customer, and their schemas.

Ragged arrays keep a quiet customer small; every one of them is bounded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray
from features.errors import StoreError
from features.state.batch import LIST_WIDTHS, Ragged, StateBatch, blank, list_in_buffers, one_offsets
from features.state.layout import RowBuffers
from features.vocabulary import Columns

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
_STATE_LISTS: Final = tuple(name for name, _ in STATE_FIELDS if name in LIST_WIDTHS)
_PRODUCTS_LISTS: Final = tuple(name for name, _ in PRODUCTS_FIELDS if name in LIST_WIDTHS)


def decode(states: pa.Table | None, products: pa.Table | None) -> StateBatch:
    """Stored rows as a batch; row i of both tables is the same customer, and a null row is a customer without history.

    Either table may be None (then that part is empty); columns beyond the fields are ignored. Raises StoreError for states
    of another layout.
    """
    n = next((table.num_rows for table in (states, products) if table is not None), 1)
    nobody = blank()
    scalars = np.repeat(nobody.scalars, n, axis=0)
    channels = np.repeat(nobody.channels, n, axis=0)
    last_seq = np.zeros(n, dtype=np.int64)
    if states is not None:
        known = np.flatnonzero(states["scalars"].is_valid().to_numpy())
        numbers = _ragged(states["scalars"]).values
        if len(numbers) != len(known) * scalars.shape[1]:
            raise StoreError("The states are of another version of the fold.", repair="Run: omni features build")
        scalars[known] = numbers.reshape(len(known), scalars.shape[1])
        channels[known] = _ragged(states["channel_stats"]).values.reshape(len(known), *channels.shape[1:])
        last_seq = states["last_seq"].fill_null(0).to_numpy().astype(np.int64)
    lists = {}
    for table, names in ((states, _STATE_LISTS), (products, _PRODUCTS_LISTS)):
        for name in names:
            empty: Ragged = getattr(nobody, name)
            if table is None:
                lists[name] = Ragged(np.zeros(n + 1, dtype=np.int64), empty.values[:0])
            else:
                lists[name] = _ragged(table[name], LIST_WIDTHS[name], empty.values.dtype)
    return StateBatch(scalars=scalars, channels=channels, last_seq=last_seq, **lists)


def decode_one(values: Mapping[str, Any]) -> StateBatch:
    """One stored state (n = 1) from its fields by name: ints and flat arrays; a field that is missing is empty.

    The hot path's `decode`: no Arrow, a few microseconds.
    """
    nobody = blank()
    lists: dict[str, Ragged] = {}
    for name, width in LIST_WIDTHS.items():
        empty: Ragged = getattr(nobody, name)
        if values.get(name) is None:
            lists[name] = empty
            continue
        flat = np.asarray(values[name], dtype=empty.values.dtype)
        matrix = flat.reshape(-1, width) if width else flat
        lists[name] = Ragged(one_offsets(len(matrix)), matrix)
    scalars, channels = values.get("scalars"), values.get("channel_stats")
    return StateBatch(
        scalars=nobody.scalars if scalars is None else np.asarray(scalars, dtype=np.float64).reshape(1, -1),
        channels=nobody.channels if channels is None else np.asarray(channels).reshape(nobody.channels.shape),
        last_seq=np.array([values.get("last_seq", 0)], dtype=np.int64),
        **lists,
    )


def encode(batch: StateBatch, customer_ids: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """A batch as the rows that are stored (state rows, products rows), stamped with each state's last event."""
    micros = np.round(np.nan_to_num(batch.scalar("last_event")) * 1e6).astype(np.int64)
    keys = [pa.array(customer_ids, pa.string()), pa.array(micros).cast(pa.timestamp("us", tz="UTC"))]
    state = [
        pa.array(batch.last_seq),
        _fixed_list(batch.scalars),
        _fixed_list(batch.channels.reshape(len(batch), -1)),
        *(_list(getattr(batch, name)) for name in _STATE_LISTS),
    ]
    products = [pa.array(batch.last_seq), *(_list(getattr(batch, name)) for name in _PRODUCTS_LISTS)]
    return (
        pa.Table.from_arrays([*keys, *state], schema=STATE_SCHEMA),
        pa.Table.from_arrays([*keys, *products], schema=PRODUCTS_SCHEMA),
    )


def encode_buffers(buffers: RowBuffers, n: int, customers: pa.Array) -> tuple[pa.Table, pa.Table]:
    """The first `n` rows that the kernel wrote as the rows that are stored; `customers` are the names of its numbers."""
    micros = pa.array(np.round(buffers.time[:n] * 1e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))
    keys = [customers.take(pa.array(buffers.customer[:n])), micros]
    seq = pa.array(buffers.last_seq[:n])

    def lists(names: Sequence[str]) -> list[pa.Array]:
        columns = []
        for name in names:
            ends, entries = list_in_buffers(buffers, name)
            offsets = np.concatenate([[0], ends[:n]])
            columns.append(_list(Ragged(offsets, entries[: offsets[-1]])))
        return columns

    state = [*keys, seq, _fixed_list(buffers.scalars[:n]), _fixed_list(buffers.channels[:n]), *lists(_STATE_LISTS)]
    products = pa.Table.from_arrays([*keys, seq, *lists(_PRODUCTS_LISTS)], schema=PRODUCTS_SCHEMA)
    changed = pa.array(buffers.products_changed[:n])
    return pa.Table.from_arrays(state, schema=STATE_SCHEMA), products.filter(changed)


def _list(part: Ragged) -> pa.Array:
    width = 1 if part.values.ndim == 1 else part.values.shape[1]
    # pa.array copies nothing here, so the values must not be the buffers that the next piece overwrites.
    values = pa.array(part.values.reshape(-1).copy())
    return pa.ListArray.from_arrays(pa.array((part.offsets * width).astype(np.int32)), values)


def _fixed_list(matrix: FloatArray) -> pa.Array:
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
