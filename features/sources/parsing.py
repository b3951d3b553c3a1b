"""Columns of text or numbers as people write them come in; ids and UTC moments go out, and a problem for each bad value."""

from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray
from features.errors import InputError
from features.events.rules import Problem
from features.events.values import shorten
from features.ids import INEXACT, id_column, inexact
from features.sources.epochs import EPOCHS, is_number, read_epochs

Problems = dict[int, Problem]
"""The first problem of each row that has one, by its place in the table."""
MOMENT: Final = pa.timestamp("us", "UTC")
HAS_OFFSET: Final = r"\d\d:?\d\d.*(Z|z|[+-]\d\d(:?\d\d)?)$"
_DATE: Final = r"^\s*\d{4}-\d\d(-\d\d)?\s*$"
"""Whose last two digits look like an offset."""
_ISO: Final = "ISO8601"
_EPOCH_TEXT: Final = r"^\s*\d{9,19}(\.\d+)?\s*$"
"""Text that is a number and no date of ISO 8601, which has eight digits: 20240501."""


def note_inexact(name: str, column: pa.ChunkedArray, problems: Problems) -> None:
    """Make an id of which digits were lost, before it came here, a problem of its row."""
    for place in np.flatnonzero(inexact(column)).tolist():
        problems.setdefault(place, Problem(name, INEXACT.format(value=shorten(column[place].as_py()))))


def refuse(problems: Problems) -> None:
    """Raises InputError for the first problem of a table that is used whole."""
    if problems:
        row, problem = min(problems.items())
        raise InputError(f"row {row}: {problem.field} {problem.reason}")


def parse_moments(
    name: str,
    column: pa.ChunkedArray,
    problems: Problems,
    time_zone: str | None = None,
    time_format: str | None = None,
    ambiguous: Literal["first", "reject"] = "first",
) -> pa.Array:
    """UTC moments (n,) from text, timestamps or dates; what has no offset of its own is local time of `time_zone`.

    `time_format` is strptime's, or one of EPOCHS; without it text is ISO 8601, and numbers are seconds, milli-, micro- or
    nanoseconds since 1970 by their size. When the clocks go back an hour happens twice: "first" takes the first of the two
    (still summer time), as shops' systems do that only know local time; "reject" refuses it. When they go forward an hour
    does not happen: such a time is refused.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if time_format in EPOCHS and (is_number(column.type) or _is_text(column)):
        return read_epochs(name, column, problems, time_format)
    if time_format is None and is_number(column.type):
        return read_epochs(name, column, problems)
    if is_number(column.type):
        column = id_column(column)  # a date that is written as a number, like 20240501
    texts = _is_text(column)
    moments = pd.Series(pd.NaT, index=range(len(column)), dtype="datetime64[us, UTC]")
    given = ~column.is_null().to_numpy()
    if texts and time_format is None:
        numbers = pc.fill_null(pc.match_substring_regex(column, _EPOCH_TEXT), False)
        if pc.any(numbers).as_py():
            epochs = read_epochs(name, pc.if_else(numbers, column, None), problems)
            moments = pd.Series(epochs.to_pandas(), dtype=moments.dtype)
            given &= ~numbers.to_numpy()
    if texts:
        aware = given & _has_offset(column, time_zone, time_format)
        words = column.to_pandas().str.strip()
        pattern = time_format or _ISO
        if aware.any():
            moments[aware] = pd.to_datetime(words[aware], format=pattern, utc=True, errors="coerce").dt.as_unit("us")
        local = pd.to_datetime(words.where(given & ~aware), format=pattern, errors="coerce")
        unread = given & ~aware & local.isna().to_numpy() | aware & moments.isna().to_numpy()
        wanted = f"written like {time_format}" if time_format else "ISO 8601 (set time_format for any other way)"
        _say(name, column, np.flatnonzero(unread), f"is not {wanted}", problems)
        naive = given & ~aware & ~unread
    else:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            return _combine(column.cast(MOMENT, safe=False))
        if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            _say(name, column, np.flatnonzero(given), "is no moment: write it as ISO 8601 text", problems)
            return pa.nulls(len(column), MOMENT)
        local = column.cast(pa.timestamp("us"), safe=False).to_pandas()
        naive = given
    if naive.any():
        if time_zone is None:
            _say(
                name,
                column,
                np.flatnonzero(naive),
                "has no zone: set time_zone in the mapping, or add the offset",
                problems,
            )
        else:
            moments[naive] = _localize(name, column, local[naive], time_zone, ambiguous, problems)
    return _to_arrow(moments)


def _has_offset(column: pa.ChunkedArray, time_zone: str | None, time_format: str | None) -> BoolArray:
    """Which texts (n,) tell how far they are from UTC; a date alone is midnight of `time_zone`, or of UTC without one."""
    is_date = pc.match_substring_regex(column, _DATE)
    if time_format is None or "%z" in time_format or time_format.endswith(("Z", "z")):
        told = pc.and_(pc.match_substring_regex(column, HAS_OFFSET), pc.invert(is_date))
    else:
        told = pc.and_(is_date, False)
    if time_zone is None:
        told = pc.or_(told, is_date)
    rows: BoolArray = pc.fill_null(told, False).to_numpy()
    return rows


def _localize(
    name: str, column: pa.ChunkedArray, local: "pd.Series[pd.Timestamp]", zone: str, ambiguous: str, problems: Problems
) -> "pd.Series[pd.Timestamp]":
    clean = local.dt.as_unit("us")
    first = clean.dt.tz_localize(zone, ambiguous=np.ones(len(clean), np.bool_), nonexistent="NaT")
    skipped = clean.index[first.isna()]
    _say(name, column, skipped.to_numpy(), f"never happened in {zone}: the clocks went forward over it", problems)
    if ambiguous == "reject":
        last = clean.dt.tz_localize(zone, ambiguous=np.zeros(len(clean), np.bool_), nonexistent="NaT")
        twice = clean.index[(first != last) & first.notna()]
        _say(
            name, column, twice.to_numpy(), f"happened twice in {zone}: the clocks went back; add its offset", problems
        )
    return first.dt.tz_convert("UTC")


def _say(name: str, column: pa.ChunkedArray, places: np.ndarray, what: str, problems: Problems) -> None:
    for place in places.tolist():
        problems.setdefault(place, Problem(name, f"is {shorten(column[place].as_py())}, which {what}."))


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _combine(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _to_arrow(moments: "pd.Series[pd.Timestamp]") -> pa.Array:
    return pa.array(moments, MOMENT, from_pandas=True)
