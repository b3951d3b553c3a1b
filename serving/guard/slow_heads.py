"""Connections in, those gone that bring no request: uvicorn itself waits for the first line and the headers for ever.

Who answers them first is said here, too: `serve_first` passes over the layers that BentoML puts around every app (tracing,
a time limit of its own), which take longer than the rest of a small request.
"""

import asyncio
from functools import cache
from typing import Any, ClassVar, Final

from starlette.types import ASGIApp
from uvicorn import config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serving.guard.peers import Shares, peer_of

HEAD_WITHIN_S: Final = 10.0
"""How long a connection may be open, or a request begun, without its headers being whole."""
MAX_PER_PEER: Final = 512
"""Connections of one peer that have not brought the headers of a request; beyond, the oldest one is closed."""
MAX_WAITING: Final = 4096
_Protocol: Any = AutoHTTPProtocol  # which of uvicorn's two it is depends on what is installed


class ImpatientProtocol(_Protocol):  # type: ignore[misc]
    """uvicorn's protocol, which also closes a connection whose request does not come."""

    _waiting: ClassVar[Shares["ImpatientProtocol"]] = Shares(per_peer=MAX_PER_PEER, overall=MAX_WAITING)
    _peer = ""
    _timer: asyncio.TimerHandle | None = None
    ours: ClassVar[ASGIApp | None] = None
    """What answers every HTTP request; None: the app that uvicorn was given."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        if self.ours is not None:
            self.app = _behind_proxies(self.ours, self.config.forwarded_allow_ips)
        super().connection_made(transport)
        self._peer = peer_of(self.client[0] if self.client else None)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        if before is None or before.response_complete:
            self._expect_head()
        super().data_received(data)
        if self.cycle is not before:
            self._has_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_WITHIN_S, self._give_up)
            for other in self._waiting.put(self._peer, self):
                other._give_up()

    def _has_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._waiting.remove(self._peer, self)

    def _give_up(self) -> None:
        self._has_head()
        if not self.transport.is_closing():
            self.transport.close()


def install() -> None:
    """Have uvicorn use it; BentoML, which starts uvicorn, has no setting for this."""
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{ImpatientProtocol.__name__}"


def serve_first(app: ASGIApp) -> None:
    """Have `app` answer every HTTP request from now on."""
    ImpatientProtocol.ours = app


@cache
def _behind_proxies(app: ASGIApp, trusted: str) -> Any:
    """The app, told whom a `trusted` proxy asks for: uvicorn does it so for the app that it is given."""
    return ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]
