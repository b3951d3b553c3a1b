"""Rows as a file holds them: an Arrow table or Python objects, as the format gives them, and each as the other when asked."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.events.rules import Problem
from features.events.schema import EVENT_SCHEMA, rejected_table
from features.sources.nested import to_array


class RawRows:
    """Some rows of a file, their `numbers` (n,) from 0, and the rows among them that cannot even be read (REJECTED_SCHEMA).

    `typed` tells whether the format knows the types of its values: in CSV all of them are text.
    """

    def __init__(
        self,
        numbers: IntArray,
        rejected: pa.Table | None = None,
        *,
        table: pa.Table | None = None,
        items: list[dict[str, Any]] | None = None,
        part: str = "",
        typed: bool = True,
    ) -> None:
        """Either `table` or `items` (n) is given; `part` names the file that they lie in."""
        self.numbers = numbers
        self.rejected = no_rejected() if rejected is None else rejected
        self.part = part
        self.typed = typed
        if table is not None:
            self.table = table
        self._items = items

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_table(self) -> bool:
        """Whether the rows came as columns: then each has every one of them."""
        return self._items is None

    @cached_property
    def table(self) -> pa.Table:
        """The rows as columns; objects and lists that came as Python's are JSON text."""
        return items_table(self._items or [])

    @property
    def names(self) -> list[str]:
        """Keys that any of the rows has, in the order in which they come."""
        if self._items is None:
            return list(self.table.column_names)
        return list(dict.fromkeys(name for item in self._items for name in item))

    def objects(self) -> list[dict[str, Any]]:
        """The rows as Python objects, (n)."""
        if self._items is None:
            items: list[dict[str, Any]] = self.table.to_pylist()
            return items
        return self._items

    def values(self, name: str) -> list[Any]:
        """One key of every row, (n); None for those without it."""
        if self._items is None:
            values: list[Any] = self.table.column(name).to_pylist()
            return values
        return [item.get(name) for item in self._items]

    def select(self, places: IntArray) -> "RawRows":
        """The rows at `places` (k,), in that order; what could not be read is kept."""
        if self._items is None:
            return RawRows(
                self.numbers[places],
                self.rejected,
                table=self.table.take(pa.array(places)),
                part=self.part,
                typed=self.typed,
            )
        items = [self._items[place] for place in places.tolist()]
        return RawRows(self.numbers[places], self.rejected, items=items, part=self.part, typed=self.typed)

    def with_columns(self, columns: dict[str, pa.Array | pa.ChunkedArray]) -> "RawRows":
        """The rows with these columns, (n,) each, beside or in place of their own."""
        if self._items is None:
            table = self.table
            for name, column in columns.items():
                place = table.schema.get_field_index(name)
                table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
            return RawRows(self.numbers, self.rejected, table=table, part=self.part, typed=self.typed)
        values = {name: column.to_pylist() for name, column in columns.items()}
        items = [
            {**item, **{name: column[place] for name, column in values.items()}}
            for place, item in enumerate(self._items)
        ]
        return RawRows(self.numbers, self.rejected, items=items, part=self.part, typed=self.typed)


def items_table(items: Sequence[dict[str, Any]]) -> pa.Table:
    """Objects as a table with a column for each of their keys."""
    names = list(dict.fromkeys(name for item in items for name in item))
    return pa.table({name: to_array([item.get(name) for item in items]) for name in names})


def no_rejected() -> pa.Table:
    """No rejected rows."""
    return rejected_rows([], [], [])


def rejected_rows(numbers: Sequence[int], problems: Sequence[Problem], texts: Sequence[str]) -> pa.Table:
    """Rows that cannot be read, with their texts as they came, in REJECTED_SCHEMA."""
    empty = pa.Table.from_arrays([pa.nulls(len(numbers), field.type) for field in EVENT_SCHEMA], schema=EVENT_SCHEMA)
    return rejected_table(empty, list(numbers), list(problems), list(texts))


def numbered(first: int, count: int) -> IntArray:
    """Numbers (count,) of rows that follow each other."""
    return np.arange(first, first + count, dtype=np.int64)
