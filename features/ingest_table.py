"""A file of products or of stock comes in; its good rows are merged into the home's table, its bad rows are in a file."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from features.errors import InputError
from features.events.schema import rejected_table
from features.log.engines import open_log
from features.log.identity import identity_rules
from features.money.home import HomeCurrency
from features.rejects import RejectedFile, file_name
from features.settings import Settings
from features.sources.batch import PRODUCT_SCHEMA, to_event_table
from features.sources.product_table import merge_products
from features.sources.stock_table import merge_stock
from features.sources.tables import STOCK_SCHEMA, TableRows, load_table
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
