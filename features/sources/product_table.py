"""What a source says of products comes in; the product table with that merged into it goes out, one writer at a time.

What is not said changes nothing: a column that the source does not have, a blank, keys of `attributes` that it does not name.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.errors import InputError
from features.ids import id_column, read_ids
from features.sources.amounts import parse_numbers
from features.sources.batch import PRODUCT_SCHEMA
from features.sources.parsing import Problems, parse_moments, refuse
from features.vocabulary import Columns


def merge_products(path: Path, products: pa.Table, clear: Sequence[str] = ()) -> None:
    """Put what `products` (PRODUCT_SCHEMA; a product may have several rows) says into the table at `path`.

    Of a product's rows each field's last value counts. Fields of `clear` become empty where they say nothing. Columns of
    the table that are not ours stay. Raises InputError for a table that cannot be read.
    """
    with atomic.locked(path):
        old = _read(path)
        merged = merge(old, newest_values(products), clear)
        with atomic.replacing(path) as part:
            pq.write_table(merged, part, write_page_checksum=True)


def newest_values(products: pa.Table) -> pa.Table:
    """One row per product, with the last value of each field that is not null."""
    rows = products.filter(products[Columns.PRODUCT_ID].is_valid())
    others = [name for name in PRODUCT_SCHEMA.names if name not in (Columns.PRODUCT_ID, Columns.CURRENCY)]
    last = _last(rows, others, skip_nulls=True)
    priced = rows.filter(rows[Columns.PRICE].is_valid())
    prices = _last(priced, [Columns.CURRENCY], skip_nulls=False)  # the currency is of the price that counts
    place = pc.index_in(last[Columns.PRODUCT_ID], value_set=prices[Columns.PRODUCT_ID])
    last = last.append_column(Columns.CURRENCY, prices[Columns.CURRENCY].take(place))
    return last.select(PRODUCT_SCHEMA.names).cast(PRODUCT_SCHEMA)


def _last(rows: pa.Table, names: Sequence[str], *, skip_nulls: bool) -> pa.Table:
    """The last value of columns by product, in the order of their ids."""
    how = pc.ScalarAggregateOptions(skip_nulls=skip_nulls)
    grouped = rows.group_by(Columns.PRODUCT_ID, use_threads=False)  # threads would lose the order
    values = grouped.aggregate([(name, "last", how) for name in names])
    return values.rename_columns({f"{name}_last": name for name in names}).sort_by(Columns.PRODUCT_ID)


def merge(old: pa.Table, new: pa.Table, clear: Sequence[str] = ()) -> pa.Table:
    """The products of both tables, one row each, by id: what `new` says, and what `old` says of what `new` does not."""
    old_rows = {product_id: row for row, product_id in enumerate(old[Columns.PRODUCT_ID].to_pylist())}
    new_rows = {product_id: row for row, product_id in enumerate(new[Columns.PRODUCT_ID].to_pylist())}
    ids = sorted(old_rows.keys() | new_rows.keys())
    from_old = pa.array([old_rows.get(product_id) for product_id in ids], pa.int64())
    from_new = pa.array([new_rows.get(product_id) for product_id in ids], pa.int64())
    emptied = {*clear, *((Columns.CURRENCY,) if Columns.PRICE in clear else ())}
    columns = {}
    for name in old.column_names:
        before = old[name].take(from_old)
        if name == Columns.PRODUCT_ID:
            columns[name] = pa.array(ids, pa.string())
            continue
        if name not in new.column_names:
            columns[name] = before
            continue
        said = new[name].take(from_new)
        kept = pc.if_else(pc.is_valid(from_new), None, before) if name in emptied else before
        if name == Columns.ATTRIBUTES:
            columns[name] = _merge_attributes(kept, said)
        elif name == Columns.CURRENCY:
            columns[name] = pc.if_else(new[Columns.PRICE].take(from_new).is_valid(), said, kept)
        else:
            columns[name] = pc.coalesce(said, kept)
    return pa.table(columns)


def _merge_attributes(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Array:
    """JSON texts (n,) with the keys of both; a key of `new` wins."""
    merged = []
    for before, after in zip(old.to_pylist(), new.to_pylist(), strict=True):
        known, said = _object(before), _object(after)
        if known is not None and said is not None:
            merged.append(json.dumps({**known, **said}, ensure_ascii=False))
        else:
            merged.append(before if after is None else after)
    return pa.array(merged, pa.string())


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read(path: Path) -> pa.Table:
    """The table at `path` with every column of PRODUCT_SCHEMA in its type, and its other columns; empty where there is none."""
    if not path.exists():
        return PRODUCT_SCHEMA.empty_table()
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        columns = {field.name: _typed(table, field) for field in PRODUCT_SCHEMA}
    except (OSError, pa.ArrowException) as error:
        raise _unusable(path, str(error).splitlines()[0]) from error
    except InputError as error:
        raise _unusable(path, error.message) from error
    others = {name: table[name] for name in table.column_names if name not in columns}
    known = pa.table({**columns, **others})
    return known.filter(known[Columns.PRODUCT_ID].is_valid())


def _typed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        if field.name == Columns.PRODUCT_ID:
            raise InputError(f"it has no column {Columns.PRODUCT_ID}")
        return pa.nulls(table.num_rows, field.type)
    column = table[field.name]
    problems: Problems = {}
    if field.name == Columns.PRICE:
        numbers = parse_numbers(Columns.PRICE, column, problems)
        refuse(problems)
        return numbers
    if field.name == Columns.AVAILABLE_FROM:
        moments = parse_moments(field.name, column, problems, "UTC")  # a cast would take any number for microseconds
        refuse(problems)
        return moments
    if field.name == Columns.PRODUCT_ID:
        return read_ids(column, field.name)
    return id_column(column)


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be merged with: {why.rstrip('.')}.", repair="Mend it or move it away, and ingest again."
    )
