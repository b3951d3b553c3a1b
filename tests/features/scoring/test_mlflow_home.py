"""A home that is moved takes its models along, though MLflow wrote down where they lay."""

import os
import sqlite3
from pathlib import Path

import pytest

from features.checks.doctor import Status, check_champion
from features.errors import StoreError
from features.fingerprint import FEATURE_CODE_TAG, feature_code
from features.scoring import mlflow_home
from features.scoring.mlflow_home import follow_home, has_registry, mlflow_at, tracking_database
from features.settings import Settings
from features.vocabulary import Task


def test_places_of_artifacts_follow_the_home_and_other_stores_are_left_alone(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "new")})
    for moved in ("r1/artifacts", "models/m1"):
        (settings.mlflow_artifacts_dir / moved).mkdir(parents=True)
    database = settings.home / "mlflow" / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.executescript(
            """
            CREATE TABLE experiments (name TEXT, artifact_location TEXT);
            CREATE TABLE runs (artifact_uri TEXT); CREATE TABLE logged_models (artifact_location TEXT);
            CREATE TABLE model_versions (storage_location TEXT);
            INSERT INTO experiments VALUES ('omni', 'file:///old/mlflow/artifacts'), ('mine', 's3://bucket/mine'),
                ('omni/churn', 'file:///old/mlflow/artifacts');
            INSERT INTO runs VALUES ('file:///old/mlflow/artifacts/r1/artifacts'), ('s3://bucket/mine/r2');
            INSERT INTO logged_models VALUES ('file:///old/mlflow/artifacts/models/m1'),
                ('file:///old/mlflow/artifacts/models/left_there');
            INSERT INTO model_versions VALUES ('file:///old/mlflow/artifacts/models/m1'), (NULL);
            """
        )
    follow_home(Settings.from_env({"OMNI_HOME": str(tmp_path / "new"), "MLFLOW_TRACKING_URI": "http://shared"}))
    follow_home(settings)
    now = settings.mlflow_artifacts_dir.as_uri()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT * FROM experiments").fetchall() == [
            ("omni", now),
            ("mine", "s3://bucket/mine"),
            ("omni/churn", now),
        ]
        assert connection.execute("SELECT * FROM runs").fetchall() == [
            (f"{now}/r1/artifacts",),
            ("s3://bucket/mine/r2",),
        ]
        assert connection.execute("SELECT * FROM logged_models").fetchall() == [
            (f"{now}/models/m1",),
            ("file:///old/mlflow/artifacts/models/left_there",),
        ]
        assert connection.execute("SELECT * FROM model_versions").fetchall() == [(f"{now}/models/m1",), (None,)]


def test_one_process_may_look_at_two_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for home in ("one", "two"):
        found = Settings.from_env({**os.environ, "OMNI_HOME": str(tmp_path / home)})
        assert (
            mlflow_at(found.mlflow_tracking_uri).get_tracking_uri()
            == f"sqlite:///{tmp_path / home / 'mlflow' / 'mlflow.db'}"
        )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://shared")
    mlflow_at("sqlite:///other.db")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://shared"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
def test_doctor_tells_a_champion_that_learned_from_other_feature_code(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    (tmp_path / "mlflow").mkdir()
    client = mlflow_at(settings.mlflow_tracking_uri).MlflowClient()
    client.create_registered_model(Task.CHURN.value)
    client.create_model_version(Task.CHURN.value, str(tmp_path), tags={FEATURE_CODE_TAG: feature_code()})
    client.set_registered_model_alias(Task.CHURN.value, "champion", "1")
    assert check_champion(settings, Task.CHURN).status is Status.OK
    client.set_model_version_tag(Task.CHURN.value, "1", FEATURE_CODE_TAG, "of yesterday")
    found = check_champion(settings, Task.CHURN)
    assert (found.status, "signals of other code" in found.found) == (Status.WARN, True)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
def test_doctor_misses_only_the_models_that_the_shop_needs(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    assert [check_champion(settings, task).status for task in (Task.CHURN, Task.WIN_BACK)] == [Status.WARN, Status.OK]
    (tmp_path / "mlflow").mkdir()
    mlflow_at(settings.mlflow_tracking_uri).MlflowClient().create_registered_model(Task.CHURN.value)
    assert check_champion(settings, Task.CHURN).status is Status.WARN
    optional = check_champion(settings, Task.WIN_BACK)
    assert (optional.status, optional.repair) == (Status.OK, "")
    wanted = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_TASKS": "churn,win-back"})
    assert check_champion(wanted, Task.WIN_BACK).status is Status.WARN


def test_a_registry_is_there_once_its_file_is_and_always_where_a_server_keeps_it(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    database = tracking_database(settings)
    assert database == tmp_path / "mlflow" / "mlflow.db"
    assert not has_registry(settings)
    database.parent.mkdir()
    database.touch()
    assert not has_registry(settings)  # a power cut's
    database.write_bytes(b"SQLite format 3")
    assert has_registry(settings)
    shared = Settings.from_env({"OMNI_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    assert tracking_database(shared) is None
    assert has_registry(shared)


def test_a_damaged_registry_is_named_with_what_to_do(settings):
    database = settings.home / "mlflow" / "mlflow.db"
    settings.mlflow_artifacts_dir.mkdir(parents=True)
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used") as error:
        follow_home(settings)
    assert str(database) in error.value.message
    assert "omni restore" in error.value.repair


def test_a_tracking_store_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"

    class CutShort:
        """MLflow that makes one table of many and gets no further."""

        def __init__(self, uri: str) -> None:
            self.uri = uri

        def MlflowClient(self) -> "CutShort":
            return self

        def search_experiments(self, max_results: int) -> None:
            with sqlite3.connect(self.uri.removeprefix("sqlite:///")) as connection:
                connection.execute("CREATE TABLE experiments (name TEXT)")
            raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(mlflow_home, "mlflow_at", CutShort)
        with pytest.raises(InterruptedError):
            mlflow_home.make_tracking_database(database)
    assert [file.name for file in database.parent.iterdir()] == ["mlflow.db.lock"]
    for _ in range(2):
        mlflow_home.make_tracking_database(database)
    client = mlflow_at(f"sqlite:///{database}").MlflowClient()
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert client.search_registered_models() == []
