"""A file of products or of stock under our column names comes in; its typed rows go out, and those that cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.errors import InputError
from features.events.rules import Problem
from features.events.values import MAX_NUMBER, VALUE_CHECKS, parse_properties, shorten
from features.ids import id_column
from features.sources.amounts import parse_money, parse_numbers
from features.sources.batch import PRODUCT_SCHEMA, to_batch, to_event_table
from features.sources.nested import flattened
from features.sources.parsing import Problems, note_inexact, parse_moments
from features.sources.readers import RawRows, ReadOptions, read_rows
from features.sources.readers.rows import numbered
from features.vocabulary import Columns

UNITS: Final = "units"
STOCK_SCHEMA: Final = pa.schema(
    [
        (Columns.PRODUCT_ID, pa.string()),
        (Columns.STORE_ID, pa.string()),
        (UNITS, pa.float64()),
        (Columns.AS_OF, pa.timestamp("us", "UTC")),
    ]
)
"""The stock table: `store_id` null is online; of a product in a store the row with the newest `as_of` counts."""
_REQUIRED: Final = {
    id(PRODUCT_SCHEMA): (Columns.PRODUCT_ID,),
    id(STOCK_SCHEMA): (Columns.PRODUCT_ID, UNITS, Columns.AS_OF),
}


@dataclass(frozen=True)
class TableRows:
    """Good rows of a table, their `numbers` (n,) in the file, its rejected rows (REJECTED_SCHEMA), and the count of all."""

    table: pa.Table
    numbers: IntArray
    rejected: pa.Table
    rows_total: int


def load_table(file: Path, schema: pa.Schema) -> Iterator[TableRows]:
    """Rows of a Parquet, CSV or JSONL file of PRODUCT_SCHEMA or STOCK_SCHEMA; columns that it does not have are null.

    Raises InputError for a file that cannot be read, has other columns, or lacks one that the table cannot do without.
    """
    for raw in read_rows(file, ReadOptions(names=frozenset(schema.names))):
        if raw.table.num_rows:
            _check_columns(raw.table, file, schema)
        yield _to_rows(raw, schema)


def read_items(items: list[dict[str, Any]], schema: pa.Schema) -> TableRows:
    """Rows that came as objects with keys of the schema, by the same rules."""
    raw = RawRows(numbered(0, len(items)), items=items)
    known = {name for item in items for name in item}
    absent = [name for name in _REQUIRED[id(schema)] if name not in known]
    return _to_rows(raw.with_columns({name: pa.nulls(len(items), pa.string()) for name in absent}), schema)


def _check_columns(table: pa.Table, file: Path, schema: pa.Schema) -> None:
    missing = [name for name in _REQUIRED[id(schema)] if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    if missing or unknown:
        raise InputError(
            f"{file} is no such table: missing columns {missing or 'none'}, unknown columns {unknown or 'none'}.",
            repair=f"Its columns are {', '.join(schema.names)}.",
        )


def _to_rows(raw: RawRows, schema: pa.Schema) -> TableRows:
    problems: Problems = {}
    table = flattened(raw.table)
    for name in sorted({Columns.PRODUCT_ID, Columns.STORE_ID} & set(table.column_names)):
        note_inexact(name, table.column(name), problems)
    texts = {
        name: _text(table.column(name)) if name in table.column_names else pa.nulls(table.num_rows, pa.string())
        for name in (field.name for field in schema if pa.types.is_string(field.type))
    }
    columns: dict[str, pa.Array | pa.ChunkedArray] = dict(texts)
    for name in set(table.column_names) & {Columns.AS_OF, Columns.AVAILABLE_FROM}:
        columns[name] = parse_moments(name, _blank(table.column(name)), problems)
    if UNITS in table.column_names:
        columns[UNITS] = parse_numbers(UNITS, _blank(table.column(UNITS)), problems)
        _check_amounts(UNITS, columns[UNITS], problems)
    if Columns.PRICE in table.column_names:
        price = parse_money(Columns.PRICE, _blank(table.column(Columns.PRICE)), texts[Columns.CURRENCY], problems)
        columns |= {Columns.PRICE: price.amounts, Columns.CURRENCY: price.currencies}
        _check_amounts(Columns.PRICE, price.amounts, problems)
    for name in set(_REQUIRED[id(schema)]) & columns.keys():
        for place in np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False)).tolist():
            problems.setdefault(place, Problem(name, "is missing."))
    for name in (Columns.PRODUCT_ID, Columns.STORE_ID, Columns.CURRENCY, Columns.ATTRIBUTES):
        if name in columns:
            _check_texts(name, columns[name], problems)
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    rows = pa.Table.from_arrays(arrays, schema=schema)
    named = {name: texts[name] for name in (Columns.PRODUCT_ID, Columns.STORE_ID) if name in texts}
    batch = to_batch(to_event_table(named, table.num_rows), raw, problems)
    good = np.ones(table.num_rows, np.bool_)
    good[list(problems)] = False
    return TableRows(rows.filter(pa.array(good)), raw.numbers[good], batch.rejected, batch.rows_total)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of ids or words, trimmed, blanks as null."""
    trimmed = pc.utf8_trim_whitespace(id_column(column))
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of numbers or moments, with null for blank text."""
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return _text(column) if is_text else column


def _check_amounts(name: str, amounts: pa.Array, problems: Problems) -> None:
    numbers = amounts.to_numpy(zero_copy_only=False)
    given = amounts.is_valid().to_numpy(zero_copy_only=False)
    for place in np.flatnonzero(given & ~((numbers >= 0) & (numbers <= MAX_NUMBER))).tolist():
        problems.setdefault(place, Problem(name, f"is {numbers[place]}: it is a number from 0 to {MAX_NUMBER:.0e}."))


def _check_texts(name: str, column: pa.Array | pa.ChunkedArray, problems: Problems) -> None:
    texts = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = texts.dictionary_encode()
    reasons = {code: _reason(name, text) for code, text in enumerate(encoded.dictionary.to_pylist())}
    wrong = pa.array([code for code, reason in reasons.items() if reason], encoded.indices.type)
    for place in pc.indices_nonzero(pc.is_in(encoded.indices, value_set=wrong)).to_pylist():
        problems.setdefault(place, Problem(name, str(reasons[encoded.indices[place].as_py()])))


def _reason(name: str, text: str) -> str | None:
    if name != Columns.ATTRIBUTES:
        return VALUE_CHECKS[name](text, None)
    parsed = parse_properties(text)
    return f"is {shorten(text)}, which {parsed}" if isinstance(parsed, str) else None
