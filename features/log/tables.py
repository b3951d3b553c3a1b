"""The layout of the log's tables: Arrow tables of events in, database rows out, and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.events.hashing import HashArray, hash_bytes, hash_numbers, hash_texts
from features.events.rows import EventRow
from features.events.schema import EVENT_SCHEMA
from features.vocabulary import Columns

SEGMENT_MIN_ROWS: Final = 10_000
"""Appends of at least this many new rows are kept a second time, in a form that is read at millions of rows a second."""
READ_SCHEMA: Final = pa.schema(
    [
        *EVENT_SCHEMA,
        pa.field(Columns.SEQ, pa.int64()),
        pa.field(Columns.RESOLVED_CUSTOMER_ID, pa.string()),
        pa.field(Columns.CUSTOMER_KEY, pa.int64()),
    ]
)
"""What the log gives back: the event, its place in the log, whose it is, and by which sighting (see identity.py)."""
PURCHASE_SCHEMA: Final = pa.schema(
    [
        READ_SCHEMA.field(name)
        for name in (
            *(Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL, Columns.PRODUCT_ID, Columns.QUANTITY, Columns.VALUE),
            *(Columns.CURRENCY, Columns.PROPERTIES, Columns.SEQ),
        )
    ]
)
"""What tells what a customer bought and kept."""

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # what came together in events, and whose it is now; `moved` where that has changed since the first event
    "CREATE TABLE IF NOT EXISTS customers (customer_key INTEGER PRIMARY KEY, nodes TEXT NOT NULL UNIQUE,"
    " customer_id TEXT NOT NULL, first_us INTEGER NOT NULL, moved INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS customers_by_id ON customers (customer_id)",
    "CREATE INDEX IF NOT EXISTS customers_moved ON customers (customer_key) WHERE moved = 1",
    "CREATE TABLE IF NOT EXISTS identifiers (id_type TEXT, id_value TEXT, customer_id TEXT NOT NULL,"
    " shared INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (id_type, id_value)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS identifiers_by_id ON identifiers (customer_id)",
    "CREATE TABLE IF NOT EXISTS seen_in (id_type TEXT, id_value TEXT, customer_key INTEGER,"
    " PRIMARY KEY (id_type, id_value, customer_key)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS seen_in_by_key ON seen_in (customer_key)",
    "CREATE TABLE IF NOT EXISTS regrouped (customer_id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS regrouped_by_seq ON regrouped (seq)",
    # AUTOINCREMENT: a seq is never given out twice, even after the newest event was erased
    "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE,"
    " occurred_us INTEGER NOT NULL, customer_key INTEGER NOT NULL, kind TEXT NOT NULL, channel TEXT NOT NULL,"
    " customer_id TEXT, identifiers TEXT, product_id TEXT, quantity REAL, value REAL, currency TEXT,"
    " campaign_id TEXT, decision_id TEXT, store_id TEXT, session_id TEXT, properties TEXT)",
    # a second copy of bulk loads, as Arrow reads it: the rows are the truth, and whoever changes or deletes one
    # does the same to the segment that it lies in (or deletes that): the seqs of a segment may have gaps
    "CREATE TABLE IF NOT EXISTS segments (first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS segments_by_last ON segments (last_seq)",
    # small integers keep this index cheap enough to be kept up during a bulk load; a customer's new events are found in it
    # without a look at their old ones
    "CREATE INDEX IF NOT EXISTS events_of_customer ON events (customer_key, seq)",
    "DROP INDEX IF EXISTS events_by_customer",  # of a log from before, by moment
)

STORED: Final = (
    Columns.EVENT_ID,
    "occurred_us",
    "customer_key",
    *(name for name in EVENT_SCHEMA.names if name not in (Columns.EVENT_ID, Columns.OCCURRED_AT)),
)
"""Columns of the table `events` but the seq, in the order of `table_to_rows`."""
INSERT: Final = (
    f"INSERT INTO events ({', '.join(STORED)}) VALUES ({', '.join('?' * len(STORED))})"
    " ON CONFLICT (event_id) DO NOTHING"
)
_HASHED: Final = (Columns.EVENT_ID, Columns.OCCURRED_AT, Columns.PRODUCT_ID, Columns.QUANTITY, Columns.VALUE)
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)
_dump_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_FEW: Final = 32
"""Up to so many rows, Python values are faster than Arrow's functions."""
COLUMNS: Final = "seq, c.customer_id, customer_key, " + ", ".join(
    f"e.{'occurred_us' if name == Columns.OCCURRED_AT else name}" for name in EVENT_SCHEMA.names
)
"""What a query over `events e` and `customers c` selects for `rows_to_table`."""


