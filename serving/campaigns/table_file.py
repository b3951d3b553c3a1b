"""A path and a schema in, a writer of tables out: Parquet or CSV by the path's ending, whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from features import atomic
from features.errors import InputError

ENDINGS: Final = (".parquet", ".csv")


class TableWriter(Protocol):
    """Takes tables, one after the other."""

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table."""


def check_out(out: Path) -> None:
    """Raise InputError for a path that no table can be written to, before anything is computed for it."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"{out} ends neither in .parquet nor in .csv.", repair="Choose one of the two.")
    if not out.parent.is_dir():
        raise InputError(f"The folder {out.parent} does not exist.", repair="Make it, or choose another --out.")
    if out.is_dir():
        raise InputError(f"{out} is a folder.", repair="Name a file.")


@contextmanager
def table_writer(out: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A writer of tables of a schema; lists are JSON in a CSV, whose text is guarded against spreadsheets."""
    with atomic.replacing(out) as unfinished:
        if out.suffix.lower() != ".csv":
            with pq.ParquetWriter(unfinished, schema, compression="zstd") as parquet:
                yield parquet
            return
        with pa_csv.CSVWriter(unfinished, _flat(schema)) as writer:
            yield _Csv(writer)


class _Csv:
    def __init__(self, writer: pa_csv.CSVWriter) -> None:
        self._writer = writer

    def write_table(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        from features.spreadsheet import guard  # takes pandas in, which a Parquet file does without

        columns = []
        for field, column in zip(table.schema, table.columns, strict=True):
            if pa.types.is_list(field.type):
                texts = [None if each is None else json.dumps(each, ensure_ascii=False) for each in column.to_pylist()]
            elif pa.types.is_string(field.type):
                texts = [None if each is None else guard(each) for each in column.to_pylist()]
            else:
                columns.append(column)
                continue
            columns.append(pa.array(texts, pa.string()))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=_flat(table.schema)))


def _flat(schema: pa.Schema) -> pa.Schema:
    """A schema whose lists are texts."""
    return pa.schema([(field.name, pa.string() if pa.types.is_list(field.type) else field.type) for field in schema])
