"""Columns of text, numbers or moments as people write them come in; UTC moments go out, and a problem for each bad value.

A text is local time exactly when it carries no offset and no name of a zone, whatever the order of its parts. Most columns are
written in one way throughout, which Arrow reads; what is not is read by pandas.
"""

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
from features.sources.zones import split_zone_names

Problems = dict[int, Problem]
"""The first problem of each row that has one, by its place in the table."""
Ambiguous = Literal["first", "reject"]
MOMENT: Final = pa.timestamp("us", "UTC")
LOCAL: Final = pa.timestamp("us")
HAS_OFFSET: Final = r"[T ]\s*\d\d.*(Z|z|[+-]\d\d(:?\d\d)?)\s*$"
"""An offset follows a time of day: what ends a date alone is its day."""
_DATE: Final = r"^\s*\d{4}-\d\d(-\d\d)?\s*$"
_UTC: Final = r"\s*(UTC|GMT)\s*$"
_ISO: Final = "ISO8601"
_EPOCH_TEXT: Final = r"^\s*\d{9,19}(\.\d+)?\s*$"
"""Text that is a number and no date of ISO 8601, which has eight digits: 20240501."""
_SIMPLE: Final = frozenset("YmdHMS")
"""What Arrow reads of a pattern exactly as pandas does."""


def note_inexact(name: str, column: pa.ChunkedArray, problems: Problems) -> None:
    """Make an id of which digits were lost, before it came here, a problem of its row."""
    for place in np.flatnonzero(inexact(column)).tolist():
        problems.setdefault(place, Problem(name, INEXACT.format(value=shorten(column[place].as_py()))))


def refuse(problems: Problems) -> None:
    """Raises InputError for the first problem of a table that is used whole."""
    if problems:
        row, problem = min(problems.items())
        raise InputError(f"row {row}: {problem.field} {problem.reason}")


def numeric_texts(column: pa.ChunkedArray) -> BoolArray:
    """Which texts (n,) are numbers that may be of moments."""
    rows: BoolArray = pc.fill_null(pc.match_substring_regex(column, _EPOCH_TEXT), False).to_numpy()
    return rows


def parse_moments(
    name: str,
    column: pa.ChunkedArray,
    problems: Problems,
    time_zone: str | None = None,
    time_format: str | None = None,
    ambiguous: Ambiguous = "first",
) -> pa.Array:
    """UTC moments (n,) from text, timestamps or dates; what has no offset of its own is local time of `time_zone`.

    `time_format` is strptime's, or one of EPOCHS; without it text is ISO 8601, and numbers are seconds, milli-, micro- or
    nanoseconds since 1970 by their size. A date alone is midnight of the zone, and of UTC where none is given. When the
    clocks go back an hour happens twice: "first" takes the first of the two (still summer time), as shops' systems do that
    only know local time; "reject" refuses it. When they go forward an hour does not happen: such a time is refused.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if time_format in EPOCHS and (is_number(column.type) or _is_text(column)):
        return read_epochs(name, column, problems, time_format)
    if time_format is None and is_number(column.type):
        return read_epochs(name, column, problems)
    if is_number(column.type):
        column = id_column(column)  # a date that is written as a number, like 20240501
    if not _is_text(column):
        return _of_moments(name, column, problems, time_zone, ambiguous)
    quick = _read_alike(column, time_zone, time_format, ambiguous)
    return quick if quick is not None else _read_each(name, column, problems, time_zone, time_format, ambiguous)


def _read_alike(
    column: pa.ChunkedArray, time_zone: str | None, time_format: str | None, ambiguous: Ambiguous
) -> pa.Array | None:
    """Moments (n,) of texts that are all written alike; None where they are not, or where any asks for a closer look."""
    if column.null_count == len(column):
        return None
    try:
        if time_format is None:
            try:
                local = column.cast(LOCAL)
            except pa.ArrowInvalid:
                return _combine(column.cast(MOMENT))  # refuses what has no offset
        else:
            marks = [part[:1] for part in time_format.split("%")[1:]]
            if not set(marks) <= _SIMPLE or time_format[-1:] in "Zz":
                return None
            local = pc.strptime(column, time_format, "us")
        return None if time_zone is None else _combine(_localize_all(local, time_zone, ambiguous))
    except pa.ArrowInvalid:
        return None


def _localize_all(local: pa.ChunkedArray, time_zone: str, ambiguous: Ambiguous) -> pa.ChunkedArray:
    """Raises ArrowInvalid for a time that never happened, and where it is to be refused for one that happened twice."""
    twice = "earliest" if ambiguous == "first" else "raise"
    return pc.assume_timezone(local, time_zone, ambiguous=twice, nonexistent="raise").cast(MOMENT)


def _of_moments(
    name: str, column: pa.ChunkedArray, problems: Problems, time_zone: str | None, ambiguous: Ambiguous
) -> pa.Array:
    """Moments (n,) of a column whose file knows that they are moments or dates."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return _combine(column.cast(MOMENT, safe=False))
    given = column.is_valid().to_numpy()
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        _say(name, column, np.flatnonzero(given), "is no moment: write it as ISO 8601 text", problems)
        return pa.nulls(len(column), MOMENT)
    local = column.cast(LOCAL, safe=False)
    if time_zone is None and pa.types.is_date(kind):
        return _combine(local.cast(MOMENT))
    if time_zone is not None:
        try:
            return _combine(_localize_all(local, time_zone, ambiguous))
        except pa.ArrowInvalid:
            pass
    moments = pd.Series(pd.NaT, index=range(len(column)), dtype="datetime64[us, UTC]")
    _fill_local(name, column, moments, given, local.to_pandas(), time_zone, ambiguous, problems)
    return _to_arrow(moments)


