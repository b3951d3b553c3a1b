"""A real server on this machine: who sends half of a request, or nothing, holds up nobody else, and is let go soon."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from serving.api import create_app
from serving.guard import bodies, slow_heads
from serving.guard.peers import Shares
from serving.runtime import Runtime

BODY = json.dumps({"customer_id": "ada"}).encode()
HEAD = b"POST /v1/churn HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
EVENTS_HEAD = HEAD.replace(b"/v1/churn", b"/v1/events")


@pytest.fixture
def server(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Any]]:
    """The port of a running server, and the app's state; senders have little time."""
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 1.0)
    monkeypatch.setattr(slow_heads, "HEAD_WITHIN_S", 1.0)
    app = create_app(lambda: runtime)
    config = uvicorn.Config(app, port=0, log_config=None, http=slow_heads.ImpatientProtocol, timeout_keep_alive=2)
    running = uvicorn.Server(config)
    listening = socket.socket()
    listening.bind(("0.0.0.0", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield listening.getsockname()[1], app.state
    running.should_exit = True
    thread.join(20)
    listening.close()


def connect(port: int, peer: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(peer, 0))


def answer_of(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]) if first else 0, headers, body


def ask(port: int, peer: str) -> tuple[int, float]:
    started = time.monotonic()
    with connect(port, peer) as connection:
        connection.sendall(HEAD.replace(b"Host", b"Connection: close\r\nHost") % len(BODY) + BODY)
        return answer_of(connection)[0], time.monotonic() - started


def half_sent(port: int, n: int, head: bytes, stack: contextlib.ExitStack) -> list[socket.socket]:
    connections = [stack.enter_context(connect(port)) for _ in range(n)]
    for connection in connections:
        connection.sendall(head)
    return connections


def test_half_sent_bodies_of_one_peer_hold_up_neither_others_nor_the_peer(server: tuple[int, Any]) -> None:
    port, state = server
    assert ask(port, "127.0.0.2")[0] == 200
    with contextlib.ExitStack() as stack:
        slow = half_sent(port, 300, HEAD % len(BODY) + BODY[:5], stack)
        answers = [ask(port, peer) for _ in range(10) for peer in ("127.0.0.2", "127.0.0.1")]
        assert {status for status, _ in answers} == {200}
        assert sorted(took_s for _, took_s in answers)[10] < 0.5  # the machine may pause, the service does not
        assert state.turns.in_flight == 0
        replies = [answer_of(connection) for connection in slow]
        statuses = [status for status, _, _ in replies]
        assert set(statuses) == {408, 429} and statuses.count(429) >= 300 - bodies.MAX_PER_PEER
        _, headers, body = next(reply for reply in replies if reply[0] == 408)
        assert json.loads(body)["error"]["code"] == "slow_body" and headers["connection"] == "close"
        assert next(reply for reply in replies if reply[0] == 429)[1]["retry-after"] == "1"
    assert len(state.bodies) == 0


def test_who_sends_byte_by_byte_is_not_waited_for(server: tuple[int, Any]) -> None:
    port, _ = server
    started = time.monotonic()
    with connect(port) as connection:
        connection.sendall(HEAD % 200_000)
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 5.0:
                connection.sendall(b" ")
                time.sleep(0.05)
        assert time.monotonic() - started < 4.0
    assert ask(port, "127.0.0.1")[0] == 200


def test_a_large_batch_has_the_time_that_its_size_takes(server: tuple[int, Any]) -> None:
    port, _ = server
    body = b"[" + b" " * 400_000 + b"]"
    with connect(port) as connection:
        connection.sendall(EVENTS_HEAD.replace(b"Host", b"Connection: close\r\nHost") % len(body))
        for start in range(0, len(body), 40_000):  # two seconds: more than a small body may take
            connection.sendall(body[start : start + 40_000])
            time.sleep(0.2)
        status, _, answer = answer_of(connection)
    assert (status, json.loads(answer)["error"]["code"]) == (422, "invalid_request")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: tuple[int, Any]) -> None:
    port, _ = server
    with connect(port) as connection:
        connection.sendall(HEAD % 300_000)
        status, headers, _ = answer_of(connection)
    assert (status, headers["connection"]) == (413, "close")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ch", (HEAD % 5)[:-2]])
def test_connections_that_bring_no_request_are_closed(server: tuple[int, Any], sent: bytes) -> None:
    port, _ = server
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        silent = half_sent(port, 50, sent, stack)
        assert ask(port, "127.0.0.2")[0] == 200
        assert [answer_of(connection)[0] for connection in silent] == [0] * 50
        assert time.monotonic() - started < 4.0


def test_headers_that_trickle_are_not_waited_for_on_a_kept_connection_either(server: tuple[int, Any]) -> None:
    port, _ = server
    with connect(port) as connection:
        connection.sendall(HEAD % len(BODY) + BODY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in HEAD * 10:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - started > 6:
                    break
        assert time.monotonic() - started < 4.0


def test_a_question_that_takes_long_is_not_cut_off_with_its_connection(
    server: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = server
    monkeypatch.setattr("serving.answers.Answers.churn", lambda *_: time.sleep(1.5) or 1 / 0)
    status, took_s = ask(port, "127.0.0.1")
    assert status == 500 and took_s >= 1.5


def test_one_peers_idle_connections_are_limited(server: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    port, _ = server
    monkeypatch.setattr(slow_heads, "HEAD_WITHIN_S", 30.0)
    monkeypatch.setattr(slow_heads.ImpatientProtocol, "_waiting", Shares(per_peer=20, overall=100))
    with contextlib.ExitStack() as stack:
        silent = half_sent(port, 30, b"", stack)
        assert ask(port, "127.0.0.2")[0] == 200
        for connection in silent[:10]:
            assert connection.recv(1) == b""  # the oldest are gone
        silent[-1].sendall(HEAD.replace(b"Host", b"Connection: close\r\nHost") % len(BODY) + BODY)
        assert answer_of(silent[-1])[0] == 200
