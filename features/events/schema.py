"""Events as JSON objects or as Arrow tables come in; typed, valid events and the reasons for every refusal go out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from features.errors import InputError
from features.events.placeholders import Placeholders
from features.events.rules import EVENT_COLUMNS, NOBODY, REQUIRED_COLUMNS, Problem, find_problem
from features.events.screen import suspects
from features.events.values import (
    LATEST,
    MAX_TEXT_LENGTH,
    JsonText,
    dump_properties,
    parse_moment,
    printable,
)
from features.vocabulary import Channel, Columns, EventKind

_TEXT = pa.string()
_TYPES: Final[dict[str, pa.DataType]] = {
    Columns.OCCURRED_AT: pa.timestamp("us", "UTC"),
    Columns.IDENTIFIERS: pa.map_(pa.string(), pa.string()),
    Columns.QUANTITY: pa.float64(),
    Columns.VALUE: pa.float64(),
}

_YEAR_1_US: Final = -62_135_596_800_000_000
_YEAR_10000_US: Final = 253_402_300_800_000_000
"""Python's datetime covers the years from 1 to 9999; Arrow goes on."""

EVENT_SCHEMA: Final = pa.schema([pa.field(name, _TYPES.get(name, _TEXT)) for name in EVENT_COLUMNS])
"""The Parquet schema of events; `properties` is JSON text."""
REJECTED_SCHEMA: Final = pa.schema(
    [("index", pa.int64()), ("field", _TEXT), ("reason", _TEXT), *EVENT_SCHEMA, ("source_row", _TEXT)]
)
"""Rejected rows: the row's place in its input from 0, what was wrong with it, the event as far as it got, and (JSON,
where the source has columns of its own) the row as it came."""

_ANYBODY: Final = Placeholders(())
_NO_OBJECT: Final = Problem("event", "is not a JSON object: send each event as an object.")

Text = Annotated[str | None, Field(max_length=MAX_TEXT_LENGTH)]


