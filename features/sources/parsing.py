"""Columns of text as people write them come in; numbers and UTC moments go out, and a problem for each bad value."""

import re
from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.events.rules import Problem
from features.events.values import shorten
from features.ids import INEXACT, inexact

Problems = dict[int, Problem]
"""The first problem of each row that has one, by its place in the table."""
MOMENT: Final = pa.timestamp("us", "UTC")
HAS_OFFSET: Final = r"\d\d:?\d\d.*(Z|z|[+-]\d\d(:?\d\d)?)$"
_ISO: Final = "ISO8601"


def parse_numbers(
    name: str, column: pa.ChunkedArray, problems: Problems, decimal: str = ".", thousands: str = ""
) -> pa.Array:
    """Numbers (n,) from text like "1.234,50", "€ 12.50" or "-3", or from a number column; null where it is missing.

    Groups of thousands must be whole: with thousands "." the text "12.50" is refused, not read as 1250.
    """
    if not _is_text(column):
        return _combine(column.cast(pa.float64(), safe=False))
    bare = pc.utf8_trim(pc.utf8_trim_whitespace(column), "€$£¥ \u00a0")
    bare = pc.if_else(pc.equal(bare, ""), None, bare)
    point, group = re.escape(decimal), re.escape(thousands)
    grouped = rf"|\d{{1,3}}({group}\d{{3}})+" if thousands else ""
    fits = pc.match_substring_regex(bare, rf"^[+-]?(\d+{grouped})({point}\d+)?([eE][+-]?\d+)?$")
    plain = bare if not thousands else pc.replace_substring(bare, thousands, "")
    plain = plain if decimal == "." else pc.replace_substring(plain, decimal, ".")
    numbers = pc.if_else(fits, plain, None).cast(pa.float64())
    style = f'decimal = "{decimal}"' + (f' and thousands = "{thousands}"' if thousands else " and no thousands mark")
    for place in _places(pc.invert(fits)):
        value = shorten(column[place].as_py())
        problems.setdefault(place, Problem(name, f"is {value}, which is not a number written with {style}."))
    return _combine(numbers)


def note_inexact(name: str, column: pa.ChunkedArray, problems: Problems) -> None:
    """Make an id of which digits were lost, before it came here, a problem of its row."""
    for place in np.flatnonzero(inexact(column)).tolist():
        problems.setdefault(place, Problem(name, INEXACT.format(value=shorten(column[place].as_py()))))


def parse_moments(
    name: str,
    column: pa.ChunkedArray,
    problems: Problems,
    time_zone: str | None = None,
    time_format: str | None = None,
    ambiguous: Literal["first", "reject"] = "first",
) -> pa.Array:
    """UTC moments (n,) from text, timestamps or dates; what has no offset of its own is local time of `time_zone`.

    `time_format` is strptime's, or "epoch_s" or "epoch_ms"; without it text is ISO 8601. When the clocks go back an
    hour happens twice: "first" takes the first of the two (still summer time), as shops' systems do that only know
    local time; "reject" refuses it. When they go forward an hour does not happen: such a time is refused.
    """
    texts = _is_text(column)
    moments = pd.Series(pd.NaT, index=range(len(column)), dtype="datetime64[us, UTC]")
    given = ~column.is_null().to_numpy()
    if time_format in ("epoch_s", "epoch_ms"):
        numbers = pd.Series(parse_numbers(name, column, problems).to_numpy(zero_copy_only=False))
        factor = 1_000_000 if time_format == "epoch_s" else 1_000
        in_range = numbers.abs() * factor < 2**62
        _say(name, column, np.flatnonzero(numbers.notna() & ~in_range), f"is no moment as {time_format}", problems)
        return _to_arrow(
            pd.to_datetime((numbers.where(in_range) * factor).round().astype("Int64"), unit="us", utc=True)
        )
    if texts:
        aware = given & pc.fill_null(pc.match_substring_regex(column, HAS_OFFSET), False).to_numpy()
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


def _places(mask: pa.ChunkedArray) -> list[int]:
    places: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return places


def _combine(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _to_arrow(moments: "pd.Series[pd.Timestamp]") -> pa.Array:
    return pa.array(moments, MOMENT, from_pandas=True)
