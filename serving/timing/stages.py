"""The stages of one answer in, how long each took out: cheap enough for the service to time some of its answers always."""

import time
from typing import Final, Protocol

STAGES: Final = ("turn", "state", "signals", "scores", "products", "arms", "append", "encode")
"""What an answer goes through: it waits for its turn, reads the customer's state, computes signals, asks the models, ranks
products, weighs the arms (rules, hours, the draw, reasons), waits until it is durable in the log, and is made JSON."""
WAITING: Final = ("turn", "append")
"""Stages in which the answer itself does nothing: other answers may be computed meanwhile."""


class StageTimer(Protocol):
    """Told where each stage ends."""

    def lap(self, stage: str) -> None:
        """Note that `stage` ended just now."""


class Laps:
    """The stages of one answer, timed."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float, float]] = []
        """Each stage with the seconds that passed and the seconds of CPU that this thread spent in it."""
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def lap(self, stage: str) -> None:
        """Note that `stage` ended just now; what followed the one before belongs to it."""
        wall, cpu = time.perf_counter(), time.thread_time()
        self.taken.append((stage, wall - self._wall, cpu - self._cpu))
        self._wall, self._cpu = wall, cpu


class _Untimed:
    def lap(self, stage: str) -> None:
        pass


UNTIMED: Final[StageTimer] = _Untimed()
"""For answers that nobody times."""
