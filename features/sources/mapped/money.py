"""Amounts as a file has them come in; quantities, and what each line was worth in the end, go out.

A line is worth its price times its units, less its own discount, less its share of the order's: shares are by value, rounded
to cents, and the last line takes the rest, so that the lines add up to what the order cost.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import FloatArray
from features.events.rules import NUMBER_COLUMNS
from features.sources.amounts import Money, parse_money, parse_numbers
from features.sources.mapped.rows import MappedRows
from features.sources.mapped.values import clean_raw
from features.sources.mapping_config import ColumnSpec, MappingConfig
from features.sources.parsing import Problems
from features.vocabulary import Columns, EventKind

AMOUNTS = ("value", "unit_price", "discount", "order_discount")
"""Columns of money; a mapping's `scale` is of these."""
_DECIMALS = 6

Texts = dict[str, pa.Array | pa.ChunkedArray | str | None]


def fill_numbers(
    columns: Texts, rows: MappedRows, groups: np.ndarray | None, config: MappingConfig, problems: Problems
) -> None:
    """Put quantity, value and currency into `columns`, and turn purchases of a negative quantity into returns.

    `groups` (n,) are the numbers of the orders that lines belong to, in the order of the rows.
    """
    numbers: dict[str, pa.Array] = {}
    if "quantity" in config.columns:
        column = clean_raw(rows.column(config.columns["quantity"]), config)
        numbers[Columns.QUANTITY] = parse_numbers(Columns.QUANTITY, column, problems, config.decimal, config.thousands)
    amounts: dict[str, pa.Array] = {}
    for name in AMOUNTS:
        spec = config.columns.get(name)  # type: ignore[call-overload]
        if spec is not None:
            money = read_money(name, spec, columns, rows, config, problems)
            amounts[name], columns[Columns.CURRENCY] = money
    value = amounts.get("value")
    if "unit_price" in amounts:
        units = pc.fill_null(numbers[Columns.QUANTITY], 1.0) if Columns.QUANTITY in numbers else 1.0
        value = pc.round(pc.multiply(amounts["unit_price"], units), _DECIMALS)
    if value is not None:
        if "discount" in amounts:
            value = _less(value, amounts["discount"].to_numpy(zero_copy_only=False), numbers.get(Columns.QUANTITY))
        if "order_discount" in amounts and groups is not None:
            shares = order_shares(value, amounts["order_discount"], groups)
            value = _less(value, shares, numbers.get(Columns.QUANTITY))
        numbers[Columns.VALUE] = value
    if config.negative_quantity == "return" and Columns.QUANTITY in numbers:
        kinds = columns[Columns.KIND]
        back = pc.and_(pc.less(numbers[Columns.QUANTITY], 0.0), pc.equal(kinds, EventKind.PURCHASE.value))
        back = pc.fill_null(back, False)
        if pc.any(back).as_py():
            columns[Columns.KIND] = pc.if_else(back, EventKind.RETURN.value, kinds)
            for name in NUMBER_COLUMNS:
                if name in numbers:
                    numbers[name] = pc.if_else(back, pc.abs(numbers[name]), numbers[name])
    columns.update(numbers)


def read_money(
    name: str, spec: ColumnSpec, columns: Texts, rows: MappedRows, config: MappingConfig, problems: Problems
) -> Money:
    """A column of money in whole units, and the currencies that are written with it or named in `columns`."""
    column, currencies = clean_raw(rows.column(spec), config), columns.get(Columns.CURRENCY)
    money = parse_money(name, column, currencies, problems, config.decimal, config.thousands)
    if config.scale == 1.0:
        return money
    return Money(pc.round(pc.multiply(money.amounts, config.scale), _DECIMALS), money.currencies)


def order_shares(value: pa.Array, discount: pa.Array, groups: np.ndarray) -> FloatArray:
    """What each line (n,) bears of its order's discount; rows of one of the `groups` (n,) follow each other."""
    values = np.nan_to_num(value.to_numpy(zero_copy_only=False))
    discounts = discount.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    counts = np.diff(np.append(starts, len(groups)))
    of_order = np.array(
        [next((d for d in discounts[s : s + n] if not np.isnan(d)), 0.0) for s, n in zip(starts, counts, strict=True)]
    )
    totals = np.add.reduceat(values, starts) if len(starts) else np.empty(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(totals != 0, of_order / totals, 0.0)
    shares: FloatArray = np.round(values * np.repeat(rate, counts), 2)
    given = np.add.reduceat(shares, starts) if len(starts) else np.empty(0)
    last = starts + counts - 1
    shares[last] += np.where(totals != 0, of_order - given, 0.0)
    return np.round(shares, _DECIMALS)


def _less(value: pa.Array, off: FloatArray, quantity: pa.Array | None) -> pa.Array:
    """Values less what is taken off; of units that come back, the other way round."""
    sign = np.ones(len(off))
    off = np.nan_to_num(off)
    if quantity is not None:
        units = quantity.to_numpy(zero_copy_only=False)
        sign = np.where(units < 0, -1.0, 1.0)
        off = np.where(units < 0, np.abs(off), off)
    return pc.round(pc.subtract(value, pa.array(off * sign)), _DECIMALS)
