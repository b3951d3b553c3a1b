"""The event log in SQLite under load: single events from several threads with readers beside; rate, latency, write-ahead log.

python tests/benchmarks/bench_log.py [--seconds 20] [--writers 8]
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from features.events.rows import EventRow
from features.log.group_commit import GroupCommitter
from features.log.sqlite import SqliteEventLog

CUSTOMERS, READERS, MIB = 50_000, 2, 2**20


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--writers", type=int, default=8)
    wanted = parser.parse_args()
    now_us = time.time_ns() // 1_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        wal = path.with_name("events.db-wal")
        log = SqliteEventLog(path)
        committer = GroupCommitter(log)
        committer.submit([EventRow("first", now_us, "view", "web", "c")]).result()  # what is compiled is loaded once
        ends = time.monotonic() + wanted.seconds
        latencies: list[list[float]] = [[] for _ in range(wanted.writers)]
        sizes = [0]

        def write(number: int) -> None:
            rng = np.random.default_rng(number)
            while time.monotonic() < ends:
                event_id, customer = f"{number}-{len(latencies[number])}", f"c{rng.integers(CUSTOMERS)}"
                event = EventRow(event_id, now_us, "view", "web", customer, product_id="p")
                began = time.perf_counter()
                committer.submit([event]).result()
                latencies[number].append(time.perf_counter() - began)

        def read(number: int) -> None:
            rng = np.random.default_rng(1_000 + number)
            while time.monotonic() < ends:
                log.customer_events(f"c{rng.integers(CUSTOMERS)}")
                time.sleep(0.002)

        def watch() -> None:
            while time.monotonic() < ends:
                sizes.append(wal.stat().st_size)
                time.sleep(0.02)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(wanted.writers)]
        threads += [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
        threads.append(threading.Thread(target=watch))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1.0)
        took_ms = np.concatenate([np.array(one) for one in latencies]) * 1e3
        p50, p99 = np.percentile(took_ms, [50, 99])
        print("| appends/s | p50 ms | p99 ms | largest ms | WAL at most, MiB | WAL a second later, MiB |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {len(took_ms) / wanted.seconds:,.0f} | {p50:.1f} | {p99:.1f} | {took_ms.max():.0f} |"
            f" {max(sizes) / MIB:.1f} | {wal.stat().st_size / MIB:.1f} |"
        )
        committer.close()
        log.close()


if __name__ == "__main__":
    main()
