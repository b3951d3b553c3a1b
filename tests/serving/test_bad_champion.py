"""A bad champion in a real registry: what answers instead, what is told, what is never promoted; and a service that lives."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_buyers import regular_buyers
from typer.testing import CliRunner

import omni
from features.checks.doctor import Status, check_champion
from features.errors import MissingError
from features.scoring.churn import SCORE_FILE
from features.scoring.model_digests import DIGEST_TAG, DIGESTS_FILE, digest_files, digest_of
from features.scoring.quarantine import Quarantine
from features.settings import Settings
from features.views import feature_service_name
from features.vocabulary import Task
from serving.scorers.bundle import Bundle
from serving.scorers.registry import mlflow_fall_back, mlflow_fetch, next_bundle
from serving.scorers.vetting import Vetting
from serving.supervisor import start_service
from training import pipeline, registry, tracking
from training.benchmarks.report import MemoryStates, as_timeline

# MLflow's own imports and its use of SQLAlchemy; nothing of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
SMALL = [
    *("horizon_days=20", "step_days=10", "booster.max_rounds=30"),
    *("booster.min_data_in_leaf=20", "booster.learning_rate=0.2"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with two versions of churn: 2 is the champion, 1 was it before."""
    home = tmp_path_factory.mktemp("trained") / "home"
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    settings.timeline_path.parent.mkdir(parents=True)
    timeline = as_timeline(regular_buyers(150))
    pq.write_table(timeline, settings.timeline_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "open_store", lambda _: MemoryStates(timeline))
        patch.setattr(pipeline, "data_fingerprint", lambda _: "data")
        for overrides in (SMALL, [*SMALL, "booster.max_rounds=20"]):
            pipeline.train(Task.CHURN, settings, overrides)
        registry.promote(Task.CHURN, settings, force=True)
    for version in tracking.versions(settings, Task.CHURN):
        tracking.tag_version(settings, version, {"feature_service": feature_service_name(Task.CHURN)})
    yield home


@pytest.fixture
def settings(trained: Path, tmp_path: Path) -> Settings:
    home = shutil.copytree(trained, tmp_path / "home")
    return Settings.from_env({"OMNI_HOME": str(home)})


def look(settings: Settings, current: Bundle | None = None) -> Bundle:
    """What a worker that starts finds, or one that has `current`."""
    vetting = Vetting(settings.home)
    return next_bundle(current or Bundle(), mlflow_fetch(settings, vetting), mlflow_fall_back(settings, vetting))


def files_of(settings: Settings, version: int) -> Path:
    client = tracking.connect(settings).MlflowClient()
    found = next(v for v in tracking.versions(settings, Task.CHURN) if v.version == version)
    return Path(client.get_logged_model(found.uri.removeprefix("models:/")).artifact_location.removeprefix("file://"))


def forget_digests(settings: Settings, version: int) -> None:
    """As of a version that was trained before they were kept."""
    tracking.connect(settings).MlflowClient().delete_model_version_tag("churn", str(version), DIGEST_TAG)
    (files_of(settings, version) / DIGESTS_FILE).unlink()


def half(folder: Path) -> None:
    (path,) = folder.rglob("model.lgb")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def answering(bundle: Bundle) -> tuple[str, str]:
    (info,) = (info for info in bundle.infos() if info.task == Task.CHURN)
    return info.version or "", info.problem or ""


def test_training_keeps_the_digests_with_the_model_and_in_the_registry(settings: Settings) -> None:
    for version in tracking.versions(settings, Task.CHURN):
        folder = files_of(settings, version.version)
        listed = json.loads((folder / DIGESTS_FILE).read_text())
        assert {"MLmodel", "artifacts/churn/model.lgb", f"artifacts/churn/{SCORE_FILE}"} <= set(listed)
        assert version.tags[DIGEST_TAG] == digest_of(digest_files(folder, "It"))


