"""The doors over HTTP: what is open and what is not, in one shape of errors; names of requests; lines in the log."""

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from features import __version__
from features.settings import Settings
from features.vocabulary import Task
from serving.access.gate import NEEDS, Gate
from serving.access.keys import Scope, create_key
from serving.access.request_log import RequestLog
from serving.api import create_app
from serving.runtime import Runtime
from serving.schemas import ErrorAnswer

ADA = {"customer_id": "ada"}
Call = tuple[str, str, Any, dict[str, str]]


def ask(runtime: Runtime, *calls: Call) -> list[httpx.Response]:
    async def all_of_them() -> list[httpx.Response]:
        app = create_app(lambda: runtime)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
        ):
            return [
                await http.request(method, path, json=body, headers=headers) for method, path, body, headers in calls
            ]

    return asyncio.run(all_of_them())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def locked(runtime: Runtime, home: Path) -> Runtime:
    runtime.gate = Gate(Settings.from_env({"OMNI_HOME": str(home), "OMNI_ACCESS": "keys"}))
    return runtime


def test_every_route_that_is_served_needs_a_scope_or_shows_nothing_of_anybody(locked: Runtime) -> None:
    app = create_app(lambda: locked)
    served = {
        (method, route.path.replace(":path}", "}"))  # type: ignore[attr-defined]
        for route in app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    open_to_all = {"/", "/docs", "/docs/{file}", "/docs.json", "/omni.js", "/v1", "/livez", "/healthz"}
    assert {route for method, route in served - NEEDS.keys() if method == "GET"} == open_to_all
    assert {route for method, route in served - NEEDS.keys() if method != "GET"} == set()


def test_without_a_key_nothing_of_anybody_is_seen_or_done(locked: Runtime) -> None:
    guarded: list[Call] = [
        *(("POST", f"/v1/{what}", ADA, {}) for what in ("next-products", "churn", "best-channel", "decide")),
        ("POST", "/v1/events", [], {}),
        ("GET", "/v1/customers/ada", None, {}),
        ("DELETE", "/v1/customers/ada", None, {}),
        ("GET", "/v1/models", None, {}),
        ("GET", "/metrics", None, {}),
    ]
    for response in ask(locked, *guarded):
        assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer realm="omni"')
        assert ErrorAnswer.model_validate(response.json()).error.code == "no_key"
    pages = ("/livez", "/healthz", "/", "/docs", "/docs.json", "/omni.js", "/v1")
    assert {response.status_code for response in ask(locked, *(("GET", page, None, {}) for page in pages))} == {200}


def test_a_key_opens_what_its_scopes_say(locked: Runtime, home: Path) -> None:
    key = create_key(home, "web-shop", (Scope.ASK,)).key
    churn, decide, erase, models = ask(
        locked,
        ("POST", "/v1/churn", ADA, bearer(key)),
        ("POST", "/v1/decide", ADA, {"x-api-key": key}),
        ("DELETE", "/v1/customers/ada", None, bearer(key)),
        ("GET", "/v1/models", None, bearer(key)),
    )
    assert (churn.status_code, models.status_code) == (200, 200)
    assert [(each.status_code, each.json()["error"]["code"]) for each in (decide, erase)] == [
        (403, "missing_scope")
    ] * 2
    assert decide.json()["error"]["details"] == [{"scope": "decide"}]


def test_a_rate_is_told_with_the_seconds_to_wait(locked: Runtime, home: Path) -> None:
    key = create_key(home, "slow", (Scope.ASK,), rate=0.5).key
    first, second = ask(locked, *(("POST", "/v1/churn", ADA, bearer(key)) for _ in range(2)))
    assert first.status_code == 200
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limited")
    assert second.headers["retry-after"] == "2"


def test_decisions_come_in_with_a_key_for_bookkeeping(locked: Runtime, home: Path) -> None:
    books = create_key(home, "other-system", (Scope.INGEST, Scope.BOOKKEEPING)).key
    plain = create_key(home, "web-shop", (Scope.INGEST,)).key
    decision = {
        "event_id": "d-1",
        "occurred_at": "2024-03-01T09:00:00Z",
        "kind": "decision",
        "channel": "email",
        "customer_id": "ada",
        "decision_id": "d-1",
    }
    refused, kept = ask(locked, *(("POST", "/v1/events", [decision], bearer(key)) for key in (plain, books)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "events_rejected")
    assert (kept.status_code, kept.json()["accepted"]) == (200, 1)


def test_readiness_gives_its_reasons_to_who_may_know_them(locked: Runtime, home: Path) -> None:
    key = create_key(home, "prometheus", (Scope.METRICS,)).key
    locked.tasks = (Task.WIN_BACK,)
    known = locked.knowledge
    locked.knowledge = replace(known, states=None, store_problem="Run `omni features build`.")
    calls: list[Call] = [
        ("GET", "/readyz", None, {}),
        ("GET", "/readyz", None, bearer(key)),
        ("GET", "/metrics", None, bearer(key)),
    ]
    bare, told, metrics = ask(locked, *calls)
    assert (bare.status_code, told.status_code, metrics.status_code) == (503, 503, 200)
    assert "features build" in told.text and "features build" not in bare.text
    locked.knowledge = known
    bare, told = ask(locked, *calls[:2])
    assert (bare.status_code, told.json()["fallbacks"][0]["task"], "win-back" in bare.text) == (200, "win-back", False)
    locked.tasks = ()
    assert ask(locked, ("GET", "/readyz", None, {}))[0].json() == {"status": "ready"}


@pytest.mark.parametrize("path", ["/v1/churn", "/v1/events", "/nowhere", "/livez", "/v1/customers/nobody", "/v1"])
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_every_answer_names_its_request(runtime: Runtime, path: str, method: str) -> None:
    calls: list[Call] = [(method, path, None, headers) for headers in ({"x-request-id": "shop-7:a/b"}, {}, {})]
    named, *new = ask(runtime, *calls)
    assert named.headers.get_list("x-request-id") == ["shop-7:a/b"]
    ids = [response.headers["x-request-id"] for response in new]
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids) and len(set(ids)) == 2


@pytest.mark.parametrize("bad", ["ada@example.org", "a b", "", "x" * 129])
def test_what_is_no_name_of_a_request_is_not_echoed(runtime: Runtime, bad: str) -> None:
    (response,) = ask(runtime, ("POST", "/v1/churn", ADA, {"x-request-id": bad}))
    assert re.fullmatch("[0-9a-f]{16}", response.headers["x-request-id"])


def test_a_line_of_the_log_says_how_it_went_and_not_whom_it_was_about(locked: Runtime, home: Path) -> None:
    key = create_key(home, "web-shop", (Scope.ASK, Scope.DECIDE, Scope.INGEST)).key
    reading, writing = os.pipe()
    locked.request_log = RequestLog(writing)
    who = {"identifiers": {"email": "ada@example.org"}}
    headers = bearer(key) | {"x-request-id": "r-1"}
    decided, *_ = ask(
        locked,
        ("POST", "/v1/decide", who, headers),
        ("GET", "/v1/customers/email:ada@example.org", None, headers),
        ("POST", "/v1/churn", {"customer_id": "zelda.marked", "ada@example.org": 1}, headers),
        ("POST", "/v1/churn", who, {}),
    )
    os.close(writing)
    with os.fdopen(reading) as lines:
        text = lines.read()
    assert "ada" not in text and "zelda" not in text and key not in text
    first, profile, refused, stranger = map(json.loads, text.splitlines())
    assert first["decision_id"] == decided.json()["decision_id"]
    assert (first["request_id"], first["route"], first["status"], first["key"]) == (
        "r-1",
        "/v1/decide",
        200,
        "web-shop",
    )
    assert first["ms"] > 0 and set(first) >= {"time", "level", "logger", "method"}
    assert (profile["route"], profile["method"], profile["status"]) == ("/v1/customers/{customer_id}", "GET", 200)
    assert (refused["status"], stranger["status"]) == (422, 401)
    assert "key" not in stranger and "decision_id" not in stranger


def test_one_version_is_told_everywhere(runtime: Runtime, home: Path) -> None:
    info, document = ask(runtime, ("GET", "/v1", None, {}), ("GET", "/docs.json", None, {}))
    assert info.json() == {"name": "omni", "version": __version__, "contract": "1.0.0", "access": "open"}
    assert document.json()["info"]["version"] == __version__
    runtime.gate = Gate(Settings.from_env({"OMNI_HOME": str(home), "OMNI_ACCESS": "keys"}))
    assert ask(runtime, ("GET", "/v1", None, {}))[0].json()["access"] == "keys"


def test_the_contract_can_be_tried_out_with_nothing_from_elsewhere(runtime: Runtime) -> None:
    page, other = ask(runtime, ("GET", "/docs", None, {}), ("GET", "/docs/LICENSE", None, {}))
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded and all(path.startswith("docs/") for path in loaded)
    files = ask(runtime, *(("GET", f"/{path}", None, {}) for path in loaded))
    assert [(response.status_code, len(response.content) > 500) for response in files] == [(200, True)] * len(loaded)
    assert b"SwaggerUIBundle" in next(each.content for each in files if each.url.path.endswith("bundle.js"))
    assert other.status_code == 404
