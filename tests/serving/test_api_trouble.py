"""The HTTP contract in trouble: something is missing, slow, full or hostile, and the answer is one shape and in time."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from features.vocabulary import Task
from serving import admission, api, door
from serving.answers import Answers, Knowledge
from serving.runtime import Runtime
from serving.scorers.bundle import Bundle

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
ADA = {"customer_id": "ada"}


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    """Something that Ada does now."""
    return {"event_id": event_id, "occurred_at": NOW.isoformat(), "kind": "visit", "channel": "web", **ADA, **fields}


@asynccontextmanager
async def asking(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that stays up meanwhile, for questions at once."""
    app = api.create_app(lambda: runtime)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
    ):
        yield http


def test_a_defect_is_500_in_the_same_shape_and_logged(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr("serving.answers.compute_signals", broken)
    answer = client.post("/v1/churn", ADA)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text


def test_without_models_the_service_lives_and_says_what_to_run(client: Any, runtime: Runtime) -> None:
    runtime.knowledge = Knowledge(Bundle(), states=runtime.knowledge.states)
    live, ready, churn, models, posted = client.run(
        ("GET", "/livez", None),
        ("GET", "/readyz", None),
        ("POST", "/v1/churn", ADA),
        ("GET", "/v1/models", None),
        ("POST", "/v1/events", event("x1", kind="view", product_id="tea")),
    )
    assert (live.status_code, ready.status_code, churn.status_code) == (200, 200, 200)
    assert churn.json()["note"].startswith("There is no champion for churn yet. Run `omni train churn`.")
    assert len(ready.json()["fallbacks"]) == 3
    assert [model["ready"] for model in models.json()["models"]] == [False] * len(Task)
    assert posted.json()["accepted"] == 1

    runtime.tasks = (Task.CHURN,)  # a shop that has no other model need not wait for them
    missing = client.get("/readyz").json()["fallbacks"]
    assert missing == [{"task": "churn", "reason": "There is no champion for churn yet. Run `omni train churn`."}]


def test_without_the_online_store_it_is_not_ready(client: Any, runtime: Runtime) -> None:
    runtime.knowledge = replace(runtime.knowledge, states=None, store_problem="Run `omni features build`.")
    answer = client.post("/v1/churn", ADA)
    assert answer.status_code == 503
    assert "omni features build" in answer.json()["error"]["message"]


def test_a_service_that_stops_says_so(client: Any, runtime: Runtime) -> None:
    assert "connection" not in client.post("/v1/churn", ADA).headers
    runtime.draining = lambda: True
    last = client.post("/v1/churn", ADA)
    assert (last.status_code, last.headers["connection"]) == (200, "close")
    assert client.get("/readyz").json()["error"]["details"] == [{"reason": "The service is stopping."}]


def test_too_many_at_once_are_429(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_IN_FLIGHT", 0)
    answer = client.post("/v1/churn", ADA)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_what_takes_too_long_is_504_in_the_same_shape(
    client: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ANSWER_WITHIN_S", 0.05)
    append_many = runtime.log.append_many
    monkeypatch.setattr(runtime.log, "append_many", lambda tables: time.sleep(0.3) or append_many(tables))
    late, after = client.run(("POST", "/v1/events", event("late")), ("GET", "/v1/customers/ada", None))
    assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
    assert set(late.json()["error"]) == {"code", "message", "details"}
    assert after.status_code == 200


def test_a_disk_that_refuses_is_503_and_not_a_defect(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("serving.answers.Answers.profile", full)
    answer = client.get("/v1/customers/ada")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "disk is full" in answer.json()["error"]["message"]


def test_a_server_that_hangs_holds_up_only_who_asks_it(
    client: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.asks_servers, runtime.deadline_s = True, 0.2
    answered, churn = threading.Event(), Answers.churn
    monkeypatch.setattr(
        Answers, "churn", lambda self, *asked: churn(self, *asked) if self.hurried else answered.wait(10)
    )

    async def both() -> tuple[httpx.Response, httpx.Response]:
        async with asking(runtime) as http:
            hung = asyncio.create_task(http.post("/v1/churn", json=ADA))
            await asyncio.sleep(0.01)
            other = await http.post("/v1/best-channel", json=ADA)
            late = await hung
            answered.set()
            return other, late

    other, late = asyncio.run(both())
    assert (other.status_code, other.json()["best"]) == (200, "email_news")
    assert (late.status_code, late.json()["reason"]) == (200, "deadline")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        (
            {"sec-fetch-site": "same-origin", "origin": "https://omni.shop.example"},
            200,
        ),  # the console, behind a gateway
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://t"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_send_nothing(runtime: Runtime, headers: dict[str, str], status: int) -> None:
    async def post() -> httpx.Response:
        async with asking(runtime) as http:
            assert (await http.get("/v1/customers/ada", headers=headers)).status_code == 200
            return await http.post("/v1/events", json=event("x"), headers=headers)

    answer = asyncio.run(post())
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "cross_site"


def test_a_burst_is_refused_in_time_and_the_service_stays_alive(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_WAIT_S", 0.1)
    churn = Answers.churn
    monkeypatch.setattr(Answers, "churn", lambda *args: time.sleep(0.02) or churn(*args))

    async def burst() -> tuple[list[int], float]:
        async with asking(runtime) as http:
            asked = [asyncio.create_task(http.post("/v1/churn", json=ADA)) for _ in range(50)]  # a second of work
            await asyncio.sleep(0)
            started = time.monotonic()
            assert (await http.get("/livez")).status_code == 200
            alive_s = time.monotonic() - started
            return [answer.status_code for answer in await asyncio.gather(*asked)], alive_s

    statuses, alive_s = asyncio.run(burst())
    assert set(statuses) == {200, 429}
    assert 1 <= statuses.count(200) <= 8
    assert alive_s < 0.5
