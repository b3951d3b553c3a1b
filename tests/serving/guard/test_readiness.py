"""`/readyz` asks what questions ask: a read of the store, a read of the log, a write that waits for the disk; once a second."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from features.errors import MissingError, UnavailableError
from features.log.event_log import AppendResult
from features.log.sqlite import SqliteEventLog
from features.servers.breaker import Breaker
from serving.answers import Knowledge
from serving.api import create_app
from serving.guard import readiness
from serving.guard.reliance import GuardedLog, Reliance
from serving.runtime import Runtime

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
ADA = {"customer_id": "ada"}


def event(event_id: str) -> dict[str, Any]:
    return {"event_id": event_id, "occurred_at": NOW.isoformat(), "kind": "visit", "channel": "web", **ADA}


@asynccontextmanager
async def asking(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(lambda: runtime)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        yield http


@pytest.fixture(autouse=True)
def _asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEPT_S", 0.0)
    monkeypatch.setattr(readiness, "FAILED_FOR_S", 0.0)


class Store:
    """An online store that holds nobody, or is away."""

    error: Exception | None = None

    def read_state(self, customer_id: str) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def relying(runtime: Runtime, store: Store) -> Iterator[Runtime]:
    """The tests' service, which does without what does not answer."""
    log = GuardedLog(runtime.log, Breaker("The event log", runtime.log.last_seq))
    runtime.reliance = Reliance(store, Breaker("The online store", lambda: store.read_state("")), log)
    runtime.knowledge = Knowledge(
        runtime.knowledge.bundle, runtime.knowledge.catalogue, states=runtime.reliance.states()
    )
    yield runtime
    runtime.reliance.close()


def say(name: str, said: httpx.Response) -> list[str]:
    return [detail["reason"] for detail in said.json()["error"]["details"] if detail.get("dependency") == name]


def test_a_healthy_service_says_ready_and_nothing_more(relying: Runtime) -> None:
    async def ask() -> None:
        async with asking(relying) as http:
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            gauges = (await http.get("/metrics")).text
            for name in ("online_store", "event_log", "event_log_appends"):
                assert f'omni_dependency_up{{dependency="{name}"}} 1.0' in gauges

    asyncio.run(ask())


