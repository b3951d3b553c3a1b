"""A request that was answered in, one line of JSON out: what was asked and how it went, and nothing of whom it was about.

Lines are written as they are made, past `logging`, which takes longer for one line than a small answer takes altogether.
"""

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json

HEADER: Final = b"x-request-id"
_IDS: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What may be an id: no address of a person, and nothing that ends a line."""


def request_id(scope: Mapping[str, Any]) -> bytes:
    """The id that the request brings, or a new one."""
    for name, value in scope["headers"]:
        if name == HEADER and _IDS.fullmatch(value):
            return bytes(value)
    return os.urandom(8).hex().encode()


class RequestLog:
    """Writes a line for each request to a file descriptor: 2, where the service's other messages go."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor

    def note(
        self, scope: Mapping[str, Any], route: str, status: int, taken_s: float, caller: str, decision_id: str | None
    ) -> None:
        """One request, by its route as the contract writes it: a path may hold an address."""
        now = time.time()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            "level": "INFO",
            "logger": "serving.requests",
            "request_id": scope["request_id"].decode(),
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1e3 * taken_s, 3),
        }
        if caller:
            line["key"] = caller
        if decision_id:
            line["decision_id"] = decision_id
        os.write(self._descriptor, to_json(line) + b"\n")
