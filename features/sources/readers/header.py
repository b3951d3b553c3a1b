"""The first line of delimited text comes in; the names of its columns go out, and a refusal where it is a row of data."""

import csv
import io
import re
from typing import Final, Literal

from features.errors import InputError
from features.sources.readers.options import ReadOptions

_NUMBER: Final = re.compile(r"\s*[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?\s*")
_TIME: Final = re.compile(
    r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?\s*|\s*\d{1,2}:\d\d(:\d\d)?.*"
)


def read_header(start: bytes, mark: str, name: str, options: ReadOptions) -> tuple[list[str], bytes]:
    """Names of the columns, and what follows the header in the first block of a file.

    With names that are given the first line is a row, unless it holds these names itself. Columns that nobody asks for
    may have the same name, or none: they get one of their own. Raises InputError for a column that is asked for and comes
    twice, and for a header whose names are values: it is none.
    """
    text = start.decode("utf-8", "surrogateescape")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if options.quoting == "standard" else csv.QUOTE_NONE
    lines = io.StringIO(text, newline="")
    first = [field.strip() for field in next(csv.reader(lines, delimiter=mark, quoting=quoting))]
    rest = text[lines.tell() :].encode("utf-8", "surrogateescape")
    if options.header:
        given = list(options.header)
        twice = sorted({column for column in given if given.count(column) > 1})
        if twice:
            raise InputError(f"header names {twice[0]!r} twice.", repair="Name each column once.")
        return given, rest if first == given else start
    values = [column for column in first if column in options.names and _is_value(column)]
    if values and not _are_places(first):
        raise InputError(
            f"{name} has no header: its first line is data, as {values[0]!r} names no column, and that row would be lost.",
            repair=f'Name the columns in the mapping: header = ["…", …], one name for each of the {len(first)} fields.',
        )
    return _named(first, name, options), rest


def are_values(columns: list[str]) -> bool:
    """Whether the names of a file's columns look like a row of data: one of them is a time or a number, and no place."""
    return any(_is_value(column) for column in columns) and not _are_places(columns)


def _named(columns: list[str], name: str, options: ReadOptions) -> list[str]:
    """Each column with a name of its own."""
    twice = sorted({column for column in columns if columns.count(column) > 1 and column in options.names})
    if twice:
        raise InputError(f"{name} has two columns named {twice[0]!r}.", repair="Name each column once.")
    named: list[str] = []
    for place, column in enumerate(columns, 1):
        taken = column in named or not column
        named.append(f"{column or 'column'} ({place})" if taken else column)
    return named


def _is_value(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _TIME.fullmatch(text))


def _are_places(columns: list[str]) -> bool:
    """Whether the names are 0, 1, 2, … or 1, 2, 3, …, as some programs number columns."""
    return columns in ([str(place) for place in range(start, start + len(columns))] for start in (0, 1))