class FullDisk:
    """Leaves the log's file no more room than it takes, as a full disk does, until it is given some."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._connections = log._connections
        self._opened: list[sqlite3.Connection] = []
        self._more = 0
        connect = self._connections._connect

        def connect_limited() -> sqlite3.Connection:
            self._opened.append(connect())
            self._limit(self._opened[-1])
            return self._opened[-1]

        self._connections.drop()
        self._connections._connect = connect_limited

    def make_room(self) -> None:
        self._more = 10_000
        for connection in self._opened:
            self._limit(connection)

    def _limit(self, connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + self._more}")


def wordy(event_id: str) -> dict[str, Any]:
    return {**event(event_id), "properties": {"text": "x" * 5_000}}


def test_a_full_disk_is_503_for_writes_while_answers_go_on_and_it_comes_back_by_itself(relying: Runtime) -> None:
    assert isinstance(relying.log, SqliteEventLog)
    disk = FullDisk(relying.log)

    async def ask() -> None:
        async with asking(relying) as http:
            statuses = [(await http.post("/v1/events", json=wordy(f"f{n}"))).status_code for n in range(40)]
            assert set(statuses) == {200, 503} and statuses[-1] == 503  # what room the last pages had is used up
            refused = await http.post("/v1/events", json=wordy("refused"))
            ready = await http.get("/readyz")
            assert (refused.status_code, ready.status_code) == (503, 503)
            assert refused.headers["retry-after"] == ready.headers["retry-after"] == "2"
            assert "is full" in say("event_log_appends", ready)[0] and say("event_log", ready) == []
            churn = await http.post("/v1/churn", json=ADA)
            assert churn.status_code == 200 and churn.json()["stale"] is False  # nothing is missing in it
            disk.make_room()
            assert (await http.get("/readyz")).json() == {"status": "ready"}
            assert (await http.post("/v1/events", json=wordy("refused"))).json()["accepted"] == 1

    asyncio.run(ask())


def test_what_failed_for_somebody_counts_for_a_while(relying: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FAILED_FOR_S", 0.5)
    append_many = relying.log.append_many

    def full(*_: object) -> list[AppendResult | Exception]:
        raise UnavailableError("The event log cannot be used: database or disk is full.")

    async def ask() -> None:
        async with asking(relying) as http:
            monkeypatch.setattr(relying.log, "append_many", full)
            assert (await http.post("/v1/events", json=event("a"))).status_code == 503
            assert (await http.get("/readyz")).status_code == 503
            monkeypatch.setattr(relying.log, "append_many", append_many)
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.post("/v1/events", json=event("a"))).json()["accepted"] == 1
            assert (await http.get("/readyz")).status_code == 200
            monkeypatch.setattr(relying.log, "append_many", full)
            assert (await http.post("/v1/events", json=event("b"))).status_code == 503
            await asyncio.sleep(0.6)
            assert (await http.get("/readyz")).status_code == 200  # nobody brings events: what is tried counts

    asyncio.run(ask())


def test_a_commit_of_this_second_is_the_evidence(relying: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []
    try_write = relying.log.try_write
    monkeypatch.setattr(relying.log, "try_write", lambda: tried.append(time.monotonic()) or try_write())
    monkeypatch.setattr(readiness, "KEPT_S", 0.3)

    async def ask() -> None:
        async with asking(relying) as http:
            await http.post("/v1/events", json=event("a"))
            assert (await http.get("/readyz")).status_code == 200
            assert tried == []
            await asyncio.sleep(0.4)
            for _ in range(20):
                assert (await http.get("/readyz")).status_code == 200
            assert len(tried) == 1  # and 19 answers that were kept

    asyncio.run(ask())


def test_a_log_that_hangs_is_said_in_time_and_asked_once(relying: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WITHIN_S", 0.2)
    released = threading.Event()
    asked: list[str] = []
    monkeypatch.setattr(relying.log, "try_write", lambda: asked.append("write") or released.wait(10))

    async def ask() -> None:
        async with asking(relying) as http:
            for _ in range(5):
                started = time.monotonic()
                hung = asyncio.create_task(http.get("/readyz"))
                await asyncio.sleep(0.01)
                assert (await http.get("/livez")).status_code == 200
                assert time.monotonic() - started < 0.15
                said = await hung
                assert said.status_code == 503
                assert say("event_log_appends", said) == ["A write to the event log does not answer within 0.2 s."]
            assert asked == ["write"]
            released.set()
            await asyncio.sleep(0.05)
            assert (await http.get("/readyz")).status_code == 200

    asyncio.run(ask())


@pytest.mark.parametrize("error", [UnavailableError("Redis does not answer."), MissingError("The file is gone.")])
def test_without_the_online_store_it_is_ready_and_says_what_it_lacks(
    relying: Runtime, store: Store, error: Exception
) -> None:
    async def ask() -> None:
        async with asking(relying) as http:
            store.error = error
            ready = await http.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["degraded"] == [{"dependency": "online_store", "reason": str(error)}]
            answer = (await http.post("/v1/churn", json=ADA)).json()
            assert (answer["degraded"], answer["stale"]) == (["online_store"], False)
            assert (await http.post("/v1/decide", json=ADA)).status_code == 200
            store.error = None
            assert (await http.get("/readyz")).json() == {"status": "ready"}

    asyncio.run(ask())


def test_a_service_that_cannot_do_without_is_not_ready(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> AppendResult:
        raise UnavailableError("The event log does not answer.")

    monkeypatch.setattr(runtime.log, "last_seq", away)

    async def ask() -> httpx.Response:
        async with asking(runtime) as http:
            return await http.get("/readyz")

    said = asyncio.run(ask())
    assert said.status_code == 503
    assert say("event_log", said) == ["The event log does not answer."]


def test_what_questions_have_found_out_is_said_at_once(
    relying: Runtime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_S", 60.0)

    async def ask() -> None:
        async with asking(relying) as http:
            assert (await http.get("/readyz")).json() == {"status": "ready"}
            store.error = UnavailableError("Redis does not answer.")
            assert (await http.get("/readyz")).json() == {"status": "ready"}  # kept
            for _ in range(3):
                await http.post("/v1/churn", json=ADA)
            degraded = (await http.get("/readyz")).json()["degraded"]
            assert degraded == [{"dependency": "online_store", "reason": "Redis does not answer."}]

    asyncio.run(ask())
