"""States in memory in, the rows of the two Feast views that hold them out; and back.

What a row says is one field of bytes (packing.py): it is read as one value, and takes a third of what its numbers would.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from features.arrays import ByteArray, IntArray
from features.attributes.rows import in_front
from features.attributes.values import prefix
from features.state import layout
from features.state.batch import StateBatch, read_parts
from features.state.layout import RowBuffers
from features.state.packing import write_row
from features.state.scratch import to_scratch
from features.vocabulary import Columns

STATE_FIELDS: Final[tuple[tuple[str, str], ...]] = (("last_seq", "int64"), ("state", "bytes"))
"""Fields of the view `customer_state` and their types."""
PRODUCTS_FIELDS: Final[tuple[tuple[str, str], ...]] = (("products_seq", "int64"), ("products", "bytes"))
"""Fields of the view `customer_products` and their types."""
_ARROW_TYPES: Final[dict[str, pa.DataType]] = {"int64": pa.int64(), "bytes": pa.binary()}
_KEYS: Final = (
    pa.field(Columns.CUSTOMER_ID, pa.string()),
    pa.field(Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC")),
)
STATE_SCHEMA: Final = pa.schema([*_KEYS, *(pa.field(n, _ARROW_TYPES[t]) for n, t in STATE_FIELDS)])
PRODUCTS_SCHEMA: Final = pa.schema([*_KEYS, *(pa.field(n, _ARROW_TYPES[t]) for n, t in PRODUCTS_FIELDS)])
_NOTHING: Final[ByteArray] = np.zeros(0, np.uint8)


def decode(states: pa.Table | None, products: pa.Table | None) -> StateBatch:
    """Stored rows as a batch; row i of both tables is the same customer, and a null row is a customer without history.

    Either table may be None (then that part is empty); columns beyond the fields are ignored. Raises StoreError for states
    of another layout.
    """
    n = next((table.num_rows for table in (states, products) if table is not None), 1)
    last_seq = np.zeros(n, dtype=np.int64)
    if states is not None:
        last_seq = states["last_seq"].fill_null(0).to_numpy().astype(np.int64)
    of_state, states_at = _bytes(None if states is None else states["state"], n)
    of_products, products_at = _bytes(None if products is None else products["products"], n)
    return read_parts(of_state, states_at, of_products, products_at, last_seq)


def decode_many(rows: Sequence[Mapping[str, Any]]) -> StateBatch:
    """Stored states (n,), each from its fields by name; a field that is missing is empty. Raises as `decode` does."""
    last_seq = np.array([row.get("last_seq", 0) for row in rows], dtype=np.int64)
    return read_parts(
        *_joined([row.get("state") or b"" for row in rows]),
        *_joined([row.get("products") or b"" for row in rows]),
        last_seq,
    )


def decode_one(values: Mapping[str, Any]) -> StateBatch:
    """One stored state (n = 1) from its fields by name; a field that is missing is empty.

    The hot path's `decode`: no Arrow. Raises StoreError for a state of another layout.
    """
    state, products = (np.frombuffer(values.get(name) or b"", np.uint8) for name in ("state", "products"))
    last_seq = np.array([values.get("last_seq", 0)], dtype=np.int64)
    return read_parts(state, np.array([[0], [len(state)]]), products, np.array([[0], [len(products)]]), last_seq)


def encode(batch: StateBatch, customer_ids: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """A batch as the rows that are stored (state rows, products rows), stamped with each state's last event."""
    buffers = layout.new_buffers(len(batch), whole=True)
    for row in range(len(batch)):
        write_row(to_scratch(batch, row), buffers, row, row, np.nan_to_num(batch.scalar("last_event")[row]), True)
    buffers.last_seq[:] = batch.last_seq
    states, products = encode_buffers(buffers, len(batch), pa.array(customer_ids, pa.string()))
    if len(batch.attributes.values):
        states = in_front(states, [prefix(batch.attributes[row]) for row in range(len(batch))])
    return states, products


def encode_buffers(buffers: RowBuffers, n: int, customers: pa.Array) -> tuple[pa.Table, pa.Table]:
    """The first `n` rows that the kernel wrote as the rows that are stored; `customers` are the names of its numbers."""
    micros = pa.array(np.round(buffers.time[:n] * 1e6).astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))
    keys = [customers.take(pa.array(buffers.customer[:n])), micros, pa.array(buffers.last_seq[:n].copy())]
    states = pa.Table.from_arrays([*keys, _binary(buffers.state, buffers.state_end[:n])], schema=STATE_SCHEMA)
    products = pa.Table.from_arrays(
        [*keys, _binary(buffers.products, buffers.products_end[:n])], schema=PRODUCTS_SCHEMA
    )
    if not buffers.products_changed[:n].all():
        products = products.filter(pa.array(buffers.products_changed[:n]))
    return states, products


def _joined(parts: Sequence[bytes]) -> tuple[ByteArray, IntArray]:
    """Parts laid end to end, and where each of them begins and ends (2, n)."""
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), np.stack([np.concatenate([[0], ends])[:-1], ends])


def _binary(parts: ByteArray, ends: IntArray) -> pa.Array:
    """Parts that lie end to end as an Arrow column; copied, as the next piece overwrites them."""
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    values = parts[: offsets[-1]].copy()
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def _bytes(column: pa.ChunkedArray | pa.Array | None, n: int) -> tuple[ByteArray, IntArray]:
    """A column of bytes as one array, and where each of the n rows' parts begins and ends (2, n); a null is an empty one."""
    if column is None or n == 0:
        return _NOTHING, np.zeros((2, n), np.int64)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    array = array.cast(pa.binary())
    _, offsets_buffer, values = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    spans = np.stack([offsets[:-1], offsets[1:]])
    if array.null_count:
        spans[1] = np.where(array.is_valid().to_numpy(zero_copy_only=False), spans[1], spans[0])
    return _NOTHING if values is None else np.frombuffer(values, np.uint8), spans
