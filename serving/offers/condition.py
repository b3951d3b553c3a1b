"""A condition of an offer comes in as text, in the SQL of `omni audience`; what answers it in microseconds goes out.

It is the part of DuckDB's SQL that means the same whoever computes it: columns, constants, comparisons, AND, OR, NOT, IN,
BETWEEN, IS NULL, LIKE, starts_with, contains, coalesce, abs, and + - * / of numbers. What is more than that is refused with the
reason, where the offer comes in.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from features.arrays import BoolArray
from features.errors import InputError
from features.offers.offer import MAX_WHERE
from serving.offers.columns import KINDS
from serving.offers.expression import (
    Among,
    Arithmetic,
    Both,
    Column,
    Columns,
    Comparison,
    Constant,
    Either,
    FirstKnown,
    Kind,
    Magnitude,
    Node,
    Opposite,
    Quotient,
    Row,
    Same,
    Text,
    Unknown,
)

if TYPE_CHECKING:
    from sqlglot import exp

_EXAMPLE: Final = "Write it like: value_decile >= 8 AND consent_email AND lifecycle IN ('due', 'at_risk')"
_NUMBERS: Final = frozenset({"double", "whole", "decimal"})
_WORDS: Final[Mapping[Kind, str]] = {
    "double": "a number",
    "whole": "a number",
    "decimal": "a number",
    "text": "text",
    "yesno": "yes or no",
    "null": "NULL",
}
_MAX_WHOLE: Final = 10**6
"""Whole numbers that are computed with are no larger, so that no product of them is beyond 64 bits."""


@dataclass(frozen=True)
class LiveCondition:
    """A condition that is ready to be asked."""

    text: str
    columns: tuple[str, ...]
    """What it names, each once."""
    root: Node

    def holds(self, row: Row) -> bool:
        """Whether it is fulfilled by the values of one customer; unknown is no."""
        return self.root.one(row) is True

    def which(self, columns: Columns) -> BoolArray:
        """Who fulfils it of n customers (n,)."""
        values, missing = self.root.many(columns)
        return np.asarray(values.astype(np.bool_) & ~missing, np.bool_)


@lru_cache(maxsize=4_096)
def compile_condition(text: str) -> LiveCondition:
    """Make a condition ready. Raises InputError for one that cannot be read, or says what is not known here."""
    import sqlglot  # here: who has no condition to read need not wait for it
    from sqlglot.errors import SqlglotError

    if len(text) > MAX_WHERE:
        raise InputError(f"The condition has {len(text)} characters.", repair=f"Use at most {MAX_WHERE}.")
    try:
        trees = sqlglot.parse(text, dialect="duckdb")
        if len(trees) != 1 or trees[0] is None:
            raise InputError(f"{text!r} is more than one condition, or none.", repair=_EXAMPLE)
        columns: dict[str, None] = {}
        root = _Compiler(columns).node(trees[0])
    except (SqlglotError, RecursionError) as error:
        why = str(error).partition("\n")[0].strip() or "it is nested too deeply"
        raise InputError(f"The condition {text!r} cannot be read ({why}).", repair=_EXAMPLE) from error
    if root.kind not in ("yesno", "null"):
        raise InputError(f"{text} is not yes or no.", repair=f"Compare it, for example: {text} > 0")
    return LiveCondition(text, tuple(columns), root)


class _Compiler:
    """Turns a parsed tree into steps; `columns` collects what is named."""

    def __init__(self, columns: dict[str, None]) -> None:
        self._columns = columns
        self._ways = dict(_ways(self))

    def node(self, tree: "exp.Expr") -> Node:
        """One step with all below it. Raises InputError for what has none."""
        way = self._ways.get(type(tree).__name__)
        if way is None:
            raise InputError(f"A condition of an offer holds no {_called(tree)}.", repair=_EXAMPLE)
        return way(tree)

    def column(self, tree: Any) -> Node:
        parts = [part.name for part in tree.parts]
        name = ".".join(parts).lower()
        kind = KINDS.get(name)
        if kind is None:
            near = difflib.get_close_matches(name, KINDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else " Text stands in single quotes."
            raise InputError(f"There is no column {'.'.join(parts)!r}.{hint}", repair=f"Columns: {', '.join(KINDS)}.")
        self._columns[name] = None
        return Column(name, kind)

    def literal(self, tree: Any) -> Node:
        if tree.is_string:
            return Constant(str(tree.this), "text")
        text = str(tree.this).replace("_", "")
        if text.isdecimal():
            return Constant(int(text), "whole")
        number = float(text)
        if not math.isfinite(number):
            raise InputError(f"{text} is too large a number.", repair=_EXAMPLE)
        return Constant(number, "double" if "e" in text.lower() else "decimal")

    def negative(self, tree: Any) -> Node:
        part = self.node(tree.this)
        _need(part, _NUMBERS, tree)
        if isinstance(part, Constant) and isinstance(part.value, int | float):
            return Constant(-part.value, part.kind)
        return self._computed("-", Constant(0, "whole"), part, tree)

    def comparison(self, sign: str) -> Callable[[Any], Node]:
        def make(tree: Any) -> Node:
            left, right = self._pair(tree)
            if sign not in ("=", "<>") and "yesno" in (left.kind, right.kind):
                raise InputError(f"{tree.sql(dialect='duckdb')} puts yes and no in an order.", repair=_EXAMPLE)
            return Comparison(sign, left, right)

        return make

    def between(self, tree: Any) -> Node:
        part, low, high = self.node(tree.this), self.node(tree.args["low"]), self.node(tree.args["high"])
        if tree.args.get("symmetric"):
            raise InputError("A condition of an offer holds no BETWEEN SYMMETRIC.", repair=_EXAMPLE)
        (at_least, low), (at_most, high) = _alike(part, low, tree), _alike(part, high, tree)
        _need(at_least, _NUMBERS | {"text"}, tree)
        return Both(Comparison(">=", at_least, low), Comparison("<=", at_most, high))

    def joined(self, kind: type[Both] | type[Either]) -> Callable[[Any], Node]:
        def make(tree: Any) -> Node:
            left, right = self.node(tree.this), self.node(tree.expression)
            _need(left, {"yesno"}, tree)
            _need(right, {"yesno"}, tree)
            return kind(left, right)

        return make

    def opposite(self, tree: Any) -> Node:
        part = self.node(tree.this)
        _need(part, {"yesno"}, tree)
        return Opposite(part)

    def being(self, tree: Any) -> Node:
        """IS NULL, IS TRUE, IS FALSE."""
        part, other = self.node(tree.this), self.node(tree.expression)
        if other.kind == "null":
            return Unknown(part)
        _need(part, {"yesno"}, tree)
        return Same(part, other)

    def same(self, tree: Any) -> Node:
        return Same(*self._pair(tree))

    def among(self, tree: Any) -> Node:
        part = self.node(tree.this)
        if tree.args.get("query") or tree.args.get("unnest") or tree.args.get("field"):
            raise InputError("A condition of an offer holds no query.", repair=_EXAMPLE)
        values: set[Any] = set()
        for each in tree.expressions:
            _, value = _alike(part, self.node(each), tree)
            if not isinstance(value, Constant):
                raise InputError(f"{tree.sql(dialect='duckdb')} lists what is no constant.", repair=_EXAMPLE)
            values.add(value.value)
        return Among(part, frozenset(values - {None}), None in values)

    def arithmetic(self, sign: str) -> Callable[[Any], Node]:
        return lambda tree: self._computed(sign, self.node(tree.this), self.node(tree.expression), tree)

    def quotient(self, tree: Any) -> Node:
        left, right = self._numbers(self.node(tree.this), self.node(tree.expression), tree)
        return Quotient(left, right)

    def magnitude(self, tree: Any) -> Node:
        part = self.node(tree.this)
        _need(part, _NUMBERS, tree)
        return Magnitude(part, part.kind)

    def first_known(self, tree: Any) -> Node:
        parts = [self.node(part) for part in (tree.this, *tree.expressions)]
        kinds = {part.kind for part in parts} - {"null"}
        if len(kinds) > 1 and not (kinds <= _NUMBERS and "double" in kinds):
            raise InputError(f"{tree.sql(dialect='duckdb')} mixes kinds of values.", repair=_EXAMPLE)
        kind: Kind = "double" if "double" in kinds else next(iter(kinds), "null")
        return FirstKnown(tuple(_as_double(part) if kind == "double" else part for part in parts), kind)

    def like(self, tree: Any) -> Node:
        pattern = "".join({"%": ".*", "_": "."}.get(sign) or re.escape(sign) for sign in self._text_of(tree))
        node = self._text(tree, rf"\A{pattern}\Z")
        return Opposite(node) if tree.args.get("negate") else node

    def starts(self, tree: Any) -> Node:
        return self._text(tree, rf"\A{re.escape(self._text_of(tree))}")

    def contains(self, tree: Any) -> Node:
        return self._text(tree, re.escape(self._text_of(tree)))

    def _text(self, tree: Any, pattern: str) -> Node:
        part = self.node(tree.this)
        _need(part, {"text"}, tree)
        return Text(part, re.compile(pattern, re.DOTALL))

    def _text_of(self, tree: Any) -> str:
        pattern = self.node(tree.expression)
        if not isinstance(pattern, Constant) or not isinstance(pattern.value, str):
            raise InputError(f"{tree.sql(dialect='duckdb')} looks for what is no constant text.", repair=_EXAMPLE)
        return pattern.value

    def _pair(self, tree: Any) -> tuple[Node, Node]:
        return _alike(self.node(tree.this), self.node(tree.expression), tree)

    def _computed(self, sign: str, left: Node, right: Node, tree: Any) -> Node:
        left, right = self._numbers(left, right, tree)
        kind: Kind = "double" if "double" in (left.kind, right.kind) else "whole"
        return Arithmetic(sign, left, right, kind)

    def _numbers(self, left: Node, right: Node, tree: Any) -> tuple[Node, Node]:
        """Two numbers to compute with: fractions of another exactness than a column's are none."""
        _need(left, _NUMBERS, tree)
        _need(right, _NUMBERS, tree)
        if "double" in (left.kind, right.kind):
            return _as_double(left), _as_double(right)
        for part in (left, right):
            is_large = isinstance(part, Constant) and isinstance(part.value, int) and abs(part.value) > _MAX_WHOLE
            if part.kind == "decimal" or is_large:
                raise InputError(
                    f"{tree.sql(dialect='duckdb')} cannot be computed the same way everywhere.",
                    repair=f"Write the number as 1e0 for 1.0, and whole ones up to {_MAX_WHOLE:,}.",
                )
        return left, right


