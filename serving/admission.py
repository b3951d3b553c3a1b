"""Questions of many requests in, each one's answer out in its turn: what waits is counted, and nobody waits for long."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from serving.problems import overloaded

MAX_WAIT_S: Final = 3.0
"""How long a question may wait for its turn, so that a burst of them ends in 429 and not in answers that come too late."""
READERS: Final = 8
"""Threads that ask servers, where the log or the online store is one."""
MAX_LET_IN: Final = 64
"""Rounds of the event loop between two answers."""
LET_IN_EVERY_S: Final = 0.005
"""Answers that follow each other faster have no rounds between them but what the loop does anyway."""
TRUSTED_S: Final = 1.0
"""For so long after a quick answer this machine's files are taken to be quick: a disk that hangs must hold up no loop."""
QUICK_S: Final = 1.0
"""An answer from this machine's files that took less was quick: on a busy machine one takes long without a disk that hangs."""
_ROUNDS_TO_BEGIN: Final = 4
"""From the accepted connection to its handler."""
T = TypeVar("T")


class Turns:
    """The requests that one worker has in hand; belongs to its event loop."""

    def __init__(self, *, asks_servers: bool) -> None:
        self.in_flight = 0
        self._begun = 0
        self._let_in_at = 0.0
        self._turn = asyncio.Lock()
        self._asks_servers = asks_servers
        self._quick_at = -math.inf
        self._readers = ThreadPoolExecutor(READERS if asks_servers else 1, "omni-reader")

    def arrive(self) -> None:
        """Note that a request is at the door, its body perhaps still on its way."""
        self._begun += 1

    def begin(self) -> None:
        """Count a request in: all of it is here."""
        self.in_flight += 1

    def end(self) -> None:
        """Count it out."""
        self.in_flight -= 1

    def close(self) -> None:
        """Answer what is being answered and nothing more."""
        self._readers.shutdown(cancel_futures=True)

    async def ask(self, question: Callable[[], T]) -> T:
        """Answer: on this thread where it reads this machine's files and these are quick; else on another one.

        A server or a disk that hangs then holds up who asks it, and not whoever else asks whether the service is alive, nor
        the answer that is given instead when time is up. Raises ApiError for whoever has waited too long: the answer would
        come too late, and hold up those behind them.
        """
        deadline = time.monotonic() + MAX_WAIT_S

        def answer_in_time() -> T:
            started = time.monotonic()
            if started > deadline:
                raise overloaded()
            answer = question()
            ended = time.monotonic()
            self._quick_at = ended if ended - started < QUICK_S else -math.inf
            return answer

        if self._asks_servers or time.monotonic() - self._quick_at > TRUSTED_S:
            return await asyncio.get_running_loop().run_in_executor(self._readers, answer_in_time)
        async with self._turn:
            await self._let_in()
            return answer_in_time()

    async def _let_in(self) -> None:
        """Let those in who are at the door, to wait in line, to be sent away or to hear that we are alive.

        Each round of the event loop lets one connection in. Were there an answer to every round, they would queue outside,
        where nobody counts them.
        """
        if time.monotonic() - self._let_in_at < LET_IN_EVERY_S:
            return
        self._let_in_at = time.monotonic()
        quiet = 0
        for _ in range(MAX_LET_IN):
            begun = self._begun
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._begun == begun else 0
            if quiet == _ROUNDS_TO_BEGIN or self.in_flight == 1:
                return


def is_from_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says so; whoever is no browser says nothing.

    A browser on the machine of whoever serves reaches this service, and so do the pages of strangers in it: they cannot
    read the answers, but they could send events. See https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
