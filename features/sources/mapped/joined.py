"""A second file comes in, such as the orders of lines; its columns go out beside those of the rows with the same key."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.events.rules import Problem
from features.ids import id_column
from features.sources.mapping_config import JoinSpec
from features.sources.nested import to_array
from features.sources.readers import RawRows, ReadOptions, read_rows
from features.sources.readers.places import exists
from features.sources.readers.rows import items_table, rejected_rows


@dataclass(frozen=True)
class Joined:
    """The second file in memory: a column of keys (k,) as text, and its other columns, (k,) each."""

    spec: JoinSpec
    keys: pa.Array
    columns: pa.Table

    def add(self, raw: RawRows) -> RawRows:
        """The rows with the second file's columns; those whose key is not in it are rejected."""
        if self.spec.key not in raw.names:
            if not len(raw):
                return raw
            raise InputError(
                f"The file has no column {self.spec.key!r} to join by.", repair="Correct the key of the join."
            )
        own = (
            id_column(pa.chunked_array([to_array(raw.values(self.spec.key))]))
            if not raw.is_table
            else id_column(raw.table.column(self.spec.key))
        )
        found = pc.index_in(pc.utf8_trim_whitespace(own), value_set=self.keys).combine_chunks()
        alone = np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))
        if len(alone):
            lost = raw.select(alone)
            problems = [
                Problem(self.spec.key, f"is {key!r}, which {self.spec.file} does not have: bring its row.")
                for key in own.take(pa.array(alone)).to_pylist()
            ]
            texts = [json.dumps(row, default=str, ensure_ascii=False) for row in lost.objects()]
            kept = np.delete(np.arange(len(raw)), alone)
            rejected = pa.concat_tables([raw.rejected, rejected_rows(lost.numbers.tolist(), problems, texts)])
            raw, found = raw.select(kept), found.take(pa.array(kept))
            raw.rejected = rejected
        beside = self.columns.drop_columns([name for name in raw.names if name in self.columns.column_names])
        return raw.with_columns({name: beside.column(name).take(found) for name in beside.column_names})


def read_joined(spec: JoinSpec, options: ReadOptions, beside: Path | None) -> Joined:
    """The second file of a join, which may lie beside the mapping.

    Raises InputError for a key that it does not have or has twice.
    """
    local = None if beside is None else beside / spec.file
    place = str(local) if local is not None and local.exists() else spec.file
    if not exists(place):
        raise InputError(f"There is no file {spec.file!r} to join.", repair="Correct its path.")
    tables, items = [], []
    for raw in read_rows(place, options):
        if raw.is_table:
            tables.append(raw.table)
        else:
            items += raw.objects()
    table = pa.concat_tables(tables, promote_options="permissive") if tables else items_table(items)
    if spec.key not in table.column_names:
        raise InputError(
            f"{place} has no column {spec.key!r}; it has {', '.join(table.column_names)}.",
            repair="Give the join as FILE:KEY, with a column that both files have.",
        )
    keys = pc.utf8_trim_whitespace(id_column(table.column(spec.key))).combine_chunks()
    counts = pc.value_counts(keys)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").drop_null()
    if len(twice):
        raise InputError(
            f"{place} has several rows of {spec.key} {twice[0].as_py()!r}, so none of them is the one to join.",
            repair="Give a file with one row for each, or make the other file the main one.",
        )
    return Joined(spec, keys, table.drop_columns([spec.key]))
