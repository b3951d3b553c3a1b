"""An Origin that may ask in, the headers that tell its browser so out (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "authorization, content-type, x-api-key, x-request-id",
    "Access-Control-Max-Age": "600",
}
_EXPOSED: Final = (b"access-control-expose-headers", b"X-Request-ID, Retry-After")


def allowing(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that a page of this origin may read."""
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), _EXPOSED]


def preflight(scope: Mapping[str, Any]) -> Response | None:
    """The answer to a browser that asks beforehand whether a page may ask; None for any other request."""
    asks = any(name == b"access-control-request-method" for name, _ in scope["headers"])
    return Response(status_code=204, headers=_PREFLIGHT) if asks and scope["method"] == "OPTIONS" else None
