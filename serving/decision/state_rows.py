"""Rows of a state's list by the code of what each is about; a row is made only when somebody asks for it.

A customer may have bought a hundred products, and a question is about one of them.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import cached_property
from itertools import starmap
from typing import Any, TypeVar

from numpy.typing import NDArray

from features.arrays import IntArray

Row = TypeVar("Row")


class StateRows(Mapping[int, Row]):
    """As a dict of all rows (n,) would be."""

    def __init__(
        self, codes: IntArray, columns: Callable[[], Sequence[NDArray[Any]]], make: Callable[..., Row]
    ) -> None:
        """`columns` answers the values of all rows, column by column (n,), `make` takes one row's; no code is there twice."""
        self._codes, self._read, self._make = codes, columns, make

    def __getitem__(self, code: int) -> Row:
        row = self._row(code)
        if row < 0:
            raise KeyError(code)
        return self._make(*[column.item(row) for column in self._columns])

    def get(self, code: int, default: Any = None) -> Any:
        """The row, or the default: most codes that are asked for are not there, and no error is made of that."""
        return default if self._row(code) < 0 else self[code]

    def __iter__(self) -> Iterator[int]:
        return iter(self._codes.tolist())

    def __len__(self) -> int:
        return len(self._codes)

    def __contains__(self, code: object) -> bool:
        return self._row(code) >= 0

    def items(self) -> ItemsView[int, Row]:
        """Every code with its row."""
        return self._whole.items()

    def values(self) -> ValuesView[Row]:
        """Every row."""
        return self._whole.values()

    def _row(self, code: object) -> int:
        """Where a code stands, -1 for nowhere: one look over all is quicker than a dict that is asked a few times."""
        places = (self._codes == code).nonzero()[0]
        return int(places[0]) if len(places) else -1

    @cached_property
    def _columns(self) -> Sequence[NDArray[Any]]:
        return self._read()

    @cached_property
    def _whole(self) -> dict[int, Row]:
        rows = zip(*(column.tolist() for column in self._columns), strict=True)
        return dict(zip(self, starmap(self._make, rows), strict=True))
