"""One value of an event comes in; what is wrong with it, in words a sender can act on, goes out: the rule of each type."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from features.vocabulary import CHANNEL_CODES, KIND_CODES, Columns

MAX_TEXT_LENGTH: Final = 256
"""Longest id, in characters."""
MAX_PROPERTIES_BYTES: Final = 8 * 1024
"""Longest `properties`, as UTF-8 bytes of its JSON text."""
MAX_NUMBER: Final = 1e14
"""Largest amount of money in any currency, and most negative: what is beyond is a wrong unit, and would drown every sum it
enters. What a home takes in its currencies is far less (`features/money/limits.py`)."""
MAX_QUANTITY: Final = 1e9
"""Most units on one event."""
MAX_IDENTIFIERS: Final = 16
"""Most identifiers on one event."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Events lie in [EARLIEST, LATEST): what is outside is a broken clock or a wrong unit."""
MAX_AHEAD: Final = timedelta(minutes=5)
"""How far a sender's clock may run ahead of ours."""

SPACE: Final = "\u0020\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
UNCLEAN_TEXT: Final = f"[\u0000-\u001f\u007f-\u009f]|^[{SPACE}]|[{SPACE}]$"
"""Control characters anywhere, spaces at an end. Written so that Python's `re` and Arrow's RE2 read it alike."""
CURRENCY: Final = "^[A-Z]{3}$"
ID_TYPE: Final = "^[a-z][a-z0-9_]{0,63}$"

_NO_OBJECT: Final = 'is not a JSON object: wrap it like {"note": ...}.'
_TOO_LONG: Final = (
    f"is longer than {MAX_PROPERTIES_BYTES} bytes of JSON: keep the large part elsewhere and send its address."
)
_FLAT: Final = 100
"""So many brackets nest no deeper than any JSON reader goes."""
_NO_JSON: Final = "is not a JSON object of text, finite numbers, lists and objects: mend its JSON."

_dump: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_unclean = re.compile(UNCLEAN_TEXT)
_currency = re.compile(CURRENCY)
_id_type = re.compile(ID_TYPE)


class JsonText(str):
    """`properties` as a table holds them: JSON text, where HTTP sends an object."""

    __slots__ = ()


def parse_moment(value: object) -> datetime | str:
    """`occurred_at` as an aware UTC datetime, or (as text) the reason why it cannot be one."""
    moment: object = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return f"is {shorten(value)}, which is no ISO 8601 moment: write it like 2024-05-01T09:30:00+02:00."
    if not isinstance(moment, datetime):
        return "is not a moment: write it as ISO 8601 text with its offset, like 2024-05-01T09:30:00+02:00."
    if moment.utcoffset() is None:
        return f"is {shorten(value)} without a time zone: add Z for UTC, or the local offset like +02:00."
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _out_of_range(value)


def parse_properties(text: str) -> dict[str, Any] | str:
    """The JSON object in `text`, or (as text) the reason why it cannot be kept."""
    if len(text.encode("utf-8", "replace")) > MAX_PROPERTIES_BYTES:
        return _TOO_LONG
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no character: send whole characters."
    except (ValueError, RecursionError):
        return _NO_JSON
    if not isinstance(value, dict):
        return _NO_OBJECT
    return value


def dump_properties(value: object) -> str | None:
    """`properties` as JSON text (text stays as it is), or None where it is no JSON at all."""
    if isinstance(value, str):
        return value
    try:
        return _dump(value)
    except (TypeError, ValueError, RecursionError):
        return None


