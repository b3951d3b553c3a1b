"""The body of a batch in, the events in it out, not yet checked one by one."""

import json
from typing import Any

from pydantic_core import from_json

from features.events.values import printable
from serving import problems


def event_items(body: bytes, max_events: int) -> list[Any]:
    """The events of a body: {"events": [...]}, a bare list, or one event. Raises ApiError for what is none of these."""
    try:
        found = _lenient_json(body)
    except (ValueError, RecursionError) as error:
        raise problems.invalid_json(error) from error
    if isinstance(found, dict) and "kind" not in found:
        extra = [{"field": printable(name), "reason": "is not expected here"} for name in found if name != "events"]
        if "events" not in found or extra:
            raise problems.unusable('Send {"events": [...]}, a list of events, or one event.', extra)
        found = found["events"]
    items = found if isinstance(found, list) else [found]
    if not items or not isinstance(found, list | dict):
        raise problems.unusable('Send at least one event: {"events": [{"event_id": …}]}.')
    if len(items) > max_events:
        raise problems.too_many_events(max_events)
    return items


def _lenient_json(body: bytes) -> Any:
    """The value in `body`; NaN, Infinity and half surrogate pairs are let in, for the rules of events to refuse one by one.

    Common writers of JSON let them out, and one such event must not cost the batch that it came with.
    """
    try:
        return from_json(body, allow_inf_nan=True)
    except ValueError:
        if b"\\ud" not in body.lower():
            raise
        return json.loads(body)
