"""`kill -9` of any process of a service: nothing is left that holds the port, and the next start on it succeeds.

Each case starts the real service, with two workers and a stream, in a process of its own.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.harness import WITHIN_S, Serving, free_port, wait_until

from features.checks.doctor import check_service
from features.errors import InputError
from features.processes.lifeline import Lifeline
from features.processes.running import RunFolder
from features.settings import Settings
from serving.supervisor import Service, start_service


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    service = Serving(tmp_path, free_port())
    try:
        service.start().until_whole()
        yield service
        service.end()
        assert service.process.returncode == 0
    finally:
        service.clean_up()


def test_processes_that_are_killed_leave_nothing_that_keeps_the_next_start_from_succeeding(serving: Serving) -> None:
    """One service after the other on the same port: what can be started anew is, all else ends. tests/chaos tries more."""
    lose_what_can_be_started_anew(serving)
    lose_what_cannot(serving, "server")
    lose_what_cannot(serving, "supervisor")
    lose_the_supervisor_of_what_does_not_move(serving)


def lose_what_can_be_started_anew(service: Serving) -> None:
    before = service.roles()
    lost = [*before["stream"], *before["worker"]]
    bad = [service.home / name for name in ("rules.toml", "identity.toml", "settings.toml")]
    for file in bad:  # what somebody breaks while a service runs must not keep a worker from starting anew
        file.write_text("= no TOML")
    for process in lost:
        process.kill()
    wait_until(lambda: service.is_whole() and not {*lost} & {*service.everybody()}, "every process is there again")
    assert not service.ended()
    for file in bad:
        file.unlink()


def lose_what_cannot(service: Serving, role: str) -> None:
    everybody = service.everybody()
    assert len(everybody) == 5
    for process in service.roles()[role]:
        process.kill()
    service.process.wait(WITHIN_S)
    service.start().until_whole()  # at once: it need not wait for what is left
    assert [process for process in everybody if process.is_running()] == []
    assert "Address already in use" not in service.log()


def lose_the_supervisor_of_what_does_not_move(service: Serving) -> None:
    before = service.roles()
    stopped = [*before["server"], *before["worker"], *before["stream"]]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    (leftover := service.home / "run" / str(service.port) / "tmp" / "omni-model-leftover").mkdir()
    service.process.kill()
    service.process.wait()
    service.start().until_whole()
    assert not leftover.exists()
    assert [process for process in stopped if process.is_running()] == []
    assert f"process {before['server'][0].pid} " in service.log()


def test_a_second_one_on_the_same_port_is_refused_and_on_another_its_stream_waits(
    serving: Serving, tmp_path: Path
) -> None:
    refused = Serving(serving.home, serving.port).start()
    assert refused.process.wait(WITHIN_S) == 2
    said = f"A service of this home runs on port {serving.port} already (process {serving.process.pid})"
    assert said in serving.log() and "--port" in serving.log()
    second = Serving(serving.home, free_port()).start()
    try:
        second.until_whole()
        wait_until(lambda: "this one waits until it ends" in second.log(), "the second stream waits")
        assert second.log().count("following the log") == 1
        first = check_service(Settings.from_env({"OMNI_HOME": str(serving.home)}))
        assert (first.status, first.found.count(str(serving.port)), first.found.count(str(second.port))) == ("ok", 1, 1)
        serving.roles()["stream"][0].kill()
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


def test_a_note_that_cannot_be_written_ends_no_service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    folder = RunFolder(tmp_path / "run" / "1")
    folder.take()
    folder.note([])
    env = {"OMNI_STARTED_WITH": str(folder.path / "started-with")}
    service = Service("http://127.0.0.1:1", env, child, None, tmp_path / "no" / "folder", folder, Lifeline())
    (folder.path / "service.json").unlink()
    (folder.path / "service.json").mkdir()  # where a file should go: writing fails as on a full disk
    try:
        service.note()
        assert "could not be written down" in caplog.text
        (folder.path / "service.json").rmdir()
    finally:
        service.stop(drain_s=0.01)
    assert child.returncode is not None and not folder.is_held()
