"""Uses a home in every way: what is to be done with which home comes in, what became of each question and command goes out.

`python probe.py` loads everything once, then reads JSON, a line for each thing to do, and answers each with a line: the
outcome, or how the process that did it died. Each has a process of its own, which may be killed on purpose. `Prober` is
that program, for a test.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
from chaos.harness import made_event
from chaos.whole_home import ERASED, PORT, new_rows

import omni
from features.checks.files import in_words
from features.errors import OmniError
from features.processes.running import RunFolder
from features.settings import MAX_TIMEOUT_MS, Settings
from serving import runtime as runtime_module
from serving import supervisor
from serving.api import create_app

AS_ANY_USER = ("setpriv", *(f"--{which}=-dac_override,-dac_read_search" for which in ("bounding-set", "inh-caps")))
"""For root, who may else read what is nobody's to read."""
CASE_S = 300.0
"""How long one case may take, on a busy machine too; a hang is what takes longer."""
ASKED = ("c0", "c1", "c2", "c3", "c4", ERASED, "nobody")
COMMANDS: dict[str, list[str]] = {
    "doctor": ["doctor"],
    "features check": ["features", "check"],
    "models": ["models"],
    "identity report": ["identity", "report"],
    "report": ["report", "--from", "FROM", "--to", "TO"],
    "ingest": ["ingest", "NEW"],
    "build": ["features", "build"],
    "audience": ["audience", "--where", "churn_probability >= 0", "--out", "OUT"],
    "backup": ["backup", "BACKUP"],
}
Answers = dict[str, tuple[int, Any]]


def questions() -> list[tuple[str, str, Any]]:
    """Everything that a shop asks, for a few customers."""
    asked: list[tuple[str, str, Any]] = []
    for name in ASKED:
        body = {"customer_id": name}
        asked += [("POST", f"/v1/{what}", body) for what in ("next-products", "churn", "best-channel")]
        asked += [("POST", "/v1/decide", body | {"log": False}), ("GET", f"/v1/customers/{name}", None)]
    return [*asked, ("GET", "/v1/models", None), ("GET", "/readyz", None)]


def serve(settings: Settings, events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a service on this home answers; of one that does not start, why."""
    folder = RunFolder(settings.home / "run" / PORT)
    try:
        folder.take()
        supervisor._prepare(settings, folder, int(PORT), 1)  # what a start does before it has processes
        answers = asyncio.run(_ask_all(settings, events))
    except Exception as error:
        known = error if isinstance(error, OmniError) else in_words(error, settings)
        if known is None:
            raise
        return {"start": str(known)}
    finally:
        folder.leave()
    return answers


async def _ask_all(settings: Settings, events: list[dict[str, Any]]) -> dict[str, Any]:
    looks = [0]
    look = runtime_module.Watcher.refresh

    def counted(watcher: Any) -> None:
        try:
            look(watcher)
        finally:
            looks[0] += 1

    runtime_module.Watcher.refresh = counted  # type: ignore[method-assign]
    runtime_module.Watcher.__init__.__defaults__ = (0.3,)  # type: ignore[misc]
    app = create_app(lambda: runtime_module.open_runtime(settings))
    answers: dict[str, Any] = {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
    ):
        while looks[0] < 2:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.2)  # the rules are looked at every second, and so is the store
        for method, path, body in questions():
            response = await http.request(method, path, json=body) if body else await http.get(path)
            answers[f"{path} {body['customer_id'] if body else ''}".strip()] = (response.status_code, response.json())
        if events:
            response = await http.post("/v1/events", json={"events": events})
            answers["/v1/events"] = (response.status_code, response.json())
    runtime_module.Watcher.refresh = look  # type: ignore[method-assign]
    return answers


def flood(home: Path, make_room: list[str]) -> dict[str, Any]:
    """Send events until there is no room for more, make room, and go on; what was acknowledged, and what was answered."""
    settings = Settings.from_env(os.environ)
    return asyncio.run(_flood(settings, make_room))


async def _flood(settings: Settings, make_room: list[str]) -> dict[str, Any]:
    app = create_app(lambda: runtime_module.open_runtime(settings))
    rng, kept, refusals = random.Random(5), [], []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
    ):
        for number in range(2000):
            batch = [made_event(f"flood-{number}-{n}", rng, 1) for n in range(50)]
            for _ in range(100):
                response = await http.post("/v1/events", json={"events": batch})
                if response.status_code == 200:
                    break
                refusals.append([response.status_code, response.json()["error"]["message"]])
                if len(refusals) == 3:
                    subprocess.run(make_room, check=True)
                await asyncio.sleep(0.2)
            else:
                break
            kept += [event["event_id"] for event in batch]
            if refusals and len(refusals) >= 3:
                break
    return {"kept": kept, "refusals": refusals}


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Exit code and everything said of a command; 1 and the traceback for a defect."""
    with tempfile.TemporaryFile() as said:
        kept = os.dup(1), os.dup(2)
        sys.stdout.flush(), sys.stderr.flush()
        os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
        try:
            try:
                omni.app(arguments)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:  # noqa: BLE001  (a defect: its traceback is what the test looks at)
                traceback.print_exc()
                code = 1
            sys.stdout.flush(), sys.stderr.flush()
        finally:
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)
            os.close(kept[0]), os.close(kept[1])
        said.seek(0)
        return code, said.read().decode(errors="replace")


