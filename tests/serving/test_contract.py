"""`/docs.json` against the service: schemathesis asks everything that the document allows and forbids, in sequences, too.

It runs in this process over the small models of these tests, a real log and a real eraser, on a fixed seed and budget.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import Status, events
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi

from features.events.placeholders import Placeholders
from features.settings import Settings
from serving.api import create_app
from serving.asking import what_if
from serving.erasure import Eraser
from serving.openapi import openapi_document
from serving.runtime import Runtime
from serving.schemas import WhatIfAnswer

KEY = "a-secret-of-the-home"
END_OF_TIME = datetime(2199, 12, 31, tzinfo=UTC)
"""By this clock no moment that the document allows is ahead of it."""
EXAMPLES = 12
REJECTED_AS = ["400", "401", "403", "404", "405", "413", "422"]
CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
}


class Findings:
    """What a run came to: violations in words, which checks and operations there were, and how many requests."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.checks: set[str] = set()
        self.labels: set[str] = set()
        self.statuses: set[int] = set()
        self.requests = 0

    def take(self, recorder: Any) -> None:
        self.labels.add(recorder.label)
        for case_id, interaction in recorder.interactions.items():
            self.requests += 1
            self._look_at_events(recorder.cases[case_id].value, interaction.response)
        for checks in recorder.checks.values():
            for check in checks:
                self.checks.add(check.name)
                if check.status != Status.SUCCESS and check.failure_info is not None:
                    failure, sample = check.failure_info.failure, check.failure_info.code_sample
                    self.violations.append(
                        f"{check.name}: {recorder.label}: {failure.title}: {failure.message}: {sample[:600]}"
                    )

    def _look_at_events(self, case: Any, response: Any) -> None:
        """A batch may be partly good: what the document forbids is then among the rejected."""
        if response is None:
            return
        self.statuses.add(response.status_code)
        if case.meta is None or case.operation.label != "POST /v1/events" or response.status_code != 200:
            return
        body = case.meta.components.get(ParameterLocation.BODY)
        if body is not None and body.mode == GenerationMode.NEGATIVE and not response.json()["rejected"]:
            self.violations.append(f"accepted though the document forbids it: {str(case.body)[:300]}")


def ask_everything(app: Any, document: dict[str, Any], phases: dict[str, Any] | None = None) -> Findings:
    config = SchemathesisConfig.from_dict(
        {
            "seed": 20240301,
            "generation": {"max-examples": EXAMPLES, "database": "none"},
            "phases": {"stateful": {"max-steps": 6}, **(phases or {})},
            "checks": {"negative_data_rejection": {"expected-statuses": REJECTED_AS}},
            "parameters": {"Omni-Bookkeeping-Key": KEY},
            "operations": [
                {
                    "include-name": "POST /v1/events",
                    "checks": {  # what holds there instead: test_event_contract.py, and _look_at_events
                        "positive_data_acceptance": {"enabled": False},
                        "negative_data_rejection": {"enabled": False},
                    },
                }
            ],
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.app, schema.location = app, "/docs.json"
    findings = Findings()
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            findings.take(event.recorder)
        elif isinstance(event, events.NonFatalError):
            findings.violations.append(f"error: {event.label}: {event.value}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return findings


@pytest.fixture
def app(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    example: Any = WhatIfAnswer.model_config["json_schema_extra"]

    async def work_out(question: bytes, within_s: float) -> dict[str, Any]:
        return {"answer": example["examples"][0]}

    monkeypatch.setattr(what_if, "_work_out", work_out)  # a process for each question would take minutes
    home = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    runtime.eraser, runtime.settings = Eraser(home, runtime.log), home
    runtime.bookkeeping_key = KEY
    runtime.nobody = Placeholders(())
    runtime.clock = replace(runtime.clock, moment=END_OF_TIME)  # type: ignore[type-var,call-arg]
    runtime.close = lambda: None
    yield create_app(lambda: runtime)
    asgi.shutdown_lifespans()


@pytest.fixture
def document() -> dict[str, Any]:
    """Without what no generator makes: events by the rules of their kinds (minutes; test_event_contract.py has them all), and
    two moments of which one must be the later.
    """
    found = copy.deepcopy(openapi_document())
    del found["components"]["schemas"]["Event"]["allOf"]
    for end in ("not_before", "not_after"):
        del found["components"]["schemas"]["DecideRequest"]["properties"][end]
    for batch in ("NextProductsBatchRequest", "PredictBatchRequest"):  # another thread answers these: 504 in a few ms
        del found["components"]["schemas"][batch]["properties"]["timeout_ms"]
    for asked in ("rules", "where", "timeout_ms"):  # the keys of rules and the columns of conditions are in no schema
        del found["components"]["schemas"]["WhatIfRequest"]["properties"][asked]
    offer = found["components"]["schemas"]["OfferRequest"]  # fields that have to do with each other, or with the path
    offer["required"] = []
    for bound in (
        "offer_id",
        "starts_at",
        "ends_at",
        "where",
        "boost",
        "boost_reason",
        "promotes",
        "creatives",
        "rest_days",
    ):
        del offer["properties"][bound]
    for method in ("put", "delete"):  # whether an offer is still the one that a header names: test_handlers.py
        operation = found["paths"]["/v1/offers/{offer_id}"][method]
        operation["parameters"] = [each for each in operation["parameters"] if each["in"] == "path"]
    return found


def test_the_service_does_what_the_document_says(app: Any, document: dict[str, Any]) -> None:
    findings = ask_everything(app, document)
    assert sorted(set(findings.violations)) == []
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert operations <= findings.labels
    assert "Stateful tests" in findings.labels
    assert findings.checks >= CHECKS - {"use_after_free", "ensure_resource_availability"}, findings.checks
    assert findings.requests > 300
    assert {200, 404, 405, 422} <= findings.statuses


def test_a_document_that_says_something_else_is_found_out(app: Any, document: dict[str, Any]) -> None:
    churn = document["paths"]["/v1/churn"]["post"]
    del churn["responses"]["422"]
    document["paths"] = {"/v1/churn": {"post": churn}}
    findings = ask_everything(app, document, {"fuzzing": {"enabled": False}, "stateful": {"enabled": False}})
    assert any("status_code_conformance: POST /v1/churn" in words for words in findings.violations)
