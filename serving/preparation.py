"""What must be in order before a service has processes: settings come in, nothing goes out, or the error that says what is not.

A process of its own does it, and ends: the one that looks after the others for months would keep what it takes in memory.
"""

import contextlib
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from features import databases
from features.errors import OmniError
from features.processes.lifeline import LIFELINES, hang_on
from features.settings import Settings


@dataclass(frozen=True)
class _Task:
    settings: Settings
    started_with: Path
    wait_s: float
    log_level: int


def prepare(settings: Settings, started_with: Path) -> None:
    """Put the rules in force, and try the event log: a worker that cannot start is started again and again.

    Erasures that the log forgot hold before anybody is answered about whom they are of. Raises OmniError, and OSError where
    OMNI_HOME cannot be written to.
    """
    from features.erasure.recall import recall_if_possible
    from features.log.engines import open_log
    from features.online.trust import check_log_not_lost
    from serving.house_rules import HouseRules

    HouseRules(settings).begin()
    with contextlib.closing(open_log(replace(settings, started_with=started_with))) as log:
        check_log_not_lost(settings, log)
        recall_if_possible(settings, log)


def prepare_apart(settings: Settings, started_with: Path, env: Mapping[str, str]) -> None:
    """`prepare` in a process that has `env` and ends with this one; raises what it raises there."""
    task = _Task(settings, started_with, databases.wait_s(), logging.getLogger().getEffectiveLevel())
    pipes = tuple(int(number) for number in env.get(LIFELINES, "").split(",") if number)
    child = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps(task),
        stdout=subprocess.PIPE,
        env=dict(env),
        pass_fds=pipes,
        start_new_session=True,
        check=False,
    )
    try:
        error = pickle.loads(child.stdout)
    except (EOFError, pickle.UnpicklingError):
        raise OmniError(f"What is done before a service starts ended with status {child.returncode}.") from None
    if error is not None:
        raise error


def main() -> None:
    """Do the task that comes in, and write the error that came of it, or None."""
    hang_on(os.environ)
    task: _Task = pickle.load(sys.stdin.buffer)
    logging.basicConfig(level=task.log_level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    databases.wait_at_most(task.wait_s)
    answer = None
    try:
        prepare(task.settings, task.started_with)
    except Exception as error:  # noqa: BLE001 - whoever waits raises it
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    main()
