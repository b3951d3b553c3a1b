"""Rows of a state's list by the code of what each is about; a row is made only when somebody asks for it.

A customer may have bought a hundred products, and a question is about one of them.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import cached_property
from typing import Any, TypeVar

from features.arrays import IntArray

Row = TypeVar("Row")


class StateRows(Mapping[int, Row]):
    """As a dict of all rows would be."""

    def __init__(self, codes: IntArray, columns: Callable[[], Sequence[list[Any]]], make: Callable[..., Row]) -> None:
        """`columns` answers the values of all rows, column by column, and `make` takes one row's."""
        self._codes, self._read, self._make = codes, columns, make

    def __getitem__(self, code: int) -> Row:
        row = self._place[code]
        return self._make(*[column[row] for column in self._columns])

    def __iter__(self) -> Iterator[int]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, code: object) -> bool:
        return code in self._place

    def items(self) -> ItemsView[int, Row]:
        """Every code with its row."""
        return self._whole.items()

    def values(self) -> ValuesView[Row]:
        """Every row."""
        return self._whole.values()

    @cached_property
    def _place(self) -> dict[int, int]:
        return {code: row for row, code in enumerate(self._codes.tolist())}

    @cached_property
    def _columns(self) -> Sequence[list[Any]]:
        return self._read()

    @cached_property
    def _whole(self) -> dict[int, Row]:
        return {code: self[code] for code in self._place}