def table_to_rows(table: pa.Table, customer_keys: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Rows for INSERT; `customer_keys` (n,) are of the same rows."""
    columns = stored_columns(table, customer_keys).values()
    return zip(*(repeat(None, table.num_rows) if values is None else values for values in columns), strict=True)


def stored_columns(table: pa.Table, customer_keys: Sequence[int]) -> dict[str, Sequence[Any] | None]:
    """The columns STORED by name, as Python values; None for one in which no row has a value."""
    columns: dict[str, Sequence[Any] | None] = {}
    for name in STORED:
        if name == "customer_key":
            columns[name] = customer_keys
        elif name == "occurred_us":
            columns[name] = table.column(Columns.OCCURRED_AT).cast(pa.int64()).to_numpy().tolist()
        else:
            columns[name] = _values(table, name)
    return columns


def rows_to_table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of COLUMNS as a table of READ_SCHEMA."""
    if not rows:
        return _no_rows()
    seqs, customer_ids, customer_keys, *columns = zip(*rows, strict=True)
    arrays = []
    for field, values in zip(EVENT_SCHEMA, columns, strict=True):
        if field.name == Columns.IDENTIFIERS and values.count(None) < len(values):
            pairs = [None if text is None else list(json.loads(text).items()) for text in values]
            arrays.append(pa.array(pairs, field.type))
        elif len(values) <= _FEW and values.count(None) == len(values):
            arrays.append(_nulls(len(values), field.type))
        else:
            arrays.append(pa.array(values, field.type))
    arrays += [pa.array(seqs, pa.int64()), pa.array(customer_ids, pa.string()), pa.array(customer_keys, pa.int64())]
    return pa.Table.from_arrays(arrays, schema=READ_SCHEMA)


@cache
def _nulls(n: int, dtype: pa.DataType) -> pa.Array:
    """Made once: half the columns of a live event are empty, and a read of one event is as fast as its columns are made."""
    return pa.nulls(n, dtype)


@cache
def _no_rows() -> pa.Table:
    return READ_SCHEMA.empty_table()


def dump_segment(
    table: pa.Table, seqs: Sequence[int], customer_ids: pa.Array, customer_keys: Sequence[int] | IntArray
) -> bytes:
    """Rows of EVENT_SCHEMA with their seqs and whose they are, by name and by key, as compressed Arrow IPC."""
    added = pa.array(seqs, pa.int64()), customer_ids, pa.array(customer_keys, pa.int64())
    return dump_table(pa.Table.from_arrays([*table.columns, *added], schema=READ_SCHEMA))


def dump_table(table: pa.Table) -> bytes:
    """Rows of READ_SCHEMA as compressed Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, READ_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def load_segment(body: bytes) -> pa.Table:
    """The table that `dump_segment` or `dump_table` wrote, in READ_SCHEMA; whose a row is, as of then."""
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


def rename_customers(table: pa.Table, names: Mapping[int, str]) -> pa.Table:
    """Rows of READ_SCHEMA with the customers' names by key; who is not in `names` keeps theirs."""
    if not names:
        return table
    keys = pa.array(list(names), pa.int64())
    place = table.schema.get_field_index(Columns.RESOLVED_CUSTOMER_ID)
    renamed = pa.array(list(names.values()), pa.string()).take(
        pc.index_in(table.column(Columns.CUSTOMER_KEY), value_set=keys).combine_chunks()
    )
    return table.set_column(place, READ_SCHEMA.field(place), pc.coalesce(renamed, table.column(place).combine_chunks()))


def row_to_stored(row: EventRow, customer_key: int) -> tuple[Any, ...]:
    """A row for INSERT."""
    pairs = _dump_json(row.identifiers) if row.identifiers else None
    return row.event_id, row.occurred_us, customer_key, row.kind, row.channel, row.customer_id, pairs, *row[6:]


def hash_table(table: pa.Table) -> int:
    """The sum modulo 2^64 of one hash per event, over what makes up its meaning; the same on every machine."""
    return _summed([_column_hashes(table.column(name)) for name in _HASHED])


def hash_rows(rows: Sequence[EventRow]) -> int:
    """The same of rows."""
    texts = hash_texts([row.event_id for row in rows] + [row.product_id or "" for row in rows])
    quantities = [np.nan if row.quantity is None else row.quantity for row in rows]
    values = [np.nan if row.value is None else row.value for row in rows]
    numbers = hash_numbers(np.array(quantities + values))
    moments = hash_numbers(np.array([row.occurred_us for row in rows], np.int64))
    n = len(rows)
    return _summed([texts[:n], moments, texts[n:], numbers[:n], numbers[n:]])


def _summed(columns: Sequence[HashArray]) -> int:
    """The sum of the hashes of rows, each of which is made of the hashes of its columns, (n,) each."""
    total = np.zeros(len(columns[0]), np.uint64)
    for hashes in columns:
        total = total * _MIXER + hashes
    return int(total.sum(dtype=np.uint64))


def _column_hashes(column: pa.ChunkedArray) -> HashArray:
    """One hash per value, (n,); null is as "" and NaN are."""
    if pa.types.is_timestamp(column.type):
        return hash_numbers(column.cast(pa.int64()).to_numpy())
    if pa.types.is_floating(column.type):
        return hash_numbers(pc.fill_null(column, np.nan).to_numpy())
    parts = [_text_hashes(chunk) for chunk in pc.fill_null(column, "").chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _text_hashes(texts: pa.StringArray) -> HashArray:
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset).astype(np.int64)
    hashes: HashArray = hash_bytes(np.frombuffer(data or b"", np.uint8), ends)
    return hashes


def _values(table: pa.Table, name: str) -> list[Any] | None:
    """A column as Python values, None for one without any; numpy makes them several times as fast as `to_pylist`."""
    column = table.column(name)
    if column.null_count == len(column):
        return None
    if name == Columns.IDENTIFIERS:
        return [dump_pairs(pairs) for pairs in column.to_pylist()]
    if len(column) <= _FEW:
        few: list[Any] = column.to_pylist()
        return few
    if pa.types.is_string(column.type) and name != Columns.EVENT_ID:
        # few distinct values: make each Python text once and point to it
        encoded = pc.dictionary_encode(column).combine_chunks()
        words = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
        values = words[pc.fill_null(encoded.indices, len(words) - 1).to_numpy()]
    elif column.null_count and pa.types.is_floating(column.type):
        values = column.to_numpy().astype(object)
        values[column.is_null().to_numpy()] = None
    else:
        values = column.to_numpy()
    result: list[Any] = values.tolist()
    return result


def dump_pairs(pairs: list[tuple[str, str]] | None) -> str | None:
    """Identifiers as the log keeps them; None without any."""
    return _dump_json(dict(pairs)) if pairs else None