def _ways(compiler: _Compiler) -> Iterator[tuple[str, Callable[[Any], Node]]]:
    """What is made of each kind of step, by its name in sqlglot."""
    yield from {
        "Paren": lambda tree: compiler.node(tree.this),
        "Column": compiler.column,
        "Literal": compiler.literal,
        "Boolean": lambda tree: Constant(bool(tree.this), "yesno"),
        "Null": lambda tree: Constant(None, "null"),
        "Neg": compiler.negative,
        "And": compiler.joined(Both),
        "Or": compiler.joined(Either),
        "Not": compiler.opposite,
        "Is": compiler.being,
        "NullSafeEQ": compiler.same,
        "NullSafeNEQ": lambda tree: Opposite(compiler.same(tree)),
        "In": compiler.among,
        "Between": compiler.between,
        "Like": compiler.like,
        "StartsWith": compiler.starts,
        "Contains": compiler.contains,
        "Coalesce": compiler.first_known,
        "Abs": compiler.magnitude,
        "Add": compiler.arithmetic("+"),
        "Sub": compiler.arithmetic("-"),
        "Mul": compiler.arithmetic("*"),
        "Div": compiler.quotient,
    }.items()
    signs = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
    yield from ((name, compiler.comparison(sign)) for name, sign in signs.items())


