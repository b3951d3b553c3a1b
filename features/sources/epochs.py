"""Numbers since 1970 come in, in seconds, milliseconds, microseconds or nanoseconds; UTC moments go out."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray
from features.events.rules import Problem
from features.events.values import LATEST, shorten

EPOCHS: Final[dict[str, int]] = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
"""Names of the units in a mapping, and how many are a second."""
_MICROSECONDS: Final = 10**6
_GUESSED_FROM: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""Where nobody says the unit, earlier moments are refused: 202405011200 would be one of 1976, and is a date."""
_STATED_FROM: Final = datetime(1971, 1, 1, tzinfo=UTC)
"""Where somebody says it, too: seconds that are taken for milliseconds all lie in the first weeks of 1970."""


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def read_epochs(name: str, column: pa.ChunkedArray, problems: dict[int, Problem], unit: str | None = None) -> pa.Array:
    """UTC moments (n,) from numbers, or text that holds numbers, in `unit` (one of EPOCHS) or in the one that fits their size.

    Of each size only one unit gives a moment between 1990 and 2200; a number without such a unit is a problem.
    """
    whole, given = _whole(column)
    numbers = _floats(column)
    us = np.zeros(len(column), np.int64)
    fits = np.zeros(len(column), np.bool_)
    first = _GUESSED_FROM if unit is None else _STATED_FROM
    for scale in EPOCHS.values() if unit is None else (EPOCHS[unit],):
        with np.errstate(invalid="ignore"):
            of_unit = (numbers >= first.timestamp() * scale) & (numbers < LATEST.timestamp() * scale)
        exact = of_unit & given
        us[exact] = (
            whole[exact] * (_MICROSECONDS // scale)
            if scale <= _MICROSECONDS
            else whole[exact] // (scale // _MICROSECONDS)
        )
        rough = of_unit & ~given
        us[rough] = np.rint(numbers[rough] * (_MICROSECONDS / scale)).astype(np.int64)
        fits |= of_unit
    missing = column.is_null().to_numpy() | (np.isnan(numbers) if pa.types.is_floating(column.type) else False)
    if unit is None:
        what = (
            f"is no number of seconds, milli-, micro- or nanoseconds since 1970 that lies in {first.year} to {LATEST.year}:"
            " write it as ISO 8601 text with its offset, or say its time_format in a mapping"
        )
    else:
        what = f"as {unit} is no moment of {first.year} to {LATEST.year}: check the unit"
    for place in np.flatnonzero(~fits & ~missing).tolist():
        problems.setdefault(place, Problem(name, f"is {shorten(column[place].as_py())}, which {what}."))
    return pa.array(us, pa.timestamp("us", "UTC"), mask=~fits)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers (n,), NaN for what is none."""
    if not is_number(column.type):
        text = pc.match_substring_regex(column.cast(pa.string()), r"^\s*[+-]?\d{1,30}(\.\d+)?([eE][+-]?\d{1,2})?\s*$")
        column = pc.if_else(text, pc.utf8_trim_whitespace(column.cast(pa.string())), None)
    floats: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy()
    return floats


def _whole(column: pa.ChunkedArray) -> tuple[np.ndarray, BoolArray]:
    """Numbers (n,) without a fraction, exactly: a float has no room for today's nanoseconds. And which they are."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        digits = pc.match_substring_regex(column, r"^\s*\d{1,18}\s*$|^\s*[1-8]\d{18}\s*$")
        column = pc.if_else(digits, pc.utf8_trim_whitespace(column), None).cast(pa.int64())
    elif pa.types.is_uint64(column.type):
        column = pc.if_else(pc.less(column, pa.scalar(2**63, pa.uint64())), column, None).cast(pa.int64())
    elif not pa.types.is_integer(column.type):
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    return pc.fill_null(column, 0).cast(pa.int64()).to_numpy(), column.is_valid().to_numpy()
