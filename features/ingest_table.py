"""A file of products or of stock comes in; its good rows are merged into the home's table, its bad rows are in a file."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.errors import InputError
from features.events.schema import rejected_table
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.identity import identity_rules
from features.money.home import HomeCurrency
from features.rejects import RejectedFile, file_name
from features.settings import Settings
from features.sources.batch import PRODUCT_SCHEMA, to_event_table
from features.sources.product_table import merge_products
from features.sources.stock_table import merge_stock
from features.sources.tables import STOCK_SCHEMA, TableRows, load_table, read_items
from features.vocabulary import Columns, TableName


@dataclass(frozen=True)
class TableReport:
    """What came of one file: rows that are in the table now, and rows that were rejected."""

    table: str
    rows: int
    merged: int
    rejected: int
    rejected_by_field: dict[str, int]
    rejected_path: str | None
    seconds: float


def ingest_table(
    source: str, name: TableName, settings: Settings, progress: Callable[[str], None] = lambda words: None
) -> TableReport:
    """Merge a Parquet, CSV or JSONL file into the product table or the stock, row by row.

    A product's blank fields and missing columns change nothing; a row of stock takes the place of the one of the same
    product, store and moment. Prices are brought to the home's currency by the newest rate. Several files at once lose
    nothing. Raises InputError where the file or the table cannot be read at all.
    """
    started = time.perf_counter()
    file = Path(source).expanduser()
    if not file.exists():
        raise InputError(f"There is no file {source!r}.", repair=f"Give the path of a file of {name}.")
    schema = PRODUCT_SCHEMA if name == TableName.PRODUCTS else STOCK_SCHEMA
    rejects = RejectedFile(settings.rejected_dir / f"{file_name(source)}.parquet", identity_rules(settings).identifiers)
    tables = [schema.empty_table()]
    rows = 0
    try:
        for part in load_table(file, schema):
            rejects.add(part.rejected)
            tables.append(_in_home_currency(part, settings, rejects) if name == TableName.PRODUCTS else part.table)
            rows += part.rows_total
            progress(f"{rows:,} rows read")
        whole = pa.concat_tables(tables)
        if name == TableName.PRODUCTS:
            merge_products(settings.products_path, whole)
        else:
            merge_stock(settings.stock_path, whole)
        rejects.finish()
    finally:
        rejects.discard()
    return TableReport(
        table=name.value,
        rows=rows,
        merged=whole.num_rows,
        rejected=rejects.rows,
        rejected_by_field=dict(rejects.fields.most_common()),
        rejected_path=str(rejects.path) if rejects.rows else None,
        seconds=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True)
class PutRow:
    """A row that was refused: its place among those that came, from 0, its field and the reason."""

    index: int
    field: str
    reason: str


def put_rows(
    items: list[dict[str, Any]], name: TableName, settings: Settings, log: EventLog, now: datetime
) -> tuple[int, list[PutRow]]:
    """Merge rows that came as objects, as `ingest_table` does those of a file; how many, and which were refused.

    A row of stock without a moment is of `now`. Raises InputError where the table cannot be merged with.
    """
    schema = PRODUCT_SCHEMA if name == TableName.PRODUCTS else STOCK_SCHEMA
    refused, places = [], []
    for place, item in enumerate(items):
        unknown = sorted(set(item) - set(schema.names))
        if unknown:
            fields = ", ".join(schema.names)
            refused.append(PutRow(place, unknown[0], f"is no field of {name}: these are {fields}."))
        else:
            places.append(place)
    rows = [items[place] for place in places]
    if name == TableName.STOCK:
        rows = [{**item, Columns.AS_OF: item.get(Columns.AS_OF) or now.isoformat()} for item in rows]
    part = read_items(rows, schema)
    refused += [PutRow(places[int(row["index"])], row["field"], row["reason"]) for row in part.rejected.to_pylist()]
    table = part.table
    if name == TableName.PRODUCTS:
        screened = HomeCurrency(settings, log).screen_prices(table)
        numbers = part.numbers.tolist()
        refused += [PutRow(places[numbers[at]], bad.field, bad.reason) for at, bad in screened.problems.items()]
        table = screened.table
    if table.num_rows and name == TableName.PRODUCTS:
        merge_products(settings.products_path, table)
    elif table.num_rows:
        merge_stock(settings.stock_path, table)
    return table.num_rows, sorted(refused, key=lambda row: row.index)


def _in_home_currency(part: TableRows, settings: Settings, rejects: RejectedFile) -> pa.Table:
    """The rows with their prices in the home's currency; those that cannot be brought there are rejected."""
    with closing(open_log(settings)) as log:
        screened = HomeCurrency(settings, log).screen_prices(part.table)
    if screened.problems:
        places = sorted(screened.problems)
        products = part.table[Columns.PRODUCT_ID].take(pa.array(places))
        rows = to_event_table({Columns.PRODUCT_ID: products}, len(places))
        numbers = part.numbers[places].tolist()
        rejects.add(rejected_table(rows, numbers, [screened.problems[place] for place in places]))
    return screened.table
