"""Erasure over HTTP and on the command line: the same receipt, and a customer whom nobody finds any more."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import omni
from features.backup.backup import back_up
from features.erasure.turns import WORK, turn
from features.errors import OmniError
from features.log.receipt import Receipt
from features.online.live import LiveStates
from features.settings import Settings
from features.vocabulary import Task
from serving.erasure import Eraser, ErasureWorker, finish_all, oldest_s
from serving.runtime import Runtime
from serving.scorers.registry import registered_models

NOW = datetime(2024, 3, 1, 12, 3, tzinfo=UTC)
ADA = "/v1/customers/ada"
PAST = [
    {
        "event_id": event_id,
        "occurred_at": "2024-02-28T18:00:00Z",
        "kind": "purchase",
        "channel": "web",
        "customer_id": "ada",
        "product_id": "milk",
    }
    for event_id in ("e4", "never-seen")
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the service's log."""
    return Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CLOCK_START": NOW.isoformat()})


@pytest.fixture
def erasing(runtime: Runtime, settings: Settings) -> Runtime:
    runtime.eraser = Eraser(settings, runtime.log)
    return runtime


def test_an_erased_customer_is_unknown_everywhere(client: Any, erasing: Runtime, settings: Settings) -> None:
    settings.timeline_path.parent.mkdir()
    pq.write_table(erasing.log.customer_events("ada"), settings.timeline_path)

    erased, again, profile, churn, replay, nobody = client.run(
        ("DELETE", "/v1/customers/email:ada@example.org", None),
        ("DELETE", ADA, None),
        ("GET", ADA, None),
        ("POST", "/v1/churn", {"customer_id": "ada"}),
        ("POST", "/v1/events", {"events": PAST}),
        ("DELETE", "/v1/customers/nobody", None),
    )

    receipt, later = erased.json(), again.json()
    assert (erased.status_code, receipt["pending"], receipt["removed"]["log: events"]) == (202, ["files", "models"], 6)
    assert (again.status_code, later["pending"], later["receipt_id"]) == (200, [], receipt["receipt_id"])
    assert later["removed"]["files: offline/timeline.parquet"] == 6
    assert (profile.status_code, nobody.status_code) == (404, 404)
    assert churn.json()["customer"]["known"] is False
    assert replay.json() == {
        "accepted": 0,
        "duplicates": 0,
        "conflicts": 0,
        "conflicting": [],
        "rejected": [],
        "erased": 2,
        "last_seq": 0,
    }
    assert re.search(r"\bada\b", erased.text) is None  # hexadecimal digits may spell anything


