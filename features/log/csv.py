"""Rows as PostgreSQL's COPY writes them (CSV) come in, a table of events goes out, at about a million rows a second."""

import json
from typing import Final

import pyarrow as pa
from pyarrow import csv

from features.log.tables import READ_SCHEMA
from features.vocabulary import Columns

_FIRST: Final = (Columns.SEQ, Columns.RESOLVED_CUSTOMER_ID, Columns.CUSTOMER_KEY)
_ORDER: Final = (*_FIRST, *(name for name in READ_SCHEMA.names if name not in _FIRST))
"""The order of `log_rows.COLUMNS`."""
_TYPES: Final = {
    field.name: pa.string() if field.name == Columns.IDENTIFIERS else field.type for field in READ_SCHEMA
} | {Columns.OCCURRED_AT: pa.int64()}


def csv_to_table(body: bytes) -> pa.Table:
    """Rows of `log_rows.COLUMNS` in READ_SCHEMA; a null is an empty field, an empty text is a quoted one."""
    if not body:
        return READ_SCHEMA.empty_table()
    table = csv.read_csv(
        pa.BufferReader(body),
        csv.ReadOptions(column_names=list(_ORDER), use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    columns = []
    for field in READ_SCHEMA:
        column = table.column(field.name)
        if field.name == Columns.IDENTIFIERS:
            pairs = [None if text is None else list(json.loads(text).items()) for text in column.to_pylist()]
            column = pa.array(pairs, field.type)
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=READ_SCHEMA)
