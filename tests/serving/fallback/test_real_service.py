"""The real service on a new home: BentoML in a process of its own, the stream beside it, and never a model."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from features.settings import Settings
from serving.supervisor import Service, start_service

ASKED = ("/v1/next-products", "/v1/churn", "/v1/best-channel", "/v1/decide")


def call(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("new") / "home"
    settings = replace(Settings.from_env({"OMNI_HOME": str(home)}), deadline_ms=20_000)  # a machine may be busy
    found = start_service(settings, port=0, log_file=home.parent / "serve.log")
    try:
        found.wait_ready(timeout_s=120)
        yield found
    finally:
        found.stop()


def test_an_empty_home_is_ready_and_answers_with_nothing(service: Service) -> None:
    status, ready = call(f"{service.url}/readyz")
    assert (status, ready["status"]) == (200, "ready")
    assert [row["task"] for row in ready["fallbacks"]] == ["next-product", "churn", "best-channel"]
    answers = {path: call(service.url + path, {"identifiers": {"cookie": "c-1"}}) for path in ASKED}
    assert {status for status, _ in answers.values()} == {200}
    assert answers["/v1/next-products"][1]["products"] == []
    assert answers["/v1/churn"][1]["customer_status"] == "prospect"
    assert answers["/v1/best-channel"][1]["best"] == "nothing"
    assert answers["/v1/decide"][1]["action"] == "nothing"


def test_what_a_customer_does_counts_at_once(service: Service) -> None:
    bought = [
        {"event_id": f"p{place}", "kind": "purchase", "channel": "web", "customer_id": "ann", "product_id": "jam"}
        for place in range(3)
    ]
    assert call(f"{service.url}/v1/events", bought)[1]["accepted"] == 3
    found = call(f"{service.url}/v1/churn", {"customer_id": "ann"})[1]
    assert (found["customer_status"], found["served_by"], found["reason"]) == ("customer", "population", "no model")
    assert (found["customer"]["known"], found["feature_age_s"] is None) == (True, False)


def test_a_decision_about_a_new_cookie_is_its_own_once_it_is_known(service: Service) -> None:
    asked = {"identifiers": {"cookie": "c-2"}}
    decided, again = (call(f"{service.url}/v1/decide", asked)[1] for _ in range(2))
    assert (decided["customer"]["known"], again["customer"]["known"]) == (False, False)  # to be asked about is no deed
    visit = {"event_id": "v1", "kind": "visit", "channel": "web", **asked, "occurred_at": datetime.now(UTC).isoformat()}
    assert call(f"{service.url}/v1/events", visit)[0] == 200
    profile = call(f"{service.url}/v1/customers/cookie:c-2")[1]
    assert decided["customer"]["customer_id"] == profile["customer"]["customer_id"] == "anon:cookie:c-2"


def test_fallbacks_are_in_the_metrics(service: Service) -> None:
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=30) as response:
        text = response.read().decode()
    assert 'omni_fallbacks_total{reason="unknown customer",task="churn"}' in text


def test_nothing_went_wrong_meanwhile(service: Service) -> None:
    time.sleep(0.1)
    service.stop()
    assert service.server.returncode == 0
