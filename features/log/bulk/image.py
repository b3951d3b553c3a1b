"""Columns of Arrow come in; a SQLite database of one table with their rows goes out, as bytes that SQLite opens as they are.

Rows that are bound value by value cost several times as much as what SQLite does with them. What it finds in a database in
memory it takes over by itself (sqlite3_deserialize), without Python. Only what such a table needs of the format is written
here: leaves full of rows, and one root above them. https://www.sqlite.org/fileformat2.html
"""

import sqlite3
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa
from numba import njit

from features.arrays import BoolArray, ByteArray, IntArray

TABLE: Final = "rows"
_PAGE: Final = 65_536
"""Bytes of a page: a row of the log always fits."""
_SIZE_AT: Final = 28
"""Where the header has the number of pages."""
_ROOT: Final = 2
_FIRST_LEAF: Final = 3
_LEAF_HEAD: Final = 8
_POINTER: Final = 2
_MAX_ROW: Final = 65_000
_INTEGER, _REAL, _TEXT, _NULL = 6, 7, 13, 0
"""Types of values: integers and reals of eight bytes, texts of (type - 13) / 2 bytes, and nothing."""


def image_of(columns: dict[str, pa.Array]) -> ByteArray:
    """A database with the table `rows`; `columns` (n,) are texts, int64 or float64, and n is at least 1.

    There is room for the rows of some 100 MiB. Raises ValueError for a row that is too long.
    """
    n = len(next(iter(columns.values())))
    head, body = np.ones(n, np.int64), np.zeros(n, np.int64)
    for column in columns.values():
        if pa.types.is_string(column.type):
            _add_text_sizes(*_text_buffers(column), head, body)
        else:
            _add_number_sizes(_valid(column), head, body)
    if (head + body).max() > _MAX_ROW:
        raise ValueError("A row is too long for a page.")
    cells, counts = _lay_out(head + body)
    image = np.zeros((_FIRST_LEAF - 1 + len(counts)) * _PAGE, np.uint8)
    image[: 2 * _PAGE] = _empty(tuple(columns))
    types_at = _begin_cells(image, cells, counts, head, body)
    values_at = types_at + head - 1
    for column in columns.values():
        if pa.types.is_string(column.type):
            _put_texts(image, types_at, values_at, *_text_buffers(column))
        else:
            kind = _REAL if pa.types.is_floating(column.type) else _INTEGER
            _put_numbers(image, types_at, values_at, _big_endian(column), _valid(column), kind)
    if len(counts) == 1:  # a root is a leaf itself where there is no other
        image[_PAGE : 2 * _PAGE] = image[2 * _PAGE :]
        return image[: 2 * _PAGE]
    _put_root(image, counts)
    return image


@cache
def empty_image() -> bytes:
    """A database with a table and no row."""
    return _empty(("value",)).tobytes()


@cache
def _empty(names: tuple[str, ...]) -> ByteArray:
    """Two pages: what SQLite itself writes for such a table."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"PRAGMA page_size = {_PAGE}")
    connection.execute(f"CREATE TABLE {TABLE} ({', '.join(names)})")
    image = connection.serialize()
    connection.close()
    return np.frombuffer(image, np.uint8)


def _text_buffers(column: pa.StringArray) -> tuple[ByteArray, IntArray, BoolArray]:
    """The bytes of all texts, where each begins and the last ends (n + 1,), and which there are (n,)."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset).astype(np.int64)
    return np.frombuffer(data or b"", np.uint8), ends, _valid(column)


def _valid(column: pa.Array) -> BoolArray:
    return np.require(column.is_valid().to_numpy(zero_copy_only=False), requirements="W")


def _big_endian(column: pa.Array) -> ByteArray:
    """Numbers (n, 8) as SQLite writes them."""
    numbers: ByteArray = column.fill_null(0).to_numpy().byteswap().view(np.uint8).reshape(-1, 8)
    return numbers


@njit(cache=True)
def _add_text_sizes(data: ByteArray, ends: IntArray, valid: BoolArray, head: IntArray, body: IntArray) -> None:
    """Add the bytes that texts (n,) take to those of the rows' types and values, (n,) each."""
    for row in range(len(valid)):
        size = ends[row + 1] - ends[row] if valid[row] else 0
        head[row] += _varint_size(_TEXT + 2 * size)
        body[row] += size


@njit(cache=True)
def _add_number_sizes(valid: BoolArray, head: IntArray, body: IntArray) -> None:
    for row in range(len(valid)):
        head[row] += 1
        body[row] += 8 if valid[row] else 0


