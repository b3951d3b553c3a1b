"""An ONNX file in, the arrays that its graph was trained to hold out, by their names; nothing else of it is read.

An ONNX file is one protobuf message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Of it only the graph's
initialisers are wanted here, which takes neither the package `onnx` nor a runtime: together they cost a worker 50 MiB.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from features.scoring.item_tables import Floats32

_GRAPH: Final = 7
"""The graph in ModelProto."""
_INITIALIZER: Final = 5
"""An array in GraphProto."""
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
"""Fields of TensorProto."""
_FLOAT: Final = 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types."""


def float_arrays(file: Path) -> dict[str, Floats32]:
    """The graph's float32 arrays by their names, as views of what was read. Raises ValueError for a file that is cut off."""
    arrays = {}
    for number, graph in _fields(memoryview(file.read_bytes())):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for part, tensor in _fields(graph):
            if part == _INITIALIZER and not isinstance(tensor, int):
                name, array = _array(tensor)
                if array is not None:
                    arrays[name] = array
    return arrays


def _array(tensor: memoryview) -> tuple[str, Floats32 | None]:
    """A TensorProto's name and values; None where they are no float32, or not in the one form that exporters write."""
    dims: list[int] = []
    name, data_type, raw = "", 0, None
    for number, value in _fields(tensor):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else list(_varints(value))
        elif number == _DATA_TYPE and isinstance(value, int):
            data_type = value
        elif number == _NAME and not isinstance(value, int):
            name = bytes(value).decode()
        elif number == _RAW_DATA and not isinstance(value, int):
            raw = value
    if data_type != _FLOAT or raw is None or len(raw) != 4 * prod(dims):
        return name, None
    return name, np.frombuffer(raw, np.dtype("<f4")).reshape(dims)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields: an integer, or the bytes of a text, an array or a message within."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == _LENGTH:
            size, at = _varint(message, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"there is no protobuf field of wire type {wire}")
        if at + size > len(message):
            raise ValueError("the file ends within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("the file ends within a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
