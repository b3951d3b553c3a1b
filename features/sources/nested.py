"""Python values, or columns of any type, come in; columns that text can be made of go out."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.ids import id_text


def to_array(values: list[Any]) -> pa.Array:
    """A column of JSON values: objects and lists as JSON text, values of several types as text."""
    if any(isinstance(value, dict | list) for value in values):
        values = [_dump(value) if isinstance(value, dict | list) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([id_text(value) for value in values], pa.string())


def readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without types that text cannot be made of: objects and lists are JSON text, bytes are UTF-8."""
    kind = column.type
    if pa.types.is_nested(kind) and not pa.types.is_dictionary(kind):
        texts = [None if value is None else _dump(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        texts = [None if value is None else value.decode("utf-8", "backslashreplace") for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_duration(kind):
        return pc.cast(column, pa.int64())
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    return column


def flattened(table: pa.Table) -> pa.Table:
    """The table with every column `readable`."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        plain = readable(column)
        if plain is not column:
            table = table.set_column(place, field.name, plain)
    return table


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=id_text)
