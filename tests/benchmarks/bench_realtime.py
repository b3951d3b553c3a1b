"""How soon an acknowledged event counts, and how many events a second a running service keeps while it is read from.

Makes a small world of its own in a temporary folder: python tests/benchmarks/bench_realtime.py
"""

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from features.build import build_features
from features.events import EVENT_SCHEMA
from features.live import LiveStates
from features.log import open_log
from features.online import OnlineReader
from features.settings import Settings
from serving.supervisor import start_service

CUSTOMERS = 500
HISTORY = 20_000
RATE = 200
RATE_S = 10
BATCHES, BATCH_EVENTS, SENDERS = 200, 100, 4
START_S = 1_704_067_200
"""2024-01-01, in seconds since the epoch."""


def make_events(n: int, prefix: str, seed: int, at_s: float) -> list[dict[str, Any]]:
    """Purchases and views of random customers; `at_s` is the first moment, and each is a second after the other."""
    rng = np.random.default_rng(seed)
    return [
        {
            "event_id": f"{prefix}{i}",
            "occurred_at": np.datetime64(int((at_s + i * 0.01) * 1e6), "us").item().isoformat() + "+00:00",
            "kind": ("view", "purchase")[i % 2],
            "channel": ("web", "store")[i % 2],
            "customer_id": f"c{rng.integers(CUSTOMERS)}",
            "product_id": f"p{rng.integers(1000)}",
            "value": 2.5,
        }
        for i in range(n)
    ]


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """The service over a store of HISTORY events; yields its address."""
    log = open_log(settings)
    rows = make_events(HISTORY, "h", 1, START_S)
    columns = {name: [row.get(name) for row in rows] for name in EVENT_SCHEMA.names}
    columns["occurred_at"] = pa.array(np.array([row["occurred_at"][:-6] for row in rows], "datetime64[us]")).cast(
        EVENT_SCHEMA.field("occurred_at").type
    )
    log.append(pa.table(columns, schema=EVENT_SCHEMA))
    log.close()
    build_features(settings, lambda _: None)
    service = start_service(settings, port=0, log_file=settings.home / "service.log")
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                if httpx.get(f"{service.url}/v1/customers/c1", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "the service did not come up"
            time.sleep(0.2)
        yield service.url
    finally:
        service.stop()


async def visibility(url: str, settings: Settings) -> dict[str, Any]:
    """Post single events at RATE a second; after each acknowledgement ask another process's state for that event."""
    log = open_log(settings)
    reader = OnlineReader(settings)
    live = LiveStates(reader, log)
    events = make_events(RATE * RATE_S, "v", 2, START_S + 86_400)
    acknowledged: dict[str, tuple[float, int]] = {}
    in_answer_ms, in_store_ms, ack_ms = [], [], []
    stop = threading.Event()

    def watch_store() -> None:
        mine = OnlineReader(settings)
        while not stop.is_set() or acknowledged:
            waiting = list(acknowledged)[:50]
            seqs = mine.last_seqs(waiting)
            now = time.perf_counter()
            for customer in waiting:
                at, seq = acknowledged[customer]
                if seqs.get(customer, 0) >= seq:
                    in_store_ms.append((now - at) * 1000)
                    del acknowledged[customer]
            time.sleep(0.002)

    watcher = threading.Thread(target=watch_store)
    watcher.start()
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as http:
        started = time.perf_counter()

        async def one(i: int) -> None:
            await asyncio.sleep(max(0.0, started + i / RATE - time.perf_counter()))
            sent = time.perf_counter()
            answer = await http.post("/v1/events", json=events[i])
            done = time.perf_counter()
            assert answer.status_code == 200, answer.text
            ack_ms.append((done - sent) * 1000)
            customer, seq = events[i]["customer_id"], answer.json()["last_seq"]
            state = live.get(customer)
            assert state is not None and state.state.last_seq[0] > HISTORY
            in_answer_ms.append((time.perf_counter() - done) * 1000)
            acknowledged.setdefault(customer, (done, seq))

        await asyncio.gather(*(one(i) for i in range(len(events))))
        took = time.perf_counter() - started
    stop.set()
    await asyncio.to_thread(watcher.join)
    log.close()
    return {
        "events_per_s": round(len(events) / took),
        "acknowledged_ms": percentiles(ack_ms),
        "in_the_next_answer_ms": percentiles(in_answer_ms),
        "in_the_online_store_ms": percentiles(in_store_ms),
    }


async def intake(url: str) -> dict[str, Any]:
    """Post BATCHES batches from SENDERS senders while a customer page is read all the time."""
    events = make_events(BATCHES * BATCH_EVENTS, "b", 3, START_S + 2 * 86_400)
    queue = [events[i : i + BATCH_EVENTS] for i in range(0, len(events), BATCH_EVENTS)]
    read_ms: list[float] = []
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def read() -> None:
            while not stop.is_set():
                started = time.perf_counter()
                await http.get(f"/v1/customers/c{len(read_ms) % CUSTOMERS}")
                read_ms.append((time.perf_counter() - started) * 1000)

        async def send() -> None:
            while queue:
                answer = await http.post("/v1/events", json={"events": queue.pop()})
                assert answer.status_code == 200 and answer.json()["accepted"] == BATCH_EVENTS, answer.text

        reader = asyncio.create_task(read())
        started = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(SENDERS)))
        took = time.perf_counter() - started
        stop.set()
        await reader
    return {
        "events_per_s": round(len(events) / took),
        "reads_per_s": round(len(read_ms) / took),
        "read_ms": percentiles(read_ms),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, to 0.01."""
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 99)}


def main() -> None:
    """Print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        settings = Settings.from_env({"OMNI_HOME": str(home)})
        with running(settings) as url:
            report = {
                "cores": os.cpu_count(),
                f"one_event_at_a_time_{RATE}_per_s": asyncio.run(visibility(url, settings)),
                f"batches_of_{BATCH_EVENTS}": asyncio.run(intake(url)),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
