"""Codec of what Feast writes: names in, entity keys out; values in, `feast.types.Value` messages out, and back.

Keys: Feast's entity key serialization, version 3. Values: https://protobuf.dev/programming-guides/encoding/ for the nine
types that our views use.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.arrays import IntArray
from features.errors import UnreadableError

_STRING: Final = 2
"""`ValueType.STRING`, the type of every join key and of its value."""
_LENGTH_PREFIXED: Final = 2
"""The protobuf wire type of strings and of nested messages."""
_FIELDS: Final[dict[str, int]] = {
    "bytes": 1,
    "string": 2,
    "int64": 4,
    "float64": 5,
    "int32[]": 13,
    "int64[]": 14,
    "float64[]": 15,
    "float32[]": 16,
}
"""Number of each type's field in the message `feast.types.Value`."""
_LISTS: Final = frozenset(name for name in _FIELDS if name.endswith("[]"))
_MASK_64: Final = (1 << 64) - 1
_PACKED: Final[dict[str, np.dtype[Any]]] = {"float64[]": np.dtype("<f8"), "float32[]": np.dtype("<f4")}
_VARINTS: Final[dict[str, np.dtype[Any]]] = {"int64[]": np.dtype(np.int64), "int32[]": np.dtype(np.int32)}


def _tag(dtype: str) -> bytes:
    """The bytes that a value begins with: its field's number and its wire type, as a varint."""
    number = _FIELDS[dtype] << 3 | _WIRE_TYPES.get(dtype, _LENGTH_PREFIXED)
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])


_WIRE_TYPES: Final[dict[str, int]] = {"int64": 0, "float64": 1}
"""The protobuf wire types of numbers: a varint, eight bytes."""
_TAGS: Final[dict[str, bytes]] = {dtype: _tag(dtype) for dtype in _FIELDS}


def entity_key(join_key: str, value: str) -> bytes:
    """The key of an entity with one string join key, for example ("customer_id", "17")."""
    name, text = join_key.encode(), value.encode()
    return struct.pack("<III", 1, _STRING, len(name)) + name + struct.pack("<II", _STRING, len(text)) + text


def entity_value(key: bytes) -> str:
    """The join key's value in `key`: the inverse of `entity_key`."""
    (name_length,) = struct.unpack_from("<I", key, 8)
    return key[12 + name_length + 8 :].decode()


def entity_key_prefix(join_key: str) -> bytes:
    """What the keys of all entities with this join key begin with."""
    return entity_key(join_key, "")[:-8]


def decode_varints(message: bytes) -> dict[int, int]:
    """The fields of a message that has nothing but integers, by number."""
    fields, at = {}, 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        fields[tag >> 3] = value - (1 << 64) if value >= 1 << 63 else value
    return fields


def encode_varints(fields: Mapping[int, int]) -> bytes:
    """A message that has nothing but integers, by number of the field; those that are 0 are left out, as Protobuf does."""
    return b"".join(_to_varint(number << 3) + _to_varint(value) for number, value in fields.items() if value)


def encode_value(value: Any, dtype: str) -> bytes:
    """An int, float, str, bytes or list as one `Value`, as Protobuf writes it; no bytes at all for None."""
    if value is None:
        return b""
    tag = _TAGS[dtype]
    if dtype == "int64":
        return tag + _to_varint(value)
    if dtype == "float64":
        return tag + struct.pack("<d", value)
    if dtype in _PACKED:
        body = _packed(np.asarray(value, _PACKED[dtype]).tobytes())
    elif dtype in _VARINTS:
        body = _packed(b"".join(map(_to_varint, value)))
    else:
        body = value if dtype == "bytes" else value.encode()
    return tag + _to_varint(len(body)) + body


def decode_value(message: bytes, dtype: str) -> Any:
    """One `Value` as int, float, str, bytes or a writable array; None for a null.

    Raises UnreadableError for another type, and for bytes that are no value at all.
    """
    if not message:
        return None
    tag = _TAGS[dtype]
    if not message.startswith(tag):
        raise UnreadableError(
            f"The online store holds a value of another type than {dtype}.", repair="Run `omni features build --force`."
        )
    try:
        return _decode(message, dtype, len(tag))
    except (IndexError, ValueError, struct.error) as error:
        raise UnreadableError(
            f"The online store holds a damaged value of type {dtype}.", repair="Run `omni features build --force`."
        ) from error


def _decode(message: bytes, dtype: str, start: int) -> Any:
    """What follows a value's tag."""
    if dtype in _LISTS:
        # A list is a message of its own, whose only field (1) holds all numbers packed, up to the end.
        start = _after_varint(message, start)
        if start < len(message):
            start = _after_varint(message, start + 1)
        packed = message[start:]
        if dtype in _PACKED:
            return np.frombuffer(packed, _PACKED[dtype]).copy()
        return _varints(np.frombuffer(packed, np.uint8)).astype(_VARINTS[dtype], copy=False)
    if dtype == "float64":
        return struct.unpack_from("<d", message, start)[0]
    length, start = _varint(message, start)
    if dtype == "int64":
        return length - (1 << 64) if length >= 1 << 63 else length
    if len(message) - start != length:
        raise ValueError("a value ends early")
    return message[start:] if dtype == "bytes" else message[start:].decode()


def _packed(numbers: bytes) -> bytes:
    """The message that a list is: its only field (1) holds all numbers packed, and is left out where there are none."""
    return b"\x0a" + _to_varint(len(numbers)) + numbers if numbers else b""


def _to_varint(value: int) -> bytes:
    """A number, seven bits a byte, low ones first; a negative one as its 64 bits."""
    rest = value & _MASK_64
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _after_varint(message: bytes, at: int) -> int:
    while message[at] >= 0x80:
        at += 1
    return at + 1


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, low ones first; and the place after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


@njit(cache=True)
def _varints(packed: NDArray[np.uint8]) -> IntArray:
    n = 0
    for byte in packed:
        if byte < 0x80:
            n += 1
    out = np.zeros(n, dtype=np.int64)
    value, shift, i = np.uint64(0), np.uint64(0), 0
    for byte in packed:
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:
            out[i] = np.int64(value)
            value, shift = np.uint64(0), np.uint64(0)
            i += 1
        else:
            shift += np.uint64(7)
    return out
