"""Erasure over HTTP and on the command line: the same receipt, and a customer whom nobody finds any more."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import omni
from features.errors import OmniError
from features.settings import Settings
from features.vocabulary import Task
from serving.erasure import Eraser
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
    assert (profile.status_code, churn.status_code, nobody.status_code) == (404, 404, 404)
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
