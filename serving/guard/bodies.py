"""Bodies of requests: what senders send piece by piece in, whole bodies out, or an error for whoever is too slow or too many.

A body is read before its request counts as in hand, so whoever sends half of it holds up nobody else. Who brings too many
at once loses the oldest: that is the slowest, and what comes whole is through in a moment.
"""

import asyncio
from typing import Final

from starlette.requests import Request

from serving import problems
from serving.guard.peers import Shares, peer_of

BODY_WITHIN_S: Final = 5.0
"""How long a body may take, beside what its bytes are given."""
BYTES_PER_S: Final = 64 * 1024
"""Every so many bytes that have come give their sender another second."""
LONGEST_BODY_S: Final = 30.0
"""How long the largest body may take."""
MAX_PER_PEER: Final = 256
"""Bodies that one peer may have under way."""
MAX_BODIES: Final = 1024
"""Bodies that all peers together may have under way."""
MAX_BYTES_PER_PEER: Final = 64 * 1024 * 1024
MAX_BYTES: Final = 256 * 1024 * 1024
"""What all bodies that are under way may hold in memory."""


class _Reading:
    """One body that is under way."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.limit = limit
        self.had_to_go = False

    def give_up(self) -> None:
        self.had_to_go = True
        self.limit.reschedule(asyncio.get_running_loop().time())


class Bodies:
    """The bodies that one worker has under way; belongs to its event loop."""

    def __init__(self) -> None:
        self._shares: Shares[_Reading] = Shares(
            per_peer=MAX_PER_PEER, overall=MAX_BODIES, size_per_peer=MAX_BYTES_PER_PEER, size_overall=MAX_BYTES
        )

    def __len__(self) -> int:
        return len(self._shares)

    async def read(self, request: Request, limit_bytes: int) -> bytes:
        """The whole body. Raises ApiError where it is too large or too slow, ends early, or there are too many."""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise problems.too_large(limit_bytes)
        peer = peer_of(request.client.host if request.client else None)
        started = asyncio.get_running_loop().time()
        limit = asyncio.timeout_at(started + BODY_WITHIN_S)
        reading = _Reading(limit)
        try:
            async with limit:
                self._count(peer, reading, 0)
                return await self._receive(request, peer, reading, limit_bytes, started)
        except TimeoutError:
            raise problems.overloaded() if reading.had_to_go else problems.slow_body() from None
        finally:
            self._shares.remove(peer, reading)

    async def _receive(self, request: Request, peer: str, reading: _Reading, limit_bytes: int, started: float) -> bytes:
        parts = bytearray()
        is_whole = False
        while not is_whole:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise problems.disconnected()
            part = message.get("body", b"")
            is_whole = not message.get("more_body", False)
            parts += part
            if len(parts) > limit_bytes:
                raise problems.too_large(limit_bytes)
            if is_whole or not part or reading.had_to_go:
                continue
            self._count(peer, reading, len(parts))
            if not reading.had_to_go:
                reading.limit.reschedule(
                    started + min(BODY_WITHIN_S + len(parts) / BYTES_PER_S, max(BODY_WITHIN_S, LONGEST_BODY_S))
                )
        return bytes(parts)

    def _count(self, peer: str, reading: _Reading, size: int) -> None:
        for other in self._shares.put(peer, reading, size):
            other.give_up()
