"""Events as the log keeps them come in; they go out with the value that counts: the home's money, by rates, or none.

A home that began with values in several currencies keeps them all as they came, and counts in one (home.py). What the others
are worth is read from the rates of now: a rate that was put there later counts from the next read on.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.errors import InputError
from features.money.rates import DECIMALS, Rates, RatesFile
from features.vocabulary import DAY_US, Columns


def count_values(events: pa.Table, home: str, rates: RatesFile) -> pa.Table:
    """Events (with value, currency and occurred_at), their values in the currency `home`.

    A value in another one is converted by the rate of its day (UTC); without a rate it is null, and its currency stays.
    """
    currencies = events[Columns.CURRENCY]
    others = set(currencies.unique().to_pylist()) - {None, home}
    if not others:
        return events
    known = _readable(rates, home)
    values = events[Columns.VALUE].to_numpy().copy()  # a null is NaN
    days = days_of(events[Columns.OCCURRED_AT])
    names = np.array(currencies.to_pylist(), dtype=object)
    for name in sorted(others):
        rows = np.flatnonzero(names == name)
        values[rows] = np.round(values[rows] * known.on(name, days[rows]), DECIMALS)
        names[rows[~np.isnan(values[rows])]] = home
    columns = {Columns.VALUE: pa.array(values, pa.float64(), from_pandas=True), Columns.CURRENCY: pa.array(names)}
    return with_columns(events, columns)


def currency_counts(values: pa.ChunkedArray, currencies: pa.ChunkedArray) -> dict[str, int]:
    """How many values there are by currency, "" for none, in the order in which they come."""
    valued = currencies.filter(values.is_valid())
    return {row["values"]: row["counts"] for row in pc.value_counts(pc.fill_null(valued, "")).to_pylist()}


def days_of(moments: pa.ChunkedArray | pa.Array) -> IntArray:
    """Days since 1970, UTC, (n,)."""
    us: IntArray = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy()
    return us // DAY_US


def with_columns(table: pa.Table, columns: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """The table, with these in the place of its own columns of those names."""
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), column)
    return table


def _readable(rates: RatesFile, home: str) -> Rates:
    """No rates where the file is broken: whoever brings events is told; whoever reads them goes on."""
    try:
        return rates.to(home)
    except InputError:
        return Rates()
