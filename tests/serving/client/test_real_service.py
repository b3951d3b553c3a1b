"""Both clients against a real service of two workers that demands keys and logs in JSON, and what it logs of them."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features import __version__
from features.settings import Settings
from serving.access.keys import NewKey, Scope, create_key, revoke_key
from serving.client import AsyncOmniClient, OmniClient, RequestFailedError
from serving.supervisor import Service, start_service

MAIL = "zelda.marked@example.org"


@dataclass
class Real:
    service: Service
    home: Path
    key: NewKey

    @property
    def log(self) -> str:
        return (self.home / "serve.log").read_text()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home, f"sqlite:///{home / 'events.db'}", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    settings = replace(settings, access="keys", log_format="json")
    key = create_key(home, "shop", (Scope.INGEST, Scope.ASK, Scope.ERASE))
    service = start_service(settings, port=0, workers=2, with_applier=False, log_file=home / "serve.log")
    try:
        with OmniClient(service.url) as client:
            for _ in range(600):
                try:
                    client.info()
                    break
                except RequestFailedError:
                    assert service.server.poll() is None, "the server ended"
                    time.sleep(0.1)
        yield Real(service, home, key)
    finally:
        service.stop()


def event(event_id: str, **fields: object) -> dict[str, object]:
    plain = {"event_id": event_id, "kind": "view", "channel": "web", "product_id": "tea", "customer_id": "ada"}
    return {**plain, "occurred_at": datetime.now(UTC), **fields}


def test_events_are_sent_counted_once_and_erased(real: Real) -> None:
    with OmniClient(real.service.url, real.key.key) as omni:
        many = [event(f"m{number}") for number in range(10_001)]
        answer = omni.send([*many, event("bad", kind="buy"), event("mail", identifiers={"email": MAIL})])
        assert (answer.accepted, [(row.index, row.field) for row in answer.rejected]) == (10_002, [(10_001, "kind")])
        assert omni.send(many[:3]).duplicates == 3
        receipt = omni.erase("ada", wait_s=20.0)
        assert receipt.completed_at is not None
        assert omni.send(many[:3]).erased == 3
        assert omni.info().version == __version__
        assert {model.task for model in omni.models().models} >= {"churn"}


def test_errors_carry_what_the_service_says(real: Real) -> None:
    with OmniClient(real.service.url, real.key.key) as omni:
        with pytest.raises(RequestFailedError) as refused:
            omni.decide("ada")
        assert (refused.value.status, refused.value.code) == (403, "missing_scope")
        with pytest.raises(RequestFailedError) as unusable:
            omni.next_products("ada", k=0)
        assert unusable.value.details[0]["field"] == "k"
        with pytest.raises(RequestFailedError) as missing:
            omni.churn("ada")
        assert (missing.value.code, missing.value.retry_after_s) == ("not_ready", 10.0)
    with OmniClient(real.service.url) as stranger, pytest.raises(RequestFailedError, match="401 no_key"):
        stranger.models()
    lines = [json.loads(line) for line in real.log.splitlines() if line.startswith("{")]
    logged = next(line for line in lines if line.get("request_id") == unusable.value.request_id)
    assert (logged["route"], logged["status"], logged["key"]) == ("/v1/next-products", 422, "shop")


def test_a_loop_asks_many_at_once(real: Real) -> None:
    async def ask() -> list[int]:
        async with AsyncOmniClient(real.service.url, real.key.key) as omni:
            batches = [
                [event(f"a{part}-{number}", customer_id=f"c{part}") for number in range(20)] for part in range(8)
            ]
            return [answer.accepted for answer in await asyncio.gather(*(omni.send(batch) for batch in batches))]

    assert asyncio.run(ask()) == [20] * 8


def test_a_key_that_is_revoked_opens_no_worker_a_moment_later(real: Real) -> None:
    short = create_key(real.home, "short-lived", (Scope.ASK,))
    time.sleep(0.6)

    def statuses() -> set[str]:
        codes = set()
        for _ in range(12):  # a connection each, so that both workers are asked
            with OmniClient(real.service.url, short.key) as omni:
                try:
                    omni.models()
                    codes.add("ok")
                except RequestFailedError as error:
                    codes.add(error.code)
        return codes

    assert statuses() == {"ok"}
    revoke_key(real.home, "short-lived")
    time.sleep(0.6)
    assert statuses() == {"unknown_key"}


def test_every_line_of_the_log_is_json_and_names_nobody(real: Real) -> None:
    with OmniClient(real.service.url, real.key.key) as omni, pytest.raises(RequestFailedError):
        omni.churn(identifiers={"email": MAIL})
    with OmniClient(real.service.url, real.key.key) as omni, pytest.raises(RequestFailedError):
        omni.profile(f"email:{MAIL}")
    text = real.log
    assert "zelda" not in text and real.key.key not in text
    others = [line for line in text.splitlines() if line and not line.startswith("{")]
    assert [line for line in others if not re.search(r"\[cli\] Starting", line)] == []
    requests = [json.loads(line) for line in text.splitlines() if '"serving.requests"' in line]
    assert {line["route"] for line in requests} >= {"/v1/events", "/v1/churn", "/v1/customers/{customer_id}"}
    assert all({"time", "request_id", "status", "ms"} <= line.keys() for line in requests)
