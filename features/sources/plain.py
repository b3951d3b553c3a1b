"""A file that already has the event columns comes in; its rows, typed as events, go out. It needs no mapping."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.events.rules import EVENT_COLUMNS, Problem
from features.events.schema import EVENT_SCHEMA, as_event_schema
from features.events.values import shorten
from features.ids import INEXACT, id_column, id_text, is_inexact
from features.sources.amounts import parse_money, parse_numbers
from features.sources.batch import ID_COLUMNS, SourceBatch, sampled, to_batch
from features.sources.epochs import is_number
from features.sources.parsing import Problems, note_inexact, parse_moments
from features.sources.readers import RawRows, ReadOptions, read_rows
from features.vocabulary import Columns


def load_plain(place: str | Path, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches of a Parquet, CSV or JSONL file in the event schema; `sample` keeps a share of the customers.

    CSV holds `identifiers` and `properties` as JSON text, JSONL may hold them as objects; moments are ISO 8601 with
    their offset, or numbers since 1970 whose size tells their unit. A row that cannot be typed is rejected with the
    reason. Raises InputError for any other file.
    """
    for raw in read_rows(place, ReadOptions(names=frozenset(EVENT_COLUMNS))):
        yield _to_events(raw, sample)


def _to_events(raw: RawRows, sample: float | None) -> SourceBatch:
    unknown = [name for name in raw.table.column_names if name not in EVENT_COLUMNS]
    if unknown:
        raise InputError(
            f"The columns {unknown} are no part of an event.",
            repair="Drop them, move them into properties, or describe the file in a mapping.toml and pass --mapping.",
        )
    if sample is not None and Columns.CUSTOMER_ID in raw.table.column_names:
        kept = sampled(raw.table.column(Columns.CUSTOMER_ID), sample)
        raw = raw.select(np.flatnonzero(kept.to_numpy(zero_copy_only=False)))
    problems: Problems = {}
    columns = {
        name: _type_column(name, raw.table.column(name), problems)
        for name in raw.table.column_names
        if name != Columns.VALUE
    }
    events = as_event_schema(pa.table(columns))
    if Columns.VALUE in raw.table.column_names:
        money = parse_money(Columns.VALUE, raw.table.column(Columns.VALUE), events[Columns.CURRENCY], problems)
        for name, column in ((Columns.VALUE, money.amounts), (Columns.CURRENCY, money.currencies)):
            place = EVENT_SCHEMA.get_field_index(name)
            events = events.set_column(place, EVENT_SCHEMA.field(place), column)
    return to_batch(events, raw, problems)


def _type_column(name: str, column: pa.ChunkedArray, problems: Problems) -> pa.ChunkedArray | pa.Array:
    """The column in (nearly) its type of EVENT_SCHEMA; what cannot be typed becomes null and a problem."""
    if name in (Columns.IDENTIFIERS, Columns.PROPERTIES):
        return _parse_objects(name, column, problems)
    if name == Columns.QUANTITY:
        return parse_numbers(name, column, problems)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text:
        column = pc.if_else(pc.equal(column, ""), None, column)  # an empty CSV field is a missing one
    if name == Columns.OCCURRED_AT:
        # moments of a file that knows their type are taken as they are
        wants_reading = is_text or is_number(column.type) or pa.types.is_dictionary(column.type)
        return parse_moments(name, column, problems) if wants_reading else column
    if is_text or pa.types.is_nested(column.type):
        return column
    if name in ID_COLUMNS:
        note_inexact(name, column, problems)
    return id_column(column)


def _parse_objects(name: str, column: pa.ChunkedArray, problems: Problems) -> pa.Array | pa.ChunkedArray:
    """JSON texts, structs or maps as the map `identifiers` or the JSON text `properties`."""
    target = EVENT_SCHEMA.field(name).type
    if column.null_count == len(column):
        return pa.nulls(len(column), target)
    if column.type == target and name == Columns.IDENTIFIERS:
        return column
    values: list[Any] = []
    for place, value in enumerate(column.to_pylist()):
        parsed = _parse_object(value)
        if parsed is _BAD:
            reason = f'is {shorten(value)}: write it as a JSON object like {{"a": "b"}}.'
            problems.setdefault(place, Problem(name, reason))
            parsed = None
        if parsed is None:
            values.append(None)
        elif name == Columns.PROPERTIES:
            values.append(value if isinstance(value, str) else json.dumps(parsed, ensure_ascii=False, default=str))
        else:
            for key in [key for key, item in parsed.items() if is_inexact(item)]:
                reason = f"has {key}, which {INEXACT.format(value=parsed[key])}"
                problems.setdefault(place, Problem(name, reason))
            values.append([(key, id_text(item)) for key, item in parsed.items()] or None)
    return pa.array(values, target)


_BAD: Final = object()


def _parse_object(value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return _BAD
        return parsed if isinstance(parsed, dict) else _BAD
    if isinstance(value, list):  # an Arrow map
        return dict(value)
    # an Arrow struct has every key that occurs anywhere in the file: those without a value were not in this row
    return {key: item for key, item in value.items() if item is not None}
