"""Conversion to online rows: a view's Arrow rows in, what Feast's online stores take (entity key, values, moments) out."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, FloatList, Int32List, Int64List, Value

from features.views import View
from features.vocabulary import Columns

OnlineRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""Entity key, values by field, when the row was true, when it is written."""

_TO_VALUE: Final[dict[str, Callable[[Any], Value]]] = {
    "int64": lambda value: Value(int64_val=value),
    "float64": lambda value: Value(double_val=value),
    "string": lambda value: Value(string_val=value),
    "bytes": lambda value: Value(bytes_val=value),
    "int32[]": lambda values: Value(int32_list_val=Int32List(val=values)),
    "int64[]": lambda values: Value(int64_list_val=Int64List(val=values)),
    "float32[]": lambda values: Value(float_list_val=FloatList(val=values)),
    "float64[]": lambda values: Value(double_list_val=DoubleList(val=values)),
}


def to_online_rows(view: View, table: pa.Table, written_at: datetime) -> list[OnlineRow]:
    """Rows for `online_write_batch`, in the table's order. A null becomes a value that is not set.

    Feast's own conversion, which is private, gives the same values and takes up to twice as long.
    """
    keys = [
        EntityKey(join_keys=[view.join_key], entity_values=[Value(string_val=key)])
        for key in table[view.join_key].to_pylist()
    ]
    moments = table[Columns.EVENT_TIMESTAMP].to_pylist()
    names = [name for name, _ in view.fields]
    columns = [_values(table[name], dtype) for name, dtype in view.fields]
    return [
        (key, dict(zip(names, values, strict=True)), moment, written_at)
        for key, moment, *values in zip(keys, moments, *columns, strict=True)
    ]


def _values(column: pa.ChunkedArray, dtype: str) -> list[Value]:
    to_value = _TO_VALUE[dtype]
    if not dtype.endswith("[]"):
        return [Value() if value is None else to_value(value) for value in column.to_pylist()]
    # Straight from the buffers: for the one row of a live customer Arrow's functions cost more than all the rest.
    return [value for chunk in column.chunks for value in _lists(chunk, to_value)]


def _lists(lists: pa.ListArray, to_value: Callable[[Any], Value]) -> Iterator[Value]:
    ends = lists.offsets.to_numpy().tolist()  # one more than rows
    numbers = lists.values.to_numpy(zero_copy_only=False)
    for row, (start, end) in enumerate(pairwise(ends)):
        missing = lists.null_count and not lists[row].is_valid
        yield Value() if missing else to_value(numbers[start:end].tolist())
