"""The timeline file: the event log by order of arrival in, one Parquet sorted into one timeline per customer out.

A second Parquet has, for customers who were put together from several, the events of every epoch (identity/history.py):
what is folded so that their states of some moment are of what was known to be theirs by then.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.attributes.rows import profile_column
from features.console import Progress
from features.errors import MissingError
from features.events.contact_points import identified_column
from features.events.payload import OTHERS_ID, detail_column, order_column
from features.identity.history import History
from features.log.event_log import EventLog
from features.log.tables import rename_customers
from features.offline.governed import SPAN, current_rows, epoch_rows
from features.settings import Settings
from features.sql import connect, scan, sql_text
from features.state.event_arrays import product_code
from features.state.layout import REWRITTEN, UNWRITTEN, WRITTEN
from features.vocabulary import Channel, Columns, EventKind

if TYPE_CHECKING:
    import pandas as pd

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
        (Columns.ORDER_CODE, pa.int64()),
        (Columns.CAMPAIGN_ID, pa.string()),
        (Columns.DECISION_ID, pa.string()),
        (Columns.IDENTIFIED, pa.int64()),
        (Columns.STORE_ID, pa.string()),
        (Columns.SESSION_ID, pa.string()),
        (Columns.PROPERTIES, pa.string()),
        (Columns.PROFILE, pa.string()),
    ]
)
"""Its columns: `customer_id` is the resolved one, a product code of 0 means no product, `detail` and `order_code` are from
events/payload.py, `identified` is from events/contact_points.py, `profile` (what a customer says of themselves, JSON) from
attributes/rows.py."""

ORDER: Final = (Columns.CUSTOMER_ID, Columns.OCCURRED_AT, Columns.EVENT_ID)
"""How the file is sorted. Events of one moment count in the order of features/state/order.py."""
_ARRIVED_SCHEMA: Final = TIMELINE_SCHEMA.append(pa.field(Columns.CUSTOMER_KEY, pa.int64()))
_ARRIVED: Final = pa.ipc.IpcWriteOptions(compression="lz4")


def build_timeline(log: EventLog, settings: Settings, progress: Progress) -> int:
    """Write `settings.timeline_path` anew from the whole log; returns the number of events."""
    path = settings.timeline_path
    path.parent.mkdir(parents=True, exist_ok=True)
    arrived = path.with_suffix(".arrived.arrow")
    history = log.identity().history()  # read once: somebody may log in while the log is read
    n_events, total = 0, log.count()
    with pa.OSFile(str(arrived), "wb") as sink, pa.ipc.new_stream(sink, _ARRIVED_SCHEMA, options=_ARRIVED) as writer:
        for batch in log.read():
            rows = timeline_rows(rename_customers(batch, history.names))
            writer.write_table(rows.append_column(_ARRIVED_SCHEMA.field(-1), batch[Columns.CUSTOMER_KEY]))
            n_events += batch.num_rows
            progress(f"{n_events:,} of {total:,} events read from the log")
        others = current_rows(history)
        writer.write_table(timeline_rows(others).append_column(_ARRIVED_SCHEMA.field(-1), others[Columns.CUSTOMER_KEY]))
    progress(f"sorting {n_events:,} events into timelines")
    with pa.OSFile(str(arrived)) as file, pa.ipc.open_stream(file) as rows:
        _write_sorted(path, f"SELECT * EXCLUDE ({Columns.CUSTOMER_KEY}) FROM arrived", ORDER, arrived=rows)
    settings.epochs_path.unlink(missing_ok=True)
    if history.epochs:
        order = Columns.CUSTOMER_ID, Columns.EPOCH, Columns.OCCURRED_AT, Columns.EVENT_ID
        frames = {"epochs": history.frame(), "others": _epochs_of_others(history)}
        with pa.OSFile(str(arrived)) as file, pa.ipc.open_stream(file) as rows:
            _write_sorted(settings.epochs_path, _EPOCHS, order, arrived=rows, **frames)
    arrived.unlink()
    return n_events


def extend_timeline(log: EventLog, settings: Settings, after_seq: int, until_seq: int) -> datetime | None:
    """Put the log's events with `after_seq` < seq <= `until_seq` in their places in a timeline that ends at `after_seq`.

    Only for events that regroup nobody and that no state is of, such as decisions: epochs are not written. Returns the
    latest of their moments, None where they were erased meanwhile. Doing it again after it was broken off changes nothing.
    """
    names = log.identity().history().names
    batches = [timeline_rows(rename_customers(batch, names)) for batch in log.read(after_seq=after_seq)]
    added = pa.concat_tables([TIMELINE_SCHEMA.empty_table(), *batches])
    added = added.filter(pc.less_equal(added[Columns.SEQ], until_seq))
    path = settings.timeline_path
    query = f"SELECT * FROM {scan(path)} WHERE seq <= {after_seq} UNION ALL BY NAME SELECT * FROM added"
    _write_sorted(path, query, ORDER, added=added)
    newest: datetime | None = pc.max(added[Columns.OCCURRED_AT]).as_py()
    return newest


_IS_WRITTEN: Final = f"""
    (CASE WHEN NOT e.regrouped OR epoch_us({{row}}.occurred_at) > e.from_us THEN {WRITTEN}
          WHEN epoch_us({{row}}.occurred_at) = e.from_us THEN {REWRITTEN} ELSE {UNWRITTEN} END)::TINYINT AS written
