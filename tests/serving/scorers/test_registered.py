"""The registry's file, read without MLflow, says what MLflow's own client says, whatever was done to it."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from features.errors import StoreError
from features.scoring.mlflow_home import CHAMPION, HISTORY_TAG, mlflow_at
from features.settings import Settings
from features.vocabulary import Task
from serving.scorers.registered import Registry, RegistryClient, RegistryFile, Version, open_registry

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("home"))})
    (settings.home / "mlflow").mkdir()
    return settings


@pytest.fixture(scope="module")
def client(settings: Settings) -> Any:
    """A registry in which much has happened."""
    client = mlflow_at(settings.mlflow_tracking_uri).MlflowClient(settings.mlflow_tracking_uri)
    run = client.create_run(client.create_experiment("omni")).info.run_id
    for task in (Task.CHURN, Task.NEXT_PRODUCT, Task.BEST_CHANNEL):
        client.create_registered_model(task.value)
    for number in range(1, 5):
        client.create_model_version("churn", f"file:///models/{number}", run, tags={"trained_at": f"day {number}"})
    client.set_model_version_tag("churn", "2", "feature_service", "churn_v1")
    for alias, number in ((CHAMPION, "1"), ("challenger", "4"), (CHAMPION, "3")):
        client.set_registered_model_alias("churn", alias, number)
    client.set_registered_model_tag("churn", HISTORY_TAG, "[1, 2, 3]")
    client.delete_model_version("churn", "1")
    client.create_model_version("next-product", "s3://bucket/model")
    client.set_registered_model_alias("next-product", CHAMPION, "1")
    client.delete_model_version("next-product", "1")  # and with it the alias
    return client


def told(registry: Registry) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for task in Task:
        versions = registry.versions(task)
        facts[task] = (
            (registry.champion(task), registry.earlier_champions(task), registry.aliases(task), versions),
            [registry.version(task, number) for number in range(6)],
            [registry.place(task, version.number) for version in versions],
        )
    return facts


def test_the_file_says_what_mlflow_says(settings: Settings, client: Any) -> None:
    registry = open_registry(settings)
    assert isinstance(registry, RegistryFile)
    facts = told(registry)
    assert facts == told(RegistryClient(settings.mlflow_tracking_uri))
    (champion, earlier, aliases, versions), _, places = facts[Task.CHURN]
    run_id = client.get_model_version("churn", "3").run_id
    assert champion == Version(3, run_id, {"trained_at": "day 3"})
    assert (earlier, aliases) == ([1, 2], {CHAMPION: 3, "challenger": 4})
    assert [version.number for version in versions] == [2, 3, 4]
    assert places == ["file:///models/2", "file:///models/3", "file:///models/4"]
    assert facts[Task.NEXT_PRODUCT][0] == (None, [], {}, [])
    assert facts[Task.WIN_BACK][0] == (None, [], {}, [])


def test_tables_of_another_release_are_left_to_mlflow(settings: Settings, client: Any, tmp_path: Path) -> None:
    other = tmp_path / "mlflow.db"
    with sqlite3.connect(settings.home / "mlflow" / "mlflow.db") as database, sqlite3.connect(other) as copy:
        database.backup(copy)
        copy.execute("ALTER TABLE registered_model_aliases RENAME COLUMN alias TO nickname")
    copy.close()
    database.close()
    assert RegistryFile(settings.home / "mlflow" / "mlflow.db", 1.0).is_readable
    assert not RegistryFile(other, 1.0).is_readable


def test_a_version_that_is_gone_has_no_place(settings: Settings, client: Any) -> None:
    registry = RegistryFile(settings.home / "mlflow" / "mlflow.db", 1.0)
    with pytest.raises(StoreError, match="version 1 is not in the model registry any more"):
        registry.place(Task.CHURN, 1)


def test_a_file_that_is_no_registry_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, not even a small one")
    with pytest.raises(StoreError, match=r"The tracking store .* cannot be used"):
        _ = RegistryFile(tmp_path / "mlflow.db", 1.0).is_readable
