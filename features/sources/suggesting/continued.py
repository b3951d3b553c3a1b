"""Rows of a file come in; where they go on with what the row above began, the same rows filled in go out, and by which columns.

Shop exports write an order's customer, time and currency in the first of its lines only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from features.sources.suggesting.columns import Column, Table
from features.sources.suggesting.draft import Draft
from features.sources.suggesting.names import COLUMNS, ORDERS

_AMOUNTS = ("quantity", "value", "unit_price", "discount", "order_discount")
_ORDER_NAMES = (*ORDERS, "name")


def filled(table: Table) -> tuple[Table, str | None, list[str]]:
    """The rows with what is carried down, the column that tells the groups (None without any), and which columns are."""
    order = next((column for column in table.find(_ORDER_NAMES) if _has_lines(column)), None)
    if order is None or table.explode is not None:
        return table, None, []
    starts = _starts(order.values)
    columns = [column for column in table.columns if column is not order and _is_continued(column, starts)]
    if not columns:
        return table, None, []
    if None in order.values:
        columns.append(order)
    names = {column.path for column in columns}
    full = [
        replace(column, values=_carried(column, starts)) if column.path in names else column for column in table.columns
    ]
    return (
        replace(table, columns=tuple(full)),
        order.path,
        [column.path for column in table.columns if column.path in names],
    )


def note_carried(draft: Draft, within: str | None, carried: Sequence[str]) -> None:
    """Say so in the mapping of those columns that it takes anything from."""
    amounts = {draft.columns[ours][0] for ours in _AMOUNTS if ours in draft.columns}
    wanted = [path for path in carried if path in draft.used() - amounts or path == within]
    if wanted and within is not None:
        draft.top["carry_down"] = (wanted, "written in the first row of each group only")
        draft.top["within"] = (within, "the rows of one value are one group")


def _has_lines(column: Column) -> bool:
    """Whether several rows are of one value, or go on without it."""
    return len(column.counts) > 1 and len(column.counts) < len(column.values)


def _starts(values: Sequence[Any]) -> list[int]:
    """The place where the group of each row (n,) begins."""
    starts: list[int] = []
    for place, value in enumerate(values):
        goes_on = place > 0 and (value is None or value == values[starts[-1]])
        starts.append(starts[-1] if goes_on else place)
    return starts


def _is_continued(column: Column, starts: Sequence[int]) -> bool:
    """Whether a column says something in the first rows of most groups of several rows, and nothing in all others."""
    names = {name for ours in _AMOUNTS for name in COLUMNS[ours]}
    if column.plain in names:
        return False
    later = [value for place, value in enumerate(column.values) if starts[place] != place]
    of_several = {start for place, start in enumerate(starts) if start != place}
    given = sum(column.values[start] is not None for start in of_several)
    return bool(later) and all(value is None for value in later) and given > len(of_several) / 2


def _carried(column: Column, starts: Sequence[int]) -> tuple[Any, ...]:
    return tuple(column.values[start] for start in starts)
