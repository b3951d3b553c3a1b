"""A table of events in; out, how its events name whom they are about: distinct texts, and which one each event has.

A text is made of a row's own columns at once for all rows, so that Python looks at a customer once and not at every event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray, IntArray
from features.identity.resolution import ANONYMOUS, CUSTOMER, Node, pack, sighting_nodes, unpack
from features.log.tables import dump_pairs
from features.vocabulary import Columns

NOBODY: Final = -1
"""The number of an event that names nobody, or is not kept: an earlier one has its id."""
_MARK: Final = "\x1e"
"""Begins the text of what is more than a customer id; ids have no control characters."""
_AS_LIST: Final = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), ("value", pa.string())]))
_NEVER_US: Final = 2**62


@dataclass(frozen=True)
class Met:
    """Distinct texts (k): whether it is a customer id alone, the first moment (microseconds) and one row of each, (k,).

    Each event's number among them is `codes` (n,).
    """

    texts: list[str]
    plain: BoolArray
    codes: IntArray
    first_us: IntArray
    rows: IntArray


def met_in(table: pa.Table, known: set[str]) -> Met:
    """Whom a table of EVENT_SCHEMA is about; `known` are the ids of its events with identifiers that the log has."""
    identifiers, customers = table.column(Columns.IDENTIFIERS), table.column(Columns.CUSTOMER_ID)
    texts = customers
    if identifiers.null_count < len(identifiers):
        named = pc.is_valid(identifiers)
        together = pc.binary_join_element_wise("", pc.fill_null(customers, ""), _joined(identifiers), _MARK)
        texts = pc.if_else(named, together, customers)
        texts = pc.if_else(pa.array(_repeats(table, named.to_numpy(), known)), None, texts)
    encoded = pc.dictionary_encode(texts)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    distinct: list[str] = encoded.dictionary.to_pylist()
    special = [pc.starts_with(encoded.dictionary, beginning) for beginning in (_MARK, ANONYMOUS)]
    plain = ~pc.or_(*special).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(encoded.indices, len(distinct)).to_numpy().astype(np.int64)
    first_us = np.full(len(distinct) + 1, _NEVER_US)
    np.minimum.at(first_us, codes, table.column(Columns.OCCURRED_AT).cast(pa.int64()).to_numpy())
    rows = np.empty(len(distinct) + 1, np.int64)
    rows[codes] = np.arange(len(codes))
    codes[codes == len(distinct)] = NOBODY
    return Met(distinct, plain, codes, first_us[:-1], rows[:-1])


def nodes_at(table: pa.Table, rows: IntArray) -> list[tuple[Node, ...]]:
    """The identifiers that the events at `rows` (k,) carry, strongest first."""
    part = table.select([Columns.CUSTOMER_ID, Columns.IDENTIFIERS]).take(pa.array(rows))
    customers, identifiers = (column.to_pylist() for column in part.columns)
    return [sighting_nodes(name, pairs or ()) for name, pairs in zip(customers, identifiers, strict=True)]


def is_plain(text: str) -> bool:
    """Whether a text of `Met` is a customer id alone."""
    return not text.startswith((_MARK, ANONYMOUS))


def text_of(nodes: Sequence[Node]) -> str:
    """The text by which identifiers that come together are remembered, in whatever order a row has them."""
    alone = len(nodes) == 1 and nodes[0].id_type == CUSTOMER and is_plain(nodes[0].value)
    return nodes[0].value if alone else f"{_MARK}{pack(nodes)}"


def nodes_of(text: str) -> tuple[Node, ...]:
    """The identifiers of which `text_of` made a text."""
    return unpack(text[1:]) if text.startswith(_MARK) else (Node(CUSTOMER, text),)


def identifier_texts(identifiers: pa.ChunkedArray) -> pa.Array:
    """The identifiers of each row (n,) as the log keeps them, as JSON; each distinct one is written once."""
    n_rows = len(identifiers)
    if identifiers.null_count == n_rows:
        return pa.nulls(n_rows, pa.string())
    encoded = pc.dictionary_encode(_joined(identifiers)).combine_chunks()
    rows = np.empty(len(encoded.dictionary), np.int64)
    rows[encoded.indices.to_numpy()] = np.arange(n_rows)
    texts = [dump_pairs(pairs) for pairs in identifiers.take(pa.array(rows)).to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _joined(identifiers: pa.ChunkedArray) -> pa.ChunkedArray:
    """The identifiers of each row (n,) as one text."""
    parts = []
    for chunk in identifiers.chunks:
        lists = chunk.cast(_AS_LIST)
        pairs = pc.list_flatten(lists)
        entries = pc.binary_join_element_wise(*(pc.struct_field(pairs, name) for name in ("key", "value")), _MARK)
        counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        ends = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        parts.append(pc.binary_join(pa.ListArray.from_arrays(ends, entries), _MARK))
    return pa.chunked_array(parts, pa.string())


def _repeats(table: pa.Table, named: BoolArray, known: set[str]) -> BoolArray:
    """Which rows (n,) name identifiers under an id that the log has, or that an earlier such row has."""
    repeats = np.zeros(table.num_rows, np.bool_)
    ids = table.column(Columns.EVENT_ID).filter(pa.array(named))
    if not known and pc.count_distinct(ids).as_py() == len(ids):
        return repeats
    met = set(known)
    for row, event_id in zip(np.flatnonzero(named).tolist(), ids.to_pylist(), strict=True):
        repeats[row] = event_id in met
        met.add(event_id)
    return repeats
