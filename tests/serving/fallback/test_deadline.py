"""Over HTTP: what is not there in time is answered from what needs neither a store nor a model, and nothing is done twice."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving.answers import Answers
from serving.runtime import Runtime

ADA = {"customer_id": "ada", "timeout_ms": 60}
ASKED = ("/v1/next-products", "/v1/churn", "/v1/best-channel", "/v1/decide")


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """What hangs waits for this; it is set at the end, so that no thread stays behind."""
    released = threading.Event()
    yield released
    released.set()


@pytest.fixture
def decisions(runtime: Runtime) -> Callable[[], list[dict[str, Any]]]:
    def found() -> list[dict[str, Any]]:
        rows = [row for batch in runtime.log.read() for row in batch.to_pylist()]
        return [row for row in rows if row["kind"] == "decision"]

    return found


@pytest.fixture
def store_hangs(runtime: Runtime, hung: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Answers.find

    def hangs(self: Answers, *args: Any, **options: Any) -> Any:
        if self.hurried:
            assert not hung.is_set(), "the answer waited for what hangs"
        else:
            hung.wait(10)
        return find(self, *args, **options)

    monkeypatch.setattr(Answers, "find", hangs)


@pytest.mark.usefixtures("store_hangs")
@pytest.mark.parametrize("asks_servers", [False, True])
@pytest.mark.parametrize("path", ASKED)
def test_a_store_that_hangs_leaves_nobody_without_an_answer(
    client: Any, runtime: Runtime, hung: threading.Event, path: str, asks_servers: bool
) -> None:
    runtime.asks_servers = asks_servers
    threading.Timer(0.5, hung.set).start()  # the app waits for its threads when it stops
    answer = client.post(path, ADA)
    found = answer.json()
    assert (answer.status_code, found["reason"]) == (200, "deadline"), answer.text
    assert "could not be looked at in time" in found["note"]
    assert found["models"] == {}


@pytest.mark.usefixtures("store_hangs")
def test_a_late_decision_is_not_logged_beside_the_one_that_was_answered(
    client: Any, hung: threading.Event, decisions: Callable[[], list[dict[str, Any]]]
) -> None:
    threading.Timer(0.5, hung.set).start()  # the real one is decided after that, and nobody hears of it
    found = client.post("/v1/decide", {**ADA, "identifiers": {"email": "ada@example.org"}}).json()
    assert (found["action"], found["pscore"], found["product"]) == ("nothing", 1.0, None)
    assert all("nobody is contacted unseen" in arm["reasons"][-1] for arm in found["arms"] if arm["channel"])
    (logged,) = decisions()
    kept = json.loads(logged["properties"])
    assert (logged["decision_id"], kept["pscore"]) == (found["decision_id"], 1.0)
    assert kept["fallbacks"] == {"next-product": "deadline", "best-channel": "deadline"}


def test_a_log_that_hangs_while_it_writes_is_given_nothing_more(
    client: Any,
    runtime: Runtime,
    hung: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    decisions: Callable[[], list[dict[str, Any]]],
) -> None:
    append_many = runtime.log.append_many
    monkeypatch.setattr(runtime.log, "append_many", lambda *group: hung.wait(10) and append_many(*group))
    threading.Timer(0.5, hung.set).start()
    found = client.post("/v1/decide", {**ADA, "timeout_ms": 250}).json()
    assert (found["action"], found["reason"]) == ("nothing", "deadline")
    logged = decisions()  # the one that was under way, of which nobody sends anything
    assert [row["decision_id"] == found["decision_id"] for row in logged] == [False]


def test_the_setting_holds_where_the_question_says_nothing(
    client: Any, runtime: Runtime, store_hangs: None, hung: threading.Event
) -> None:
    runtime.deadline_s = 0.05
    threading.Timer(0.5, hung.set).start()
    assert client.post("/v1/churn", {"customer_id": "ada"}).json()["reason"] == "deadline"


def test_in_time_the_model_answers_and_a_decision_is_kept_once(
    client: Any, decisions: Callable[[], list[dict[str, Any]]]
) -> None:
    found = client.post("/v1/decide", {"customer_id": "ada", "timeout_ms": 20_000}).json()
    assert (found["served_by"], [row["decision_id"] for row in decisions()]) == ("model", [found["decision_id"]])
