"""A date or moment as somebody wrote it in; an aware moment in UTC out."""

from datetime import UTC, datetime

from features.errors import InputError


def utc(text: str) -> datetime:
    """An ISO 8601 date or moment, in UTC where it names no zone. Raises InputError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a date.", repair="Write it as 2018-01-01 or 2018-01-01T12:00Z.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
