"""Load on a build that runs: what is asked, of whom and how hard comes in, rates, waits and processor time come out."""

import asyncio
import itertools
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from over_http.builds import Running
from over_http.client import Client, at_a_pace, percentiles
from over_http.processes import cpu_s, settle

SCRIPT = Path(__file__).with_name("load.lua")
BATCH = 100
EVENTS_PER_S = 200
READS_PER_S = 20
"""Customer pages that are read while batches of events come in."""


@dataclass(frozen=True)
class World:
    """Whom and what the questions are about: files with a name on each line. What is sent happens now:

    events of one moment, or of before what is known already, have customers folded anew, which is not the usual case.
    """

    customers: Path
    products: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def tag(self) -> str:
        """A name that no event had before."""
        return f"bench-{time.time_ns()}-{next(self._numbers)}"


@dataclass(frozen=True)
class Sample:
    """What one run of load came to."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Processor time of all processes of the service, per request (events: per event)."""
    refused: int = 0
    """Answers that were not 2xx or 3xx, and connections that broke."""


def has_wrk() -> bool:
    """Whether the load generator is wrk; else it is the client in `client.py`, which costs the machine more."""
    return shutil.which("wrk") is not None


def warm_up(running: Running, name: str, world: World) -> None:
    """A second of what is asked next, of every worker, that no figure counts: what is done for the first time is done then."""
    _load(running, f"/v1/{name}", "decide" if name == "decide" else "ask", world, 8, 1.0)


def questions(running: Running, name: str, world: World, connections: int, seconds: float) -> Sample:
    """One question about customers in turn, over so many connections, one request at a time on each."""
    kind = "decide" if name == "decide" else "ask"
    before = _start(running)
    found = _load(running, f"/v1/{name}", kind, world, connections, seconds)
    return _sample(running, before, found, 1)


def batches(running: Running, world: World, connections: int, seconds: float) -> Sample:
    """Batches of BATCH events while customer pages are read."""
    before = _start(running)
    found = asyncio.run(_with_readers(running, world, connections, seconds))
    return _sample(running, before, found, BATCH)


def single_events(running: Running, world: World, seconds: float) -> Sample:
    """Single events at EVENTS_PER_S, whether or not those before were acknowledged."""
    tag, customers, products = world.tag(), *(file.read_text().split() for file in (world.customers, world.products))
    waits_ms: list[float] = []

    async def send() -> float:
        async with Client(running.url) as http:

            async def one(i: int) -> None:
                event = {
                    "event_id": f"{tag}-{i}",
                    **({"kind": "view", "channel": "web"} if i % 2 else {"kind": "purchase", "channel": "store"}),
                    "customer_id": customers[i % len(customers)],
                    "product_id": products[i % len(products)],
                }
                sent = time.perf_counter()
                answer = await http.ask("POST", "/v1/events", event)
                waits_ms.append((time.perf_counter() - sent) * 1000)
                assert answer["accepted"] == 1, answer

            return await at_a_pace(int(EVENTS_PER_S * seconds), EVENTS_PER_S, one)

    before = _start(running)
    took_s = asyncio.run(send())
    settle(running.process.pid)
    cost_ms = (cpu_s(running.process.pid) - before) * 1000 / len(waits_ms)
    waits = percentiles(waits_ms)
    return Sample(len(waits_ms) / took_s, waits["p50"], waits["p99"], cost_ms)


def _start(running: Running) -> float:
    settle(running.process.pid)
    return cpu_s(running.process.pid)


def _sample(running: Running, before: float, found: dict[str, Any], size: int) -> Sample:
    settle(running.process.pid)
    n = max(found["requests"] * size, 1)
    return Sample(
        per_s=found["requests"] * size / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        cpu_ms=(cpu_s(running.process.pid) - before) * 1000 / n,
        refused=found["refused"] + found["broken"],
    )


def _load(running: Running, path: str, kind: str, world: World, connections: int, seconds: float) -> dict[str, Any]:
    if not has_wrk():
        return asyncio.run(_own_load(running, path, kind, world, connections, seconds))
    said = subprocess.run(
        _wrk(running, path, kind, world, connections, seconds), check=True, capture_output=True, text=True
    ).stdout
    return _found(said)


def _wrk(running: Running, path: str, kind: str, world: World, connections: int, seconds: float) -> list[str]:
    given = [kind, str(world.customers), str(world.products), world.tag()]
    how = ["-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "--timeout", "30s"]
    return ["wrk", *how, "-s", str(SCRIPT), f"{running.url}{path}", "--", *given]


def _found(said: str) -> dict[str, Any]:
    line = next(line for line in said.splitlines() if line.startswith("JSON "))
    found: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    return found


async def _with_readers(running: Running, world: World, connections: int, seconds: float) -> dict[str, Any]:
    customers = world.customers.read_text().split()

    async def load() -> dict[str, Any]:
        if not has_wrk():
            return await _own_load(running, "/v1/events", "events", world, connections, seconds)
        command = _wrk(running, "/v1/events", "events", world, connections, seconds)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        return _found((await process.communicate())[0].decode())

    async with Client(running.url) as http:

        async def read(i: int) -> None:
            await http.ask("GET", f"/v1/customers/{customers[i % len(customers)]}")

        found, _ = await asyncio.gather(load(), at_a_pace(int(READS_PER_S * seconds), READS_PER_S, read))
    return found


async def _own_load(
    running: Running, path: str, kind: str, world: World, connections: int, seconds: float
) -> dict[str, Any]:
    """What `load.lua` does, by our own client."""
    tag, customers, products = world.tag(), *(file.read_text().split() for file in (world.customers, world.products))
    numbers, waits_ms = itertools.count(), []

    def body(n: int) -> dict[str, Any]:
        customer = customers[n % len(customers)]
        if kind != "events":
            return {"customer_id": customer, **({"exclude": [f"{tag}-{n}"]} if kind == "decide" else {})}
        rows = [
            {"event_id": f"{tag}-{n}-{i}", "kind": "view", "channel": "web"}
            | {"customer_id": customers[(n * BATCH + i) % len(customers)], "product_id": products[i % len(products)]}
            for i in range(BATCH)
        ]
        return {"events": rows}

    async with Client(running.url, connections) as http:
        until = time.perf_counter() + seconds

        async def ask() -> None:
            while (sent := time.perf_counter()) < until:
                await http.ask("POST", path, body(next(numbers)))
                waits_ms.append((time.perf_counter() - sent) * 1000)

        started = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(connections)))
        took_s = time.perf_counter() - started
    waits = percentiles(waits_ms)
    return {
        "requests": len(waits_ms),
        "seconds": took_s,
        "p50_ms": waits["p50"],
        "p99_ms": waits["p99"],
        "refused": 0,
        "broken": 0,
    }
