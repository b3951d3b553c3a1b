"""A model's folder in, the reason why it must not serve out: it is loaded and asked in a process of its own.

Native libraries end the process over some damaged files, run for ever over others or take all memory: then it is this
process that ends. It is the serving package's own way of loading and asking; who trains and who promotes runs it by name.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from features.errors import StoreError
from features.processes.lifeline import Lifeline
from features.processes.running import TOKEN
from features.vocabulary import Task

logger = logging.getLogger(__name__)

TRIAL_MODULE: Final = "serving.scorers.trial"
TIMEOUT_S: Final = 180.0
"""Long, because on a new machine the fold is compiled first; what is good takes two seconds."""
_KEPT_VARIABLES: Final = (
    "PATH",
    "HOME",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    TOKEN,
)
"""What the process may know of our environment: nothing that opens a door. By the token the next service ends what is left."""
_OTHERS_DOING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Verdict:
    """What came of a trial: `reason` is empty for a model that may serve; `uncertain` says that it was cut short."""

    reason: str = ""
    uncertain: bool = False


def try_model(task: Task, version: str, folder: Path, timeout_s: float = TIMEOUT_S) -> Verdict:
    """Have the model in `folder` loaded and asked. Raises StoreError where the trial itself could not be held."""
    with tempfile.TemporaryDirectory(prefix="omni-trial-") as place:
        answer, said = Path(place) / "verdict.json", Path(place) / "said"
        command = [
            sys.executable,
            "-m",
            TRIAL_MODULE,
            task.value,
            version,
            str(folder),
            str(answer),
            f"{timeout_s:.0f}",
        ]
        line = Lifeline()  # it ends with this process, however that ends
        try:
            with said.open("wb") as out:
                process = subprocess.Popen(
                    command,
                    cwd=place,
                    env=_environment() | line.environment(),
                    pass_fds=(line.reading,),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # Ctrl-C is for us, and says nothing about the model
                )
        except OSError as error:
            line.let_go()
            raise StoreError(f"No process could be started to try a model in ({error.strerror}).") from error
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return Verdict(f"It was not loaded and asked within {timeout_s:.0f} s.", uncertain=True)
        finally:
            _end(process)
            line.let_go()
        return _verdict(status, answer, said)


def _environment() -> dict[str, str]:
    env = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    env |= {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    root = str(Path(__file__).resolve().parents[2])
    return env | {
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [env.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _verdict(status: int, answer: Path, said: Path) -> Verdict:
    try:
        plain = json.loads(answer.read_text(encoding="utf-8"))
        return Verdict(str(plain["reason"]), bool(plain["uncertain"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it ended before it could say anything
    logger.debug("The trial said: %s", said.read_text(errors="replace")[-4000:])
    number = -status
    if number in _OTHERS_DOING:
        raise StoreError(f"A model's trial was ended by {signal.Signals(number).name}; it is tried again.")
    if number in (signal.SIGKILL, signal.SIGXCPU):
        return Verdict(f"Loading and asking it was ended by {signal.Signals(number).name}.", uncertain=True)
    if number > 0:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return Verdict(f"Loading or asking it ended the process ({name}).")
    return Verdict(f"Loading or asking it ended the process (status {status}).")
