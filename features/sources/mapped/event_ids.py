"""Rows come in; event ids that are the same each time the file is read, and a hash of all that each row says, go out."""

import hashlib
import json
from collections import Counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.arrays import IntArray
from features.events.rules import Problem
from features.ids import id_text, joined_ids
from features.sources.mapped.rows import MappedRows
from features.sources.mapped.values import clean_id
from features.sources.mapping_config import ColumnSpec, MappingConfig
from features.sources.nested import flattened
from features.sources.parsing import Problems
from features.sources.readers.rows import RawRows
from features.vocabulary import Columns


class RowHasher:
    """Hashes of whole rows."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def hashes(self, raw: RawRows) -> NDArray[np.uint64]:
        """One hash of all that a row says, (n,)."""
        if not raw.is_table:
            texts = [_canonical(item) for item in raw.objects()]
            digests = b"".join(
                hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest() for text in texts
            )
            return np.frombuffer(digests, np.uint64)
        if not len(raw):
            return np.empty(0, np.uint64)
        table = flattened(raw.table)
        names = [f"c{place}" for place in range(table.num_columns)]
        self._connection.register("rows", table.rename_columns(names))
        found = self._connection.sql(f"SELECT hash({', '.join(names)}) AS h FROM rows").to_arrow_table()
        self._connection.unregister("rows")
        result: NDArray[np.uint64] = found.column("h").to_numpy()
        return result


def named_ids(
    rows: MappedRows, lines: IntArray | None, config: MappingConfig, problems: Problems
) -> pa.Array | pa.ChunkedArray:
    """Ids (n,) of the columns that name a row, and the number of the line where there is one; null where one is blank."""
    parts: list[pa.Array | pa.ChunkedArray] = []
    for name in config.event_id_from:
        part = clean_id(name, rows.column(ColumnSpec(column=name)), config, problems, rows.raw.typed)
        if part.null_count:
            reason = "is blank, and event_id_from names rows by it: fill it in, or name rows by other columns."
            for place in pc.indices_nonzero(pc.is_null(part)).to_pylist():
                problems.setdefault(place, Problem(name, reason))
        parts.append(part)
    if not parts and config.line_of is not None:
        parts.append(clean_id(config.line_of, rows.column(ColumnSpec(column=config.line_of)), config, problems, True))
    if lines is not None:
        parts.append(pa.array(lines).cast(pa.string()))
    return pc.binary_join_element_wise(config.event_id_prefix, joined_ids(parts), "")


def given_ids(rows: MappedRows, lines: IntArray | None, config: MappingConfig, problems: Problems) -> pa.ChunkedArray:
    """Ids (n,) that the file gives itself."""
    ids = clean_id(Columns.EVENT_ID, rows.column(config.columns["event_id"]), config, problems, rows.raw.typed)
    if lines is not None:
        ids = joined_ids([ids, pa.array(lines).cast(pa.string())])
    return pc.binary_join_element_wise(config.event_id_prefix, ids, "")


def content_ids(
    raw: RawRows, rows: MappedRows, names: list[str], config: MappingConfig, seen: Counter[str]
) -> pa.Array:
    """Ids (n,) of rows that nothing names: a hash of all that they say. `names` are the file's own columns.

    `seen` counts how often each has come, over the whole file: where equal rows are kept apart, they are numbered.
    """
    if raw.is_table:
        table = flattened(raw.table.select(sorted(names)))
        texts = [
            repr(row) for row in zip(*(column.cast(pa.string()).to_pylist() for column in table.columns), strict=True)
        ]
    else:
        texts = [_canonical(item) for item in raw.objects()]
    ids = []
    for text in texts:
        digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
        if config.duplicates == "keep":
            seen[digest] += 1
            digest = digest if seen[digest] == 1 else f"{digest}:{seen[digest]}"
        ids.append(config.event_id_prefix + digest)
    column = pa.array(ids, pa.string())
    if rows.parents is None or rows.lines is None:
        return column
    return joined_ids([column.take(pa.array(rows.parents)), pa.array(rows.lines).cast(pa.string())])


def _canonical(item: dict[str, Any]) -> str:
    """A row as text that is the same whatever the order of its keys, and whichever keys without a value it has."""
    given = {name: value for name, value in item.items() if value is not None}
    return json.dumps(given, sort_keys=True, default=id_text, ensure_ascii=False)
