"""A condition in words like `churn_probability > 0.6 and consent_email` and a table in, who fulfils it out.

The text is parsed, never run: only comparisons, `and`, `or`, `not`, `in`, arithmetic, columns and constants exist. A
comparison with a missing value does not hold.
"""

import ast
import difflib
import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from features.arrays import BoolArray
from features.errors import InputError

MAX_LENGTH: Final = 2_000
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def select(table: pd.DataFrame, where: str) -> BoolArray:
    """Which rows (n,) fulfil the condition. Raises InputError that says what is wrong and which columns there are."""
    if len(where) > MAX_LENGTH:
        raise InputError(f"The condition has {len(where)} characters.", repair=f"Use at most {MAX_LENGTH}.")
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = getattr(error, "msg", None) or str(error)
        raise InputError(f"The condition {where!r} cannot be read ({what}).", repair=_EXAMPLE) from error
    try:
        return _truth(tree.body, table)
    except RecursionError as error:
        raise InputError("The condition is nested too deeply.", repair="Write it flatter.") from error


_EXAMPLE: Final = "Write it like: churn_probability > 0.6 and value_decile >= 8 and consent_email"


def _truth(node: ast.expr, table: pd.DataFrame) -> BoolArray:
    """A node that says yes or no of every row."""
    match node:
        case ast.BoolOp(op=op, values=values):
            masks = [_truth(value, table) for value in values]
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return np.asarray(combine.reduce(masks), dtype=np.bool_)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_truth(operand, table)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            found = np.ones(len(table), dtype=np.bool_)
            for comparison, right in zip(ops, rights, strict=True):
                found &= _compare(left, comparison, right, table)
                left = right
            return found
        case ast.Name(id=name):
            column = _column(name, table)
            if not is_bool_dtype(column.dtype):
                raise InputError(f"{name} is not yes or no.", repair=f"Compare it, for example: {name} > 0")
            return column.to_numpy(dtype=np.bool_)
        case ast.Constant(value=bool(value)):
            return np.full(len(table), value)
    raise InputError(f"{ast.unparse(node)!r} is not a condition.", repair=_EXAMPLE)


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, table: pd.DataFrame) -> BoolArray:
    value = _value(left, table)
    if isinstance(op, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            raise InputError(
                f"{ast.unparse(right)!r} is not a list.", repair="Write it like: lifecycle in ['due', 'at_risk']"
            )
        hits = np.zeros(len(table), dtype=np.bool_)
        for item in right.elts:
            hits |= _compare(left, ast.Eq(), item, table)
        return hits if isinstance(op, ast.In) else _known(value, table) & ~hits
    if type(op) not in _COMPARE:
        raise InputError(
            f"{ast.unparse(left)!r} is compared in a way that is not known.", repair="Use < <= > >= == != in"
        )
    other = _value(right, table)
    if _is_text(value) != _is_text(other):
        raise InputError(
            f"{ast.unparse(left)} and {ast.unparse(right)}: text and a number cannot be compared.",
            repair="Put text in quotes and leave numbers without.",
        )
    known = _known(value, table) & _known(other, table)
    if _is_text(value) and not isinstance(op, (ast.Eq, ast.NotEq)):
        raise InputError(f"{ast.unparse(left)} is text and has no order.", repair="Compare text with ==, != or in.")
    return known & np.asarray(_COMPARE[type(op)](_filled(value), _filled(other)), dtype=np.bool_)


def _value(node: ast.expr, table: pd.DataFrame) -> Any:
    """A node that is a number or a text for every row: a column or one constant for all."""
    match node:
        case ast.Name(id=name):
            return _column(name, table)
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, table)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            with np.errstate(divide="ignore", invalid="ignore"):
                return _ARITHMETIC[type(op)](_number(left, table), _number(right, table))
    raise InputError(f"{ast.unparse(node)!r} cannot be used in a condition.", repair=_EXAMPLE)


def _number(node: ast.expr, table: pd.DataFrame) -> Any:
    value = _value(node, table)
    if _is_text(value):
        raise InputError(f"{ast.unparse(node)} is text.", repair="Only numbers can be added, subtracted or multiplied.")
    dtype = np.float64
    return value.to_numpy(dtype, na_value=np.nan) if isinstance(value, pd.Series) else np.float64(value)


def _column(name: str, table: pd.DataFrame) -> "pd.Series[Any]":
    if name not in table.columns:
        near = difflib.get_close_matches(name, [str(column) for column in table.columns], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"There is no column {name!r}.{hint}", repair=f"Columns: {', '.join(str(one) for one in table.columns)}."
        )
    return table[name]


def _is_text(value: Any) -> bool:
    if isinstance(value, pd.Series):
        return not is_numeric_dtype(value.dtype)
    return isinstance(value, str)


def _known(value: Any, table: pd.DataFrame) -> BoolArray:
    return np.broadcast_to(np.logical_not(pd.isna(value)), (len(table),))


def _filled(value: Any) -> Any:
    if not isinstance(value, pd.Series):
        return value
    return value.fillna("").to_numpy(dtype=object) if _is_text(value) else value.to_numpy(np.float64, na_value=np.nan)