"""
_EPOCHS: Final = f"""
    SELECT e.customer_id, e.epoch, a.* EXCLUDE (customer_id, customer_key), {_IS_WRITTEN.format(row="a")}
    FROM arrived a JOIN epochs e USING (customer_key) WHERE epoch_us(a.occurred_at) < e.until_us
    UNION ALL BY NAME
    SELECT e.* EXCLUDE (regrouped, from_us), {_IS_WRITTEN.format(row="e")} FROM others e
    UNION ALL BY NAME
    SELECT DISTINCT customer_id, epoch, make_timestamptz(from_us) AS occurred_at, '' AS event_id, 0::BIGINT AS seq,
           '{EventKind.IDENTIFY}' AS kind, '{Channel.WEB}' AS channel, 0::BIGINT AS product_code,
           {REWRITTEN}::TINYINT AS written
    FROM epochs WHERE regrouped
"""
"""The events of every epoch, and one that tells nothing at its beginning: what took somebody's past may not be theirs."""


def _epochs_of_others(history: History) -> pa.Table:
    """What counts in epochs though it is others', in the timeline's columns and those that tell the epoch."""
    events = epoch_rows(history)
    rows = timeline_rows(events)
    for name in (Columns.EPOCH, *SPAN):
        rows = rows.append_column(name, events[name])
    return rows


def timeline_rows(events: pa.Table) -> pa.Table:
    """Events as the log gives them (with seq and resolved_customer_id), in the timeline's columns."""
    columns = {name: events[name] for name in TIMELINE_SCHEMA.names if name in events.column_names}
    columns[Columns.CUSTOMER_ID] = events[Columns.RESOLVED_CUSTOMER_ID]
    columns[Columns.PRODUCT_CODE] = pa.array(product_code(events[Columns.PRODUCT_ID].to_pylist()))
    columns[Columns.DETAIL] = pa.array(detail_column(events), from_pandas=True)
    columns[Columns.ORDER_CODE] = pa.array(order_column(events))
    columns[Columns.IDENTIFIED] = pa.array(identified_column(events))
    columns[Columns.PROFILE] = profile_column(events)
    return pa.table({name: columns[name] for name in TIMELINE_SCHEMA.names}, schema=TIMELINE_SCHEMA)


def read_timeline(settings: Settings, columns: list[str] | None = None) -> pa.Table:
    """The timeline, whole or some of its columns. Raises MissingError before the first build."""
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run: omni features build")
    return pq.read_table(settings.timeline_path, columns=columns)


def count_events(timeline: Path) -> int:
    """How many of the log's events a timeline file holds: what counts for others by a common address is no further one."""
    others = f"starts_with({Columns.EVENT_ID}, {sql_text(OTHERS_ID)}) AND ends_with({Columns.EVENT_ID}, ':' || {Columns.SEQ})"
    with connect("1GB") as connection:
        (row,) = connection.execute(f"SELECT count(*) FROM {scan(timeline)} WHERE NOT ({others})").fetchall()
    return int(row[0])


def count_customers(timeline: Path) -> int:
    """How many customers a timeline file is of, counted within a bounded memory."""
    with connect("1GB") as connection:
        (row,) = connection.execute(f"SELECT count(DISTINCT {Columns.CUSTOMER_ID}) FROM {scan(timeline)}").fetchall()
    return int(row[0])


def _write_sorted(
    target: Path, query: str, order: Sequence[str], **frames: "pd.DataFrame | pa.Table | pa.RecordBatchReader"
) -> None:
    """Sort a query's rows on disk with DuckDB, within a bounded memory; the target appears whole or not at all."""
    with (
        atomic.replacing(target) as part,
        connect("1GB", temp_directory=target.parent / "sort") as connection,
    ):
        for name, frame in frames.items():
            connection.register(name, frame)
        connection.execute(
            f"COPY ({query} ORDER BY {', '.join(order)}) TO {sql_text(part)} (FORMAT parquet, COMPRESSION zstd)"
        )
