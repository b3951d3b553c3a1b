"""Two years of invoices of a British web shop (UCI Online Retail II) come in; purchases, returns and products go out.

1,067,370 invoice lines, 2009-12-01 to 2011-12-09, in two sheets. What a line becomes, and why:

Time. The shop is in Britain and its lines lie between 06:00 and 21:00: local time, Europe/London. No line falls
    into an hour that the clocks skip or repeat.
purchase -> `purchase`, channel web, currency GBP; session_id is the invoice, value = price * quantity.
return -> lines of invoices that begin with C (19,494) or with a negative quantity: `return`, with quantity and
    value above zero. (The one C line with a positive quantity has no customer.)
Twice. The sheets overlap from 2010-12-01 to 2010-12-09 (22,523 lines of 1,088 invoices are in both), and 12,137 lines
    repeat another line of their own invoice word for word. The event_id names invoice, product, quantity, price and
    the running number *within the invoice and sheet*, so that the overlap counts once and a repeated scan twice.
Rejected, with the reason:
    - no customer (243,007 lines): nobody's event;
    - not a product (postage, carriage, manual entries, discounts, bank charges, fees, samples, vouchers, tests,
      adjustments): codes without five leading digits, other than the few real ones (DCGS*, PADS, SP1002);
    - A invoices (bad debt) are adjustments of the books and have no customer.
Codes differ in case only by accident (85123a, 85123A): they are written in capitals.
Products: the last description and the median price of each code; there are no categories or brands.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import InputError
from features.events.rules import Problem
from features.events.schema import rejected_table
from features.sources.batch import SourceBatch, read_query, sampled, stream_query, to_event_table, to_product_table
from features.sql import connect
from features.vocabulary import Columns

TIME_ZONE: Final = "Europe/London"
_COLUMNS: Final = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "sheet")
_BATCH_ROWS: Final = 200_000
_PROBLEMS: Final = {
    "customer": Problem(Columns.CUSTOMER_ID, "is missing: this invoice names no customer."),
    "product": Problem(
        Columns.PRODUCT_ID, "is no product: postage, a fee, a discount, a voucher, a test or an adjustment."
    ),
    "quantity": Problem(Columns.QUANTITY, "is 0: nothing was bought on this line."),
}


def load(path: Path | None, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches of the Parquet file `path` with both sheets; `sample` keeps a share of the customers."""
    file = path / "online_retail_II.parquet" if path is not None and path.is_dir() else path
    if file is None or not file.is_file():
        raise InputError(f"{path} is no file.", repair="Pass --path with online_retail_II.parquet.")
    lines = pq.read_table(file)
    absent = [name for name in _COLUMNS if name not in lines.column_names]
    if absent:
        raise InputError(f"{file} has no column {absent[0]!r}.", repair=f"It needs the columns {', '.join(_COLUMNS)}.")
    yield from convert(lines, sample)


def convert(lines: pa.Table, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches from the invoice lines as they are published, with the sheet's name in `sheet`."""
    lines = lines.append_column("row", pa.array(range(lines.num_rows), pa.int64()))
    # lines without a customer are sampled by invoice, so that a sample's rejected rows are in proportion
    who = pc.coalesce(lines.column("Customer ID").cast(pa.string()), lines.column("Invoice").cast(pa.string()))
    lines = lines.filter(sampled(who, sample))
    connection = connect("700MB")
    connection.register("lines", lines)
    yield SourceBatch(events=to_event_table({}, 0), products=_products(connection))
    for part in stream_query(connection, _LINES, _BATCH_ROWS):
        yield _batch(part)
    connection.close()


_IS_PRODUCT: Final = "regexp_matches(StockCode, '^([0-9]{5}|DCGS|PADS|SP1002)')"
_LINES: Final = f"""
SELECT *, 'or:' || Invoice || ':' || product_id || ':' || Quantity || ':' || Price || ':' || turn AS event_id,
       (InvoiceDate AT TIME ZONE '{TIME_ZONE}') AS occurred_at,
       CASE WHEN starts_with(Invoice, 'C') OR Quantity < 0 THEN 'return' ELSE 'purchase' END AS kind,
       "Customer ID"::BIGINT::VARCHAR AS customer_id, abs(Quantity)::DOUBLE AS quantity_sold,
       round(abs(Quantity * Price), 2) AS value, Invoice AS session_id,
       CASE WHEN "Customer ID" IS NULL THEN 'customer' WHEN NOT {_IS_PRODUCT} THEN 'product'
            WHEN Quantity = 0 THEN 'quantity' END AS problem
FROM (SELECT *, upper(trim(StockCode)) AS product_id,
             row_number() OVER (PARTITION BY sheet, Invoice, upper(trim(StockCode)), Quantity, Price ORDER BY row) AS turn
      FROM lines)
ORDER BY occurred_at, event_id"""
_PRODUCTS: Final = f"""
SELECT upper(trim(StockCode)) AS product_id, median(Price) FILTER (Price > 0) AS price,
       arg_max(trim(Description), InvoiceDate) FILTER (Description <> 'nan' AND Price > 0) AS name
FROM lines WHERE {_IS_PRODUCT} GROUP BY ALL ORDER BY product_id"""


def _products(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    table = read_query(connection, _PRODUCTS)
    return to_product_table({name: table.column(name) for name in table.column_names}, table.num_rows, "GBP")


def _batch(part: pa.Table) -> SourceBatch:
    named = {
        **{
            name: part.column(name)
            for name in ("event_id", "occurred_at", "kind", "customer_id", "product_id", "value")
        },
        Columns.CHANNEL: "web",
        Columns.QUANTITY: part.column("quantity_sold"),
        Columns.CURRENCY: "GBP",
        Columns.SESSION_ID: part.column("session_id"),
    }
    events = to_event_table(named, part.num_rows)
    bad = pc.is_valid(part.column("problem"))
    problems = [_PROBLEMS[name] for name in part.column("problem").filter(bad).to_pylist()]
    numbers = part.column("row").to_numpy()
    return SourceBatch(
        events.filter(pc.invert(bad)),
        rejected=rejected_table(events.filter(bad), part.column("row").filter(bad).to_pylist(), problems),
        rows_total=part.num_rows,
        row_numbers=numbers[pc.invert(bad).to_numpy()],
    )
