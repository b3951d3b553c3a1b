"""What a client sends, sends again and gives up, against a service that answers as it is told to."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import httpx
import pytest

from features import __version__
from serving import schemas
from serving.client import AsyncOmniClient, OmniClient, Patience, RequestFailedError, flows, options

QUICK = Patience(backoff_s=0.001, dice=random.Random(7))
RECEIPT = {"accepted": 1, "duplicates": 0, "rejected": [], "last_seq": 1}
Answers = Iterator[httpx.Response | Exception]


class Service:
    """Answers one after the other, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers: Answers = iter(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)  # one is read once


def ok(body: Any = RECEIPT) -> httpx.Response:
    return httpx.Response(200, json=body)


def problem(status: int, code: str, details: Any = (), **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"code": code, "message": "No.", "details": list(details)}}
    return httpx.Response(status, json=body, headers=named)


def in_turn(service: Service, do: Callable[[OmniClient], Any], patience: Patience = QUICK) -> Any:
    with OmniClient("http://t", "omni_1_2", patience=patience, transport=httpx.MockTransport(service)) as client:
        return do(client)


def in_a_loop(service: Service, do: Callable[[Any], Any], patience: Patience = QUICK) -> Any:
    async def run() -> Any:
        transport = httpx.MockTransport(service)
        async with AsyncOmniClient("http://t", "omni_1_2", patience=patience, transport=transport) as client:
            return await do(client)

    return asyncio.run(run())


@pytest.fixture(params=[in_turn, in_a_loop], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


EVENT = {"kind": "visit", "channel": "web", "customer_id": "ada"}
PASSING = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("broken"),
    problem(429, "overloaded", retry_after="0"),
    problem(503, "unavailable"),
    problem(504, "timeout"),
    httpx.Response(502, text="<html>Bad gateway</html>"),
]


@pytest.mark.parametrize("trouble", PASSING, ids=str)
def test_events_are_sent_again_as_the_same_events(run: Any, trouble: Any) -> None:
    service = Service(trouble, ok())
    assert run(service, lambda client: client.send([EVENT])).accepted == 1
    first, second = (json.loads(request.content) for request in service.asked)
    assert first == second and first[0]["event_id"].startswith("c-")
    assert len({request.headers["x-request-id"] for request in service.asked}) == 1


@pytest.mark.parametrize("trouble", PASSING, ids=str)
def test_a_decision_is_asked_for_again_under_the_same_key(run: Any, trouble: Any) -> None:
    service = Service(trouble, problem(404, "customer_unknown"))
    with pytest.raises(RequestFailedError) as caught:
        run(service, lambda client: client.decide("ada"))
    first, second = (request.headers["idempotency-key"] for request in service.asked)
    assert first == second and caught.value.code == "customer_unknown"


@pytest.mark.parametrize(
    ("do", "tries"),
    [
        (lambda client: client.decide("ada"), 3),
        (lambda client: client.decide("ada", log=False), 3),
        (lambda client: client.next_products("ada"), 3),
        (lambda client: client.next_products("ada", explore_share=0.1), 1),
        (lambda client: client.churn("ada"), 3),
        (lambda client: client.erase("ada"), 3),
        (lambda client: client.profile("ada"), 3),
    ],
)
def test_what_changes_nothing_twice_is_asked_again(run: Any, do: Any, tries: int) -> None:
    service = Service(*(problem(504, "timeout") for _ in range(5)))
    with pytest.raises(RequestFailedError):
        run(service, do)
    assert len(service.asked) == tries


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 500])
def test_what_would_fail_again_is_not_tried_again(run: Any, status: int) -> None:
    service = Service(problem(status, "some_code", [{"field": "k"}], x_request_id="r-7"))
    with pytest.raises(RequestFailedError) as caught:
        run(service, lambda client: client.next_products("ada", k=3))
    error = caught.value
    assert (error.status, error.code, error.details, error.request_id) == (
        status,
        "some_code",
        ({"field": "k"},),
        "r-7",
    )
    assert str(error) == f"{status} some_code: No. (request r-7)"
    assert len(service.asked) == 1


def test_nobody_waits_longer_than_they_want(run: Any) -> None:
    service = Service(problem(503, "not_ready", retry_after="10"), ok())
    with pytest.raises(RequestFailedError) as caught:
        run(service, lambda client: client.churn("ada"))
    assert (caught.value.retry_after_s, len(service.asked)) == (10.0, 1)


def test_waits_grow_and_follow_what_the_service_says() -> None:
    patience = Patience(tries=5, backoff_s=1.0, longest_wait_s=60.0)
    for tried in range(1, 5):
        wait_s = patience.wait_s(tried, None)
        assert wait_s is not None and 0.5 * 2 ** (tried - 1) <= wait_s <= 2 ** (tried - 1)
    assert patience.wait_s(1, 30.0) == 30.0
    assert patience.wait_s(5, None) is None


def test_no_answer_is_an_error_of_the_same_class(run: Any) -> None:
    service = Service(*(httpx.ConnectError("refused") for _ in range(3)))
    with pytest.raises(RequestFailedError, match="cannot be reached: refused") as caught:
        run(service, lambda client: client.info())
    assert (caught.value.status, caught.value.code) == (None, "unreachable")
    service = Service(httpx.Response(500, text="<html>"))
    with pytest.raises(RequestFailedError, match="not Omni's: <html>"):
        run(service, lambda client: client.info())


