"""Values that states keep in, the columns of signals and the texts of audiences out."""

from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.attributes.codes import text_code
from features.attributes.declared import Declared, Kind
from features.attributes.values import CODE, VALUE, zones
from features.vocabulary import DAY_S

OTHER: Final = "other"
"""What an audience reads where a customer has a value that is not declared."""
_YEAR_DAYS: Final = 365.2425
_DAY_ONE: Final = date(1970, 1, 1)


def attribute_signals(rows: IntArray, values: FloatArray, as_of_s: FloatArray, declared: Declared) -> Float32Array:
    """The signals (n, A) at moments (n,) of values (m, 3) that belong to customers `rows` (m,); NaN is not known."""
    out = np.full((len(as_of_s), len(declared.columns)), np.nan, np.float32)
    dense: dict[str, FloatArray] = {}
    for place, column in enumerate(declared.columns):
        name = column.attribute
        known = dense.get(name)
        if known is None:
            known = dense[name] = values_of(name, rows, values, len(as_of_s), declared)
        if column.value is not None:
            out[:, place] = np.where(np.isnan(known), np.nan, known == text_code(column.value))
        elif declared.of[name].kind is Kind.NUMERIC:
            out[:, place] = known
        elif column.name.endswith("_age_years"):
            out[:, place] = (as_of_s / DAY_S - known) / _YEAR_DAYS
        else:
            out[:, place] = days_to_birthday(known, as_of_s)
    return out


def values_of(name: str, rows: IntArray, values: FloatArray, n: int, declared: Declared) -> FloatArray:
    """One attribute's value of n customers; NaN where it is not known."""
    known = np.full(n, np.nan)
    theirs = values[:, CODE] == declared.code_of[name]
    known[rows[theirs]] = values[theirs, VALUE]
    return known


def readable(rows: IntArray, values: FloatArray, n: int, declared: Declared) -> dict[str, NDArray[Any]]:
    """Every attribute's values (n,) by its name, as a person reads them: numbers, texts, dates; NaN or None is not known."""
    found: dict[str, NDArray[Any]] = {}
    for name, attribute in declared.of.items():
        known = values_of(name, rows, values, n, declared)
        if attribute.kind is Kind.NUMERIC:
            found[name] = known
        elif attribute.kind is Kind.BIRTHDAY:
            found[name] = np.array(
                [None if np.isnan(day) else _DAY_ONE + timedelta(days=day) for day in known.tolist()]
            )
        else:
            of_zone = attribute.kind is Kind.TIME_ZONE
            texts = zones() if of_zone else {text_code(value): value for value in attribute.values}
            found[name] = np.array(
                [None if np.isnan(code) else texts.get(code, OTHER) for code in known.tolist()], object
            )
    return found


def days_to_birthday(born_days: FloatArray, as_of_s: FloatArray) -> FloatArray:
    """Whole days (n,) from moments (n,) to the next birthday of who was born on days since 1970 (n,)."""
    out = np.full(len(born_days), np.nan)
    known = np.isfinite(born_days)
    born = born_days[known].astype(np.int64).astype("datetime64[D]")
    today = np.floor(as_of_s[known] / DAY_S).astype(np.int64).astype("datetime64[D]")
    month, year = born.astype("datetime64[M]"), today.astype("datetime64[Y]")
    in_month = (born - month).astype(np.int64)
    of_year = month.astype(np.int64) % 12

    def in_year(y: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
        days: NDArray[np.datetime64] = (y.astype("datetime64[M]") + of_year).astype("datetime64[D]") + in_month
        return days

    this, following = in_year(year), in_year(year + 1)
    out[known] = (np.where(this >= today, this, following) - today).astype(np.int64)
    return out
