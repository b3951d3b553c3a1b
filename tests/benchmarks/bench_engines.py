"""Speed of the engines: the hot read on SQLite and Redis against Feast's own, the log on SQLite and PostgreSQL.

    python tests/benchmarks/bench_engines.py [--customers 200] [--events 100000]

Real servers are started from their wheels on free ports of this machine, and ended.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from local_servers import postgres_server, redis_server  # noqa: E402

from features.events.schema import EVENT_SCHEMA  # noqa: E402
from features.log.engines import open_log  # noqa: E402
from features.online.reader import OnlineReader  # noqa: E402
from features.settings import Settings  # noqa: E402
from features.state.encoding import encode  # noqa: E402
from features.state.fold import fold_customer  # noqa: E402
from features.store.feature_store import Store  # noqa: E402
from features.views import CUSTOMER_STATE  # noqa: E402

EVENTS_PER_CUSTOMER = 300


def events(n: int, customers: int, prefix: str = "e") -> pa.Table:
    """Random events of the last weeks, a third of them purchases."""
    rng = np.random.default_rng(7)
    now = int(datetime.now(UTC).timestamp() * 1e6)
    at = np.sort(now - rng.integers(0, 60 * 86_400 * 1_000_000, n))
    kinds = rng.choice(["purchase", "view", "add_to_cart", "open", "visit"], n)
    columns = {
        "event_id": [f"{prefix}{number}" for number in range(n)],
        "occurred_at": pa.array(at, pa.timestamp("us", "UTC")),
        "kind": kinds,
        "channel": rng.choice(["web", "store", "email"], n),
        "customer_id": [f"c{number}" for number in rng.integers(0, customers, n)],
        "product_id": [f"p{number}" for number in rng.integers(0, 400, n)],
        "quantity": np.ones(n),
        "value": rng.integers(1, 90, n).astype(float),
    }
    return pa.table({f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in EVENT_SCHEMA}, EVENT_SCHEMA)


def percentiles(call: Callable[[str], object], customers: list[str], rounds: int) -> str:
    """Milliseconds per call, p50 and p99, after one round for warming up."""
    taken = []
    for round_number in range(rounds + 1):
        for customer in customers:
            started = time.perf_counter()
            call(customer)
            if round_number:
                taken.append(time.perf_counter() - started)
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3
    return f"p50 {p50:.3f} ms, p99 {p99:.3f} ms"


def bench_reads(home: Path, engine: dict[str, str], customers: list[str]) -> None:
    """Full states of `EVENTS_PER_CUSTOMER` events each, read one by one."""
    settings = Settings.from_env({"OMNI_HOME": str(home), **engine})
    name = settings.online_store
    with closing(open_log(Settings.from_env({"OMNI_HOME": str(home)}))) as log:
        states = [fold_customer(log.customer_events(customer)) for customer in customers]
    store = Store(settings)
    store.apply()
    for customer, state in zip(customers, states, strict=True):
        store.online.write_online(*encode(state, [customer]))
    reader = OnlineReader(settings)
    print(f"{name:6}  read_state            {percentiles(reader.read_state, customers, 10)}")
    print(
        f"{name:6}  read_state, no lists  {percentiles(lambda c: reader.read_state(c, products=False), customers, 10)}"
    )
    feasts = percentiles(lambda c: store.online_features([c], CUSTOMER_STATE), customers, 1)
    print(f"{name:6}  get_online_features, one view  {feasts}")
    rows = [encode(state, [customer]) for customer, state in zip(customers, states, strict=True)]
    numbers = {customer: number for number, customer in enumerate(customers)}
    print(
        f"{name:6}  write, both views     {percentiles(lambda c: store.online.write_online(*rows[numbers[c]]), customers, 1)}"
    )


def bench_log(url: str, n: int, customers: list[str]) -> None:
    """Bulk load, appends of 100, a whole read, and one customer's events."""
    settings = Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url})
    name = settings.event_log_place.partition(":")[0]
    with closing(open_log(settings)) as log:
        started = time.perf_counter()
        log.append(events(n, len(customers)))
        loaded = time.perf_counter()
        small = events(5_000, len(customers), "small")
        for start in range(0, small.num_rows, 100):
            log.append(small.slice(start, 100))
        appended = time.perf_counter()
        read = sum(batch.num_rows for batch in log.read())
        done = time.perf_counter()
        print(
            f"{name:10}  bulk load {n / (loaded - started):,.0f}/s, in batches of 100"
            f" {small.num_rows / (appended - loaded):,.0f}/s, read {read / (done - appended):,.0f}/s"
        )
        last = log.last_seq()
        print(
            f"{name:10}  customer_events, none new  {percentiles(lambda c: log.customer_events(c, last), customers, 3)}"
        )


def main() -> None:
    """Run everything and print a line per figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--events", type=int, default=100_000)
    arguments = parser.parse_args()
    customers = [f"c{number}" for number in range(arguments.customers)]
    with tempfile.TemporaryDirectory() as folder, redis_server() as redis, postgres_server() as postgres:
        home = Path(folder)
        bench_log(f"sqlite:///{home / 'bench.db'}", arguments.events, customers)
        bench_log(postgres, arguments.events, customers)
        with closing(open_log(Settings.from_env({"OMNI_HOME": str(home / "home")}))) as log:
            log.append(events(EVENTS_PER_CUSTOMER * len(customers), len(customers)))
        bench_reads(home / "home", {}, customers)
        bench_reads(home / "home", {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": redis}, customers)


if __name__ == "__main__":
    main()
