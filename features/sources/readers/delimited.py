"""Text with a mark between its fields (CSV, TSV, …) comes in as bytes; tables of its rows, all text, go out.

Blocks of lines are read by Arrow. A block in which anything is out of the ordinary (a row of another width, bytes of another
encoding, a quote that goes over a line) is read once more, row by row, so that only such rows are lost, each with its reason.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from features.errors import InputError
from features.events.rules import Problem
from features.sources.readers.header import read_header
from features.sources.readers.options import BATCH_ROWS, ReadOptions
from features.sources.readers.rows import RawRows, numbered, rejected_rows
from features.sources.readers.text import is_broken, show, utf8_blocks, wrong_bytes

_BLOCK_BYTES: Final = 8 * 2**20
_DELIMITERS: Final = ",;\t|"
_NEWLINE: Final = b"\n"[0]
_QUOTE: Final = b'"'[0]


def read_delimited(stream: BinaryIO, name: str, options: ReadOptions, first: int = 0) -> Iterator[RawRows]:
    """The rows of a file in blocks of about 8 MiB; `first` is the number of its first row, and `name` is for messages.

    Raises InputError for a file without a header, with a column twice, or with quoted fields over several lines where
    nobody said that it has such.
    """
    blocks = _whole_lines(utf8_blocks(stream, name, options.encoding, _BLOCK_BYTES), options)
    start = next(blocks, b"").lstrip(b"\r\n")
    if not start.strip():
        raise InputError(f"{name} is empty.", repair="Give a file whose first line names the columns.")
    line = start.split(b"\n", 1)[0].decode("utf-8", "replace")
    mark = options.delimiter or max(_DELIMITERS, key=line.count)
    columns, rest = read_header(start, mark, name, options)
    broken = next((column for column in columns if is_broken(column)), None)
    if broken is not None:
        raise InputError(f"The header of {name} {wrong_bytes(broken, options.encoding)}")
    n_read = 0
    block: bytes | None = rest
    while block is not None:
        table = _read_block(block, columns, mark, options)
        batch = (
            _read_rows(block, columns, mark, name, options, first + n_read)
            if table is None
            else RawRows(numbered(first + n_read, table.num_rows), table=table, typed=False)
        )
        n_read += len(batch) + batch.rejected.num_rows
        if len(batch) or batch.rejected.num_rows:
            yield from _in_parts(batch)
        block = next(blocks, None)


def _in_parts(batch: RawRows) -> Iterator[RawRows]:
    """A batch of many short rows as several."""
    if len(batch) <= 2 * BATCH_ROWS:
        yield batch
        return
    for start in range(0, len(batch), BATCH_ROWS):
        numbers = batch.numbers[start : start + BATCH_ROWS]
        rejected = batch.rejected if start == 0 else None
        yield RawRows(numbers, rejected, table=batch.table.slice(start, BATCH_ROWS), typed=False)


def _read_block(block: bytes, columns: list[str], mark: str, options: ReadOptions) -> pa.Table | None:
    """A block as Arrow reads it; None where it holds what has to be looked at row by row."""
    if not block.strip():
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    quoted = options.quoting == "standard"
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=columns),
            arrow_csv.ParseOptions(
                delimiter=mark, quote_char='"' if quoted else False, newlines_in_values=options.multiline
            ),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    if not options.multiline and quoted and any(_has_newline(column) for column in table.columns):
        return None
    return table


def _has_newline(column: pa.ChunkedArray) -> bool:
    for chunk in column.chunks:
        data = chunk.buffers()[2]
        if data is not None and (np.frombuffer(data, np.uint8) == _NEWLINE).any():
            return True
    return False


def _read_rows(block: bytes, columns: list[str], mark: str, name: str, options: ReadOptions, first: int) -> RawRows:
    text = block.decode("utf-8", "surrogateescape")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if options.quoting == "standard" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, quoting=quoting)
    good: list[list[str]] = []
    numbers: list[int] = []
    bad: list[int] = []
    problems: list[Problem] = []
    texts: list[str] = []
    number = first - 1
    try:
        for row in reader:
            if not row:
                continue  # blank lines are no rows
            number += 1
            if not options.multiline and any("\n" in field or "\r" in field for field in row):
                raise _over_lines(name, number, row)
            problem = _find_problem(row, columns, options.encoding)
            if problem is None:
                good.append(row)
                numbers.append(number)
            else:
                bad.append(number)
                problems.append(problem)
                texts.append(show(json.dumps(row, ensure_ascii=False)))
    except csv.Error as error:
        raise InputError(f"{name}, row {number + 1}: {error}.", repair="Mend its quotes.") from error
    fields = list(zip(*good, strict=True)) if good else [()] * len(columns)
    table = pa.table({column: pa.array(values, pa.string()) for column, values in zip(columns, fields, strict=True)})
    rejected = rejected_rows(bad, problems, texts)
    return RawRows(np.array(numbers, np.int64), rejected, table=table, typed=False)


def _over_lines(name: str, number: int, row: list[str]) -> InputError:
    field = next(field for field in row if "\n" in field or "\r" in field)
    return InputError(
        f"{name}, row {number}: the field that begins with {show(field)[:30]!r} has a quote and goes over several lines,"
        " so it would swallow the rows after it.",
        repair='If the file is written without quoting, say quoting = "none" in the mapping; if its fields do hold line'
        " breaks, multiline = true.",
    )


def _find_problem(row: list[str], columns: list[str], encoding: str) -> Problem | None:
    if len(row) != len(columns):
        reason = f"has {len(row)} fields where the header has {len(columns)}: mend its quotes or its delimiters."
        return Problem("row", reason)
    if all(map(str.isascii, row)):
        return None
    for name, text in zip(columns, row, strict=True):
        if is_broken(text):
            return Problem(name, wrong_bytes(text, encoding))
    return None


def _whole_lines(blocks: Iterator[bytes], options: ReadOptions) -> Iterator[bytes]:
    """Blocks that end with the end of a row; a line break inside quotes is none where fields may go over lines."""
    rest = b""
    for block in blocks:
        rest += block
        end = _last_end(rest, options)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _last_end(text: bytes, options: ReadOptions) -> int:
    """Where the last whole row of a text ends; 0 where none does."""
    if not options.multiline or options.quoting == "none":
        return text.rfind(b"\n") + 1
    marks = np.frombuffer(text, np.uint8)
    outside = np.cumsum(marks == _QUOTE) % 2 == 0
    ends = np.flatnonzero((marks == _NEWLINE) & outside)
    return int(ends[-1]) + 1 if len(ends) else 0