def test_a_good_champion_answers_and_its_copy_does_without_the_registry(settings: Settings) -> None:
    assert answering(look(settings)) == ("2", "")
    database = settings.home / "mlflow" / "mlflow.db"
    before = database.read_bytes()
    for content in (b"no database at all, not even a small one", before[: len(before) // 2], b"", None):
        database.unlink()
        if content is not None:
            database.write_bytes(content)
        version, problem = answering(look(settings))
        assert version == "2" and problem.endswith("Version 2 answers."), problem
    away = replace(settings, mlflow_tracking_uri="http://127.0.0.1:9")
    started = time.monotonic()
    version, problem = answering(look(away))
    assert version == "2" and problem
    assert time.monotonic() - started < 60
    database.write_bytes(before)
    assert answering(look(settings)) == ("2", "")


def test_after_a_restart_the_champion_before_a_damaged_one_answers(settings: Settings) -> None:
    half(files_of(settings, 2))
    version, problem = answering(look(settings))  # no copy is kept yet: it is brought from the registry and tried
    assert version == "1"
    assert "Model churn version 2 is damaged: artifacts/churn/model.lgb has" in problem
    assert problem.endswith("Version 1 answers.")
    check = check_champion(settings, Task.CHURN)
    assert check.status is Status.FAIL and "version 2 is champion and must not serve" in check.found
    said = CliRunner().invoke(omni.app, ["models", "--json"], env={"OMNI_HOME": str(settings.home)}).stdout
    held = {row["version"]: row["quarantine"] for row in json.loads(said)["models"]}
    assert "model.lgb has" in held[2] and held[1] == ""
    registry.rollback(Task.CHURN, settings)
    assert answering(look(settings)) == ("1", "")


def test_where_nothing_good_is_left_the_problem_is_told(settings: Settings) -> None:
    for version in (1, 2):
        half(files_of(settings, version))
    with pytest.raises(MissingError, match="Model churn version 2 is damaged"):
        look(settings).need_churn()


@pytest.mark.parametrize("recorded", [True, False])
def test_what_cannot_be_loaded_and_asked_is_not_promoted_by_force_either(settings: Settings, recorded: bool) -> None:
    registry.rollback(Task.CHURN, settings)
    if not recorded:
        forget_digests(settings, 2)
    half(files_of(settings, 2))
    words = ["promote", "churn", "--version", "2", "--force"]
    run = subprocess.run(
        [sys.executable, "-m", "omni", *words],
        env={"OMNI_HOME": str(settings.home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(omni.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = run.stderr.strip().splitlines()
    assert run.returncode == 2
    assert line.startswith("omni: Version 2 of churn is not promoted: Model churn version 2")
    champion = tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION)
    assert champion is not None and champion.version == 1


def test_a_model_whose_answers_are_no_numbers_is_refused_and_a_new_promotion_lifts_it(settings: Settings) -> None:
    forget_digests(settings, 2)
    (path,) = files_of(settings, 2).rglob(SCORE_FILE)
    good = path.read_text()
    path.write_text(json.dumps({**json.loads(good), "slope": float("nan")}))
    version, problem = answering(look(settings))
    assert version == "1" and "Its score holds nan, which is no number" in problem
    registry.rollback(Task.CHURN, settings)
    with pytest.raises(registry.GateError, match="Its score holds nan"):
        registry.promote(Task.CHURN, settings, version=2, force=True)
    path.write_text(good)
    registry.promote(Task.CHURN, settings, version=2, force=True)
    assert Quarantine(settings.home).entries() == []
    assert answering(look(settings)) == ("2", "")
    assert "no digests" in check_champion(settings, Task.CHURN).found


def test_a_link_out_of_the_registry_is_not_followed(settings: Settings) -> None:
    forget_digests(settings, 2)
    (path,) = files_of(settings, 2).rglob("model.lgb")
    outside = path.rename(settings.home / "outside.lgb")
    path.symlink_to(outside)
    version, problem = answering(look(settings))
    assert version == "1" and "model.lgb is a link, and is not read" in problem


def cut_short(content: bytes) -> bytes:
    """Trees of which the second half is missing, though their end is there: LightGBM itself dies of such files."""
    return content[: len(content) // 2] + b"\nend of trees\n\npandas_categorical:null\n"


def ask(url: str) -> tuple[int, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, response.read().decode()


def test_a_file_that_nobody_can_read_reaches_no_worker(settings: Settings) -> None:
    forget_digests(settings, 2)  # so that only the trial stands before it
    (path,) = files_of(settings, 2).rglob("model.lgb")
    path.write_bytes(cut_short(path.read_bytes()))
    service = start_service(settings, port=0, workers=2, with_applier=False, log_file=settings.home / "serve.log")
    try:
        told: dict[str, Any] = {}
        deadline = time.monotonic() + 180
        while not told.get("ready") and time.monotonic() < deadline:
            assert service.server.poll() is None
            time.sleep(0.5)
            try:
                models = json.loads(ask(f"{service.url}/v1/models")[1])["models"]
            except OSError:
                continue
            told = next(model for model in models if model["task"] == "churn")
        assert (told["ready"], told["version"]) == (True, "1")
        assert "has trees that cannot be read" in told["problem"]
        assert 'omni_models_quarantined{task="churn"} 1.0' in ask(f"{service.url}/metrics")[1]
        assert all(ask(f"{service.url}/livez")[0] == 200 for _ in range(10))
        log = (settings.home / "serve.log").read_text()
        assert "Child process died" not in log and log.count("is not loaded: ") <= 2
    finally:
        service.stop()
