"""What the values of a column look like comes out: moments and in which writing, numbers and in which style."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa

from features.sources.amounts import parse_money
from features.sources.suggesting.columns import Column
from features.sources.suggesting.names import NUMBER_STYLES, TIME_FORMATS

LOOKED_AT = 2_000
"""So many values say how the others are written."""
NEARLY_ALL = 0.98
_UNITS = (("epoch_s", 1.0), ("epoch_ms", 1e3), ("epoch_us", 1e6), ("epoch_ns", 1e9))
_EARLIEST_S, _LATEST_S = 946_684_800.0, 86_400.0
"""Numbers since 1970 are of 2000 and later, and of tomorrow at the latest."""


@dataclass(frozen=True)
class Writing:
    """How times are written: `time_format` as a mapping says it (None: ISO 8601), and whether they carry an offset."""

    time_format: str | None
    has_offset: bool
    first: str
    last: str
    is_sure: bool = True
    """False where days and months could as well be the other way round."""


def writing_of(column: Column) -> Writing | None:
    """How the times of a column are written; None where it holds none."""
    values = column.given[:LOOKED_AT]
    if not values:
        return None
    typed = [value for value in values if isinstance(value, date)]
    if len(typed) == len(values):
        has_offset = all(isinstance(value, datetime) and value.tzinfo is not None for value in typed)
        return Writing(None, has_offset, str(min(values)), str(max(values)))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) or _are_digits(values):
        return _epochs([float(value) for value in values], [str(value) for value in values])
    texts = [str(value) for value in values]
    iso = [moment for text in texts if (moment := _iso(text)) is not None]
    if len(iso) >= NEARLY_ALL * len(texts):
        offsets = sum(moment.tzinfo is not None for moment in iso)
        # a mapping needs a time_zone as soon as one of them has no offset
        return Writing(None, offsets == len(iso), min(texts), max(texts))
    return _patterns(texts)


def _are_digits(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and value.isdigit() and len(value) not in (8, 14) for value in values)


def _epochs(numbers: list[float], texts: list[str]) -> Writing | None:
    latest_s = time.time() + _LATEST_S
    for unit, scale in _UNITS:
        if all(_EARLIEST_S * scale <= number < latest_s * scale for number in numbers):
            return Writing(unit, True, min(texts), max(texts))
    if all(len(text) == 8 for text in texts):
        return _patterns(texts)
    return None


def _iso(text: str) -> datetime | None:
    if text.isdigit():  # 20240501 is ISO 8601 too, and more often a number
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _patterns(texts: list[str]) -> Writing | None:
    fits: list[tuple[str, list[datetime]]] = []
    for pattern in TIME_FORMATS:
        moments = _read_all(texts, pattern)
        if moments is not None:
            fits.append((pattern, moments))
    if not fits:
        return None
    # of days and months that could be either, those are right in whose order the rows go
    best, moments = min(fits, key=lambda fit: _disorder(fit[1]))
    rivals = [other for _, other in fits if other != moments and _disorder(other) == _disorder(moments)]
    has_offset = "%z" in best or "%Z" in best
    return Writing(best, has_offset, str(min(moments)), str(max(moments)), is_sure=not rivals)


def _read_all(texts: list[str], pattern: str) -> list[datetime] | None:
    moments: list[datetime] = []
    for n_read, text in enumerate(texts):
        try:
            moments.append(datetime.strptime(text, pattern))  # noqa: DTZ007 - only looked at, never kept
        except ValueError:
            if len(moments) < NEARLY_ALL * (n_read + 1):
                return None
    return moments if len(moments) >= NEARLY_ALL * len(texts) else None


def _disorder(moments: list[datetime]) -> int:
    """How often a moment is before the one of the row above, or after it where rows go backwards."""
    plain = [moment.replace(tzinfo=None) for moment in moments]
    down = sum(later < earlier for earlier, later in pairwise(plain))
    up = sum(later > earlier for earlier, later in pairwise(plain))
    return min(down, up)


def style_of(columns: Sequence[Column]) -> tuple[str, str] | None:
    """The marks of decimals and of thousands that nearly all values of these columns are written with."""
    styles = [style for style in NUMBER_STYLES if all(_reads(column, *style) for column in columns)]
    return styles[0] if styles else None


def numbers_of(column: Column) -> list[float] | None:
    """The values as numbers, None where they are none."""
    style = style_of([column])
    if style is None:
        return None
    read = parse_money("value", _array(column), None, {}, *style).amounts.to_pylist()
    return [number for number in read if number is not None]


def _reads(column: Column, decimal: str, thousands: str) -> bool:
    problems: dict[int, Any] = {}
    if not column.given or any(isinstance(value, bool) for value in column.given[:LOOKED_AT]):
        return False
    array = _array(column)
    parse_money("value", array, None, problems, decimal, thousands)
    # whatever the currency, it is the number that is looked at
    wrong = [problem for problem in problems.values() if "currenc" not in problem.reason]
    return len(wrong) <= (1 - NEARLY_ALL) * len(array)


def _array(column: Column) -> pa.ChunkedArray:
    values = column.given[:LOOKED_AT]
    if all(isinstance(value, int | float) for value in values):
        return pa.chunked_array([pa.array([float(value) for value in values])])
    return pa.chunked_array([pa.array([str(value) for value in values], pa.string())])
