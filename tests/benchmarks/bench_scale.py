"""What many customers and events need: rates and sizes measured on the log's events, multiplied out; prints a table.

omni ingest complete-journey && python tests/benchmarks/bench_scale.py --spark
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.build import fold_to_parquet
from features.clock import Clock
from features.log.engines import open_log
from features.offline.files import newest_rows
from features.offline.spark_fold import fold_with_spark
from features.offline.timeline import build_timeline
from features.online.feast_codec import encode_value
from features.online.reader import OnlineReader
from features.settings import Settings
from features.signals import compute_signals
from features.store.feature_store import Store, _beside
from features.views import CUSTOMER_VIEWS

ONLINE_CUSTOMERS = 500
"""Customers that are written to and read from the online store to measure it."""
FOLD_EVENTS = 600_000
HOUR_S, TB, GB, MINUTE_US = 3600, 1e12, 1e9, 60_000_000


@dataclass(frozen=True)
class Line:
    """One thing measured, and what it comes to."""

    step: str
    measured: str
    needs: str


def quiet(_: str) -> None:
    """Progress that nobody watches."""


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of this process and all it started, among them Spark's JVM and Python workers."""

    def used() -> float:
        me = psutil.Process()
        times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
        return float(sum(spent.user + spent.system for spent in times))

    before = used()
    run()
    return used() - before


def first_events(timeline: pa.Table, per_customer: int, *, spread: bool) -> pa.Table:
    """The first `per_customer` events of every customer; `spread` puts each at a moment of its own, a minute apart."""
    customers = timeline["customer_id"].combine_chunks().dictionary_encode()
    codes = (customers.combine_chunks() if isinstance(customers, pa.ChunkedArray) else customers).indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    position = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    kept = timeline.filter(pa.array(position < per_customer))
    if spread:
        moments = kept["occurred_at"].cast(pa.int64()).to_numpy() + position[position < per_customer] * MINUTE_US
        at = kept.column_names.index("occurred_at")
        kept = kept.set_column(at, "occurred_at", pa.array(moments).cast(pa.timestamp("us", tz="UTC")))
    return kept


def copies(timeline: pa.Table, n_events: int) -> pa.Table:
    """The timeline as often as makes about `n_events`, each time of other customers: fixed costs must not count."""
    at = timeline.column_names.index("customer_id")
    ids = timeline["customer_id"]
    times = max(1, round(n_events / timeline.num_rows))
    return pa.concat_tables(
        timeline.set_column(at, "customer_id", pc.binary_join_element_wise(str(number), ids, "#"))
        for number in range(times)
    )


