"""What is compared: how a build is started on a port of its own, when it is ready, and how it ends."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parents[1]
ROOT = Path(__file__).parents[3]
READY_S = 180.0
QUESTIONS = ("decide", "next-products", "churn", "best-channel")


@dataclass(frozen=True)
class Build:
    """A command that serves on `{port}` with `{workers}`, and where it runs."""

    name: str
    command: tuple[str, ...]
    folder: Path
    env: Mapping[str, str]
    is_omni: bool = False

    def start(self, workers: int, log: Path) -> "Running":
        """Start it and wait until it is ready; fails with what it said where it does not come up."""
        port = free_port()
        words = [word.format(port=port, workers=workers) for word in self.command]
        env = {**os.environ, **{name: value.format(workers=workers) for name, value in self.env.items()}}
        started = time.perf_counter()
        with log.open("ab") as output:
            process = subprocess.Popen(words, cwd=self.folder, env=env, stdout=output, stderr=output)
        running = Running(self, process, f"http://127.0.0.1:{port}")
        try:
            running.wait_ready(log)
        except BaseException:
            running.stop()
            raise
        return Running(self, process, running.url, time.perf_counter() - started)


@dataclass(frozen=True)
class Running:
    """A build that runs; `stop` ends its processes, by their ids."""

    build: Build
    process: "subprocess.Popen[bytes]"
    url: str
    ready_s: float = 0.0
    first_ms: dict[str, float] = field(default_factory=dict)

    def wait_ready(self, log: Path) -> None:
        """Wait for /readyz."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.02)
        raise RuntimeError(f"{self.build.name} is not ready: {log.read_text(errors='replace')[-3000:]}")

    def ask(self, path: str, content: Any = None) -> Any:
        """The JSON that a path answers with, over a connection of its own."""
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"content-type": "application/json"})
        deadline = time.monotonic() + READY_S
        while True:  # one worker is ready, and another that takes the connection may still load its models
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def time_first(self, kind: str, path: str, content: Any = None) -> Any:
        """`ask`, and note how long it took."""
        started = time.perf_counter()
        answer = self.ask(path, content)
        self.first_ms[kind] = (time.perf_counter() - started) * 1000
        return answer

    def stop(self) -> None:
        """End it in order, and by force what is left after that."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for process in psutil.wait_procs(below, 5)[1]:
            process.kill()


def omni_build(name: str, tree: Path, home: Path, clock_start: str, engines: Mapping[str, str]) -> Build:
    """`omni serve` of a source tree, on a home of its own; the time is that of just after its last event."""
    env = {"OMNI_HOME": str(home), "OMNI_CLOCK_START": clock_start, "PYTHONPATH": python_path(tree), **engines}
    command = (sys.executable, "omni.py", "serve", "--port", "{port}", "--workers", "{workers}")
    return Build(name, (*command, "--drain-seconds", "0"), tree, env, is_omni=True)


def bento_build(name: str, target: str, env: Mapping[str, str]) -> Build:
    """A service of this folder, started by BentoML's own command."""
    command = (sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", "{port}")
    return Build(name, command, HERE, {"PYTHONPATH": python_path(HERE, ROOT), "BENTOML_DO_NOT_TRACK": "True", **env})


def python_path(*folders: Path) -> str:
    """What Python finds in `folders`, and after that what it finds now."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def source_of(revision: str, folder: Path) -> Path:
    """The files of a revision of this repository, in `folder`."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def copy_home(home: Path, copy: Path) -> Path:
    """A home of one's own: what runs on one of the others is left out."""
    shutil.copytree(home, copy, ignore=lambda folder, _: ["run"] if Path(folder) == home else [])
    (copy / "run").mkdir()
    for file in (home / "run").glob("rules.json"):
        shutil.copy(file, copy / "run")
    return copy


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
