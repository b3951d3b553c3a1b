"""Where data lies comes in; batches of raw rows go out, each part read as what its first bytes say that it is."""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

import pyarrow as pa

from features.errors import InputError
from features.sources.readers.binary import read_avro, read_excel, read_parquet
from features.sources.readers.delimited import read_delimited
from features.sources.readers.json_text import is_object, read_json
from features.sources.readers.options import ReadOptions
from features.sources.readers.places import Part, parts_of
from features.sources.readers.rows import RawRows

_HEAD_BYTES: Final = 4096
_BOMS: Final = "\ufeff"
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How workbooks begin, as .xlsx and as .xls."""
_IN_MEMORY: Final = 64 * 2**20
_ENDINGS: Final = (".csv", ".tsv", ".txt", ".dat")
_DEFAULT: Final = ReadOptions()


def read_rows(place: str | Path, options: ReadOptions = _DEFAULT) -> Iterator[RawRows]:
    """The rows of every file at a place, in batches; they are numbered from 0 over all of them.

    What a file holds is told by its content: Parquet, Avro, an Excel workbook, JSON (lines, an array, objects) or delimited
    text, each also gzipped (or as bzip2, xz or zstd). A folder such as `day=2024-05-01` gives its rows a column `day`.
    Raises InputError for what cannot be opened, and for files that are not what they seem.
    """
    parts = list(parts_of(place))
    first = 0
    for part in parts:
        with part.open() as stream:
            rows = _read_part(part, stream, options, first, alone=len(parts) == 1)
            for batch in rows:
                first += len(batch) + batch.rejected.num_rows
                batch.part = part.inside
                yield _with_folders(batch, part)


def _read_part(part: Part, stream: BinaryIO, options: ReadOptions, first: int, *, alone: bool) -> Iterator[RawRows]:
    with _unpacked(stream, part.name) as plain:
        head = _peek(plain, part.name)
        if not head and not alone:
            return  # of many parts some may be empty
        claimed = PurePosixPath(part.name).suffix.lower()
        if head.startswith(b"PAR1") or claimed in (".parquet", ".pq"):
            with _seekable(plain) as file:
                yield from read_parquet(file, part.name, first)
        elif head.startswith(b"Obj\x01") or claimed == ".avro":
            yield from read_avro(plain, part.name, first)
        elif head.startswith(_WORKBOOKS) or claimed in (".xlsx", ".xls"):
            with _seekable(plain) as file:
                yield from read_excel(file, part.name, options, first)
        elif _are_json_lines(head, part.name):
            yield from read_json(plain, part.name, options, first, lines=True)
        elif _is_json(head, part.name, options):
            yield from read_json(plain, part.name, options, first)
        else:
            yield from read_delimited(plain, part.name, options, first)


def _are_json_lines(head: bytes, name: str) -> bool:
    """Whether a file that calls itself JSON lines holds some, whatever its first line is: broken ones are rejected alone."""
    if PurePosixPath(name.removesuffix(".gz")).suffix.lower() not in (".jsonl", ".ndjson"):
        return False
    lines = [line.strip() for line in head.splitlines()]
    return lines[:1] != [b"["] and any(line.startswith(b"{") and is_object(line) for line in lines)


def _is_json(head: bytes, name: str, options: ReadOptions) -> bool:
    """Whether a text begins as JSON does, and not as a table whose first column has a bracket in its name."""
    encoding = options.encoding if options.encoding.lower().startswith("utf") else "utf-8"
    try:
        text = head.decode(encoding, "replace").lstrip(_BOMS).lstrip()
    except LookupError:
        return False
    if options.delimiter or options.header:
        return False
    inner = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
    if text.startswith("{"):
        return inner not in _ENDINGS or text[1:].lstrip().startswith(('"', "}"))
    return text.startswith("[") and text[1:].lstrip().startswith(("{", "]", "["))


@contextmanager
def _unpacked(stream: BinaryIO, name: str) -> Iterator[io.BufferedReader]:
    """The stream without the compression that its first bytes tell of, so that one may look ahead."""
    source: io.BufferedReader = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[arg-type]
    head = source.peek(8)[:8]
    opened: Any
    if head.startswith(b"\x1f\x8b"):
        opened = gzip.GzipFile(fileobj=source)
    elif head.startswith(b"BZh"):
        opened = bz2.BZ2File(source)
    elif head.startswith(b"\xfd7zXZ\x00"):
        opened = lzma.LZMAFile(source)  # noqa: SIM115 - the reader below closes it
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        opened = pa.CompressedInputStream(pa.PythonFile(source, "r"), "zstd")
    else:
        yield source
        return
    with io.BufferedReader(opened, 2**20) as reader:
        yield reader


def _peek(stream: io.BufferedReader, name: str) -> bytes:
    """The first bytes, which are still there to be read."""
    try:
        return stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    except (EOFError, zlib.error) as error:
        raise InputError(f"{name} is no whole gzip file ({error}).", repair="Bring it over again.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.", repair="Check the path.") from error


@contextmanager
def _seekable(stream: io.BufferedReader) -> Iterator[Any]:
    """The same content where one can go back and forth: itself, or a copy."""
    if isinstance(stream.raw if hasattr(stream, "raw") else stream, io.FileIO):
        yield stream
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
        shutil.copyfileobj(stream, copy, 2**20)
        copy.seek(0)
        yield copy


def _with_folders(batch: RawRows, part: Part) -> RawRows:
    """What folders such as `day=2024-05-01` say of the rows in them, where the rows do not say so themselves."""
    said = dict(step.split("=", 1) for step in PurePosixPath(part.inside).parts[:-1] if "=" in step.strip("="))
    own = set(batch.names) if said else set()
    columns = {name: pa.repeat(value, len(batch)) for name, value in said.items() if name not in own}
    return batch.with_columns(columns) if columns else batch