def use(home: Path, scratch: Path) -> dict[str, Any]:
    """Ask a service on `home` everything, then run every command, then ask again."""
    events = [
        json.loads(line)
        for line in new_rows(scratch / "new.jsonl", os.environ["OMNI_CLOCK_START"]).read_text().splitlines()
    ]
    posted = [event | {"event_id": f"posted-{event['event_id']}"} for event in events]
    steps: dict[str, Any] = {"serve": _asked(home, posted)}
    today = datetime.fromisoformat(os.environ["OMNI_CLOCK_START"]).date()
    days = {"FROM": today - timedelta(days=1), "TO": today + timedelta(days=1)}
    places = days | {"NEW": scratch / "new.jsonl", "OUT": scratch / "out.csv", "BACKUP": scratch / "backup"}
    for name, command in COMMANDS.items():
        steps[name] = run_command([str(places.get(word, word)) for word in command])
    steps["out"] = (scratch / "out.csv").read_text().splitlines() if (scratch / "out.csv").exists() else None
    steps["serve again"] = _asked(home, posted)
    return steps


def _asked(home: Path, posted: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        # a busy machine answers late, and not otherwise
        settings = replace(Settings.from_env(os.environ), deadline_ms=MAX_TIMEOUT_MS)
    except OmniError as error:
        return {"start": str(error)}
    return serve(settings, posted)


def in_a_process(work: Callable[[], Any], scratch: Path, kill_after_s: float | None = None) -> dict[str, Any]:
    """What `work` answers, taken by a process of its own that may be killed; how it died where it did."""
    log, answer, ready = scratch / "log", scratch / "answer.json", scratch / "ready"
    for left in (answer, ready):
        left.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        _work(work, log, answer)
    started = time.monotonic()
    limit_s = CASE_S if kill_after_s is None else kill_after_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - started >= limit_s:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return {"died": f"it was killed after {limit_s:.3f} s", "log": _tail(log)}
        time.sleep(0.001)
    took_s = time.monotonic() - started
    if status:
        return {"died": f"status {os.waitstatus_to_exitcode(status)}", "log": _tail(log)}
    return {"answer": json.loads(answer.read_text()), "took_s": took_s, "log": _tail(log)}


def _work(work: Callable[[], Any], log: Path, answer: Path) -> NoReturn:
    code = 1
    try:
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1), os.dup2(out.fileno(), 2)
        answer.write_text(json.dumps(work()))
        code = 0
    except BaseException:  # noqa: BLE001  (this process must end here, and never go on as its parent)
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-20_000:] if log.exists() else ""


def _do(wanted: dict[str, Any]) -> dict[str, Any]:
    home, scratch = Path(wanted["home"]), Path(wanted["scratch"])
    os.environ |= {"OMNI_HOME": str(home), "OMNI_CLOCK_START": wanted["clock_start"]}
    if wanted["what"] == "run":
        return in_a_process(lambda: run_command(wanted["command"]), scratch, wanted.get("kill_after_s"))
    if wanted["what"] == "flood":
        return in_a_process(lambda: flood(home, wanted["make_room"]), scratch)
    return in_a_process(lambda: use(home, scratch) if wanted["what"] == "use" else _asked(home, []), scratch)


def main() -> None:
    """What is to be done from stdin, its outcomes to stdout."""
    for line in sys.stdin:
        print(json.dumps(_do(json.loads(line))), flush=True)  # noqa: T201  (the answer)


class Prober:
    """The program below in a process of its own; `close` ends it."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        paths = os.pathsep.join([str(root), str(root / "tests")])
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [*AS_ANY_USER, sys.executable, __file__] if os.geteuid() == 0 else [sys.executable, __file__]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, what: str, home: Path, scratch: Path, clock_start: str, **more: Any) -> dict[str, Any]:
        """`use` a home, `ask` a service on it, or `run` a command that may be killed."""
        assert self._process.stdin and self._process.stdout
        wanted = {"what": what, "home": str(home), "scratch": str(scratch), "clock_start": clock_start, **more}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


if __name__ == "__main__":
    import lightgbm  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import onnxruntime  # noqa: F401

    import training.report  # noqa: F401

    main()