def shorten(value: object, limit: int = 60) -> str:
    """A value as a message shows it: text in quotes, and nothing long."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[: limit - 1] + "…")
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """The start of a text as an answer can carry it: what is half a surrogate pair, and so no character, reads "?"."""
    return text[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()


def _check_text(value: object, now: datetime | None = None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return f"is {shorten(value)}, which is not text: put it in quotes."
    if value.isascii() and value.isprintable() and value.strip(" ") == value and 0 < len(value) <= MAX_TEXT_LENGTH:
        return None  # nearly always, and at once
    if not value.strip(" "):
        return "is blank: give it a value, or leave it out."
    if len(value) > MAX_TEXT_LENGTH:
        return f"is {len(value)} characters long: at most {MAX_TEXT_LENGTH} are kept."
    if _unclean.search(value):
        return f"is {shorten(value)}, with spaces at an end or control characters: strip them."
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no character: send whole characters."
    return None


def _check_event_id(value: object, now: datetime | None) -> str | None:
    if value is None:
        return "is missing: give each event an id of its own, so that sending it again cannot count it twice."
    return _check_text(value)


def _check_occurred_at(value: object, now: datetime | None) -> str | None:
    if value is None:
        return "is missing: say when it happened."
    moment = parse_moment(value)
    if isinstance(moment, str):
        return moment
    if not EARLIEST <= moment < LATEST:
        return _out_of_range(value)
    if now is not None and moment > now + MAX_AHEAD:
        return (
            f"is {moment.isoformat()}, more than {MAX_AHEAD.seconds // 60} minutes ahead of the clock here, which says"
            f" {now.isoformat(timespec='seconds')}: check the sender's clock (or OMNI_CLOCK_START, where time is replayed)."
        )
    return None


def _out_of_range(value: object) -> str:
    return f"is {value}, outside {EARLIEST.year} to {LATEST.year}: check its unit and the clock that wrote it."


def _check_word(codes: Mapping[str, int]) -> Callable[[object, datetime | None], str | None]:
    def check(value: object, now: datetime | None) -> str | None:
        if isinstance(value, str) and value in codes:
            return None
        given = "is missing" if value is None else f"is {shorten(value)}"
        return f"{given}: use one of {', '.join(codes)}."

    return check


def _check_identifiers(value: object, now: datetime | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        if len({key for key, _ in value}) < len(value):  # how Arrow hands over a map
            return "names one id type twice: send one event for each."
        value = dict(value)
    if not isinstance(value, Mapping):
        return 'is not an object of texts: write it like {"cookie": "abc"}.'
    if len(value) > MAX_IDENTIFIERS:
        return f"has {len(value)} entries: at most {MAX_IDENTIFIERS} are kept."
    for id_type, id_value in value.items():
        if not isinstance(id_type, str) or not _id_type.search(id_type) or id_type.endswith("\n"):
            return f"has the id type {shorten(id_type)}: use small letters, digits and _, like loyalty_card."
        reason = "is missing: leave the type out." if id_value is None else _check_text(id_value)
        if reason:
            return f"has {id_type}, which {reason}"
    return None


def _check_quantity(value: object, now: datetime | None) -> str | None:
    reason = _check_number(value, now, MAX_QUANTITY)
    if reason or value is None:
        return reason
    assert isinstance(value, int | float)
    return f"is {value}: units are counted from 0; what came back is an event of kind return." if value < 0 else None


def _check_number(value: object, now: datetime | None, largest: float = MAX_NUMBER) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"is {shorten(value)}, which is not a number: write it without quotes."
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        return "is not a finite number: leave it out where it is unknown."
    return f"is {shorten(value)}, beyond {largest:.0e}: check its unit." if abs(value) > largest else None


def _check_currency(value: object, now: datetime | None) -> str | None:
    if value is None or (isinstance(value, str) and _currency.search(value) and len(value) == 3):
        return None
    return f"is {shorten(value)}: use the three capital letters of ISO 4217, like EUR."


def _check_properties(value: object, now: datetime | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, JsonText | Mapping):
        return _NO_OBJECT
    text = dump_properties(value)
    if text is None:
        return _NO_JSON
    if not isinstance(value, str) and text.isascii() and text.count("{") + text.count("[") < _FLAT:
        return None if len(text) <= MAX_PROPERTIES_BYTES else _TOO_LONG  # it was an object, and reads as one again
    parsed = parse_properties(text)
    return parsed if isinstance(parsed, str) else None


VALUE_CHECKS: Final[dict[str, Callable[[object, datetime | None], str | None]]] = {
    Columns.EVENT_ID: _check_event_id,
    Columns.OCCURRED_AT: _check_occurred_at,
    Columns.KIND: _check_word(KIND_CODES),
    Columns.CHANNEL: _check_word(CHANNEL_CODES),
    Columns.CUSTOMER_ID: _check_text,
    Columns.IDENTIFIERS: _check_identifiers,
    Columns.PRODUCT_ID: _check_text,
    Columns.QUANTITY: _check_quantity,
    Columns.VALUE: _check_number,
    Columns.CURRENCY: _check_currency,
    Columns.CAMPAIGN_ID: _check_text,
    Columns.DECISION_ID: _check_text,
    Columns.STORE_ID: _check_text,
    Columns.SESSION_ID: _check_text,
    Columns.PROPERTIES: _check_properties,
}
"""The check of each column, in the order of the columns: (value, now or None) -> reason or None."""
