"""The short ways to questions and events: the same answers as by the router, whatever the path, the method or the headers."""

import asyncio
from typing import Any

import httpx
import pytest

from serving.api import create_app
from serving.door import Door
from serving.runtime import Runtime

ADA = b'{"customer_id": "ada"}'
REQUESTS: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("POST", "/v1/churn", ADA, {}),
    ("POST", "/v1/decide", b'{"customer_id": "ada", "log": false}', {}),
    ("POST", "/v1/next-products", b"{", {}),
    ("POST", "/v1/best-channel", b'{"customer_id": ""}', {}),
    ("POST", "/v1/events", b"[]", {}),
    ("POST", "/v1/churn", ADA, {"sec-fetch-site": "cross-site"}),
    ("POST", "/v1/churn", ADA, {"origin": "http://elsewhere"}),
    ("POST", "/v1/churn", ADA, {"origin": "http://t"}),
    ("POST", "/v1/churn", b" " * (256 * 1024 + 1), {}),
    ("GET", "/v1/churn", b"", {}),
    ("POST", "/v1/churn/", ADA, {}),
    ("POST", "/v1/models", b"", {}),
]


async def ask(app: Door, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, Any]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
    ):
        response = await http.request(method, path, content=body, headers={"x-request-id": "r-1"} | headers)
    return response.status_code, response.content, response.headers


@pytest.mark.parametrize(("method", "path", "body", "headers"), REQUESTS)
def test_the_short_way_answers_as_the_router_does(
    runtime: Runtime, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    short, long = create_app(lambda: runtime), create_app(lambda: runtime)
    assert "/v1/decide" in short.short_ways
    long.short_ways = {}
    answers = [asyncio.run(ask(app, method, path, body, headers)) for app in (short, long)]
    assert answers[0] == answers[1]


def test_what_is_asked_by_the_short_way_is_counted(runtime: Runtime) -> None:
    asyncio.run(ask(create_app(lambda: runtime), "POST", "/v1/churn", ADA, {}))
    text = runtime.metrics.render().decode()
    assert 'omni_requests_total{method="POST",route="/v1/churn",status="200"} 1.0' in text
    assert 'omni_request_seconds_count{route="/v1/churn"} 1.0' in text
    timed = [
        stage for stage in ("turn", "state", "signals", "scores", "encode") if f'count{{stage="{stage}"}} 1.0' in text
    ]
    assert timed == ["turn", "state", "signals", "scores", "encode"]
