"""Rows that belong together come in, such as the lines of an order; values carried down and the number of each line go out.

A group may go on in the next batch: what is needed of it is remembered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.sources.mapped.rows import Hits, MappedRows
from features.sources.mapped.values import clean
from features.sources.mapping_config import ColumnSpec, MappingConfig
from features.sources.readers.rows import RawRows, no_rejected


@dataclass
class Carrier:
    """Fills blank cells of `carry_down` with the value above them, within the rows of one group that follow each other."""

    config: MappingConfig
    hits: Hits
    _key: str | None = None
    _last: dict[str, str | None] = field(default_factory=dict)

    def fill(self, raw: RawRows) -> RawRows:
        """The rows with nothing left blank that the first row of their group says."""
        if not self.config.carry_down or not len(raw):
            return raw
        rows = MappedRows(raw, self.hits)
        keys = clean(rows.column(ColumnSpec(column=self.config.within)), self.config).to_pylist()
        if self.config.within in self.config.carry_down:  # a continued row may leave the group's name out as well
            for place, key in enumerate(keys):
                keys[place] = key if key is not None else (keys[place - 1] if place else self._key)
        named = np.array([self._key, *keys], dtype=object)
        begins = np.append(True, (named[1:] != named[:-1]) | (named[1:] == None))  # noqa: E711 - of each element
        starts = np.maximum.accumulate(np.where(begins, np.arange(len(named)), 0))
        columns: dict[str, pa.Array] = {}
        for name in self.config.carry_down:
            given = clean(rows.column(ColumnSpec(column=name)), self.config)
            values = [self._last.get(name), *given.to_pylist()]
            filled = np.array([value is not None for value in values])
            latest = np.maximum.accumulate(np.where(filled, np.arange(len(values)), -1))
            texts = [
                values[place] if place >= start else None
                for place, start in zip(latest.tolist(), starts.tolist(), strict=True)
            ]
            self._last[name] = texts[-1]
            columns[name] = pa.array(texts[1:], pa.string())
        if self.config.within in self.config.carry_down:
            columns[str(self.config.within)] = pa.array(keys, pa.string())
        self._key = keys[-1]
        return raw.with_columns(columns)


@dataclass
class LineCounter:
    """Counts the rows of each group over the whole file."""

    _seen: dict[str | None, int] = field(default_factory=dict)

    def number(self, keys: pa.ChunkedArray) -> IntArray:
        """The number of each row (n,) within its group, from 1."""
        encoded = pc.dictionary_encode(keys, null_encoding="encode").combine_chunks()
        codes = encoded.indices.to_numpy()
        names = encoded.dictionary.to_pylist()
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts = np.diff(np.append(starts, len(ordered)))
        before = np.array([self._seen.get(names[code], 0) for code in ordered[starts]], np.int64)
        lines = np.empty(len(codes), np.int64)
        lines[order] = np.arange(len(codes)) - np.repeat(starts - before, counts) + 1
        for code, count, earlier in zip(ordered[starts].tolist(), counts.tolist(), before.tolist(), strict=True):
            self._seen[names[code]] = earlier + count
        return lines


def whole_groups(batches: Iterator[RawRows], key: ColumnSpec, config: MappingConfig, hits: Hits) -> Iterator[RawRows]:
    """The batches cut where a group ends, so that none is in two of them."""
    rest: RawRows | None = None
    for raw in batches:
        rows = raw if rest is None else _joined(rest, raw)
        if not len(rows):
            yield rows
            rest = None
            continue
        keys = clean(MappedRows(rows, hits).column(key), config).to_pylist()
        start = len(keys) - 1
        while start > 0 and keys[start - 1] == keys[-1]:
            start -= 1
        places = np.arange(len(rows))
        if start:
            yield rows.select(places[:start])
            rest = rows.select(places[start:])
            rest.rejected = no_rejected()
        else:
            rest = rows
    if rest is not None:
        yield rest


def _joined(first: RawRows, second: RawRows) -> RawRows:
    """Two batches of a file as one."""
    numbers = np.concatenate([first.numbers, second.numbers])
    rejected = pa.concat_tables([first.rejected, second.rejected])
    if first.is_table and second.is_table:
        table = pa.concat_tables([first.table, second.table], promote_options="permissive")
        return RawRows(numbers, rejected, table=table, part=second.part, typed=second.typed)
    items: list[dict[str, Any]] = [*first.objects(), *second.objects()]
    return RawRows(numbers, rejected, items=items, part=second.part, typed=second.typed)