def _read_each(
    name: str,
    column: pa.ChunkedArray,
    problems: Problems,
    time_zone: str | None,
    time_format: str | None,
    ambiguous: Ambiguous,
) -> pa.Array:
    """Moments (n,) of texts, each as it is written."""
    moments = pd.Series(pd.NaT, index=range(len(column)), dtype="datetime64[us, UTC]")
    given = column.is_valid().to_numpy()
    as_it_came = column
    if time_format is None:
        numbers = numeric_texts(column)
        if numbers.any():
            epochs = read_epochs(name, pc.if_else(pa.array(numbers), column, None), problems)
            moments = pd.Series(epochs.to_pandas(), dtype=moments.dtype)
            given &= ~numbers
        column = pc.replace_substring_regex(column, _UTC, "Z")
    zones = np.full(len(column), None, object)
    if time_format is not None and "%Z" in time_format:
        column, time_format, zones = split_zone_names(column, time_format, time_zone)
    aware = given & _has_offset(column, time_zone, time_format)
    words = column.to_pandas().str.strip()
    pattern = time_format or _ISO
    if aware.any():
        moments[aware] = pd.to_datetime(words[aware], format=pattern, utc=True, errors="coerce").dt.as_unit("us")
    local = pd.to_datetime(words.where(given & ~aware), format=pattern, errors="coerce")
    unread = given & ~aware & local.isna().to_numpy() | aware & moments.isna().to_numpy()
    wanted = f"written like {time_format}" if time_format else "ISO 8601 (set time_format for any other way)"
    _say(name, as_it_came, np.flatnonzero(unread), f"is not {wanted}", problems)
    naive = given & ~aware & ~unread
    for zone in dict.fromkeys(zones[naive].tolist()):
        of_zone = naive & np.array([each == zone for each in zones.tolist()], np.bool_)
        _fill_local(name, as_it_came, moments, of_zone, local, zone or time_zone, ambiguous, problems)
    return _to_arrow(moments)


def _has_offset(column: pa.ChunkedArray, time_zone: str | None, time_format: str | None) -> BoolArray:
    """Which texts (n,) tell how far they are from UTC; a date alone is midnight of `time_zone`, or of UTC without one."""
    if time_format is not None:
        told = "%z" in time_format or time_format.endswith(("Z", "z"))
        if time_zone is None and not told:
            is_date: BoolArray = pc.fill_null(pc.match_substring_regex(column, _DATE), False).to_numpy()
            return is_date
        return np.full(len(column), told)
    offset = pc.match_substring_regex(column, HAS_OFFSET)
    if time_zone is None:
        offset = pc.or_(offset, pc.match_substring_regex(column, _DATE))
    rows: BoolArray = pc.fill_null(offset, False).to_numpy()
    return rows


def _fill_local(
    name: str,
    column: pa.ChunkedArray,
    moments: "pd.Series[pd.Timestamp]",
    rows: BoolArray,
    local: "pd.Series[pd.Timestamp]",
    zone: str | None,
    ambiguous: str,
    problems: Problems,
) -> None:
    """Put the local times of these `rows` (n,) into `moments`."""
    if not rows.any():
        return
    if zone is None:
        what = "has no zone: set time_zone in the mapping, or add the offset"
        _say(name, column, np.flatnonzero(rows), what, problems)
        return
    moments[rows] = _localize(name, column, local[rows], zone, ambiguous, problems)


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
