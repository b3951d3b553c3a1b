"""A process hangs on the one above it: whichever way that one ends, it ends too, and so do those further down."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from features.processes.lifeline import LIFELINES, Lifeline, hang_on

LOWER = "import os, time; from features.processes.lifeline import hang_on; hang_on(os.environ, 1.0); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LOWER}"
MIDDLE = """
import os, subprocess, sys, time
from features.processes.lifeline import hand_on, hang_on
hang_on(os.environ)
line = hand_on(os.environ)
lower = subprocess.Popen([sys.executable, "-c", sys.argv[1]], close_fds=False)
print(lower.pid, flush=True)
time.sleep(60)
"""
UPPER = """
import os, subprocess, sys, time
from features.processes.lifeline import Lifeline
line = Lifeline()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], env={**os.environ, **line.environment()},
                         pass_fds=(line.reading,))
print(child.pid, flush=True)
child.wait()
"""


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("lower", [LOWER, STUBBORN])
@pytest.mark.parametrize("killed", ["upper", "middle", "both"])
def test_who_is_below_a_process_that_is_killed_ends(lower: str, killed: str) -> None:
    upper = subprocess.Popen([sys.executable, "-c", UPPER, MIDDLE, lower], stdout=subprocess.PIPE, text=True)
    assert upper.stdout
    pids = [int(upper.stdout.readline()), int(upper.stdout.readline())]
    middle, lowest = (psutil.Process(pid) for pid in pids)
    assert is_running(middle) and is_running(lowest)
    if killed != "upper":
        middle.kill()
    if killed != "middle":
        upper.kill()
    try:
        wait_until(lambda: not is_running(middle) and not is_running(lowest))
    finally:
        upper.kill()
        upper.wait()
        upper.stdout.close()


def test_one_that_comes_too_late_ends_at_once() -> None:
    line = Lifeline()
    env = {**os.environ, **line.environment()}
    os.set_inheritable(line.reading, True)
    late = subprocess.Popen(
        [sys.executable, "-c", f"input(); {LOWER}"], env=env, stdin=subprocess.PIPE, close_fds=False
    )
    line.let_go()
    line.let_go()
    late.communicate(b"\n", timeout=20)
    assert late.returncode == -signal.SIGTERM


def test_who_hangs_on_nobody_is_not_watched(caplog: pytest.LogCaptureFixture) -> None:
    assert hang_on({}) is None
    assert hang_on({LIFELINES: ""}) is None
    assert caplog.messages == []
    assert hang_on({LIFELINES: "987"}) is None  # no such descriptor
    assert "did not reach this process" in caplog.text