def test_many_events_go_in_batches_and_come_back_as_one_answer(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_EVENTS", 3)
    row = {"index": 1, "field": "kind", "reason": "is wrong"}
    service = Service(
        ok({"accepted": 2, "duplicates": 0, "rejected": [row], "last_seq": 5}),
        problem(422, "events_rejected", [{**row, "index": place} for place in range(3)]),
        ok({"accepted": 0, "duplicates": 1, "rejected": [], "last_seq": 4}),
    )
    answer = run(service, lambda client: client.send([{**EVENT, "event_id": f"e{number}"} for number in range(7)]))
    sent = [[event["event_id"] for event in json.loads(request.content)] for request in service.asked]
    assert sent == [["e0", "e1", "e2"], ["e3", "e4", "e5"], ["e6"]]
    assert (answer.accepted, answer.duplicates, answer.last_seq) == (2, 1, 5)
    assert [each.index for each in answer.rejected] == [1, 3, 4, 5]


def test_batches_stay_below_the_size_that_is_taken(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_BODY_BYTES", 300)
    service = Service(*(ok() for _ in range(20)))
    run(service, lambda client: client.send([{**EVENT, "event_id": f"e{number}"} for number in range(20)]))
    assert len(service.asked) == 5 and all(len(request.content) <= 302 for request in service.asked)


def test_many_customers_are_asked_about_in_batches(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MAX_CUSTOMERS", 2)
    row = {"error": {"code": "customer_unknown", "message": "No.", "details": []}}
    service = Service(
        ok({"answered": 0, "failed": 2, "results": [row, row]}),
        problem(503, "unavailable"),
        ok({"answered": 0, "failed": 1, "results": [row]}),
    )
    who = ["a", {"identifiers": {"email": "ada@example.org"}}, "c"]
    answer = run(service, lambda client: client.predict_many("churn", who, explain=True))
    assert (answer.answered, answer.failed, len(answer.results)) == (0, 3, 3)
    assert {result.error.code for result in answer.results} == {"customer_unknown"}
    first, *rest = (json.loads(request.content) for request in service.asked)
    assert first == {"task": "churn", "explain": True, "customers": who[:2]}
    assert [body["customers"] for body in rest] == [["c"], ["c"]]
    assert service.asked[0].url.path == "/v1/predict:batch"
    exploring = Service(problem(503, "unavailable"))
    with pytest.raises(RequestFailedError):
        run(exploring, lambda client: client.next_products_many(["a"], k=2, explore_share=0.1))
    assert [request.url.path for request in exploring.asked] == ["/v1/next-products:batch"]


def test_events_of_which_none_can_be_kept_are_an_error(run: Any) -> None:
    service = Service(problem(422, "events_rejected", [{"index": 0, "field": "kind", "reason": "is wrong"}]))
    with pytest.raises(RequestFailedError) as caught:
        run(service, lambda client: client.send([{"kind": "buy"}]))
    assert caught.value.details[0]["field"] == "kind"
    nothing = Service()
    assert run(nothing, lambda client: client.send([])).accepted == 0 and nothing.asked == []


def test_every_request_says_who_asks(run: Any) -> None:
    service = Service(ok({"name": "omni", "version": "1", "contract": "1", "access": "open"}))
    run(service, lambda client: client.info())
    headers = service.asked[0].headers
    assert headers["authorization"] == "Bearer omni_1_2"
    assert headers["user-agent"] == f"omni-client/{__version__}"
    assert len(headers["x-request-id"]) == 32


def test_a_client_is_made_from_the_environment() -> None:
    service = Service(problem(404, "not_found"))
    client = OmniClient.from_env({"OMNI_URL": "http://omni.example/", "OMNI_API_KEY": "k"})
    client._http = httpx.Client(transport=httpx.MockTransport(service))
    with client, pytest.raises(RequestFailedError):
        client.profile("email:ada/b@example.org", signals=True)
    assert str(service.asked[0].url) == "http://omni.example/v1/customers/email%3Aada%2Fb%40example.org?signals=true"


@pytest.mark.parametrize(
    ("typed", "shape"),
    [
        (options.NextProductsOptions, schemas.NextProductsRequest),
        (options.ChurnOptions, schemas.ChurnRequest),
        (options.Question, schemas.BestChannelRequest),
        (options.DecideOptions, schemas.DecideRequest),
        (options.NextProductsOptions, schemas.NextProductsBatchRequest),
        (options.ChurnOptions, schemas.PredictBatchRequest),
    ],
)
def test_the_options_are_those_of_the_contract(typed: type, shape: Any) -> None:
    assert set(get_type_hints(typed)) == set(shape.model_fields) - {"customer_id", "identifiers", "customers", "task"}


def test_the_limits_are_those_of_the_service() -> None:
    from serving import event_intake
    from serving.api import MAX_EVENTS_BODY_BYTES

    assert flows.MAX_EVENTS == event_intake.MAX_EVENTS
    assert MAX_EVENTS_BODY_BYTES - 2 > flows.MAX_BODY_BYTES


def test_it_brings_nothing_heavy() -> None:
    heavy = "torch pandas numpy pyarrow mlflow bentoml feast sqlite3 starlette lightgbm duckdb"
    code = f"import sys, serving.client; print([name for name in {heavy.split()} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
