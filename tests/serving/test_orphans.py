"""`kill -9` of any process of a service: nothing is left that holds the port, and the next start on it succeeds.

Each case starts the real service, with two workers and a stream, in a process of its own.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from features.errors import InputError
from features.processes.running import TOKEN, RunFolder, carriers, end_all
from features.settings import Settings
from serving.supervisor import start_service

GONE_S = 60.0
"""How long what is left may take to end; much more than it takes on a machine that is not busy."""


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = GONE_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Serving:
    """`omni serve` in a process of its own, on one home and port."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    @classmethod
    def start(cls, home: Path, port: int) -> "Serving":
        command = [sys.executable, "omni.py", "serve", "--port", str(port), "--workers", "2"]
        with (home / "serve.log").open("ab") as log:
            env = {**os.environ, "OMNI_HOME": str(home)}
            cls.started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        return cls(home, port, cls.started[-1])

    def until_up(self) -> "Serving":
        wait_until(lambda: self.ended() or (answers(self.port) and len(self.roles()["worker"]) == 2), "it answers")
        assert not self.ended(), self.log()
        return self

    def ended(self) -> bool:
        return self.process.poll() is not None

    def log(self) -> str:
        return (self.home / "serve.log").read_text()

    def roles(self) -> dict[str, list[psutil.Process]]:
        note = RunFolder(self.home / "run" / str(self.port)).read()
        noted = {process.role: process.pid for process in note.processes} if note else {}
        below = carriers(note.token) if note and noted.get("supervisor") == self.process.pid else []
        return {
            "supervisor": [psutil.Process(self.process.pid)],
            "server": [process for process in below if process.pid == noted.get("server")],
            "stream": [process for process in below if process.pid == noted.get("stream")],
            "worker": [process for process in below if process.pid not in noted.values()],
        }

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    service = Serving.start(tmp_path, free_port())
    try:
        yield service.until_up()
    finally:
        service.end()
        for process in Serving.started:  # those that a test that failed left
            process.kill()
            process.wait()
        folders = [RunFolder(path) for path in tmp_path.glob("run/*/")]
        end_all([process for folder in folders for process in folder.left_over()], wait_s=1)


def test_processes_that_are_killed_leave_nothing_that_keeps_the_next_start_from_succeeding(serving: Serving) -> None:
    """One service after the other on the same port: what can be started anew is, all else ends. tests/chaos tries more."""
    lose_what_can_be_started_anew(serving)
    second = lose_what_cannot(serving, lambda service: service.roles()["server"])
    third = lose_what_cannot(second, lambda service: service.roles()["supervisor"])
    last = lose_the_supervisor_of_what_does_not_move(third)
    last.end()
    assert last.process.returncode == 0


def lose_what_can_be_started_anew(service: Serving) -> None:
    before = service.roles()
    lost = [*before["stream"], *before["worker"]]
    for process in lost:
        process.kill()

    def is_whole() -> bool:
        now = service.roles()
        new = {process.pid for processes in now.values() for process in processes} - {process.pid for process in lost}
        return len(new) == 5 and len(now["stream"]) == 1 and len(now["worker"]) == 2 and answers(service.port)

    wait_until(is_whole, "every process is there again")
    assert not service.ended()


def lose_what_cannot(service: Serving, chosen: Callable[[Serving], list[psutil.Process]]) -> Serving:
    everybody = [process for processes in service.roles().values() for process in processes]
    assert len(everybody) == 5
    for process in chosen(service):
        process.kill()
    service.process.wait(GONE_S)
    again = Serving.start(service.home, service.port).until_up()  # at once: it need not wait for what is left
    assert [process for process in everybody if process.is_running()] == []
    assert "Address already in use" not in again.log()
    return again


def lose_the_supervisor_of_what_does_not_move(service: Serving) -> Serving:
    before = service.roles()
    stopped = [*before["server"], *before["worker"], *before["stream"]]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    service.process.kill()
    service.process.wait()
    again = Serving.start(service.home, service.port).until_up()
    assert [process for process in stopped if process.is_running()] == []
    assert f"process {before['server'][0].pid} " in again.log()
    return again


def test_a_second_one_on_the_same_port_is_refused_and_on_another_its_stream_waits(serving: Serving) -> None:
    refused = Serving.start(serving.home, serving.port)
    assert refused.process.wait(GONE_S) == 2
    said = f"A service of this home runs on port {serving.port} already (process {serving.process.pid})"
    assert said in refused.log() and "--port" in refused.log()
    second = Serving.start(serving.home, free_port())
    try:
        second.until_up()
        wait_until(lambda: "this one waits until it ends" in second.log(), "the second stream waits")
        assert second.log().count("following the log") == 1
        serving.end()
        wait_until(lambda: second.log().count("following the log") == 2, "the second stream takes over")
    finally:
        second.end()


def test_somebody_else_on_the_port_is_named_and_left_alone(tmp_path: Path) -> None:
    settings = Settings(tmp_path, f"sqlite:///{tmp_path / 'events.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"Address already in use \(by process {os.getpid()} \(.+\)\)\. Choose"):
            start_service(settings, port=port)
    assert not RunFolder(tmp_path / "run" / str(port)).is_held()


def test_a_process_that_has_the_id_of_one_that_was_noted_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={TOKEN: "another's"})
    try:
        folder = RunFolder(tmp_path / "1")
        folder.take()
        folder.path.joinpath("service.json").write_text(
            f'{{"token": "{folder.token}", "processes": [{{"role": "server", "pid": {stranger.pid}, "started_s": 1.0}}]}}'
        )
        assert folder.left_over() == []
        folder.leave()
        folder.take()
        folder.leave()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"token": 3}', '{"token": "x", "processes": [{}]}', "\x00"])
def test_a_note_that_is_damaged_keeps_nobody_from_starting(tmp_path: Path, note: str) -> None:
    folder = RunFolder(tmp_path / "1")
    folder.path.mkdir()
    (folder.path / "service.json").write_text(note)
    folder.take()
    assert folder.is_held() and RunFolder(tmp_path / "1").is_held()
    with pytest.raises(InputError, match="runs on port 1 already"):
        RunFolder(tmp_path / "1").take()
    folder.leave()
    assert not RunFolder(tmp_path / "1").is_held()
