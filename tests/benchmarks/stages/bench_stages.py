"""Where one answer's CPU goes: every stage of every question, asked of the app in this process, without a network.

    OMNI_HOME=a-copy-of-a-home python tests/benchmarks/stages/bench_stages.py    # needs trained champions; decisions are logged

Microseconds of CPU per answer. `door` is what is left of the thread that answers when the stages are taken off: reading the
body, the question's shape, guards, counters, the response. `others` are the other threads of the worker, the committer of the
log above all; `turn` and `append` are what the answering thread itself does before and after it waits.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import replace
from typing import Any

import uvloop
from starlette.types import Message, Scope

from features.settings import Settings
from serving import api
from serving.door import Door
from serving.runtime import Runtime, open_runtime
from serving.showcase import replay_start
from serving.timing.stages import STAGES, Laps, StageTimer

ANSWERS = 300
WARM_UP = 50
PATHS: dict[str, dict[str, Any]] = {
    "/v1/decide": {},
    "/v1/decide without reasons": {"explain": False},
    "/v1/decide only looked at": {"log": False},
    "/v1/next-products": {},
    "/v1/churn": {},
    "/v1/best-channel": {},
}


def scope_of(path: str, body: bytes) -> Scope:
    """A request as uvicorn hands it on."""
    headers = [(b"host", b"localhost:3000"), (b"content-type", b"application/json")]
    return {
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
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
    }


async def ask(app: Door, path: str, body: bytes) -> int:
    """The status of one answer."""
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope_of(path, body), receive, send)
    return status


async def measure(app: Door, runtime: Runtime, path: str, bodies: list[bytes]) -> dict[str, float]:
    """Microseconds of CPU by stage, the mean of all answers."""
    taken: list[Laps] = []

    def note(timer: StageTimer) -> None:
        assert isinstance(timer, Laps)
        taken.append(timer)

    runtime.metrics.note_stages = note  # type: ignore[method-assign]
    for body in bodies[:WARM_UP]:
        assert await ask(app, path, body) == 200
    taken.clear()
    own, everybody = time.thread_time(), time.process_time()
    for body in bodies:
        await ask(app, path, body)
    own, everybody = time.thread_time() - own, time.process_time() - everybody
    table = dict.fromkeys(STAGES, 0.0)
    for laps in taken:
        for stage, _, cpu_s in laps.taken:
            table[stage] += cpu_s
    table |= {"door": own - sum(table.values()), "others": everybody - own, "all": everybody}
    return {stage: round(cpu_s / len(taken) * 1e6, 1) for stage, cpu_s in table.items()}


async def main(settings: Settings, customers: list[str]) -> dict[str, dict[str, float]]:
    """The table: one row per kind of question."""
    app = api.create_app(lambda: open_runtime(settings))
    async with app.router.lifespan_context(app):
        runtime: Runtime = app.state.runtime
        while reasons := runtime.not_ready():
            print(f"waiting: {reasons[0]}", flush=True)
            await asyncio.sleep(2)
        runtime.metrics.every = 1
        table = {}
        for name, fields in PATHS.items():
            bodies = [
                json.dumps({"customer_id": customers[i % len(customers)], **fields}).encode() for i in range(ANSWERS)
            ]
            table[name] = await measure(app, runtime, name.partition(" ")[0], bodies)
        return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", default=",".join(map(str, range(1, 101))), help="Whom to ask about.")
    given = parser.parse_args()
    home = Settings.from_env(os.environ)
    found = uvloop.run(main(replace(home, clock_start=replay_start(home)), given.customers.split(",")))
    columns = [*STAGES, "door", "others", "all"]
    print(f"{'':<28}" + "".join(f"{column:>10}" for column in columns))
    for name, row in found.items():
        print(f"{name:<28}" + "".join(f"{row[column]:>10.0f}" for column in columns))
