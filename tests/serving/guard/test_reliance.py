"""Real servers that hang, die and come back: answers come in time, say what they lack, and are whole again by themselves."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from local_servers import paused, postgres_server, processes_at, redis_server

from features.errors import UnavailableError
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.online.reader import OnlineReader
from features.servers import breaker
from features.servers.patience import waiting_at_most
from features.settings import Settings
from features.store.feature_store import Store
from features.stream import Applier
from serving.answers import Knowledge
from serving.api import create_app
from serving.decision.rules import Rules
from serving.erasure import Eraser
from serving.guard.reliance import WRITE_WAIT_S, Reliance
from serving.runtime import Runtime

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
ADA = {"customer_id": "ada"}
QUESTIONS = ("/v1/next-products", "/v1/churn", "/v1/best-channel")


class StandingClock:
    def now(self) -> datetime:
        return NOW


def happening(event_id: str, **fields: Any) -> dict[str, Any]:
    at = "2024-02-28T18:00:00Z"
    return {"event_id": event_id, "occurred_at": at, "kind": "visit", "channel": "web", **ADA, **fields}


HISTORY = [
    happening("e1", kind="purchase", product_id="tea", value=4.0, identifiers={"email": "ada@example.org"}),
    happening("e2", kind="purchase", product_id="milk", value=1.2, channel="store"),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as address:
        yield address


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def open_on(settings: Settings, knowledge: Knowledge) -> Runtime:
    """A service as `open_runtime` makes it, with the tests' models and clock; Ada is online."""
    log = open_log(settings, WRITE_WAIT_S)
    events, rejected = parse_events(HISTORY, NOW)
    assert not rejected
    log.append(events_to_table(events))
    store = Store(settings)
    store.apply()
    Applier(log, store.online, OnlineReader(settings), settings).run_once()
    clock: Any = StandingClock()
    reliance = Reliance.on(settings, clock, log)
    runtime = Runtime(log, clock, Rules(), knowledge, reliance=reliance, asks_servers=True)
    runtime.knowledge = Knowledge(knowledge.bundle, knowledge.catalogue, states=reliance.states())

    def close() -> None:
        reliance.close()
        log.close()

    runtime.close = close
    return runtime


@pytest.fixture
def on_servers(tmp_path: Path, redis: str, postgres: str, runtime: Runtime) -> Runtime:
    settings = Settings.from_env(
        {
            "OMNI_HOME": str(tmp_path / "home"),
            "OMNI_EVENT_LOG": postgres,
            "OMNI_ONLINE_STORE": "redis",
            "OMNI_REDIS": redis,
            "OMNI_CLOCK_START": NOW.isoformat(),
        }
    )
    return open_on(settings, runtime.knowledge)


@asynccontextmanager
async def asking(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(lambda: runtime)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        for path in QUESTIONS:
            await http.post(path, json=ADA)  # connections are made, code is compiled
        yield http


async def timed(http: httpx.AsyncClient, path: str, body: Any, n: int) -> tuple[list[httpx.Response], list[float]]:
    answers, took_s = [], []
    for _ in range(n):
        started = time.monotonic()
        answers.append(await http.post(path, json=body))
        took_s.append(time.monotonic() - started)
    return answers, sorted(took_s)


async def until_whole(http: httpx.AsyncClient) -> None:
    for _ in range(150):
        ready = await http.get("/readyz")
        answer = (await http.post("/v1/churn", json=ADA)).json()
        if ready.json() == {"status": "ready"} and answer.get("degraded") == []:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"It did not recover: {ready.text} {answer}")


