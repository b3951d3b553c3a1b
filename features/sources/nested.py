"""Columns of objects and lists, or of bytes, come in; columns of text and the values inside objects go out."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.ids import id_text


def to_array(values: list[Any]) -> pa.Array:
    """A column of JSON values: objects and lists as JSON text, values of several types as text."""
    values = [_dump(value) if isinstance(value, dict | list) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([id_text(value) for value in values], pa.string())


def flattened(table: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """The table without types that text cannot be made of, and with the columns `user.id` of `wanted` out of `user`.

    Objects and lists become JSON text. A column that is there under its dotted name is taken as it is.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) and not pa.types.is_dictionary(field.type):
            texts = [None if value is None else _dump(value) for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            bytes_ = table.column(place).to_pylist()
            texts = [None if value is None else value.decode("utf-8", "backslashreplace") for value in bytes_]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_duration(field.type):
            table = table.set_column(place, field.name, pc.cast(table.column(place), pa.int64()))
    for name in wanted:
        head, *path = name.split(".")
        if name not in table.column_names and path and head in table.column_names:
            table = table.append_column(name, _inside(table.column(head), path))
    return table


def _inside(column: pa.ChunkedArray, path: Sequence[str]) -> pa.Array:
    """What lies at `path` in each object of a column of JSON texts; null where it has no such key."""
    values = []
    for text in column.to_pylist():
        value = _parse(text)
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        values.append(value)
    return to_array(values)


def _parse(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=id_text)
