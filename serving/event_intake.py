"""The body of `POST /v1/events` in; out, the events that may be kept, and what is wrong with each of the others.

Beside the rules of events, two hold at this door, because whoever may say what happened may not say what was decided.
Decisions, which carry the chances that everything learned later divides by, come from the service itself; and an outcome of
a decision is of one that the log holds, for the same customer. Who sends the home's bookkeeping key is trusted with both.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from features.events.rows import EventRow, parse_rows, table_rows
from features.events.rules import Problem
from features.events.schema import Rejection, parse_table
from features.events.values import printable, shorten
from features.log.batches import Events, batch_of
from features.log.conflicts import Conflict
from features.log.event_log import EventLog
from features.money.incoming import parse_few, parse_valued
from features.vocabulary import Columns, EventKind
from serving import problems
from serving.runtime import Runtime

MAX_EVENTS: Final = 10_000
BOOKKEEPING_KEY: Final = "Omni-Bookkeeping-Key"
"""The header that brings the key."""
MAX_CONFLICTS_TOLD: Final = 100
MAX_ROWS: Final = 200
"""Up to so many events go to the log as rows, and more as a table."""
_WATCHED: Final = (EventKind.DECISION.value, EventKind.OUTCOME.value)

_SERVICE_ONLY: Final = (
    "is decision, which only the service writes (POST /v1/decide): bring decisions of another system in with `omni ingest`,"
    f" or send the home's key in the header {BOOKKEEPING_KEY}."
)


def is_trusted(sent: str | None, key: str) -> bool:
    """Whether bookkeeping may come in. Raises ApiError for a key that is not the home's: nobody sends one by mistake."""
    if sent is None:
        return False
    if not key or not hmac.compare_digest(sent.encode(), key.encode()):
        raise problems.wrong_key(BOOKKEEPING_KEY)
    return True


def event_items(body: bytes) -> list[Any]:
    """The events of a body: {"events": [...]}, a bare list, or one event."""
    try:
        content = lenient_json(body)
    except (ValueError, RecursionError) as error:
        raise problems.invalid_json(error) from error
    if isinstance(content, dict) and "kind" not in content:
        extra = [{"field": printable(name), "reason": "is not expected here"} for name in content if name != "events"]
        if "events" not in content or extra:
            raise problems.unusable('Send {"events": [...]}, a list of events, or one event.', extra)
        content = content["events"]
    items = content if isinstance(content, list) else [content]
    if not items or not isinstance(content, list | dict):
        raise problems.unusable('Send at least one event: {"events": [{"event_id": …}]}.')
    if len(items) > MAX_EVENTS:
        raise problems.too_many_events(MAX_EVENTS)
    return items


def sort_out(
    items: Sequence[Any], now: datetime, runtime: Runtime, trusted: bool = False
) -> tuple[Events, list[Rejection]]:
    """The good ones of `items`, with values in the home's currency, and what is wrong with the others, in their order."""
    few = len(items) <= MAX_ROWS
    if runtime.currency is None:
        events, rejections = (parse_rows if few else parse_table)(items, now, runtime.nobody)
    else:
        events, rejections = (parse_few if few else parse_valued)(items, now, runtime.currency, runtime.nobody)
    bad = {} if trusted else _refused(events, runtime.log)
    if not bad:
        return events, rejections
    refused = {rejection.index for rejection in rejections}
    places = [index for index in range(len(items)) if index not in refused]  # of each event
    event_ids = batch_of(events).event_ids()
    rejections += [Rejection(places[row], *problem, event_ids[row]) for row, problem in bad.items()]
    left = [row for row in range(len(events)) if row not in bad]
    kept = events.take(pa.array(left, pa.int64())) if isinstance(events, pa.Table) else [events[row] for row in left]
    return kept, sorted(rejections, key=lambda rejection: rejection.index)


def asks_log(items: Sequence[Any]) -> bool:
    """Whether the log has to be asked about some of the events before they can be kept."""
    return any(isinstance(item, Mapping) and item.get(Columns.KIND) == EventKind.OUTCOME for item in items)


def to_tell(conflicts: Sequence[Conflict], items: Sequence[Any]) -> list[Conflict]:
    """The conflicts that mean something: what was sent twice without a moment happened twice "now", and is the same."""
    undated = (
        {
            item[Columns.EVENT_ID]
            for item in items
            if isinstance(item, Mapping) and item.get(Columns.OCCURRED_AT) is None and Columns.EVENT_ID in item
        }
        if conflicts
        else set()
    )
    return [
        conflict
        for conflict in conflicts
        if conflict.fields != (Columns.OCCURRED_AT,) or conflict.event_id not in undated
    ]


def _refused(events: Events, log: EventLog) -> dict[int, Problem]:
    """By their places: decisions, and outcomes of a decision that the log does not hold, or that was about somebody else."""
    watched = _watched(events)
    pairs: dict[int, tuple[str, str]] = {}
    for place, row in watched:
        if row.kind == EventKind.OUTCOME and row.decision_id is not None:
            pairs[place] = row.decision_id, log.resolve(row.customer_id, row.identifiers or {}) or ""
    undecided = log.undecided([*pairs.values()]) if pairs else set()
    return {
        **{place: Problem(Columns.KIND, _SERVICE_ONLY) for place, row in watched if row.kind == EventKind.DECISION},
        **{
            place: Problem(
                Columns.DECISION_ID,
                f"is {shorten(pair[0])}, and the log holds no such decision for this customer: send the decision_id that"
                " was answered, about the customer that was asked about.",
            )
            for place, pair in pairs.items()
            if pair in undecided
        },
    }


def _watched(events: Events) -> list[tuple[int, EventRow]]:
    """The decisions and outcomes among events, with their places."""
    if not isinstance(events, pa.Table):
        return [(place, row) for place, row in enumerate(events) if row.kind in _WATCHED]
    places = np.flatnonzero(pc.is_in(events[Columns.KIND], value_set=pa.array(_WATCHED)).to_numpy())
    return [*zip(places.tolist(), table_rows(events.take(pa.array(places))), strict=True)]


def lenient_json(body: bytes) -> Any:
    """The value in `body`; NaN, Infinity and half surrogate pairs are let in, for the rules of events to refuse one by one.

    Common writers of JSON let them out, and one such event must not cost the batch that it came with.
    """
    try:
        return from_json(body, allow_inf_nan=True)
    except ValueError:
        if b"\\ud" not in body.lower():
            raise
        return json.loads(body)
