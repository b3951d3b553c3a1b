"""Valid events in; each as one row of plain values out, as the log keeps it: what a few events are handed on as."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa

from features.events.placeholders import Placeholders
from features.events.rules import NOBODY
from features.events.schema import EVENT_SCHEMA, Event, Rejection, sort_out
from features.events.values import dump_properties, parse_moment
from features.vocabulary import Columns

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_A_DAY: Final = 86_400
_US: Final = 1_000_000


class EventRow(NamedTuple):
    """One event, in the columns of EVENT_SCHEMA; made of fields that keep every rule (events/rules.py)."""

    event_id: str
    occurred_us: int
    """Microseconds since 1970."""
    kind: str
    channel: str
    customer_id: str | None = None
    identifiers: dict[str, str] | None = None
    product_id: str | None = None
    quantity: float | None = None
    value: float | None = None
    currency: str | None = None
    campaign_id: str | None = None
    decision_id: str | None = None
    store_id: str | None = None
    session_id: str | None = None
    properties: str | None = None
    """A JSON object as text."""


def event_rows(events: Sequence[Event]) -> list[EventRow]:
    """Events as rows, in the given order."""
    return [fields_row(vars(event)) for event in events]


def fields_row(fields: Mapping[str, Any]) -> EventRow:
    """Fields that keep every rule, as they came or as `Event` has them, as a row."""
    get = fields.get
    moment = parse_moment(fields[Columns.OCCURRED_AT])
    assert isinstance(moment, datetime), "the rules have looked at it"
    quantity, value, properties = get(Columns.QUANTITY), get(Columns.VALUE), get(Columns.PROPERTIES)
    return EventRow(
        fields[Columns.EVENT_ID],
        _microseconds(moment),
        str(fields[Columns.KIND]),
        str(fields[Columns.CHANNEL]),
        get(Columns.CUSTOMER_ID),
        get(Columns.IDENTIFIERS) or None,
        get(Columns.PRODUCT_ID),
        None if quantity is None else float(quantity),
        None if value is None else float(value),
        get(Columns.CURRENCY),
        get(Columns.CAMPAIGN_ID),
        get(Columns.DECISION_ID),
        get(Columns.STORE_ID),
        get(Columns.SESSION_ID),
        None if properties is None else dump_properties(properties),
    )


def parse_rows(
    items: Sequence[Mapping[str, Any]], now: datetime, nobody: Placeholders = NOBODY
) -> tuple[list[EventRow], list[Rejection]]:
    """`parse_events` with the events as rows."""
    good, rejections = sort_out(items, now, nobody)
    return [fields_row(fields) for fields in good], rejections


def rows_table(rows: Sequence[EventRow]) -> pa.Table:
    """Rows as a table of EVENT_SCHEMA, in the given order."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in EVENT_SCHEMA]
    pairs = EVENT_SCHEMA.get_field_index(Columns.IDENTIFIERS)
    columns[pairs] = [None if given is None else list(given.items()) for given in columns[pairs]]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, EVENT_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=EVENT_SCHEMA)


def table_rows(table: pa.Table) -> list[EventRow]:
    """The rows of a table of EVENT_SCHEMA, in the given order."""
    moments = table.column(Columns.OCCURRED_AT).cast(pa.int64()).to_pylist()
    columns = [
        moments if name == Columns.OCCURRED_AT else table.column(name).to_pylist() for name in table.column_names
    ]
    pairs = table.column_names.index(Columns.IDENTIFIERS)
    columns[pairs] = [dict(given) if given else None for given in columns[pairs]]
    return [EventRow(*values) for values in zip(*columns, strict=True)]


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * _SECONDS_A_DAY + since.seconds) * _US + since.microseconds
