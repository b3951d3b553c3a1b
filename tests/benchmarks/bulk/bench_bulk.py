"""Everybody at once: `omni decide --all` and the batch calls, beside single calls, in one run.

    OMNI_HOME=a-copy-of-a-home python tests/benchmarks/bulk/bench_bulk.py    # needs trained champions; decisions are logged

Customers per second of the wall and of CPU (the whole process), the best of the rounds. Calls are asked of the app in this
process, without a network; single calls one after the other, batch calls with 1,000 customers each.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import uvloop
from starlette.types import Message, Scope

from features.settings import Settings
from serving.api import create_app
from serving.campaigns.bulk import decide_all
from serving.campaigns.customers import customer_ids
from serving.door import Door
from serving.runtime import open_runtime
from serving.schemas.batches import MAX_CUSTOMERS
from serving.showcase import replay_start

ROUNDS = 5
SINGLE_CALLS = 300
QUESTIONS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "churn": ("/v1/churn", {}, "/v1/predict:batch", {"task": "churn"}),
    "best-channel": ("/v1/best-channel", {}, "/v1/predict:batch", {"task": "best-channel"}),
    "next-products": ("/v1/next-products", {"explain": False}, "/v1/next-products:batch", {}),
    "next-products explained": ("/v1/next-products", {}, "/v1/next-products:batch", {"explain": True}),
}


async def ask(app: Door, path: str, question: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question."""
    body, answer = json.dumps(question).encode(), b""
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 3000),
        "client": ("127.0.0.1", 50_000),
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal answer
        answer += message.get("body", b"")
        assert message.get("status", 200) == 200, message

    await app(scope, receive, send)
    found: dict[str, Any] = json.loads(answer)
    return found


async def rate(n: int, work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Customers per second, of `n` that one round of work is about."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        began, spent = time.perf_counter(), time.process_time()
        await work()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    return {"per_second": round(n / min(wall)), "per_second_of_cpu": round(n / min(cpu))}


async def calls(settings: Settings, names: list[str]) -> dict[str, Any]:
    """Every question, single and in batches."""
    app, report = create_app(lambda: open_runtime(settings)), {}
    async with app.router.lifespan_context(app):
        await asyncio.to_thread(app.state.runtime.looked.wait)
        for label, (path, single, batch_path, question) in QUESTIONS.items():
            many = {**question, "customers": (names * MAX_CUSTOMERS)[:MAX_CUSTOMERS]}
            few = names[:SINGLE_CALLS]

            async def one_by_one() -> None:
                for name in few:  # noqa: B023
                    await ask(app, path, {**single, "customer_id": name})  # noqa: B023

            async def at_once() -> None:
                found = await ask(app, batch_path, many)  # noqa: B023
                assert found["answered"] + found["failed"] == MAX_CUSTOMERS

            of_single, of_batch = await rate(len(few), one_by_one), await rate(MAX_CUSTOMERS, at_once)
            times = of_batch["per_second"] / of_single["per_second"]
            report[label] = {"single": of_single, "batch": of_batch, "times": round(times, 1)}
    return report


def decisions(settings: Settings, n: int) -> dict[str, Any]:
    """`omni decide --all`, its models' loading included, without and with the event log."""
    report = {}
    for label, keep in (("--no-log", False), ("logged", True)):
        best: dict[str, float] = {}
        for number in range(ROUNDS):  # each at another stretch of time, so that its decisions are other ones
            later = replace(settings, clock_start=_later(settings, number + ROUNDS * keep))
            with TemporaryDirectory() as folder:
                spent, began = time.process_time(), [0.0, 0.0]

                def progress(text: str) -> None:
                    if text.startswith("reading") and not began[1]:  # noqa: B023
                        began[:] = time.perf_counter(), time.process_time()  # noqa: B023

                decide_all(later, Path(folder) / "d.parquet", keep=keep, progress=progress)
                now = time.perf_counter(), time.process_time()
            found = {
                "per_second": n / (now[0] - began[0]),
                "per_second_of_cpu": n / (now[1] - began[1]),
                "with_loading_per_second_of_cpu": n / (now[1] - spent),
            }
            best = {name: max(value, best.get(name, 0.0)) for name, value in found.items()}
        report[label] = {name: round(value) for name, value in best.items()}
    return report


def _later(settings: Settings, number: int) -> Any:
    from datetime import timedelta

    start = settings.clock_start or replay_start(settings)
    return start + timedelta(minutes=30 * (number + 1))


def main() -> None:
    """Print one JSON object."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = Settings.from_env(os.environ)
    settings = replace(settings, clock_start=settings.clock_start or replay_start(settings))
    names = customer_ids(settings)
    drawn = np.random.default_rng(3).permutation(names).tolist()
    report: dict[str, Any] = {"customers": len(names), "cores": os.cpu_count()}
    report["calls"] = uvloop.run(calls(settings, drawn))
    report["decide --all"] = decisions(settings, len(names))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
