"""A pipe between a process and those below it: the end of the upper one comes in, the end of the lower ones goes out.

The upper process keeps the writing end and never writes; those below inherit the reading end. However the upper one ends,
by `kill -9` too, the system closes its end, and the others read the end of the file at once. That needs no process
ids, which may be another process's by then, and reaches grandchildren through a process that only hands the pipe on.
"""

import logging
import os
import signal
import stat
import threading
import time
from collections.abc import MutableMapping
from typing import Final

logger = logging.getLogger(__name__)

LIFELINES: Final = "OMNI_LIFELINES"
"""Environment variable with the descriptors of the reading ends that a process inherits."""
END_S: Final = 20.0
"""How long a process has to end in order, once whom it hangs on is gone."""


class Lifeline:
    """A pipe whose reading end children inherit; they end when this process does, or when it lets go."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def environment(self, inherited: str = "") -> dict[str, str]:
        """What a child's environment says of it, beside the pipes that it has from further up."""
        return {LIFELINES: ",".join([*filter(None, [inherited]), str(self.reading)])}

    def let_go(self) -> None:
        """Have the children end that have not; may be called again."""
        for end in (self.reading, self._writing):
            if end >= 0:
                os.close(end)
        self.reading = self._writing = -1


def hang_on(env: MutableMapping[str, str], end_s: float = END_S) -> threading.Thread | None:
    """Have this process end once one of those is gone that the pipes in `env` come from: by SIGTERM, then by force.

    Answers the thread that watches, or None where nobody asked for it.
    """
    inherited = [int(number) for number in env.get(LIFELINES, "").split(",") if number]
    pipes = [pipe for pipe in inherited if _is_pipe(pipe)]
    if len(pipes) < len(inherited):
        logger.error("A pipe of %s did not reach this process: it may outlive the service", LIFELINES)
    if not pipes:
        return None
    gone = threading.Event()
    for pipe in pipes:
        threading.Thread(target=_wait_for_end, args=(pipe, gone), name="omni-lifeline", daemon=True).start()
    thread = threading.Thread(target=_end, args=(gone, end_s), name="omni-end", daemon=True)
    thread.start()
    return thread


def hand_on(env: MutableMapping[str, str]) -> Lifeline:
    """Have the children of this process, which get `env`, hang on it too, whoever starts them."""
    line = Lifeline()
    os.set_inheritable(line.reading, True)
    env.update(line.environment(env.get(LIFELINES, "")))
    return line


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _wait_for_end(pipe: int, gone: threading.Event) -> None:
    while os.read(pipe, 1):
        pass
    gone.set()


def _end(gone: threading.Event, end_s: float) -> None:
    gone.wait()
    logger.warning("The process that looked after this one (%d) is gone: it ends", os.getpid())
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(end_s)
    logger.warning("Process %d did not end in %.0f s and ends by force", os.getpid(), end_s)
    os.kill(os.getpid(), signal.SIGKILL)
