"""Parquet, Avro and Excel files come in; batches of their rows go out, with the types that these formats keep."""

from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.sources.readers.options import BATCH_ROWS, ReadOptions
from features.sources.readers.rows import RawRows, numbered

_OBJECTS: Final = 20_000
"""Rows at a time where they are Python objects."""


def read_parquet(file: IO[bytes], name: str, first: int = 0) -> Iterator[RawRows]:
    """Rows of a Parquet file; moments of the old type INT96 are read in microseconds, in which 9999-12-31 is itself."""
    try:
        source = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{name} cannot be read as Parquet: {error}.", repair="Check the path and the file."
        ) from error
    nested = any(pa.types.is_nested(field.type) for field in source.schema_arrow)
    with source:
        for batch in source.iter_batches(_OBJECTS if nested else BATCH_ROWS):
            table = as_plain(pa.Table.from_batches([batch]))
            yield RawRows(numbered(first, batch.num_rows), table=table)
            first += batch.num_rows


def read_avro(file: BinaryIO, name: str, first: int = 0) -> Iterator[RawRows]:
    """Rows of an Avro container file."""
    import fastavro

    try:
        records = fastavro.reader(file)
        while chunk := list(islice(records, _OBJECTS)):
            items: list[dict[str, Any]] = [row if isinstance(row, dict) else {"value": row} for row in chunk]
            yield RawRows(numbered(first, len(items)), items=items)
            first += len(items)
    except (ValueError, EOFError, TypeError, KeyError) as error:
        raise InputError(f"{name} cannot be read as Avro: {error}.", repair="Bring it over again.") from error


def read_excel(file: BinaryIO, name: str, options: ReadOptions, first: int = 0) -> Iterator[RawRows]:
    """Rows of a sheet of a workbook: the one that the options name, or the first that holds anything."""
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(file)
        wanted = [options.sheet] if options.sheet else book.sheet_names
        rows: Iterator[list[Any]] = iter(())
        for title in wanted:
            sheet = book.get_sheet_by_name(title)
            if sheet.height:
                rows = (row for row in sheet.iter_rows() if any(cell != "" for cell in row))
                break
    except python_calamine.WorksheetNotFound as error:
        raise InputError(
            f"{name} has no sheet {options.sheet!r}; it has {', '.join(book.sheet_names)}.", repair="Correct sheet."
        ) from error
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise InputError(f"{name} cannot be read as a workbook: {error}.", repair="Save it as .xlsx anew.") from error
    header = list(options.header) or [str(cell).strip() for cell in next(rows, [])]
    if not header:
        raise InputError(f"{name} is empty.", repair="Give a sheet whose first row names the columns.")
    names = [column or f"column ({place})" for place, column in enumerate(header, 1)]
    while chunk := list(islice(rows, _OBJECTS)):
        items = [
            {column: None if cell == "" else cell for column, cell in zip(names, row, strict=False)} for row in chunk
        ]
        yield RawRows(numbered(first, len(items)), items=items)
        first += len(items)


def as_plain(table: pa.Table) -> pa.Table:
    """The table without the types that only store the same values in another way: views, large text, dictionaries."""
    for place, field in enumerate(table.schema):
        plain = _plain(field.type)
        if plain != field.type:
            table = table.set_column(place, field.name, table.column(place).cast(plain))
    return table


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type), field.nullable) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field(kind.value_field.name, _plain(kind.value_type), kind.value_field.nullable))
    return kind
