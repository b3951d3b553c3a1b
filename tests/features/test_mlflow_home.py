"""A home that is moved takes its models along, though MLflow wrote down where they lay."""

import os
import sqlite3
from pathlib import Path

import pytest

from features.mlflow_home import follow_home, mlflow_at
from features.settings import Settings


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
            INSERT INTO experiments VALUES ('omni', 'file:///old/mlflow/artifacts'), ('mine', 's3://bucket/mine');
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