def test_a_redis_that_hangs_is_done_without(on_servers: Runtime, redis: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            whole = (await http.post("/v1/churn", json=ADA)).json()
            assert whole["degraded"] == [] and whole["stale"] is False
            with paused(redis):
                answers, took_s = await timed(http, "/v1/churn", ADA, 60)
                assert {answer.status_code for answer in answers} == {200}
                assert took_s[-6] < 0.15 and took_s[-1] < 3.0  # the first few find out, and nobody after them
                last = answers[-1].json()
                assert last == {**whole, "degraded": ["online_store"]}  # folded from the log: the same answer
                decided = await http.post("/v1/decide", json=ADA)
                assert decided.status_code == 200 and decided.json()["degraded"] == ["online_store"]
                ready = await http.get("/readyz")
                assert (ready.status_code, ready.json()["degraded"][0]["dependency"]) == (200, "online_store")
                gauge = (await http.get("/metrics")).text
                assert 'omni_dependency_up{dependency="online_store"} 0.0' in gauge
            await until_whole(http)

    asyncio.run(ask())


def test_a_postgres_that_hangs_is_done_without_where_nothing_is_written(on_servers: Runtime, postgres: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            whole = (await http.post("/v1/churn", json=ADA)).json()
            with paused(postgres):
                for path in QUESTIONS:
                    answers, took_s = await timed(http, path, ADA, 20)
                    assert {answer.status_code for answer in answers} == {200}
                    assert took_s[-6] < 0.15 and took_s[-1] < 3.0
                    last = answers[-1].json()
                    assert last["degraded"] == ["event_log"] and last["stale"] and last["stale_for_s"] > 0
                stale = (await http.post("/v1/churn", json=ADA)).json()
                assert stale["churn_probability"] == whole["churn_probability"]
                assert (await http.get("/v1/customers/ada")).json()["stale"] is True

                for path, body in (
                    ("/v1/decide", ADA),
                    ("/v1/events", happening("lost?")),
                    ("/v1/next-products", {**ADA, "explore_share": 0.5}),
                    ("/v1/churn", {"identifiers": {"email": "ada@example.org"}}),  # only the log knows who that is
                    ("/v1/churn", {"customer_id": "perhaps a customer"}),  # and it is not said that there is none
                ):
                    answers, took_s = await timed(http, path, body, 5)
                    assert {answer.status_code for answer in answers} == {503}, path
                    assert {answer.headers["retry-after"] for answer in answers} == {"2"}
                    assert took_s[-1] < 3.0
                ready = await http.get("/readyz")
                assert (ready.status_code, ready.headers["retry-after"]) == (503, "2")
                named = {said["dependency"] for said in ready.json()["error"]["details"]}
                assert named == {"event_log", "event_log_appends"}
            await until_whole(http)
            again = await http.post("/v1/events", json=happening("lost?"))
            assert again.json()["accepted"] == 1  # it was refused before anything was written

    asyncio.run(ask())


def test_a_postgres_that_hangs_is_found_out_by_writes_alone(on_servers: Runtime, postgres: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            with paused(postgres):
                answers, took_s = await timed(http, "/v1/events", happening("w"), 10)
                assert {answer.status_code for answer in answers} == {503}
                assert took_s[-1] < 3.0 and took_s[-2] < 0.2
            await until_whole(http)
            again = (await http.post("/v1/events", json=happening("w"))).json()
            assert again["accepted"] + again["duplicates"] == 1  # the first may have been kept: once

    asyncio.run(ask())


def test_an_erasure_does_not_wait_for_a_postgres_that_hangs(on_servers: Runtime, postgres: str, tmp_path: Path) -> None:
    env = {"OMNI_HOME": str(tmp_path / "home"), "OMNI_EVENT_LOG": postgres}
    on_servers.eraser = Eraser(Settings.from_env(env), on_servers.log)

    async def ask() -> None:
        async with asking(on_servers) as http:
            with paused(postgres):
                started = time.monotonic()
                refused = await http.delete("/v1/customers/nobody")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
                assert time.monotonic() - started < 3.0
                started = time.monotonic()
                assert (await http.delete("/v1/customers/nobody")).status_code == 503
                assert time.monotonic() - started < 0.2
            await until_whole(http)
            assert (await http.delete("/v1/customers/nobody")).status_code == 404

    asyncio.run(ask())


def test_a_postgres_that_only_reads_is_503_for_writes(on_servers: Runtime, postgres: str) -> None:
    def set_read_only(change: str) -> None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only TO off")
            connection.execute(f"ALTER SYSTEM {change}")
            connection.execute("SELECT pg_reload_conf()")

    async def ask() -> None:
        async with asking(on_servers) as http:
            set_read_only("SET default_transaction_read_only TO on")
            try:
                await asyncio.sleep(0.3)
                refused = await http.post("/v1/events", json=happening("ro"))
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
                assert "cannot be written to" in refused.json()["error"]["message"]
                assert (await http.get("/readyz")).status_code == 503
                churn = await http.post("/v1/churn", json=ADA)
                assert (churn.status_code, churn.json()["stale"]) == (200, False)
            finally:
                set_read_only("RESET default_transaction_read_only")
            await until_whole(http)

    asyncio.run(ask())


def test_both_that_hang_are_503_in_time(on_servers: Runtime, postgres: str, redis: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            with paused(postgres), paused(redis):
                answers, took_s = await timed(http, "/v1/churn", ADA, 40)
                assert {answer.status_code for answer in answers} == {503}
                assert {answer.headers["retry-after"] for answer in answers} == {"2"}
                assert took_s[-6] < 0.15 and took_s[-1] < 4.0
                assert (await http.get("/livez")).status_code == 200
                assert (await http.get("/readyz")).status_code == 503
            await until_whole(http)

    asyncio.run(ask())


def test_many_at_once_while_postgres_hangs(on_servers: Runtime, postgres: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            with paused(postgres):
                started = time.monotonic()
                burst = await asyncio.gather(*(http.post("/v1/churn", json=ADA) for _ in range(200)))
                assert {answer.status_code for answer in burst} <= {200, 503}
                assert time.monotonic() - started < 5.0
            await until_whole(http)

    asyncio.run(ask())


def test_a_postgres_that_crashes_recovers_without_a_restart_of_the_service(on_servers: Runtime, postgres: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            for process in processes_at(postgres)[1:]:
                if "idle" in " ".join(process.cmdline()):  # a backend: the server ends all others and begins anew
                    process.send_signal(signal.SIGKILL)
                    break
            else:
                raise AssertionError("no backend")
            answers, took_s = await timed(http, "/v1/churn", ADA, 20)
            assert {answer.status_code for answer in answers} <= {200, 503}
            assert took_s[-1] < 3.0
            await until_whole(http)

    asyncio.run(ask())


def test_a_redis_that_dies_and_comes_back_empty(tmp_path: Path, runtime: Runtime) -> None:
    async def ask(service: Runtime, first: contextlib.ExitStack, port: int) -> None:
        async with asking(service) as http:
            whole = (await http.post("/v1/churn", json=ADA)).json()
            first.close()
            answers, took_s = await timed(http, "/v1/churn", ADA, 20)
            assert {answer.status_code for answer in answers} == {200} and took_s[-1] < 3.0
            assert answers[-1].json() == {**whole, "degraded": ["online_store"]}
            with redis_server(port=port):
                await until_whole(http)
                assert (await http.post("/v1/churn", json=ADA)).json() == whole

    first = contextlib.ExitStack()
    with first:
        address = first.enter_context(redis_server())
        env = {"OMNI_HOME": str(tmp_path / "home"), "OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": address}
        service = open_on(Settings.from_env({**env, "OMNI_CLOCK_START": NOW.isoformat()}), runtime.knowledge)
        asyncio.run(ask(service, first, int(address.rpartition(":")[2])))


def test_a_question_is_answered_without_them_in_time(on_servers: Runtime, postgres: str, redis: str) -> None:
    async def ask() -> None:
        async with asking(on_servers) as http:
            with paused(postgres), paused(redis):
                started = time.monotonic()
                late = await http.post("/v1/churn", json={**ADA, "timeout_ms": 30})
                assert (late.status_code, late.json()["reason"]) == (200, "deadline")
                assert time.monotonic() - started < 0.5
            refused = await http.post("/v1/churn", json={**ADA, "timeout_ms": 25_001})
            assert refused.status_code == 422
            await until_whole(http)

    asyncio.run(ask())


def test_trials_do_not_pile_up_connections(on_servers: Runtime, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PAUSE_S", 0.01)
    log = on_servers.reliance.log  # type: ignore[union-attr]
    with paused(postgres):
        for _ in range(200):
            with contextlib.suppress(UnavailableError), waiting_at_most(0.05):
                log.resolve("ada", {})
            time.sleep(0.01)
        assert len(on_servers.log._connections._all) <= 4  # type: ignore[attr-defined]
    on_servers.close()
