"""Whether everything can be answered: the real paths are asked, at most once a second, and the reasons go out.

What is asked: a read of the online store, a read of the event log, and a write to it that waits for the disk, unless
somebody's events were committed within the last second. None of it happens unless somebody asks.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from features.errors import OmniError, UnavailableError
from features.log.event_log import EventLog
from features.log.group_commit import GroupCommitter
from features.servers.patience import waiting_at_most
from serving.guard.reliance import EVENT_LOG, ONLINE_STORE, Reliance

KEPT_S: Final = 1.0
"""How long an answer is given again."""
FAILED_FOR_S: Final = 3.0
"""How long an append that failed counts, whatever is asked then: a small write may succeed where events do not."""
WITHIN_S: Final = 1.0
"""How long a question to the store or the log may take."""
APPENDS: Final = "event_log_appends"
_NAMES: Final = {ONLINE_STORE: "The online store", EVENT_LOG: "The event log", APPENDS: "A write to the event log"}


@dataclass(frozen=True)
class Readiness:
    """Why something cannot be answered, and what the service does without meanwhile; by the name of what it waits for."""

    reasons: tuple[tuple[str, str], ...] = ()
    degraded: tuple[tuple[str, str], ...] = ()


class Relied(Protocol):
    """What is needed of the service."""

    log: EventLog
    reliance: Reliance | None

    def not_ready(self) -> list[str]:
        """What it waits for of models and of what it loads."""


class ReadinessProbe:
    """Asks for one worker; belongs to its event loop. A question that hangs is not asked again until it has ended."""

    def __init__(self, service: Relied, committer: GroupCommitter, note: Callable[[str, bool], None]) -> None:
        """`note` is told of each dependency whether it answered."""
        self._service, self._committer, self._note = service, committer, note
        self._threads = ThreadPoolExecutor(len(_NAMES), "omni-ready")
        self._running: dict[str, Future[None]] = {}
        self._asked: asyncio.Task[dict[str, str]] | None = None
        self._asked_at = 0.0
        self._open: set[str] = set()

    async def ask(self) -> Readiness:
        """The answer of this second."""
        waits_for = self._service.not_ready()
        reliance = self._service.reliance
        open_now = set() if reliance is None else {name for name, each in reliance.breakers().items() if each.is_open}
        is_old = time.monotonic() - self._asked_at >= KEPT_S or open_now != self._open
        if self._asked is None or (self._asked.done() and is_old):
            self._asked_at, self._open = time.monotonic(), open_now
            self._asked = asyncio.create_task(self._problems())
        troubles = dict(await asyncio.shield(self._asked))
        degraded: dict[str, str] = {}
        if reliance is not None and EVENT_LOG not in troubles and ONLINE_STORE in troubles:
            degraded[ONLINE_STORE] = troubles.pop(ONLINE_STORE)
        reasons = [*(("service", reason) for reason in waits_for), *troubles.items()]
        return Readiness(tuple(reasons), tuple(degraded.items()))

    def close(self) -> None:
        """End the threads; one that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _problems(self) -> dict[str, str]:
        questions = self._questions()
        troubles: dict[str, str] = {}
        for name, question in questions.items():
            running = self._running.get(name)
            if running is None or running.done():
                self._running[name] = self._threads.submit(_patiently, question)
        futures = {name: asyncio.wrap_future(self._running[name]) for name in questions}
        await asyncio.wait(futures.values(), timeout=WITHIN_S)
        for name, future in futures.items():
            if not future.done():
                future.add_done_callback(_take)
                troubles[name] = f"{_NAMES[name]} does not answer within {WITHIN_S:g} s."
            elif error := future.exception():
                troubles[name] = str(error) if isinstance(error, OmniError) else f"{_NAMES[name]}: {error}."
        for name in questions:
            self._note(name, name not in troubles)
        return troubles

    def _questions(self) -> dict[str, Callable[[], object]]:
        log, reliance = self._service.log, self._service.reliance
        questions: dict[str, Callable[[], object]] = {EVENT_LOG: log.last_seq, APPENDS: log.try_write}
        commit = self._committer.last_commit
        # somebody's events have just shown it
        if time.monotonic() - commit.at_s < (KEPT_S if commit.error is None else FAILED_FOR_S):
            questions[APPENDS] = lambda: _raise(commit.error)
        if reliance is not None:
            questions[ONLINE_STORE] = lambda: reliance.reader.read_state("")
            for name in self._open:  # it is being tried as it is
                known = partial(_raise, UnavailableError(reliance.breakers()[name].trouble() or "It is being tried."))
                questions |= {name: known} if name != EVENT_LOG else {name: known, APPENDS: known}
        return questions


def _patiently(question: Callable[[], object]) -> None:
    with waiting_at_most(WITHIN_S):
        question()


def _take(late: "asyncio.Future[None]") -> None:
    """Look at what came too late, so that nobody complains of an error that was never looked at."""
    if not late.cancelled():
        late.exception()


def _raise(error: OmniError | None) -> None:
    if error is not None:
        raise error
