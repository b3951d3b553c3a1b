"""`POST /v1/whatif`: a process of its own answers; bad rules name their key; what takes too long says how far it was."""

import asyncio
import sys
from typing import Any

import pytest

from serving import schemas
from serving.asking import what_if
from serving.runtime import Runtime

ANSWER = schemas.WhatIfAnswer.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index,call-overload]


def program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let this answer, to which `question` is what is asked."""
    begin = "import json, sys, time\nquestion = json.load(sys.stdin)\n"
    monkeypatch.setattr(what_if, "PROGRAM", (sys.executable, "-c", begin + code))


def test_the_process_is_asked_and_its_answer_given(
    client: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(
        monkeypatch,
        f"""
assert question["rules"]["exploration"] == {runtime.rules.exploration}
assert question["request"]["rules"] == {{"exploration": 0.5}} and question["within_s"] == 20.0
print(json.dumps({{"answer": {ANSWER!r} | {{"customers": question["request"]["sample"]}}}}))
""",
    )
    response = client.post("/v1/whatif", {"rules": {"exploration": 0.5}, "sample": 77})
    assert response.status_code == 200, response.text
    assert response.json()["customers"] == 77
    assert response.json()["new"]["alone"] == {"caps": 318}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rules": {"overall_cap": {"max": -1}}}, "rules.overall_cap.max"),
        ({"rules": {"exploraton": 0.1}}, "rules.exploraton"),
        ({"sample": 20_001}, "sample"),
        ({"rule": {}}, "rule"),
    ],
)
def test_what_cannot_be_so_is_refused_with_its_key(
    client: Any, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], field: str
) -> None:
    program(monkeypatch, "raise SystemExit(1)")
    response = client.post("/v1/whatif", body)
    assert response.status_code == 422
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]


@pytest.mark.parametrize(
    ("said", "status", "code"), [("invalid", 422, "invalid_request"), ("missing", 503, "not_ready")]
)
def test_what_the_process_refuses_is_told(
    client: Any, monkeypatch: pytest.MonkeyPatch, said: str, status: int, code: str
) -> None:
    program(monkeypatch, f'print(json.dumps({{"{said}": "There is no column purple."}}))')
    response = client.post("/v1/whatif", {"where": "purple > 1"})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert "no column purple" in response.json()["error"]["message"]


def test_what_takes_too_long_ends_and_says_how_far_it_was(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, 'print("512 of 2,000 customers", file=sys.stderr, flush=True)\ntime.sleep(60)')
    response = client.post("/v1/whatif", {"timeout_ms": 1_500})
    assert response.status_code == 504
    assert "512 of 2,000 customers" in response.json()["error"]["message"]


def test_a_defect_is_ours(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "raise ValueError")
    assert client.post("/v1/whatif", {}).json()["error"]["code"] == "internal"


def test_one_question_at_a_time(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    from serving.api import create_app

    program(monkeypatch, f"time.sleep(0.5)\nprint(json.dumps({{'answer': {ANSWER!r}}}))")

    async def twice() -> list[int]:
        app = create_app(lambda: runtime)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
        ):
            found = await asyncio.gather(*(http.post("/v1/whatif", json={}) for _ in range(2)))
            return [response.status_code for response in found]

    assert sorted(asyncio.run(twice())) == [200, 429]
