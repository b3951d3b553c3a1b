"""Online Retail II: made-up invoices, and the published ones."""

from datetime import UTC, datetime

import pyarrow as pa
from source_rows import DATA_DIR, collect, needs_data

from features.sources import load_source, online_retail_2


def test_invoice_lines_become_purchases_and_returns() -> None:
    summer, winter = datetime(2010, 7, 1, 12), datetime(2010, 12, 1, 12)  # noqa: DTZ001 - the file has local times
    line = {"StockCode": "85123a", "Description": "HEART ", "Quantity": 6, "InvoiceDate": winter, "Price": 2.5,
            "Customer ID": 17850, "sheet": "1"}  # fmt: skip
    lines = [
        {**line, "Invoice": "1", "InvoiceDate": summer},
        {**line, "Invoice": "2"},
        {**line, "Invoice": "2", "sheet": "2"},  # the sheets overlap
        {**line, "Invoice": "3"},
        {**line, "Invoice": "3"},  # scanned twice
        {**line, "Invoice": "C4", "Quantity": -6},
        {**line, "Invoice": "5", "StockCode": "POST"},
        {**line, "Invoice": "6", "Customer ID": None},
        {**line, "Invoice": "7", "StockCode": "gift_0001_20"},
    ]
    events, rejected, batches = collect(online_retail_2.convert(pa.Table.from_pylist(lines)))
    assert len(events) == 6
    assert len({event["event_id"] for event in events}) == 5
    by_id = {event["event_id"]: event for event in events}
    assert by_id["or:1:85123A:6:2.5:1"]["occurred_at"] == datetime(2010, 7, 1, 11, tzinfo=UTC)  # British summer time
    assert by_id["or:2:85123A:6:2.5:1"]["occurred_at"] == datetime(2010, 12, 1, 12, tzinfo=UTC)
    assert "or:3:85123A:6:2.5:2" in by_id
    back = by_id["or:C4:85123A:-6:2.5:1"]
    assert (back["kind"], back["quantity"], back["value"], back["session_id"]) == ("return", 6.0, 15.0, "C4")
    assert (back["customer_id"], back["product_id"], back["currency"]) == ("17850", "85123A", "GBP")
    assert sorted((row["index"], row["field"]) for row in rejected) == [
        (6, "product_id"),
        (7, "customer_id"),
        (8, "product_id"),
    ]
    assert [(row["product_id"], row["name"], row["price"]) for row in batches[0].products.to_pylist()] == [
        ("85123A", "HEART", 2.5)
    ]


@needs_data
def test_the_published_invoices_become_valid_events() -> None:
    path = DATA_DIR / "online_retail_2" / "online_retail_II.parquet"
    events, rejected, batches = collect(load_source("online-retail-2", sample=0.01, path=path))
    assert sum(batch.rows_total for batch in batches) == len(events) + len(rejected)
    assert {event["kind"] for event in events} == {"purchase", "return"}
