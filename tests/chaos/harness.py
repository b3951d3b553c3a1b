"""A service that is used and hurt at the same time: a small home and a load come in, what was lost or doubled comes out.

`make_home` makes a home that answers every question. `Serving` is `omni serve` on it, in a process of its own, with its
processes by role. `Load` sends events and asks for decisions all the while, and keeps what it was promised. `verify` holds
the log against that. A round is: let the load run, hurt something, wait until the service is whole, look for what is left.
"""

import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from made_champions import make_champions

from features.build import build_features
from features.clock import Clock
from features.events.schema import parse_table
from features.log.engines import open_log
from features.processes.running import RunFolder, carriers, end_all
from features.settings import Settings

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0
"""How long anything may take that is waited for; many times what it takes on a machine that is not busy."""
CUSTOMERS = [f"c{number}" for number in range(40)]
PRODUCTS = [f"p{number}" for number in range(20)]
UNAVAILABLE = (429, 503, 504)
"""What a service that is hurt may answer: nothing was promised, ask again."""


def make_home(home: Path) -> Settings:
    """A home with a few customers' purchases and consents, its features built, and champions."""
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    rng = random.Random(7)
    items = [made_event(f"h{number}", rng, minutes_ago=600 - number) for number in range(500)]
    consents = {"kind": "subscribe", "channel": "email", "product_id": None, "value": None}
    items += [{**made_event(f"s{name}", rng, minutes_ago=1), **consents, "customer_id": name} for name in CUSTOMERS]
    log = open_log(settings)
    table, rejected = parse_table(items, Clock.from_settings(settings).now())
    assert not rejected
    log.append(table)
    log.close()
    build_features(settings, lambda _: None)
    make_champions(settings, PRODUCTS)
    return settings


def made_event(event_id: str, rng: random.Random, minutes_ago: float = 0.0) -> dict[str, Any]:
    """A purchase or a view of somebody."""
    at = time.gmtime(time.time() - 60 * minutes_ago - 1)
    return {
        "event_id": event_id,
        "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
        "kind": rng.choice(("purchase", "view")),
        "channel": "web",
        "customer_id": rng.choice(CUSTOMERS),
        "product_id": rng.choice(PRODUCTS),
        "value": 2.5,
    }


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WITHIN_S) -> float:
    """Seconds until `condition` held; fails with `what` where it does not."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + timeout_s, f"waited in vain until {what}"
        time.sleep(0.1)
    return time.monotonic() - started


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer. Raises OSError or HTTPException where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content[:1] in (b"{", b"[") else content
    finally:
        connection.close()


def answers(port: int, path: str = "/livez") -> bool:
    """Whether a GET of this path is answered with 200."""
    try:
        return ask(port, "GET", path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@dataclass
class Serving:
    """`omni serve` in a process of its own, on one home and port; `clean_up` ends whatever of it is left."""

    home: Path
    port: int
    workers: int = 2
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> "Serving":
        """Start it, once more where it was started before."""
        command = [sys.executable, "omni.py", "serve", "--port", str(self.port), "--workers", str(self.workers)]
        with (self.home / "serve.log").open("ab") as log:
            env = {**os.environ, "OMNI_HOME": str(self.home), "PYTHONPATH": str(ROOT), "OMNI_DEADLINE_MS": "25000"}
            self.started.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log))
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor that was started last."""
        return self.started[-1]

    def until_whole(self, path: str = "/livez") -> float:
        """Seconds until `path` is answered and every process is there; fails where the service ends instead."""
        took_s = wait_until(lambda: self.ended() or self.is_whole(path), "the service is whole")
        assert not self.ended(), self.log()
        return took_s

    def is_whole(self, path: str = "/livez") -> bool:
        """Whether `path` is answered and every process is there, each once."""
        now = self.roles()
        counts = {role: len(processes) for role, processes in now.items()}
        return counts == {"supervisor": 1, "server": 1, "stream": 1, "worker": self.workers} and answers(
            self.port, path
        )

    def ended(self) -> bool:
        """Whether the supervisor ended."""
        return self.process.poll() is not None

    def log(self) -> str:
        """What all processes said."""
        return (self.home / "serve.log").read_text(errors="replace")

    def roles(self) -> dict[str, list[psutil.Process]]:
        """The processes that run, by what they do."""
        note = RunFolder(self.home / "run" / str(self.port)).read()
        noted = {process.role: process.pid for process in note.processes} if note else {}
        below = carriers(note.token) if note and noted.get("supervisor") == self.process.pid else []
        return {
            "supervisor": [] if self.ended() else [psutil.Process(self.process.pid)],
            "server": [process for process in below if process.pid == noted.get("server")],
            "stream": [process for process in below if process.pid == noted.get("stream")],
            "worker": [process for process in below if process.pid not in noted.values()],
        }

    def everybody(self) -> list[psutil.Process]:
        """The processes that run."""
        return list(itertools.chain(*self.roles().values()))

    def end(self) -> None:
        """Stop it in order."""
        self.process.terminate()
        try:
            self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def clean_up(self) -> None:
        """End by force what is left of every start."""
        for process in self.started:
            process.kill()
            process.wait()
        folders = [RunFolder(path) for path in (self.home / "run").glob("*/")]
        end_all([process for folder in folders for process in folder.left_over()], wait_s=1)


