"""A Parquet, CSV or JSONL file comes in; tables of its raw rows go out, and the rows that cannot even be read."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.arrays import IntArray
from features.errors import InputError
from features.events.rules import Problem
from features.events.schema import EVENT_SCHEMA, rejected_table
from features.sources.batch import SourceBatch
from features.sources.nested import to_array

BATCH_ROWS: Final = 100_000
_DELIMITERS: Final = ",;\t|"


@dataclass(frozen=True)
class RawRows:
    """Rows of a file (CSV: every column is text), their numbers from 0, and the rejected rows among them."""

    table: pa.Table
    numbers: IntArray
    rejected: pa.Table


def read_rows(file: Path, encoding: str = "utf-8", delimiter: str | None = None) -> Iterator[RawRows]:
    """The rows of a file, about BATCH_ROWS at a time; the kind of file is told by its ending (text also with .gz after it).

    Without `delimiter` a CSV file's is the one of , ; tab | that its header has most of. Raises InputError for a
    file that cannot be opened or is of another kind.
    """
    ending = text_ending(file)
    if ending in (".parquet", ".pq"):
        return _read_parquet(file)
    if ending in (".csv", ".tsv", ".txt"):
        return _read_csv(file, encoding, delimiter)
    if ending in (".jsonl", ".ndjson"):
        return _read_jsonl(file, encoding)
    raise InputError(
        f"{file} ends in {ending or 'nothing'!r}.",
        repair="Give a file that ends in .parquet, .csv, .tsv, .jsonl or .ndjson (the last four also with .gz).",
    )


def text_ending(file: Path) -> str:
    """The ending in small letters that tells the kind of file: of `rows.csv.gz` it is `.csv`."""
    ending = file.suffix.lower()
    inner = file.with_suffix("").suffix.lower()
    return inner if ending == ".gz" and inner not in (".parquet", ".pq") else ending


def mentions(file: Path, encoding: str, name: str) -> bool:
    """Whether any line of a JSONL file has a key of this name; a key that few rows have may come late in the file."""
    with _open(file, encoding) as stream:
        return any(f'"{name}"' in line for line in stream)


def to_batch(events: pa.Table, raw: RawRows, problems: dict[int, Problem]) -> SourceBatch:
    """Events of `raw`'s rows (one each, EVENT_SCHEMA) without those that have a problem: these are rejected."""
    rows_total = len(raw.numbers) + raw.rejected.num_rows
    if not problems:
        return SourceBatch(events, rejected=raw.rejected, rows_total=rows_total, row_numbers=raw.numbers)
    bad = sorted(problems)
    good = np.ones(len(raw.numbers), np.bool_)
    good[bad] = False
    source_rows = [
        json.dumps(row, default=str, ensure_ascii=False) for row in raw.table.take(pa.array(bad)).to_pylist()
    ]
    rejected = rejected_table(
        events.take(pa.array(bad)), raw.numbers[bad].tolist(), [problems[place] for place in bad], source_rows
    )
    return SourceBatch(
        events.filter(pa.array(good)),
        rejected=pa.concat_tables([raw.rejected, rejected]),
        rows_total=rows_total,
        row_numbers=raw.numbers[good],
    )


def select(raw: RawRows, keep: pa.Array) -> RawRows:
    """The rows for which `keep` is true."""
    return RawRows(raw.table.filter(keep), raw.numbers[keep.to_numpy(zero_copy_only=False)], raw.rejected)


def _read_parquet(file: Path) -> Iterator[RawRows]:
    try:
        source = pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {error}.", repair="Check the path and the file."
        ) from error
    first = 0
    with source:
        for batch in source.iter_batches(BATCH_ROWS):
            numbers = np.arange(first, first + batch.num_rows)
            yield RawRows(pa.Table.from_batches([batch]), numbers, _rejected([], [], []))
            first += batch.num_rows


def _read_csv(file: Path, encoding: str, delimiter: str | None) -> Iterator[RawRows]:
    with _open(file, encoding) as stream:
        header_line = stream.readline()
        if not header_line.strip():
            raise InputError(f"{file} is empty.", repair="Give a CSV file whose first line names the columns.")
        mark = delimiter or max(_DELIMITERS, key=header_line.count)
        header = [name.strip() for name in next(csv.reader([header_line], delimiter=mark))]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(f"{file} has two columns named {twice[0]!r}.", repair="Name each column once.")
        reader = csv.reader(stream, delimiter=mark)
        rows = (row for row in reader if row)  # blank lines are no rows
        first = 0
        while True:
            try:
                chunk = list(islice(rows, BATCH_ROWS))
            except csv.Error as error:
                raise InputError(f"{file}, line {reader.line_num + 1}: {error}.", repair="Mend its quotes.") from error
            if not chunk:
                return
            yield _csv_rows(chunk, header, first, encoding)
            first += len(chunk)