def _alike(left: Node, right: Node, tree: Any) -> tuple[Node, Node]:
    """Two values that can be compared: of one kind, whole numbers as fractions beside fractions."""
    kinds = {left.kind, right.kind} - {"null"}
    if len(kinds) > 1 and not kinds <= _NUMBERS:
        raise InputError(
            f"{tree.sql(dialect='duckdb')} compares {_WORDS[left.kind]} with {_WORDS[right.kind]}.", repair=_EXAMPLE
        )
    return (_as_double(left), _as_double(right)) if "double" in kinds else (left, right)


def _as_double(part: Node) -> Node:
    """A constant as the fraction that a column of fractions is compared with; whole columns are small and stay."""
    if isinstance(part, Constant) and part.kind in ("whole", "decimal") and isinstance(part.value, int | float):
        return Constant(float(part.value), "double")
    return part


def _need(part: Node, kinds: frozenset[str] | set[str], tree: Any) -> None:
    if part.kind not in kinds and part.kind != "null":
        wanted = "a number" if "double" in kinds else "text" if "text" in kinds else "yes or no"
        raise InputError(f"{tree.sql(dialect='duckdb')} takes {_WORDS[part.kind]} for {wanted}.", repair=_EXAMPLE)


def _called(tree: Any) -> str:
    """What a step that is not known is called where it stands."""
    name = str(tree.this) if type(tree).__name__ == "Anonymous" else type(tree).__name__
    return {"Select": "query", "Subquery": "query", "Star": "*", "Cast": "cast", "Window": "window function"}.get(
        name, name.upper()
    )