def test_what_the_background_does_not_manage_stays_pending(
    client: Any, erasing: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("features.erasure.erase.erase_files", no_disk)
        first, second = client.run(("DELETE", ADA, None), ("DELETE", ADA, None))
    assert (first.status_code, second.status_code, second.json()["pending"]) == (202, 202, ["files", "models"])

    assert client.run(("DELETE", ADA, None), ("DELETE", ADA, None))[1].json()["pending"] == []


def test_a_service_without_the_means_to_erase_says_so(client: Any) -> None:
    answer = client.run(("DELETE", ADA, None))[0]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


def test_the_command_prints_the_receipt(runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNI_HOME", str(settings.home))
    monkeypatch.setenv("OMNI_CLOCK_START", NOW.isoformat())

    def call(*words: str) -> Any:
        return CliRunner().invoke(omni.app, ["erase", *words])

    receipt = json.loads(call("ada", "--json").stdout)

    assert (receipt["removed"]["log: events"], receipt["pending"]) == (6, [])
    assert json.loads((settings.home / "erasures" / f"{receipt['receipt_id']}.json").read_text())["pending"] == []
    assert "complete" in call("ada").stdout
    assert json.loads(call("--finish", "--json").stdout) == {"finished": []}
    for words, says in ((["nobody"], "Nobody is known"), ([], "Name a customer"), (["ada", "--finish"], "not both")):
        result = call(*words)
        assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
def test_models_are_read_from_the_registry(settings: Settings) -> None:
    from training import tracking

    assert registered_models(settings) == []
    with tracking.start_run(Task.CHURN, settings) as run:
        run.log_json({}, "model/empty.json")
        uri = f"{run.mlflow.get_run(run.run_id).info.artifact_uri}/model"
        tracking.register(run, uri, {"as_of_end": "2024-02-01", "data_fingerprint": "f", "trained_at": "2024-02-20"})

    (model,) = registered_models(settings)

    assert (model.task, model.version, model.aliases, model.run_id) == ("churn", 1, ("challenger",), run.run_id)
    assert (model.as_of_end, model.data_fingerprint, model.trained_at) == ("2024-02-01", "f", "2024-02-20")


def test_a_registry_that_cannot_be_read_leaves_the_models_pending(client: Any, erasing: Runtime) -> None:
    def unreachable(_: Any) -> Any:
        raise OmniError("The model registry cannot be read.")

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("serving.erasure.registered_models", unreachable)
        answers = client.run(("DELETE", ADA, None), ("DELETE", ADA, None))
    assert answers[1].json()["pending"] == ["models"]


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    ends = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_asked_again_while_it_runs_it_is_the_same_erasure(client: Any, erasing: Runtime, settings: Settings) -> None:
    """Somebody else has the turn: the service tells how far it is, and finishes once it can."""
    with turn(settings, WORK):
        first, *others = client.run(
            *[("DELETE", name, None) for name in (ADA, ADA, "/v1/customers/email:ada@example.org")]
        )
    finish_all(settings, erasing.log)
    done = client.run(("DELETE", ADA, None))[0]

    assert [answer.status_code for answer in (first, *others, done)] == [202, 202, 202, 200]
    assert [answer.json() for answer in others] == [first.json(), first.json()]
    assert (first.json()["places"], first.json()["completed_at"]) == ([], None)
    body = done.json()
    assert body["receipt_id"] == first.json()["receipt_id"]
    assert body["removed"].items() >= first.json()["removed"].items()
    assert {place["state"] for place in body["places"]} == {"empty", "expires", "nameless", "yours"}


def test_the_command_says_who_has_the_turn(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNI_HOME", str(settings.home))
    monkeypatch.setattr("serving.erasure.turn", lambda *arguments: turn(settings, WORK, wait_s=0.1))
    with turn(settings, WORK):
        for words in (["ada"], ["--finish"]):
            result = CliRunner().invoke(omni.app, ["erase", *words])
            assert result.exit_code == 2
            assert re.search(r"at work on erasures: process \d+, since", result.stderr)
    assert CliRunner().invoke(omni.app, ["erase", "--finish"]).exit_code == 0
    assert runtime.log.erasures().pending() == []


def test_a_worker_goes_on_with_what_a_process_left_and_tells_of_it(runtime: Runtime, settings: Settings) -> None:
    Eraser(settings, runtime.log).begin("ada")
    noted: list[int] = []
    forgotten = threading.Event()

    def note(pending: Sequence[Receipt]) -> None:
        noted.append(len(pending))
        runtime.metrics.note_erasures(len(pending), oldest_s(pending, datetime.now(UTC)))

    workers = [ErasureWorker(Eraser(settings, runtime.log), note, forgotten.set, look_s=0.05) for _ in range(2)]
    for worker in workers:
        worker.start()
    wait_until(lambda: noted[-1:] == [0])
    Eraser(settings, runtime.log).begin("ada")  # nobody by now: nothing to do
    for worker in workers:
        worker.stop()

    assert noted[0] == 1 and forgotten.is_set()
    (receipt,) = runtime.log.erasures().receipts()
    assert receipt.complete and receipt.removed["log: events"] == 6
    assert b"omni_erasures_pending 0.0" in runtime.metrics.render()


def test_the_metrics_tell_of_what_is_pending(runtime: Runtime, settings: Settings) -> None:
    receipt = Eraser(settings, runtime.log).begin("ada")
    assert receipt is not None
    pending = [receipt.model_copy(update={"erased_at": datetime.now(UTC)}), receipt]
    runtime.metrics.note_erasures(len(pending), oldest_s(pending, datetime.now(UTC)))
    text = runtime.metrics.render().decode()
    assert "omni_erasures_pending 2.0" in text
    assert float(re.findall(r"^omni_erasure_oldest_seconds (\S+)", text, re.M)[0]) >= 0


def test_one_that_cannot_be_finished_keeps_no_other_waiting(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import erasure

    first = Eraser(settings, runtime.log).begin("ada")
    assert first is not None
    twin = first.model_copy(update={"receipt_id": "99990101T000000-00000000"})
    with runtime.log._writing() as connection:  # type: ignore[attr-defined]
        connection.execute("INSERT INTO erasures VALUES (?, ?)", (twin.receipt_id, twin.model_dump_json()))
    real = erasure.finish_erasure

    def refuse(settings: Settings, log: Any, receipt: Receipt, *rest: Any) -> Receipt:
        if receipt.receipt_id == first.receipt_id:
            raise OSError("No space left on device")
        return real(settings, log, receipt, *rest)

    monkeypatch.setattr(erasure, "finish_erasure", refuse)
    with pytest.raises(OSError, match="No space left"):
        finish_all(settings, runtime.log)

    assert [receipt.receipt_id for receipt in runtime.log.erasures().pending()] == [first.receipt_id]


def test_what_was_bought_leaves_the_memory(runtime: Runtime, settings: Settings) -> None:
    states = runtime.knowledge.states
    assert isinstance(states, LiveStates)
    live = states.get("ada")
    assert live is not None and live.bought is not None
    assert len(live.bought().code) == 2
    Eraser(settings, runtime.log).begin("ada")
    assert len(live.bought().code) == 2  # it is at hand still

    ErasureWorker(Eraser(settings, runtime.log), forget=runtime.forget).look()

    assert len(live.bought().code) == 0


def test_the_receipt_lists_the_backups_that_hold_the_customer(
    runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    back_up(settings, tmp_path.parent / "kept", lambda _: None)
    back_up(settings, tmp_path.parent / "deleted", lambda _: None)
    shutil.rmtree(tmp_path.parent / "deleted")
    eraser = Eraser(settings, runtime.log)

    begun = eraser.begin("ada")
    assert begun is not None
    eraser.finish()

    places = runtime.log.erasures().receipt(begun.receipt_id).places
    assert [place.place for place in places if place.place.startswith("backup")] == [
        f"backup: {tmp_path.parent / 'kept'}"
    ]
