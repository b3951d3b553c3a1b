"""How soon an acknowledged event counts, and how many events a second a running service keeps while it is read from.

    python tests/benchmarks/bench_realtime.py [--online sqlite|redis] [--log sqlite|postgresql]

Makes a small world of its own in a temporary folder; servers are started from their wheels and ended. `noop_ms` is a
request that does nothing, asked for at the same pace in the same run: the share of every figure that is the machine's.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from local_servers import postgres_server, redis_server  # noqa: E402
from over_http.client import Client, at_a_pace, percentiles  # noqa: E402

from features.build import build_features  # noqa: E402
from features.clock import Clock  # noqa: E402
from features.events.schema import parse_table  # noqa: E402
from features.log.engines import open_log  # noqa: E402
from features.online.checkpoint import Checkpoint  # noqa: E402
from features.online.live import LiveStates  # noqa: E402
from features.online.reader import OnlineReader  # noqa: E402
from features.settings import Settings  # noqa: E402
from serving.supervisor import Service, start_service  # noqa: E402

CUSTOMERS = 500
HISTORY = 20_000
RATE = 200
RATE_S = 10
NOOP_S = 3
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
def running(settings: Settings) -> Iterator[Service]:
    """The service over a store of HISTORY events, once service and stream are up."""
    log = open_log(settings)
    log.append(parse_table(make_events(HISTORY, "h", 1, START_S), Clock.from_settings(settings).now())[0])
    build_features(settings, lambda _: None)
    service = start_service(settings, port=0, log_file=settings.home / "service.log")
    try:
        _wait_until(lambda: _answers(f"{service.url}/v1/customers/c1"))
        event = make_events(1, "first", 1, START_S + 86_000)[0]
        assert httpx.post(f"{service.url}/v1/events", json=event, timeout=30).status_code == 200
        _wait_until(lambda: Checkpoint(settings).read() == log.last_seq())
        yield service
    finally:
        service.stop()
        log.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _wait_until(condition: Callable[[], bool], timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the service did not come up"
        time.sleep(0.2)


class CpuMeter:
    """Processor time of the service and of the stream since it was made, which hardly depends on who else is busy."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._before = self._now_s()

    def ms_per_event(self, n: int) -> dict[str, float]:
        return {name: round((s - self._before[name]) * 1000 / n, 2) for name, s in self._now_s().items()}

    def _now_s(self) -> dict[str, float]:
        server, applier = (psutil.Process(child.pid) for child in (self._service.server, self._service.applier))
        workers = [server, *server.children(recursive=True)]
        return {"service": sum(sum(one.cpu_times()[:2]) for one in workers), "stream": sum(applier.cpu_times()[:2])}


async def noop(service: Service) -> dict[str, float]:
    """A request that does nothing, at RATE a second."""
    taken_ms = []
    async with Client(service.url) as http:

        async def one(_: int) -> None:
            sent = time.perf_counter()
            await http.ask("GET", "/livez")
            taken_ms.append((time.perf_counter() - sent) * 1000)

        await at_a_pace(RATE * NOOP_S, RATE, one)
    return percentiles(taken_ms)


async def visibility(service: Service, settings: Settings) -> dict[str, Any]:
    """Post single events at RATE a second; after each acknowledgement ask another process's state for that event."""
    log = open_log(settings)
    live = LiveStates(OnlineReader(settings), log)
    events = make_events(RATE * RATE_S, "v", 2, START_S + 86_400)
    acknowledged: dict[str, tuple[float, int]] = {}
    in_answer_ms, in_store_ms, ack_ms = [], [], []
    stop = threading.Event()

    def watch_store() -> None:
        reader = OnlineReader(settings)
        while not stop.is_set() or acknowledged:
            waiting = list(acknowledged)[:50]
            rows = reader.folded(waiting)
            now = time.perf_counter()
            for customer in waiting:
                at, seq = acknowledged[customer]
                if customer in rows and rows[customer].last_seq >= seq:
                    in_store_ms.append((now - at) * 1000)
                    del acknowledged[customer]
            time.sleep(0.004)

    watcher = threading.Thread(target=watch_store)
    watcher.start()
    meter = CpuMeter(service)
    async with Client(service.url) as http:

        async def one(i: int) -> None:
            sent = time.perf_counter()
            answer = await http.ask("POST", "/v1/events", events[i])
            done = time.perf_counter()
            ack_ms.append((done - sent) * 1000)
            customer, seq = events[i]["customer_id"], answer["last_seq"]
            state = live.get(customer)
            assert state is not None and state.state.last_seq[0] > HISTORY
            in_answer_ms.append((time.perf_counter() - done) * 1000)
            acknowledged.setdefault(customer, (done, seq))

        took = await at_a_pace(len(events), RATE, one)
    stop.set()
    await asyncio.to_thread(watcher.join)
    log.close()
    return {
        "events_per_s": round(len(events) / took),
        "acknowledged_ms": percentiles(ack_ms),
        "in_the_next_answer_ms": percentiles(in_answer_ms),
        "in_the_online_store_ms": percentiles(in_store_ms),
        "processor_ms_per_event": meter.ms_per_event(len(events)),
    }


async def intake(service: Service) -> dict[str, Any]:
    """Post BATCHES batches from SENDERS senders while a customer page is read all the time."""
    events = make_events(BATCHES * BATCH_EVENTS, "b", 3, START_S + 2 * 86_400)
    queue = [events[i : i + BATCH_EVENTS] for i in range(0, len(events), BATCH_EVENTS)]
    read_ms: list[float] = []
    stop = asyncio.Event()
    meter = CpuMeter(service)
    async with Client(service.url) as http:

        async def read() -> None:
            while not stop.is_set():
                started = time.perf_counter()
                await http.ask("GET", f"/v1/customers/c{len(read_ms) % CUSTOMERS}")
                read_ms.append((time.perf_counter() - started) * 1000)

        async def send() -> None:
            while queue:
                answer = await http.ask("POST", "/v1/events", {"events": queue.pop()})
                assert answer["accepted"] == BATCH_EVENTS, answer

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
        "processor_ms_per_event": meter.ms_per_event(len(events)),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--online", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--log", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        home = Path(folder) / "home"
        engines = {"OMNI_HOME": str(home), "OMNI_ONLINE_STORE": arguments.online}
        if arguments.online == "redis":
            engines["OMNI_REDIS"] = servers.enter_context(redis_server())
        if arguments.log == "postgresql":
            engines["OMNI_EVENT_LOG"] = servers.enter_context(postgres_server())
        settings = Settings.from_env(engines)
        with running(settings) as service:
            report = {
                "cores": os.cpu_count(),
                "log": arguments.log,
                "online": arguments.online,
                "noop_ms": asyncio.run(noop(service)),
                f"one_event_at_a_time_{RATE}_per_s": asyncio.run(visibility(service, settings)),
                f"batches_of_{BATCH_EVENTS}": asyncio.run(intake(service)),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