def size(path: Path) -> int:
    """Bytes of a file or of the files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def measure_log(settings: Settings, scratch: Settings, events: float) -> list[Line]:
    """The event log and the timeline: what they take on disk, and how long sorting takes."""
    log = open_log(settings)
    n_events = log.count()
    cpu_s = cpu_seconds(lambda: build_timeline(log, scratch, quiet))
    log.close()
    lines = []
    if settings.event_log_url.startswith("sqlite:///"):
        per_event = Path(settings.event_log_url.removeprefix("sqlite:///")).stat().st_size / n_events
        lines.append(Line("event log", f"{per_event:.0f} bytes/event", f"{per_event * events / TB:.1f} TB"))
    per_event = size(scratch.timeline_path) / n_events
    lines.append(Line("timeline", f"{per_event:.0f} bytes/event", f"{per_event * events / TB:.2f} TB"))
    rate = n_events / cpu_s
    needs = f"{events / rate / HOUR_S:,.1f} core-hours"
    return [*lines, Line("read the log, sort the timeline (driver)", f"{rate:,.0f} events/s/core", needs)]


def measure_fold(scratch: Settings, timeline: pa.Table, events: float, words: str) -> list[Line]:
    """The fold with its files, embedded and on Spark, and what the rows take."""
    pq.write_table(timeline, scratch.timeline_path)
    fold_to_parquet(scratch, timeline.num_rows, quiet)  # compiles
    cpu_s = cpu_seconds(lambda: fold_to_parquet(scratch, timeline.num_rows, quiet))
    n_rows = pq.ParquetFile(scratch.customer_state_path).metadata.num_rows
    rate, rows_per_event = timeline.num_rows / cpu_s, n_rows / timeline.num_rows
    bytes_per_row = sum(size(view.path(scratch)) for view in CUSTOMER_VIEWS) / n_rows
    stored = events * rows_per_event * bytes_per_row
    return [
        Line(f"fold and write, {words}", f"{rate:,.0f} events/s/core", f"{events / rate / HOUR_S:,.1f} core-hours"),
        Line(
            f"offline store, {words}",
            f"{bytes_per_row:,.0f} bytes/state × {rows_per_event:.2f} states/event",
            f"{stored / TB:,.1f} TB",
        ),
    ]


def measure_spark(scratch: Settings, timeline: pa.Table, events: float) -> list[Line]:
    """The same fold on Spark, with the shuffle and the sort, JVM and Python workers together."""
    fold_with_spark(scratch, timeline.num_rows, quiet)  # starts Spark and its workers
    cpu_s = cpu_seconds(lambda: fold_with_spark(scratch, timeline.num_rows, quiet))
    rate = timeline.num_rows / cpu_s
    needs = f"{events / rate / HOUR_S:,.1f} core-hours"
    return [Line(f"sort, fold and write on Spark {scratch.spark_master}", f"{rate:,.0f} events/s/core", needs)]


def measure_online(scratch: Settings, customers: float) -> list[Line]:
    """The newest states: what they take online, how fast they are written, and how fast they are read."""
    newest = [newest_rows(view, view.path(scratch)) for view in CUSTOMER_VIEWS]
    states = newest[0].slice(0, ONLINE_CUSTOMERS)
    products, ids = _beside(states, newest[1]), states["customer_id"].to_pylist()
    now = Clock.from_settings(scratch).now()
    values = [
        len(encode_value(value, dtype))
        for view, table in zip(CUSTOMER_VIEWS, (states, products), strict=True)
        for name, dtype in view.fields
        for value in table[name].to_pylist()
    ]
    store = Store(scratch)
    store.apply()
    store.online.write_online(states, products)  # opens the store
    write_s = cpu_seconds(lambda: store.online.write_online(states, products)) / len(ids)
    reader = OnlineReader(scratch)
    as_of = np.array([now.timestamp()])

    def read_all() -> None:
        for customer in ids:
            found = reader.read_state(customer)
            assert found is not None
            compute_signals(found.state, as_of)

    read_all()
    rate = len(ids) / cpu_seconds(read_all)
    reader.close()
    per_customer = sum(values) / len(ids)
    needs = f"{customers * per_customer / GB:,.0f} GB"
    return [
        Line("online store", f"{per_customer:,.0f} bytes/customer, values alone", needs),
        Line(
            "write every newest state online",
            f"{1 / write_s:,.0f} customers/s/core",
            f"{customers * write_s / HOUR_S:,.1f} core-hours",
        ),
        Line("read a state and compute its signals", f"{rate:,.0f} customers/s/core", "one core per that many"),
    ]


def main() -> None:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=float, default=50e6)
    parser.add_argument("--events", type=float, default=10e9)
    parser.add_argument("--spark", action="store_true", help="measure the fold on Spark too (OMNI_SPARK_MASTER)")
    wanted = parser.parse_args()
    settings = Settings.from_env(os.environ)
    per_customer = round(wanted.events / wanted.customers)
    with tempfile.TemporaryDirectory() as folder:
        scratch = replace(settings, home=Path(folder), online_store="sqlite", offline_store="duckdb")
        log_lines = measure_log(settings, scratch, wanted.events)
        timeline = pq.read_table(scratch.timeline_path)
        scratch = replace(scratch, clock_start=pc.max(timeline["occurred_at"]).as_py())  # nothing is too old to be read
        few = first_events(timeline, per_customer, spread=False)
        together = copies(few, FOLD_EVENTS)
        n_customers = len(few["customer_id"].unique())
        print(f"{wanted.customers:,.0f} customers with {per_customer} events each, {wanted.events:,.0f} events in all;")
        print(
            f"the log and the timeline measured on {timeline.num_rows:,} events, the rest on the first {per_customer}"
        )
        print(f"events of {n_customers:,} customers, repeated under other names to {together.num_rows:,} events")
        print("\n| step | measured | needs |\n|---|---|---|")
        show(log_lines)
        show(measure_fold(scratch, together, wanted.events, "as they come"))
        show(measure_online(scratch, wanted.customers))
        if wanted.spark:
            show(measure_spark(scratch, together, wanted.events))
        apart = copies(first_events(timeline, per_customer, spread=True), FOLD_EVENTS)
        show(measure_fold(scratch, apart, wanted.events, "no two at one moment"))


def show(lines: list[Line]) -> None:
    """Print rows of the table."""
    for line in lines:
        print(f"| {line.step} | {line.measured} | {line.needs} |", flush=True)


if __name__ == "__main__":
    main()
