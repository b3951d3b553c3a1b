"""Values as other tools write them come in; ids, numbers, moments and what a record means go out: shared by every format."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from features.events.rules import Problem
from features.events.values import parse_moment, shorten
from features.ids import id_text, is_inexact

Fields = dict[str, Any]
"""An event as it would come over HTTP: what is None is not said."""
Record = Mapping[str, Any]
"""One JSON object of a tool."""

MACHINE_OPEN: Final = "machine_open"
"""The word under which an open is counted that a program made, not a reader."""
BOT_CLICK: Final = "bot_click"
YES: Final = frozenset({"true", "1", "yes"})
"""How a mark that is set is written, in small letters."""
NOTHING: Final = frozenset({"", "null", "(not set)", "(none)"})
"""What tools write where they know nothing."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No tool here is older: what lies before came in another unit."""
_MICROSECONDS: Final = {"s": 10**6, "ms": 10**3, "us": 1}
_spaced_offset = re.compile(r"\s+([+-]\d{2}:?\d{2})$")
_MAX_DIGITS: Final = 19


class UnreadableError(Exception):
    """A record that should be an event and cannot be one: `problem` says which of its fields is wrong, and how."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.problem = Problem(field, reason)


@dataclass(frozen=True)
class Meaning:
    """What a record means: events, or the tool's own word for something that is none of ours, counted by it."""

    events: tuple[Fields, ...] = ()
    skipped: str | None = None
    notice: str | None = None
    """What somebody has to do, in words."""


def at(record: Any, path: str) -> Any:
    """What lies at a dotted path of an object; None where there is nothing."""
    for key in path.split("."):
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def first(record: Record, paths: Sequence[str]) -> Any:
    """The first value that says something at any of the paths."""
    for path in paths:
        value = at(record, path)
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        if value is not None and not (isinstance(value, str) and value in NOTHING):
            return value
    return None


def text(value: Any, field: str) -> str | None:
    """An id or a word as text. Raises UnreadableError for a number that has lost digits, an object or a list."""
    if isinstance(value, Mapping | list):
        raise UnreadableError(field, f"is {shorten(json.dumps(value, default=str))}, which is no single value.")
    if is_inexact(value):
        raise UnreadableError(field, f"is {value}, a number that may have lost digits: write it as text.")
    written = id_text(value)
    written = None if written is None else written.strip()
    return None if written is None or written in NOTHING else written


def number(value: Any, field: str) -> float | None:
    """A number, also one that is written as text. Raises UnreadableError for anything else."""
    if value is None or (isinstance(value, str) and value.strip() in NOTHING):
        return None
    try:
        read = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        read = math.nan
    if not math.isfinite(read):
        raise UnreadableError(field, f"is {shorten(value)}, which is no number.")
    return read


def epoch(value: Any, unit: str, field: str) -> datetime:
    """The UTC moment of a number, or text that holds one, in "s", "ms" or "us" since 1970, to the microsecond.

    Raises UnreadableError for what is no number, and for a moment before 2000: it came in another unit.
    """
    written = value.strip() if isinstance(value, str) else value
    read = None
    try:
        if isinstance(written, str) and len(written) <= _MAX_DIGITS and written.isascii() and written.isdigit():
            written = int(written)
        scale = _MICROSECONDS[unit]
        if isinstance(written, int) and not isinstance(written, bool):
            read = _EPOCH + timedelta(microseconds=written * scale)
        elif isinstance(written, float | str):
            read = _EPOCH + timedelta(microseconds=round(float(written) * scale))
    except (ValueError, OverflowError):
        pass
    if read is None:
        raise UnreadableError(field, f"is {shorten(value)}, which is no number of {unit} since 1970.")
    if read < _OLDEST:
        reason = f"is {shorten(value)}, which as {unit} since 1970 lies before 2000: it came in another unit."
        raise UnreadableError(field, reason)
    return read


def moment(value: Any, field: str) -> datetime:
    """The UTC moment of ISO 8601 text with its offset. Raises UnreadableError for anything else."""
    written = _spaced_offset.sub(r"\1", value.strip()) if isinstance(value, str) else value
    if isinstance(written, str) and written.endswith(" UTC"):
        written = f"{written[:-4]}Z"
    read = parse_moment(written)
    if isinstance(read, str):
        raise UnreadableError(field, "is missing: say when it happened." if value is None else read)
    return read


def named_visit(who: str | None, visit: str | None) -> str | None:
    """A visit named with whose it is: its number alone is that of many people, and of nobody known it says nothing."""
    return None if who is None or visit is None else f"{who}:{visit}"


def digest(record: Record) -> str:
    """An id out of all that a record says: the same whenever it comes again."""
    written = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def said(**fields: Any) -> Fields:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value != {}}


def yes(value: Any) -> bool:
    """Whether a mark is set, which tools write as true, "true" or 1."""
    return str(value).strip().lower() in YES
