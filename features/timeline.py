"""The event log comes in by order of arrival; one Parquet goes out, sorted into one timeline per customer."""

import os
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from features.console import Progress
from features.details import detail_column
from features.errors import MissingError
from features.log import EventLog
from features.settings import Settings
from features.state import product_code
from features.vocabulary import Columns

TIMELINE_SCHEMA: Final = pa.schema(
    [
        (Columns.CUSTOMER_ID, pa.string()),
        (Columns.OCCURRED_AT, pa.timestamp("us", tz="UTC")),
        (Columns.EVENT_ID, pa.string()),
        (Columns.SEQ, pa.int64()),
        (Columns.KIND, pa.string()),
        (Columns.CHANNEL, pa.string()),
        (Columns.PRODUCT_ID, pa.string()),
        (Columns.PRODUCT_CODE, pa.int64()),
        (Columns.QUANTITY, pa.float64()),
        (Columns.VALUE, pa.float64()),
        (Columns.DETAIL, pa.float64()),
        (Columns.CAMPAIGN_ID, pa.string()),
        (Columns.DECISION_ID, pa.string()),
        (Columns.STORE_ID, pa.string()),
        (Columns.SESSION_ID, pa.string()),
        (Columns.PROPERTIES, pa.string()),
    ]
)
"""Its columns: `customer_id` is the resolved one, a product code of 0 means no product, and `detail` is from details.py."""

ORDER: Final = (Columns.CUSTOMER_ID, Columns.OCCURRED_AT, Columns.EVENT_ID)
"""The order in which events are folded, everywhere."""


def build_timeline(log: EventLog, settings: Settings, progress: Progress) -> int:
    """Write `settings.timeline_path` anew from the whole log; returns the number of events."""
    path = settings.timeline_path
    path.parent.mkdir(parents=True, exist_ok=True)
    arrived = path.with_suffix(".arrived.parquet")
    n_events, total = 0, log.count()
    with pq.ParquetWriter(arrived, TIMELINE_SCHEMA, compression="lz4") as writer:
        for batch in log.read():
            writer.write_table(timeline_rows(batch))
            n_events += batch.num_rows
            progress(f"{n_events:,} of {total:,} events read from the log")
    progress(f"sorting {n_events:,} events into timelines")
    _sort(arrived, path)
    arrived.unlink()
    return n_events


def timeline_rows(events: pa.Table) -> pa.Table:
    """Events as the log gives them (with seq and resolved_customer_id), in the timeline's columns."""
    columns = {name: events[name] for name in TIMELINE_SCHEMA.names if name in events.column_names}
    columns[Columns.CUSTOMER_ID] = events[Columns.RESOLVED_CUSTOMER_ID]
    columns[Columns.PRODUCT_CODE] = pa.array(product_code(events[Columns.PRODUCT_ID].to_pylist()))
    columns[Columns.DETAIL] = pa.array(detail_column(events), from_pandas=True)
    return pa.table({name: columns[name] for name in TIMELINE_SCHEMA.names}, schema=TIMELINE_SCHEMA)


def read_timeline(settings: Settings, columns: list[str] | None = None) -> pa.Table:
    """The timeline, whole or some of its columns. Raises MissingError before the first build."""
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run: omni features build")
    return pq.read_table(settings.timeline_path, columns=columns)


def _sort(source: Path, target: Path) -> None:
    """Sort on disk with DuckDB, within a bounded memory; the target appears whole or not at all."""
    part = target.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        connection.execute(f"SET temp_directory = '{target.parent / 'sort'}'")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{source}') ORDER BY {', '.join(ORDER)})"
            f" TO '{part}' (FORMAT parquet, COMPRESSION zstd)"
        )
    os.replace(part, target)
