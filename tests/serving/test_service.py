"""The real service: BentoML in a process of its own on a free port of this machine, stopped by its own id."""

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError, OmniError
from features.log.engines import open_log
from features.settings import Settings
from serving.supervisor import Service, StartError, start_service


def call(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_alive(service: Service) -> None:
    for _ in range(600):
        try:
            assert call(f"{service.url}/livez")[0] == 200
            return
        except OSError:
            assert service.server.poll() is None, "the server ended"
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    return Settings(home, f"sqlite:///{home / 'events.db'}", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Service]:
    found = start_service(settings, port=0, with_applier=False, log_file=settings.home / "serve.log")
    try:
        wait_alive(found)
        yield found
    finally:
        found.stop()


def test_an_event_that_was_acknowledged_is_in_the_log(service: Service, settings: Settings) -> None:
    item = {"event_id": "s1", "kind": "view", "channel": "web", "customer_id": "ada", "product_id": "tea"}
    event = {**item, "occurred_at": datetime.now(UTC).isoformat()}
    status, body = call(f"{service.url}/v1/events", [event])
    assert (status, json.loads(body)["accepted"]) == (200, 1)
    log = open_log(settings)
    assert log.customer_events("ada").num_rows == 1
    log.close()


def test_our_pages_are_not_hidden_by_bentomls_own(service: Service) -> None:
    assert b"Omni" in call(f"{service.url}/")[1]
    assert json.loads(call(f"{service.url}/docs.json")[1])["info"]["title"] == "Omni"
    assert b"omni_events_total" in call(f"{service.url}/metrics")[1]
    status, body = call(f"{service.url}/readyz")
    assert (status, json.loads(body)["error"]["code"]) == (503, "not_ready")  # no stream opens the online store


def test_errors_have_our_shape(service: Service) -> None:
    status, body = call(f"{service.url}/v1/churn", {"customer_id": ""})
    assert (status, json.loads(body)["error"]["code"]) == (422, "invalid_request")
    assert json.loads(call(f"{service.url}/nowhere")[1])["error"]["code"] == "not_found"


def test_half_sent_requests_hold_up_nobody(service: Service) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    head = b"POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 500\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        silent, *slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(301)]
        for connection in slow:
            connection.sendall(head)
        event = {"event_id": "s2", "kind": "view", "channel": "web", "customer_id": "ada", "product_id": "tea"}
        started = time.monotonic()
        assert call(f"{service.url}/v1/events", [event])[0] == 200
        assert time.monotonic() - started < 3.0
        assert {connection.recv(4096).split()[1] for connection in slow} <= {b"408", b"429"}
        assert silent.recv(1) == b""  # BentoML's own server would wait for its first line for ever


def test_waiting_for_what_does_not_come_says_what_it_was(service: Service) -> None:
    with pytest.raises(StartError, match=r"omni train|omni features build"):
        service.wait_ready(timeout_s=0.5)


def test_a_port_that_is_taken_is_said_at_once(service: Service, settings: Settings) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    with pytest.raises(InputError, match="Choose another one with --port"):
        start_service(settings, port=port)


def test_it_stops_cleanly(service: Service, settings: Settings) -> None:
    service.stop(drain_s=0.1)
    assert service.server.returncode == 0
    assert not service.drain_file.exists()
    assert "Traceback" not in (settings.home / "serve.log").read_text()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("rules.toml", b"quiet_hours = 5", r"rules\.toml: quiet_hours: Input should be a section\. Mend the value"),
        ("rules.toml", b"\xff", r"rules\.toml is not TOML"),
        (
            "events.db",
            b"no database at all, not even a small one",
            r"events\.db cannot be used: file is not a database",
        ),
        ("run", b"a file where a folder should be", r"cannot be written to: .* OMNI_HOME"),
    ],
)
def test_what_no_worker_could_start_with_is_said_at_once(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    (tmp_path / file).write_bytes(content)
    settings = Settings(tmp_path, f"sqlite:///{tmp_path / 'events.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(OmniError, match=said):
        start_service(settings, port=0, with_applier=False)