class Event(BaseModel):
    """One thing that happened to one customer. Making one applies every rule of `rules.py`, and no list of placeholders.

    What names nobody is refused where events come in, by the list that holds there.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "event_id": "web-000001",
                    "occurred_at": "2024-05-01T09:30:00+02:00",
                    "kind": "view",
                    "channel": "web",
                    "identifiers": {"cookie": "c-81f2"},
                    "product_id": "P-100",
                    "session_id": "s-17",
                }
            ]
        },
    )

    event_id: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH)]
    """Unique: a second event with the same id is a duplicate and ignored."""
    occurred_at: AwareDatetime
    """When it happened, in UTC; it may arrive late."""
    kind: EventKind
    """What happened."""
    channel: Channel
    """Where it happened."""
    customer_id: Text = None
    """Who it happened to, where the source knows."""
    identifiers: dict[str, str] | None = None
    """What else the source knows the customer by: cookie, device, email, phone, loyalty_card, ..."""
    product_id: Text = None
    """The product it is about."""
    quantity: Annotated[float | None, Field(ge=0)] = None
    """Units."""
    value: float | None = None
    """Money, in `currency`."""
    currency: Annotated[str | None, Field(pattern="^[A-Z]{3}$")] = None
    """ISO 4217."""
    campaign_id: Text = None
    """The campaign it belongs to."""
    decision_id: Text = None
    """The decision that it is, carries out or answers."""
    store_id: Text = None
    """The store it happened in."""
    session_id: Text = None
    """The visit or the basket it belongs to."""
    properties: dict[str, Any] | None = None
    """Anything else: a JSON object of at most 8 KiB."""

    @classmethod
    def of_ours(cls, **fields: Any) -> "Event":
        """An event that the service itself makes, of fields that keep every rule as they are: none is looked at again."""
        return _NOTHING_SAID.model_copy(update=fields)

    @model_validator(mode="before")
    @classmethod
    def _apply_rules(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            raise _as_pydantic(_NO_OBJECT)
        context = info.context or {}
        problem = find_problem(data, context.get("now"), context.get("nobody", _ANYBODY))
        if problem:
            raise _as_pydantic(problem)
        return {**data, Columns.OCCURRED_AT: parse_moment(data[Columns.OCCURRED_AT])}


_NO_FIELDS: Final[dict[str, Any]] = dict.fromkeys(Event.model_fields)
_NOTHING_SAID: Final = Event.model_construct(**_NO_FIELDS)
"""What events of ours are copies of: that takes a third of the time of `model_construct`."""


@dataclass(frozen=True)
class Rejection:
    """Why the event at `index` of its batch was refused: `field` `reason`, for example "value" "is not a number"."""

    index: int
    field: str
    reason: str
    event_id: str | None


def parse_events(
    items: Sequence[Mapping[str, Any]], now: datetime, nobody: Placeholders = NOBODY
) -> tuple[list[Event], list[Rejection]]:
    """Events of a JSON batch, in order, and what was refused; a bad event never takes a good one with it.

    `now` (aware) stands in for a missing `occurred_at`; moments more than five minutes after it are refused. `nobody`
    lists the values that name nobody.
    """
    good, rejections = sort_out(items, now, nobody)
    context = {"now": now, "nobody": nobody}
    return [Event.model_validate(fields, context=context) for fields in good], rejections


def parse_table(
    items: Sequence[Mapping[str, Any]], now: datetime, nobody: Placeholders = NOBODY
) -> tuple[pa.Table, list[Rejection]]:
    """`parse_events` with the events as a table (EVENT_SCHEMA), which takes a third of the time of making models first."""
    good, rejections = sort_out(items, now, nobody)
    return _to_table([{name: fields.get(name) for name in EVENT_COLUMNS} for fields in good]), rejections


def sort_out(
    items: Sequence[Mapping[str, Any]], now: datetime, nobody: Placeholders
) -> tuple[list[Mapping[str, Any]], list[Rejection]]:
    """The fields of the good events, as they came but with a moment, and the first problem of each bad one."""
    good: list[Mapping[str, Any]] = []
    rejections: list[Rejection] = []
    item: Any  # whatever the sender wrote
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            rejections.append(Rejection(index, *_NO_OBJECT, None))
            continue
        fields = item if item.get(Columns.OCCURRED_AT) is not None else {**item, Columns.OCCURRED_AT: now}
        problem = find_problem(fields, now, nobody)
        if problem is None:
            good.append(fields)
            continue
        event_id = item.get(Columns.EVENT_ID)
        rejections.append(Rejection(index, *problem, printable(event_id) if isinstance(event_id, str) else None))
    return good, rejections


def validate_table(
    table: pa.Table, now: datetime | None = None, nobody: Placeholders = NOBODY
) -> tuple[pa.Table, pa.Table]:
    """Split a table into good rows (EVENT_SCHEMA) and rejected rows (REJECTED_SCHEMA), by the same rules as HTTP.

    Missing optional columns become null. With `now` (aware), moments more than five minutes after it are refused; `nobody`
    lists the values that name nobody.
    Raises InputError where the table as a whole is no event table: a required column is missing, a column is
    unknown, has another type, or holds moments without a time zone.
    """
    events = as_event_schema(table)
    rows = suspects(events, now, nobody)  # (k,) rows that the rules must be asked about
    if len(rows) == 0:
        return events, REJECTED_SCHEMA.empty_table()
    bad: list[int] = []
    problems: list[Problem] = []
    for row, fields in zip(rows.tolist(), _to_fields(events.take(pa.array(rows))), strict=True):
        problem = find_problem(fields, now, nobody)
        if problem:
            bad.append(row)
            problems.append(problem)
    if not bad:
        return events, REJECTED_SCHEMA.empty_table()
    good = np.ones(events.num_rows, np.bool_)
    good[bad] = False
    return events.filter(pa.array(good)), rejected_table(events.take(pa.array(bad)), bad, problems)


def rejected_table(
    rows: pa.Table, indices: Sequence[int], problems: Sequence[Problem], source_rows: Sequence[str] | None = None
) -> pa.Table:
    """The rejected form (REJECTED_SCHEMA) of `rows` (EVENT_SCHEMA): one index and one problem for each."""
    arrays = [
        pa.array(indices, pa.int64()),
        pa.array([problem.field for problem in problems], _TEXT),
        pa.array([problem.reason for problem in problems], _TEXT),
        *rows.columns,
        pa.nulls(rows.num_rows, _TEXT) if source_rows is None else pa.array(source_rows, _TEXT),
    ]
    return pa.Table.from_arrays(arrays, schema=REJECTED_SCHEMA)


def events_to_table(events: Sequence[Event]) -> pa.Table:
    """Events as a table of EVENT_SCHEMA, in the given order."""
    return _to_table([vars(event) for event in events])


def _to_table(events: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Fields that keep every rule, each column named, as a table of EVENT_SCHEMA."""
    columns = []
    for field in EVENT_SCHEMA:
        values = [event[field.name] for event in events]
        convert = _TO_ARROW.get(field.name)
        if values.count(None) == len(values):
            columns.append(pa.nulls(len(values), field.type))
            continue
        if convert is not None:
            values = [None if value is None else convert(value) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


_TO_ARROW: Final[dict[str, Callable[[Any], Any]]] = {
    Columns.OCCURRED_AT: parse_moment,
    Columns.IDENTIFIERS: lambda identifiers: list(identifiers.items()),
    Columns.QUANTITY: float,
    Columns.VALUE: float,
    Columns.PROPERTIES: dump_properties,
}
"""How a value that is not None is made into what Arrow takes, where that is not the value itself."""


def as_event_schema(table: pa.Table) -> pa.Table:
    """The same rows with the columns and types of EVENT_SCHEMA; raises InputError as `validate_table` does."""
    if table.schema.equals(EVENT_SCHEMA):
        return table
    missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in EVENT_COLUMNS]
    if missing or unknown:
        raise InputError(
            f"This is no event table: missing columns {missing or 'none'}, unknown columns {unknown or 'none'}.",
            repair="Rename or drop them, or describe the file in a mapping.toml and pass --mapping.",
        )
    columns = []
    for field in EVENT_SCHEMA:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        columns.append(_cast(table.column(field.name), field))
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def _to_fields(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows of EVENT_SCHEMA in the form that the rules read."""
    latest = pa.scalar(LATEST, _TYPES[Columns.OCCURRED_AT])
    moments = rows.column(Columns.OCCURRED_AT)
    us = moments.cast(pa.int64())
    in_years = pc.and_(pc.greater_equal(us, _YEAR_1_US), pc.less(us, _YEAR_10000_US))
    readable = pc.if_else(in_years, moments, latest)
    place = rows.schema.get_field_index(Columns.OCCURRED_AT)
    fields: list[dict[str, Any]] = rows.set_column(place, Columns.OCCURRED_AT, readable).to_pylist()
    for row in fields:
        if row[Columns.PROPERTIES] is not None:
            row[Columns.PROPERTIES] = JsonText(row[Columns.PROPERTIES])
        if row[Columns.IDENTIFIERS] == []:  # an empty map; over HTTP an empty list is no object
            row[Columns.IDENTIFIERS] = None
    return fields


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    given = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    wants_text = pa.types.is_string(field.type)
    is_text = pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
    if pa.types.is_timestamp(field.type) and pa.types.is_timestamp(given) and given.tz is None:
        raise InputError(
            f"Column {field.name!r} holds moments without a time zone.",
            repair="Store them in UTC with their zone, or name the zone in a mapping.toml and pass --mapping.",
        )
    # a cast would take any number for microseconds since 1970, and true for 1
    is_odd = pa.types.is_boolean(given) or (
        pa.types.is_timestamp(field.type) and (pa.types.is_integer(given) or pa.types.is_floating(given))
    )
    try:
        if not is_odd and (pa.types.is_null(given) or wants_text == is_text):
            return column.cast(field.type, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # told below, in words
    raise InputError(
        f"Column {field.name!r} is of type {column.type}, not {field.type}.",
        repair="Convert it, or describe the file in a mapping.toml and pass --mapping.",
    )


def _as_pydantic(problem: Problem) -> PydanticCustomError:
    context = {"field": problem.field, "reason": problem.reason}
    return PydanticCustomError("event", "{field} {reason}", context)
