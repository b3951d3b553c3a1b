"""A webhook's body in; out, the events of its records, what was skipped by the tool's own word, and what cannot be read."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from features.events.schema import Rejection
from features.formats import FORMATS, Format, UnreadableError
from features.formats.reading import Fields
from serving import problems
from serving.event_intake import MAX_EVENTS, lenient_json

logger = logging.getLogger(__name__)

FORMAT: Final = "format"
_NO_OBJECT: Final = ("record", "is not a JSON object: send each record as an object.")
_BINARY_MODE: Final = "ce-"
"""How the headers begin in which a CloudEvent says everything but its data."""


@dataclass
class Webhook:
    """What a body holds. `origins` says which record, from 0, each event came from."""

    events: list[Fields] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    skipped_by_word: Counter[str] = field(default_factory=Counter)
    notices: list[str] = field(default_factory=list)

    def of_records(self, rejections: list[Rejection]) -> list[Rejection]:
        """What is wrong, by the places of records: what was found here, and `rejections` by the places of events."""
        moved = [Rejection(self.origins[one.index], one.field, one.reason, one.event_id) for one in rejections]
        return sorted([*self.rejections, *moved], key=lambda rejection: rejection.index)


def asked_format(query: bytes) -> Format | None:
    """The format that a query string asks for; None where it asks for none. Raises ApiError for one that nobody knows."""
    if not query:
        return None
    names = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(FORMAT)
    if names is None:
        return None
    if names[-1] not in FORMATS:
        reason = f"is {names[-1]!r}: use one of {', '.join(FORMATS)}, or leave it out for events of ours."
        raise problems.unusable(f"There is no format {names[-1]!r}.", [{"field": FORMAT, "reason": reason}])
    return FORMATS[names[-1]]


def read_webhook(body: bytes, asked: Format, headers: Mapping[str, str]) -> Webhook:
    """The records of a body, one or a list of them. A bad record never takes a good one with it.

    Raises ApiError for a body that is no JSON, or holds too many records.
    """
    try:
        content = _binary_mode(body, headers) if "ce-id" in headers else lenient_json(body)
    except (ValueError, RecursionError) as error:
        raise problems.invalid_json(error) from error
    items = content if isinstance(content, list) else [content]
    webhook = Webhook()
    records = (record for item in items for record in asked.records(item))
    for place, record in enumerate(records):
        if place >= MAX_EVENTS:
            raise problems.too_many_events(MAX_EVENTS)
        _read_one(webhook, place, record, asked)
    for notice in webhook.notices:
        logger.warning("%s", notice)
    return webhook


def _read_one(webhook: Webhook, place: int, record: Any, asked: Format) -> None:
    if not isinstance(record, Mapping):
        webhook.rejections.append(Rejection(place, *_NO_OBJECT, None))
        return
    try:
        meaning = asked.read(record)
    except UnreadableError as error:
        webhook.rejections.append(Rejection(place, *error.problem, None))
        return
    if meaning.skipped is not None:
        webhook.skipped_by_word[meaning.skipped] += 1
    if meaning.notice is not None:
        webhook.notices.append(meaning.notice)
    webhook.events += meaning.events
    webhook.origins += [place] * len(meaning.events)


def _binary_mode(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A CloudEvent of which the headers hold all but the data."""
    said = {
        name[len(_BINARY_MODE) :]: unquote(value) for name, value in headers.items() if name.startswith(_BINARY_MODE)
    }
    return {**said, "data": json.loads(body) if body else None}