@njit(cache=True)
def _varint_size(number: int) -> int:
    size = 1
    while number >= 128:
        number >>= 7
        size += 1
    return size


@njit(cache=True)
def _put_varint(image: ByteArray, at: int, number: int) -> int:
    """Write a number in as few bytes as it takes; returns where they end."""
    size = _varint_size(number)
    for place in range(size):
        more = 128 if place < size - 1 else 0
        image[at + place] = (number >> (7 * (size - 1 - place))) & 127 | more
    return at + size


@njit(cache=True)
def _put_big_endian(image: ByteArray, at: int, number: int, n_bytes: int) -> None:
    for place in range(n_bytes):
        image[at + place] = (number >> (8 * (n_bytes - 1 - place))) & 255


@njit(cache=True)
def _lay_out(sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Where in the image the cell of each row (n,) begins, and how many rows each leaf has."""
    cells = np.empty(len(sizes), np.int64)
    counts = np.zeros(len(sizes), np.int64)
    leaf, used = 0, _LEAF_HEAD
    for row in range(len(sizes)):
        size = _varint_size(sizes[row]) + _varint_size(row + 1) + sizes[row]
        if used + size + _POINTER > _PAGE:
            leaf, used = leaf + 1, _LEAF_HEAD
        used += size + _POINTER
        counts[leaf] += 1
        content = used - _LEAF_HEAD - _POINTER * counts[leaf]
        cells[row] = (_FIRST_LEAF + leaf) * _PAGE - content
    return cells, counts[: leaf + 1].copy()


@njit(cache=True)
def _begin_cells(image: ByteArray, cells: IntArray, counts: IntArray, head: IntArray, body: IntArray) -> IntArray:
    """Write the leaves but for their rows' types and values; returns where the types of each row (n,) begin."""
    types_at = np.empty(len(cells), np.int64)
    row = 0
    for leaf in range(len(counts)):
        page = (_FIRST_LEAF - 1 + leaf) * _PAGE
        image[page] = 13
        _put_big_endian(image, page + 3, counts[leaf], 2)
        for place in range(counts[leaf]):
            _put_big_endian(image, page + _LEAF_HEAD + _POINTER * place, cells[row] - page, 2)
            at = _put_varint(image, cells[row], head[row] + body[row])
            at = _put_varint(image, at, row + 1)
            types_at[row] = _put_varint(image, at, head[row])
            row += 1
        _put_big_endian(image, page + 5, cells[row - 1] - page, 2)
    return types_at


@njit(cache=True)
def _put_texts(
    image: ByteArray, types_at: IntArray, values_at: IntArray, data: ByteArray, ends: IntArray, valid: BoolArray
) -> None:
    """Write texts (n,), and move on to where each row's next type and value are."""
    for row in range(len(valid)):
        if not valid[row]:
            types_at[row] = _put_varint(image, types_at[row], _NULL)
            continue
        size = ends[row + 1] - ends[row]
        types_at[row] = _put_varint(image, types_at[row], _TEXT + 2 * size)
        at = values_at[row]
        for place in range(size):
            image[at + place] = data[ends[row] + place]
        values_at[row] = at + size


@njit(cache=True)
def _put_numbers(
    image: ByteArray, types_at: IntArray, values_at: IntArray, numbers: ByteArray, valid: BoolArray, kind: int
) -> None:
    for row in range(len(valid)):
        types_at[row] = _put_varint(image, types_at[row], kind if valid[row] else _NULL)
        if valid[row]:
            for place in range(8):
                image[values_at[row] + place] = numbers[row, place]
            values_at[row] += 8


@njit(cache=True)
def _put_root(image: ByteArray, counts: IntArray) -> None:
    """Write the page above the leaves: each with its last row's number, but for the last, which is all the rest."""
    page = (_ROOT - 1) * _PAGE
    n_leaves = len(counts)
    image[page] = 5
    _put_big_endian(image, page + 3, n_leaves - 1, 2)
    _put_big_endian(image, page + 8, _FIRST_LEAF + n_leaves - 1, 4)
    at, last = page + _PAGE, 0
    for leaf in range(n_leaves - 1):
        last += counts[leaf]
        at -= 4 + _varint_size(last)
        _put_big_endian(image, at, _FIRST_LEAF + leaf, 4)
        _put_varint(image, at + 4, last)
        _put_big_endian(image, page + 12 + _POINTER * leaf, at - page, 2)
    _put_big_endian(image, page + 5, at - page, 2)
    _put_big_endian(image, _SIZE_AT, _FIRST_LEAF - 1 + n_leaves, 4)