@dataclass
class Promises:
    """What a load was told: ids of events and decisions that were acknowledged, and answers that should not be."""

    events: set[str] = field(default_factory=set)
    decisions: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Load:
    """Threads that send events and ask for decisions, a bounded number a second, until `stop`.

    A batch that was not acknowledged is sent again as it was: the log must hold it once whatever became of it at first.
    Every question is one that nobody asked before, so that each decision is a row of its own.
    """

    def __init__(
        self, port: int, seed: int, threads: int = 3, pause_s: float = 0.02, share_of_decisions: float = 0.3
    ) -> None:
        self.promises = Promises()
        self._port, self._pause_s, self._share_of_decisions = port, pause_s, share_of_decisions
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}-{number}"), f"l{seed}-{number}"))
            for number in range(threads)
        ]

    def start(self) -> "Load":
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End, once what is under way is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def n_kept(self) -> int:
        """How many promises there are."""
        with self._lock:
            return len(self.promises.events) + len(self.promises.decisions)

    def _run(self, rng: random.Random, name: str) -> None:
        numbers = itertools.count()
        batch: list[dict[str, Any]] = []
        while not self._stop.is_set():
            if rng.random() < self._share_of_decisions:
                self._decide(rng.choice(CUSTOMERS), f"{name}-{next(numbers)}")
            else:
                batch = batch or [made_event(f"{name}-{next(numbers)}", rng) for _ in range(rng.randint(1, 5))]
                if self._send(batch):
                    batch = []
            self._stop.wait(self._pause_s)

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        answer = self._ask("/v1/events", {"events": batch})
        if answer is None:
            return False
        with self._lock:
            self.promises.events |= {event["event_id"] for event in batch}
            if answer["accepted"] + answer["duplicates"] != len(batch) or answer["rejected"]:
                self.promises.wrong.append(f"a batch of {len(batch)}: {answer}")
        return True

    def _decide(self, customer: str, without: str) -> None:
        answer = self._ask("/v1/decide", {"customer_id": customer, "exclude": [without]})
        if answer is not None:
            with self._lock:
                if answer["decision_id"] in self.promises.decisions:
                    self.promises.wrong.append(f"two questions have one decision: {answer['decision_id']}")
                self.promises.decisions.add(answer["decision_id"])

    def _ask(self, path: str, body: Any) -> Any:
        """The answer, or None where nothing was promised."""
        try:
            status, answer = ask(self._port, "POST", path, body)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an answer that was cut short
            status, answer = 0, type(error).__name__
        with self._lock:
            self.promises.statuses[f"{status} {answer}" if not status else str(status)] += 1
            if status not in (0, 200, *UNAVAILABLE):
                self.promises.wrong.append(f"{path}: {status} {answer}")
        return answer if status == 200 else None


@dataclass(frozen=True)
class Findings:
    """What the log says of the promises."""

    acknowledged: int
    decided: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether every promise was kept, and nothing more was done."""
        return not (self.lost or self.doubled or self.wrong)


def verify(settings: Settings, promises: Promises) -> Findings:
    """Hold the log against what was promised: each event and each decision is there, and none twice."""
    log = open_log(settings)
    try:
        ids = Counter(event_id for table in log.read(0, 100_000) for event_id in table["event_id"].to_pylist())
    finally:
        log.close()
    wanted = promises.events | promises.decisions
    return Findings(
        acknowledged=len(promises.events),
        decided=len(promises.decisions),
        lost=tuple(sorted(wanted - set(ids))),
        doubled=tuple(sorted(event_id for event_id, n in ids.items() if n > 1)),
        wrong=tuple(promises.wrong),
    )


def kill(serving: Serving, roles: Sequence[str], rng: random.Random) -> None:
    """`kill -9` of processes at the same moment; "a worker" is one of them, "worker" all."""
    now = serving.roles()
    chosen = itertools.chain(*([rng.choice(now["worker"])] if role == "a worker" else now[role] for role in roles))
    processes = list(chosen)
    for process in processes:
        process.kill()
    wait_until(lambda: not any(is_running(process) for process in processes), "who was killed is gone")


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
