"""A client that costs little and keeps a pace: requests over kept-open connections come in, answers and times come out."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

CONNECTIONS = 64


class Client:
    """HTTP over kept-open connections; costs the machine a tenth of what a full client does."""

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port, self._connections = int(port), connections
        self._idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> "Client":
        for _ in range(self._connections):
            self._idle.put_nowait(await asyncio.open_connection(self._host, self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()[1].close()

    async def ask(self, method: str, path: str, content: Any = None) -> Any:
        """The answer's JSON, once it is 200; waits for a connection where all are in use."""
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-length: {len(body)}\r\n\r\n"
        reader, writer = connection = await self._idle.get()
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        self._idle.put_nowait(connection)
        assert answered.startswith(b"http/1.1 200"), answer
        return answer


async def at_a_pace(n: int, rate: float, one: Callable[[int], Awaitable[None]]) -> float:
    """Start `one(0)`, `one(1)`, ... at `rate` a second, whether or not those before are done; seconds until all are."""
    started = time.perf_counter()

    async def later(i: int) -> None:
        await asyncio.sleep(max(0.0, started + i / rate - time.perf_counter()))
        await one(i)

    await asyncio.gather(*(later(i) for i in range(n)))
    return time.perf_counter() - started


def percentiles(values: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, to 0.01."""
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 99)}