def _csv_rows(chunk: Sequence[list[str]], header: list[str], first: int, encoding: str) -> RawRows:
    good: list[list[str]] = []
    numbers: list[int] = []
    bad: list[int] = []
    problems: list[Problem] = []
    texts: list[str] = []
    for number, row in enumerate(chunk, first):
        problem = _find_text_problem(row, header, encoding)
        if problem is None:
            good.append(row)
            numbers.append(number)
        else:
            bad.append(number)
            problems.append(problem)
            texts.append(_show(json.dumps(row, ensure_ascii=False)))
    columns = list(zip(*good, strict=True)) if good else [()] * len(header)
    table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(header, columns, strict=True)})
    return RawRows(table, np.array(numbers, np.int64), _rejected(bad, problems, texts))


def _find_text_problem(row: list[str], header: list[str], encoding: str) -> Problem | None:
    if len(row) != len(header):
        reason = f"has {len(row)} fields where the header has {len(header)}: mend its quotes or its delimiters."
        return Problem("row", reason)
    if all(map(str.isascii, row)):
        return None
    for name, text in zip(header, row, strict=True):
        if _is_broken(text):
            return Problem(name, _wrong_bytes(text, encoding))
    return None


def _read_jsonl(file: Path, encoding: str) -> Iterator[RawRows]:
    with _open(file, encoding) as stream:
        lines = (line for line in stream if line.strip())
        first = 0
        while chunk := list(islice(lines, BATCH_ROWS)):
            yield _jsonl_rows(chunk, first, encoding)
            first += len(chunk)


def _jsonl_rows(chunk: Sequence[str], first: int, encoding: str) -> RawRows:
    good: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[int] = []
    problems: list[Problem] = []
    texts: list[str] = []
    for number, line in enumerate(chunk, first):
        row, reason = _parse_line(line, encoding)
        if row is None:
            bad.append(number)
            problems.append(Problem("row", reason))
            texts.append(_show(line.rstrip("\n")))
        else:
            good.append(row)
            numbers.append(number)
    names = list(dict.fromkeys(name for row in good for name in row))
    table = pa.table({name: to_array([row.get(name) for row in good]) for name in names})
    return RawRows(table, np.array(numbers, np.int64), _rejected(bad, problems, texts))


def _parse_line(line: str, encoding: str) -> tuple[dict[str, Any] | None, str]:
    if not line.isascii() and _is_broken(line):
        return None, _wrong_bytes(line, encoding)
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON ({error}): write one JSON object a line."
    return (row, "") if isinstance(row, dict) else (None, "is not a JSON object: write one JSON object a line.")


@contextmanager
def _open(file: Path, encoding: str) -> Iterator[Any]:
    # wrong bytes become lone surrogates, so that only their rows are lost and can be shown
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    options: dict[str, Any] = {"encoding": name, "errors": "surrogateescape", "newline": ""}
    try:
        with gzip.open(file, "rt", **options) if file.suffix.lower() == ".gz" else file.open(**options) as stream:
            yield stream
    except LookupError as error:
        raise InputError(f"There is no encoding {encoding!r}.", repair="Use utf-8, cp1252, latin-1, ...") from error
    except UnicodeError as error:
        raise InputError(f"{file} is not {encoding} ({error}).", repair="Say its encoding in the mapping.") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{file} is no whole gzip file ({error}).", repair="Bring it over again.") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.", repair="Check the path.") from error


def _is_broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _wrong_bytes(text: str, encoding: str) -> str:
    return (
        f"holds bytes that are not {encoding} ({_show(text)[:60]!r}): save the file in one encoding, or say which it has"
        ' with encoding in the mapping, for example encoding = "cp1252".'
    )


def _show(text: str) -> str:
    """Text with its wrong bytes written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _rejected(numbers: list[int], problems: list[Problem], texts: list[str]) -> pa.Table:
    empty = pa.Table.from_arrays([pa.nulls(len(numbers), field.type) for field in EVENT_SCHEMA], schema=EVENT_SCHEMA)
    return rejected_table(empty, numbers, problems, texts)
