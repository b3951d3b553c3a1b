"""A condition as a tree of small steps: the values of one customer, or columns of many, in; yes, no or unknown out.

Unknown (None, or `missing` in an array) is SQL's NULL: a comparison with it is unknown, `unknown AND no` is no, and
`unknown OR yes` is yes. Both ways through a tree give the same as DuckDB does (tests/serving/offers/test_condition.py).
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray

Kind = Literal["double", "whole", "decimal", "text", "yesno", "null"]
Value = float | int | str | bool | None
COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPUTE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


class Row(Protocol):
    """The values of one customer by column."""

    def __getitem__(self, name: str, /) -> Any:
        """One value; None where it is not known."""


class Masked(NamedTuple):
    """One column: values (n,), and where none is known (n,)."""

    values: NDArray[Any]
    missing: BoolArray


class Columns(Protocol):
    """The columns of n customers."""

    def __len__(self) -> int:
        """How many customers."""

    def of(self, name: str) -> Masked:
        """One column."""


class Node(Protocol):
    """One step."""

    @property
    def kind(self) -> Kind:
        """What its value is."""

    def one(self, row: Row) -> Value:
        """Of one customer."""

    def many(self, columns: Columns) -> Masked:
        """Of n customers."""


@dataclass(frozen=True)
class Column:
    """The value of a column."""

    name: str
    kind: Kind

    def one(self, row: Row) -> Value:
        value: Value = row[self.name]
        return value

    def many(self, columns: Columns) -> Masked:
        return columns.of(self.name)


@dataclass(frozen=True)
class Constant:
    """A number, a text, yes, no or NULL."""

    value: Value
    kind: Kind

    def one(self, row: Row) -> Value:
        return self.value

    def many(self, columns: Columns) -> Masked:
        n, is_null = len(columns), self.value is None
        dtype = {"text": object, "yesno": np.bool_, "null": np.bool_}.get(self.kind)
        value = False if is_null else self.value
        return Masked(np.full(n, value, dtype=dtype), np.full(n, is_null))


@dataclass(frozen=True)
class Comparison:
    """Two values compared."""

    operator: str
    left: Node
    right: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        left, right = self.left.one(row), self.right.one(row)
        if left is None or right is None:
            return None
        if left != left or right != right:
            return bool(COMPARE[self.operator](_ordered(left), _ordered(right)))
        return bool(COMPARE[self.operator](left, right))

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        missing = left.missing | right.missing
        return Masked(_compared(self.operator, left.values, right.values, ~missing), missing)


@dataclass(frozen=True)
class Same:
    """IS NOT DISTINCT FROM: as `=`, where unknown is the same as unknown."""

    left: Node
    right: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        left, right = self.left.one(row), self.right.one(row)
        if left is None or right is None:
            return left is right
        return bool(left == right or (left != left and right != right))

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        known = ~(left.missing | right.missing)
        same = np.where(known, _compared("=", left.values, right.values, known), left.missing & right.missing)
        return Masked(same, np.zeros(len(columns), np.bool_))


@dataclass(frozen=True)
class Both:
    """AND."""

    left: Node
    right: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        left = self.left.one(row)
        if left is False:
            return False
        right = self.right.one(row)
        if right is False:
            return False
        return None if left is None or right is None else True

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        is_no = _is(left, False) | _is(right, False)
        return Masked(_is(left, True) & _is(right, True), (left.missing | right.missing) & ~is_no)


@dataclass(frozen=True)
class Either:
    """OR."""

    left: Node
    right: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        left = self.left.one(row)
        if left is True:
            return True
        right = self.right.one(row)
        if right is True:
            return True
        return None if left is None or right is None else False

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        is_yes = _is(left, True) | _is(right, True)
        return Masked(is_yes, (left.missing | right.missing) & ~is_yes)


@dataclass(frozen=True)
class Opposite:
    """NOT."""

    part: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        value = self.part.one(row)
        return None if value is None else not value

    def many(self, columns: Columns) -> Masked:
        part = self.part.many(columns)
        return Masked(_is(part, False), part.missing)


@dataclass(frozen=True)
class Unknown:
    """IS NULL."""

    part: Node
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        return self.part.one(row) is None

    def many(self, columns: Columns) -> Masked:
        return Masked(self.part.many(columns).missing, np.zeros(len(columns), np.bool_))


@dataclass(frozen=True)
class Among:
    """IN a list of constants; with NULL among them what is not in the list is unknown."""

    part: Node
    values: frozenset[Value]
    has_null: bool
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        value = self.part.one(row)
        if value is None:
            return None
        if value in self.values:
            return True
        return None if self.has_null else False

    def many(self, columns: Columns) -> Masked:
        part = self.part.many(columns)
        chosen = ~part.missing
        chosen[chosen] = [value in self.values for value in part.values[chosen].tolist()]
        return Masked(chosen, part.missing | (~chosen & self.has_null))


@dataclass(frozen=True)
class Arithmetic:
    """Two numbers added, subtracted, multiplied."""

    operator: str
    left: Node
    right: Node
    kind: Kind

    def one(self, row: Row) -> Value:
        left, right = self.left.one(row), self.right.one(row)
        if left is None or right is None:
            return None
        result: Value = COMPUTE[self.operator](left, right)
        return result

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        with np.errstate(all="ignore"):
            return Masked(COMPUTE[self.operator](left.values, right.values), left.missing | right.missing)


@dataclass(frozen=True)
class Quotient:
    """One number divided by another: a fraction, also of whole numbers; by nought it is infinite, as in IEEE 754."""

    left: Node
    right: Node
    kind: Kind = "double"

    def one(self, row: Row) -> Value:
        left, right = self.left.one(row), self.right.one(row)
        if left is None or right is None:
            return None
        with np.errstate(all="ignore"):
            return float(np.float64(left) / np.float64(right))

    def many(self, columns: Columns) -> Masked:
        left, right = self.left.many(columns), self.right.many(columns)
        with np.errstate(all="ignore"):
            return Masked(left.values.astype(float) / right.values.astype(float), left.missing | right.missing)


@dataclass(frozen=True)
class Magnitude:
    """A number without its sign."""

    part: Node
    kind: Kind

    def one(self, row: Row) -> Value:
        value: Any = self.part.one(row)
        return None if value is None else abs(value)

    def many(self, columns: Columns) -> Masked:
        part = self.part.many(columns)
        return Masked(np.abs(part.values), part.missing)


@dataclass(frozen=True)
class FirstKnown:
    """COALESCE: the first value that is known."""

    parts: tuple[Node, ...]
    kind: Kind

    def one(self, row: Row) -> Value:
        for part in self.parts:
            value = part.one(row)
            if value is not None:
                return value
        return None

    def many(self, columns: Columns) -> Masked:
        values, missing = self.parts[0].many(columns)
        for part in self.parts[1:]:
            other = part.many(columns)
            values, missing = np.where(missing, other.values, values), missing & other.missing
        return Masked(values, missing)


@dataclass(frozen=True)
class Text:
    """What a text is like: LIKE, starts_with, contains."""

    part: Node
    pattern: re.Pattern[str]
    kind: Kind = "yesno"

    def one(self, row: Row) -> Value:
        value: Any = self.part.one(row)
        return None if value is None else self.pattern.search(value) is not None

    def many(self, columns: Columns) -> Masked:
        part = self.part.many(columns)
        fits = ~part.missing
        fits[fits] = [self.pattern.search(value) is not None for value in part.values[fits].tolist()]
        return Masked(fits, part.missing)


def _is(part: Masked, value: bool) -> BoolArray:
    """Where a yes or no is known to be `value`."""
    return np.asarray((part.values.astype(np.bool_) == value) & ~part.missing, np.bool_)


def _ordered(number: Any) -> tuple[bool, Any]:
    """What numbers are compared by where one of them is NaN, which is itself, and more than any other."""
    return (True, 0.0) if number != number else (False, number)


def _compared(name: str, left: NDArray[Any], right: NDArray[Any], known: BoolArray) -> BoolArray:
    """Compared where both are known, for texts cannot be compared with nothing."""
    result = np.zeros(len(known), np.bool_)
    left, right = left[known], right[known]
    chosen = np.asarray(COMPARE[name](left, right), np.bool_)
    odd = (left != left) | (right != right)
    if odd.any():
        pairs = zip(left[odd].tolist(), right[odd].tolist(), strict=True)
        chosen[odd] = [COMPARE[name](_ordered(one), _ordered(other)) for one, other in pairs]
    result[known] = chosen
    return result
