"""A circuit breaker: questions to one server in, its answers out, or at once an error for as long as it does not answer.

After `MAX_FAILURES` failures in a row, or a single one that cost as much time as many, nobody asks any more. From then on
the breaker tries by itself, one trial at a time and a pause between two of them, whether the server answers again; so no
question pays for the trials. It tries only while somebody asks.
See https://martinfowler.com/bliki/CircuitBreaker.html.
"""

import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final, TypeVar

from features.errors import UnavailableError
from features.servers.patience import waiting_at_most

logger = logging.getLogger(__name__)

MAX_FAILURES: Final = 3
"""Failures in a row after which nobody asks any more."""
SLOW_FAILURE_S: Final = 1.0
"""A single failure that took so long is enough."""
PAUSE_S: Final = 0.5
"""Between two trials."""
TRIAL_S: Final = 0.5
"""How long a trial waits for the server, unless another time is said."""
T = TypeVar("T")


class Breaker:
    """Guards one dependency; safe to use from several threads."""

    def __init__(
        self,
        name: str,
        trial: Callable[[], object],
        *,
        trial_s: float = TRIAL_S,
        now: Callable[[], float] = monotonic,
        spawn: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`trial` asks the dependency for little; `spawn` runs a function beside the caller (a thread)."""
        self.name = name
        self._trial, self._trial_s, self._now = trial, trial_s, now
        self._spawn = spawn or self._submit
        # one thread for all trials: connections belong to a thread, and each would open another one
        self._beside = ThreadPoolExecutor(1, f"omni-trial-{name.replace(' ', '-')}")
        self._lock = threading.Lock()
        self._failures = 0
        self._error: UnavailableError | None = None
        self._is_trying = False
        self._next_trial_at = -math.inf
        self._heard_at = now()

    @property
    def is_open(self) -> bool:
        """Whether nobody is let through. Asking has the dependency tried, where that is due."""
        if self._error is None:
            return False
        self._try_soon()
        return True

    def trouble(self) -> str:
        """Why it is open; empty where it is not."""
        error = self._error
        return "" if error is None else str(error)

    def unheard_s(self) -> float:
        """Seconds since the dependency last answered."""
        return max(0.0, self._now() - self._heard_at)

    def call(self, work: Callable[[], T]) -> T:
        """Do `work`, which asks the dependency. Raises UnavailableError, at once where the breaker is open."""
        if self.is_open:
            raise UnavailableError(self.trouble() or f"{self.name} is being tried.")
        started = self._now()
        try:
            answer = work()
        except UnavailableError as error:
            self._note_failure(error, self._now() - started)
            raise
        self._note_answer()
        return answer

    def suspect(self) -> None:
        """Something is slow: have the dependency tried beside the caller; the breaker opens if that fails."""
        self._try_soon()

    def close(self) -> None:
        """Let go of the thread that tries."""
        self._beside.shutdown(wait=False, cancel_futures=True)

    def _note_answer(self) -> None:
        self._heard_at = self._now()
        self._failures = 0

    def _note_failure(self, error: UnavailableError, took_s: float) -> None:
        with self._lock:
            self._failures += 1
            if self._error is not None or (self._failures < MAX_FAILURES and took_s < SLOW_FAILURE_S):
                return
            self._open(error)

    def _open(self, error: UnavailableError) -> None:
        """Needs the lock."""
        self._error = error
        logger.warning("%s is not asked any more until it answers again: %s", self.name, error)

    def _try_soon(self) -> None:
        """Have a trial run where it is due and none is under way."""
        with self._lock:
            if self._is_trying or self._now() < self._next_trial_at:
                return
            self._is_trying = True
        try:
            self._spawn(self._run_trial)
        except RuntimeError:  # closed, or no thread can be started: whoever asks next tries again
            self._is_trying = False

    def _run_trial(self) -> None:
        try:
            with waiting_at_most(self._trial_s):
                self._trial()
        except Exception as error:  # noqa: BLE001 - whatever it says, it did not answer
            said = error if isinstance(error, UnavailableError) else UnavailableError(f"{self.name}: {error}")
            with self._lock:
                if self._error is None:
                    self._open(said)
                self._error = said
        else:
            with self._lock:
                was_open, self._error = self._error is not None, None
                self._note_answer()
            if was_open:
                logger.info("%s answers again", self.name)
        with self._lock:
            self._next_trial_at = self._now() + PAUSE_S
            self._is_trying = False

    def _submit(self, work: Callable[[], None]) -> None:
        self._beside.submit(work)
