"""JSON comes in as bytes, one object a line, one array, or objects one after the other; batches of its objects go out."""

import codecs
import io
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, Final

import numpy as np

from features.errors import InputError
from features.events.rules import Problem
from features.sources.readers.options import BATCH_ROWS, ReadOptions
from features.sources.readers.rows import RawRows, numbered, rejected_rows
from features.sources.readers.text import is_broken, show, utf8_blocks, wrong_bytes

_BLOCK_BYTES: Final = 2**20
_LINE: Final = "write one JSON object a line."
_BETWEEN: Final = " \t\r\n,"


def read_json(
    stream: BinaryIO, name: str, options: ReadOptions, first: int = 0, *, lines: bool = False
) -> Iterator[RawRows]:
    """The objects of a file, about BATCH_ROWS at a time; `first` is the number of the first, and `name` is for messages.

    Lines that are no objects are rejected one by one; in an array there are no lines, so one that breaks off is refused.
    With `lines` it is known that there are lines; else the first ones tell.
    """
    blocks = utf8_blocks(stream, name, options.encoding, _BLOCK_BYTES)
    start = next(blocks, b"")
    if lines or _is_lines(start):
        return _read_lines(_line_texts(start, blocks), options.encoding, first)
    return _read_values(_texts(start, blocks), name, first)


def is_object(line: bytes) -> bool:
    """Whether a line is a whole object by itself."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_lines(start: bytes) -> bool:
    """Whether the first line is a whole value by itself, as in JSON lines; an array over one line is not."""
    head, _, rest = start.lstrip().partition(b"\n")
    if head.startswith(b"[") and not rest.strip():
        return False
    try:
        json.loads(head)
    except (ValueError, RecursionError):
        # the first line of JSON lines may be broken: then the second one is whole
        if not head.startswith(b"{") or b"}" not in head:
            return False
        second = rest.lstrip().partition(b"\n")[0]
        return second.startswith(b"{") and second.rstrip().endswith(b"}")
    return True


def _line_texts(start: bytes, blocks: Iterator[bytes]) -> Iterator[str]:
    """Text in blocks of whole lines."""
    rest = start
    while True:
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end].decode("utf-8", "surrogateescape")
            rest = rest[end:]
        block = next(blocks, None)
        if block is None:
            break
        rest += block
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def _texts(start: bytes, blocks: Iterator[bytes]) -> Iterator[str]:
    """Text in blocks that end anywhere between two characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for block in chain([start], blocks):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _read_lines(texts: Iterator[str], encoding: str, first: int) -> Iterator[RawRows]:
    lines = (line for text in texts for line in io.StringIO(text, newline="\n") if line.strip())
    while chunk := list(islice(lines, BATCH_ROWS)):
        batch = _lines_rows(chunk, first, encoding)
        first += len(batch) + batch.rejected.num_rows
        yield batch


def _lines_rows(chunk: list[str], first: int, encoding: str) -> RawRows:
    good: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[int] = []
    problems: list[Problem] = []
    shown: list[str] = []
    number = first
    for line in chunk:
        found, reason = _parse_line(line, encoding)
        for row in found:
            good.append(row)
            numbers.append(number)
            number += 1
        if reason:
            bad.append(number)
            problems.append(Problem("row", reason))
            shown.append(show(line.rstrip("\n")))
            number += 1
    return RawRows(np.array(numbers, np.int64), rejected_rows(bad, problems, shown), items=good)


def _parse_line(line: str, encoding: str) -> tuple[list[dict[str, Any]], str]:
    """The objects of a line (an array holds several), or what is wrong with it."""
    if not line.isascii() and is_broken(line):
        return [], wrong_bytes(line, encoding)
    try:
        row = json.loads(line)
        if "\\ud" in line or "\\uD" in line:  # half a character, which no text can hold
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        return [], f"is not JSON ({error}): {_LINE}"
    if isinstance(row, dict):
        return [row], ""
    if isinstance(row, list) and row and all(isinstance(item, dict) for item in row):
        return row, ""
    return [], f"is not a JSON object: {_LINE}"


def _read_values(texts: Iterator[str], name: str, first: int) -> Iterator[RawRows]:
    values = _values(texts, name)
    while chunk := list(islice(values, BATCH_ROWS)):
        good = [value for value in chunk if isinstance(value, dict)]
        if len(good) == len(chunk):
            yield RawRows(numbered(first, len(chunk)), items=good)
        else:
            places = [place for place, value in enumerate(chunk) if not isinstance(value, dict)]
            problems = [Problem("row", "is not a JSON object: write objects.")] * len(places)
            rejected = rejected_rows(
                [first + place for place in places], problems, [json.dumps(chunk[place]) for place in places]
            )
            yield RawRows(np.delete(numbered(first, len(chunk)), places), rejected, items=good)
        first += len(chunk)


def _values(texts: Iterator[str], name: str) -> Iterator[Any]:
    """The items of an array, or values one after the other, as they come; in memory is never more than one and a block."""
    decode = json.JSONDecoder().raw_decode
    text = next(texts, "").lstrip("\ufeff" + _BETWEEN)
    in_array = text.startswith("[")
    place = 1 if in_array else 0
    wanted, at_end = 0, False
    while True:
        while place < len(text) and text[place] in _BETWEEN:
            place += 1
        if in_array and text[place : place + 1] == "]":
            return
        left, what = len(text) - place, "it ends in the middle"
        if left and (at_end or left >= wanted):
            try:
                value, end = decode(text, place)
                if at_end or end < len(text):
                    yield value
                    place, wanted = end, 0
                    continue
            except (ValueError, RecursionError) as error:
                what = str(error)
                wanted = 2 * left  # a long value is not tried anew with every block
        if at_end:
            if not left and not in_array:
                return
            raise InputError(f"{name} is not JSON ({what}).", repair="Mend it, or bring it over again.")
        block = next(texts, None)
        at_end = block is None
        text, place = text[place:] + (block or ""), 0
