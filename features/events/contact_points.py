"""The kinds of identifier that an event names come in; one whole number with a bit for each kind goes out.

By them it is known where a customer can be reached: an e-mail address, a phone number, a device. Values that name nobody
("undefined", "0") do not count. Known kinds have a bit each; others share the rest by their names' hashes, so that a kind of a
shop's own may, one time in forty, stand for another one of its own.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.events.hashing import hash_texts
from features.events.placeholders import Placeholders
from features.vocabulary import Columns, IdType

ADDRESS: Final = "address"
"""The kind of a postal address."""
KNOWN_KINDS: Final = (*(kind.value for kind in IdType), ADDRESS)
"""Kinds with a bit of their own, in the order of the bits. The order is part of the stored state: append, never reorder."""
_FIRST_SHARED: Final = 8
_N_SHARED: Final = 40
"""Bits of all other kinds: together they fit into the 53 that a float holds exactly."""
_FEW: Final = 32
_NOBODY: Final = Placeholders()


@lru_cache(maxsize=4_096)
def kind_bit(id_type: str) -> int:
    """The bit of one kind of identifier."""
    if id_type in KNOWN_KINDS:
        return 1 << KNOWN_KINDS.index(id_type)
    return 1 << _FIRST_SHARED + int(hash_texts([id_type])[0] % np.uint64(_N_SHARED))


def kind_bits(id_types: Iterable[str]) -> int:
    """The bits of several kinds."""
    bits = 0
    for id_type in id_types:
        bits |= kind_bit(id_type)
    return bits


def identified_bits(identifiers: Mapping[str, str] | Iterable[tuple[str, str]]) -> int:
    """The bits of what identifiers (type and value) name somebody by."""
    pairs = identifiers.items() if isinstance(identifiers, Mapping) else identifiers
    return kind_bits(id_type for id_type, value in pairs if value and value not in _NOBODY)


def identified_column(events: pa.Table) -> IntArray:
    """The bits of every row of a table with the column `identifiers`, 0 where it names none, shape (n,)."""
    n = events.num_rows
    if Columns.IDENTIFIERS not in events.column_names or events[Columns.IDENTIFIERS].null_count == n:
        return np.zeros(n, np.int64)
    column = events[Columns.IDENTIFIERS]
    if n <= _FEW:
        return np.array([identified_bits(pairs) if pairs else 0 for pairs in column.to_pylist()], np.int64)
    rows = np.flatnonzero(column.is_valid().to_numpy())
    pairs = column.take(pa.array(rows)).combine_chunks()  # taken: so its offsets begin at 0
    kinds = pairs.keys.dictionary_encode()
    bits = np.array([kind_bit(kind) for kind in kinds.dictionary.to_pylist()] or [0], np.int64)[
        kinds.indices.to_numpy()
    ]
    values = pa.chunked_array([pairs.items.cast(pa.string())])
    for place in np.flatnonzero(_NOBODY.suspects(values)).tolist():
        if (value := values[place].as_py()) is None or value in _NOBODY:
            bits[place] = 0
    found = np.zeros(n, np.int64)
    np.bitwise_or.at(found, np.repeat(rows, np.diff(pairs.offsets.to_numpy())), bits)
    return found
