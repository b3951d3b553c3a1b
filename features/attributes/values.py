"""What profile events say of attributes in, the values that a state keeps out: for each the newest, by when it was said.

A value is a row of three numbers: the attribute's code, the value (NaN: taken back), and the moment in seconds since the epoch.
Of two values the later one counts, in whatever order they arrive, so that a whole history and one event after the other agree.
"""

import json
import math
from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

import numpy as np

from features.arrays import ByteArray, FloatArray, IntArray
from features.attributes.codes import text_code
from features.attributes.declared import Declared, Kind
from features.events.values import MAX_NUMBER

WIDTH: Final = 3
"""Numbers of one value: code, value, moment."""
CODE, VALUE, SAID_AT = range(WIDTH)
PREFIX_CODE: Final = 0xA77B
"""What the bytes of a state begin with that has attributes before it; a state's own begin with its layout's code."""
_HEAD: Final = 4
_FIRST_BYTE: Final = PREFIX_CODE & 0xFF
_DAY_ONE: Final = date(1970, 1, 1).toordinal()
NOTHING_SAID: Final[FloatArray] = np.empty((0, WIDTH))


def values_said(properties: str, moment_s: float, declared: Declared) -> list[tuple[float, float, float]]:
    """The values (code, value, moment) that a profile event's properties, as JSON, say; what cannot be read says nothing."""
    plain = json.loads(properties)
    said = []
    for name, value in plain.items() if isinstance(plain, dict) else ():
        attribute = declared.by_property.get(name)
        if attribute is None:
            continue
        number = math.nan if value is None else _number(value, declared.of[attribute].kind)
        if number is not None:
            said.append((declared.code_of[attribute], number, moment_s))
    return said


def merged(known: FloatArray, said: Iterable[tuple[float, float, float]]) -> FloatArray:
    """Values (m, 3) with others on top, by code: the later one counts, of one moment the one that comes last."""
    newest = {row[CODE]: tuple(row) for row in known.tolist()}
    for row in said:
        before = newest.get(row[CODE])
        if before is None or row[SAID_AT] >= before[SAID_AT]:
            newest[row[CODE]] = row
    return np.array([newest[code] for code in sorted(newest)]).reshape(-1, WIDTH)


def prefix(values: FloatArray) -> bytes:
    """Values (m, 3) as the bytes that come before a state's own; none where there are none."""
    if not len(values):
        return b""
    head = np.array([PREFIX_CODE, len(values)], "<u2").tobytes()
    return head + np.ascontiguousarray(values, "<f8").tobytes()


def prefix_lengths(states: ByteArray, states_at: IntArray) -> IntArray | None:
    """How many bytes (n,) of the states that lie at `states_at` (2, n) are attributes; None where none of them has any."""
    if states_at.shape[1] == 1 and (not len(states) or states[states_at[0, 0]] != _FIRST_BYTE):
        return None  # in half a microsecond, for who asks of one customer
    long = np.flatnonzero(states_at[1] - states_at[0] >= _HEAD)
    begins = states_at[0, long]
    has = states[begins] + (states[begins + 1].astype(np.int64) << 8) == PREFIX_CODE
    if not has.any():
        return None
    lengths = np.zeros(states_at.shape[1], np.int64)
    at = begins[has]
    lengths[long[has]] = _HEAD + 8 * WIDTH * (states[at + 2] + (states[at + 3].astype(np.int64) << 8))
    return lengths


def read_prefix(states: ByteArray, begin: int, length: int) -> FloatArray:
    """The inverse of `prefix`, of the `length` bytes at `begin`; raises IndexError where there are not so many."""
    part = states[begin + _HEAD : begin + length]
    if len(part) < length - _HEAD:
        raise IndexError("a state ends within its attributes")
    return np.frombuffer(part.tobytes(), "<f8").reshape(-1, WIDTH)


@cache
def zones() -> dict[float, str]:
    """The names of all time zones, by their codes."""
    return {text_code(name): name for name in sorted(available_timezones())}


def _number(value: Any, kind: Kind) -> float | None:
    """The number that a state keeps of a value as an event says it; None where it is no value of this kind."""
    if kind is Kind.NUMERIC:
        return _numeric(value)
    if kind is Kind.BIRTHDAY:
        return _birthday(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    code = text_code(text)
    return code if kind is Kind.CATEGORICAL or code in zones() else None


def _numeric(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) <= MAX_NUMBER else None


def _birthday(value: Any) -> float | None:
    """Days from 1970 to the date."""
    try:
        return float(date.fromisoformat(str(value)[:10]).toordinal() - _DAY_ONE)
    except ValueError:
        return None
