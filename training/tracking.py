"""The link to MLflow, training's only importer of it: runs, metrics and models go out, plain records come back.

MLflow takes seconds to import, so it is imported when a connection is first made, never with this module.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pandas as pd

from features.errors import MissingError, ModelError
from features.scoring.mlflow_home import CHAMPION as CHAMPION
from features.scoring.mlflow_home import (
    experiment_of,
    follow_home,
    look_at_tracking,
    make_tracking_database,
    mlflow_at,
    tracking_database,
)
from features.scoring.model_digests import (
    DIGEST_TAG,
    check_files,
    digest_files,
    digest_of,
    need_plain_files,
    write_digests,
)
from features.scoring.passed import Passed
from features.scoring.trial import try_model
from features.settings import Settings
from features.vocabulary import Task
from training.run import METRICS_FILE, Run

logger = logging.getLogger(__name__)

CHALLENGER: Final = "challenger"
CONFIG_FILE: Final = "config.json"
"""Where a training run keeps its resolved config."""
EVALUATION_FILE: Final = "evaluation.parquet"
FIGURES_FILE: Final = "figures.json"
_LOGGED_MODEL: Final = "models:/"
_ABOUT: Final[dict[Task, str]] = {
    Task.NEXT_PRODUCT: "Which products a customer buys next: a sequence network over all products, re-ranked by trees.",
    Task.CHURN: "The chance that a customer buys nothing within the horizon, or ends their contract.",
    Task.BEST_CHANNEL: "The chance that a customer answers on each channel, and what a contact there adds.",
    Task.WIN_BACK: "Whom a contact keeps: the chance of a return that it adds, for customers who are about to leave.",
}
"""What MLflow says of a task's experiment and registered model."""


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a task's model."""

    task: Task
    version: int
    run_id: str
    uri: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


def connect(settings: Settings) -> ModuleType:
    """MLflow, pointed at the tracking store of the settings, with its phone-home off; the store is made if missing."""
    database = tracking_database(settings)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        look_at_tracking(settings)
        make_tracking_database(database)
        follow_home(settings)
    return mlflow_at(settings.mlflow_tracking_uri)


@contextmanager
def start_run(task: Task, settings: Settings, *, name: str | None = None, nested: bool = False) -> Iterator[Run]:
    """An open run of the task's experiment; `nested` makes it a child of the open one."""
    mlflow = connect(settings)
    experiment = mlflow.get_experiment_by_name(experiment_of(task))
    if experiment is None:
        location = None if tracking_database(settings) is None else settings.mlflow_artifacts_dir.as_uri()
        about = {"mlflow.note.content": _ABOUT[task]}
        experiment_id = mlflow.create_experiment(experiment_of(task), artifact_location=location, tags=about)
    else:
        experiment_id = experiment.experiment_id
    with mlflow.start_run(
        experiment_id=experiment_id, run_name=name or task.value, nested=nested, tags={"task": task.value}
    ) as active:
        yield Run(task, active.info.run_id, mlflow)


def register(run: Run, uri: str, tags: Mapping[str, str], description: str = "") -> ModelVersion:
    """A new version of the run's task under the alias `challenger`; the digests of its files are kept with it."""
    client = run.mlflow.MlflowClient()
    if uri.startswith(_LOGGED_MODEL):
        tags = {**tags, DIGEST_TAG: _record_digests(run, uri)}
    if not client.search_registered_models(filter_string=f"name = '{run.task.value}'"):
        client.create_registered_model(run.task.value, description=_ABOUT[run.task])
    made = client.create_model_version(
        run.task.value, source=uri, run_id=run.run_id, tags=dict(tags), description=description
    )
    client.set_registered_model_alias(run.task.value, CHALLENGER, made.version)
    return ModelVersion(run.task, int(made.version), run.run_id, uri, (CHALLENGER,), dict(tags))


def versions(settings: Settings, task: Task | None = None) -> list[ModelVersion]:
    """All registered versions of one task or of all, newest first within a task."""
    client = connect(settings).MlflowClient()
    found: list[ModelVersion] = []
    for each in [task] if task else list(Task):
        aliases = _aliases(client, each)
        entries = client.search_model_versions(filter_string=f"name = '{each.value}'")
        found += sorted((_record(entry, aliases) for entry in entries), key=lambda v: -v.version)
    return found


def by_alias(settings: Settings, task: Task, alias: str) -> ModelVersion | None:
    """The version that holds the alias, or None."""
    return next((version for version in versions(settings, task) if alias in version.aliases), None)


def run_metrics(settings: Settings, run_id: str) -> dict[str, float]:
    """Every figure of a run, by its stored key. (Runs from before `metrics.json` have them all as MLflow's metrics.)"""
    kept: dict[str, float] = run_json(settings, run_id, METRICS_FILE) or {}
    return {**connect(settings).MlflowClient().get_run(run_id).data.metrics, **kept}


def run_json(settings: Settings, run_id: str, path: str) -> Any:
    """What `Run.log_json` wrote, or None where the run has no such file."""
    mlflow = connect(settings)
    if path not in {item.path for item in mlflow.MlflowClient().list_artifacts(run_id)}:
        return None
    return mlflow.artifacts.load_dict(f"runs:/{run_id}/{path}")


def run_table(settings: Settings, run_id: str, name: str) -> pd.DataFrame | None:
    """A table written by `Run.log_table`, or None where the run has none."""
    mlflow = connect(settings)
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run_id)}
    if name not in names:
        return None
    return pd.read_parquet(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name))


def local_model(settings: Settings, version: ModelVersion) -> Path:
    """The folder of a version's model files on this machine. Raises ModelError for files that are not as they were recorded."""
    mlflow = connect(settings)
    name, where = version.task.value, f"Model {version.task.value} version {version.version}"
    need_plain_files(mlflow.MlflowClient().get_model_version_download_uri(name, str(version.version)), where)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/{version.version}"))
    check_files(folder, version.tags.get(DIGEST_TAG, ""), where)
    return folder


def tried_model(settings: Settings, version: ModelVersion) -> Path:
    """The same, of a model that was loaded and asked in a process of its own. Raises ModelError where it failed."""
    folder, where = local_model(settings, version), f"Model {version.task.value} version {version.version}"
    digest, passed = digest_of(digest_files(folder, where)), Passed(settings.home)
    if not passed.knows(version.task, digest):
        verdict = try_model(version.task, str(version.version), folder)
        if verdict.reason:
            raise ModelError(f"{where} must not serve: {verdict.reason}")
        passed.note(version.task, digest)
    return folder


def move_alias(settings: Settings, task: Task, alias: str, version: int) -> None:
    """Point an alias at a version."""
    connect(settings).MlflowClient().set_registered_model_alias(task.value, alias, str(version))


def drop_alias(settings: Settings, task: Task, alias: str) -> None:
    """Take an alias away; nothing happens where it is not set."""
    client = connect(settings).MlflowClient()
    if alias in _aliases(client, task).values():
        client.delete_registered_model_alias(task.value, alias)


def tag_version(settings: Settings, version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Add tags to a version."""
    client = connect(settings).MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(version.task.value, str(version.version), key, value)


def read_task_tag(settings: Settings, task: Task, key: str) -> str:
    """A tag of the registered model itself; raises MissingError where no version of the task exists."""
    client = connect(settings).MlflowClient()
    found = client.search_registered_models(filter_string=f"name = '{task.value}'")
    if not found:
        raise MissingError(f"No version of {task.value} is registered.", repair=f"Run: omni train {task.value}")
    return str(found[0].tags.get(key, ""))


def write_task_tag(settings: Settings, task: Task, key: str, value: str) -> None:
    """Set a tag of the registered model itself."""
    connect(settings).MlflowClient().set_registered_model_tag(task.value, key, value)


def _record_digests(run: Run, uri: str) -> str:
    """Write the digests of a model's files beside them; answers that of all together."""
    folder = Path(run.mlflow.artifacts.download_artifacts(artifact_uri=uri))
    digests = digest_files(folder, f"The model of run {run.run_id}")
    with tempfile.TemporaryDirectory() as place:
        file = write_digests(Path(place), digests)
        run.mlflow.MlflowClient().log_model_artifact(uri.removeprefix(_LOGGED_MODEL), str(file))
    return digest_of(digests)


def _aliases(client: Any, task: Task) -> dict[tuple[int, str], str]:
    found = client.search_registered_models(filter_string=f"name = '{task.value}'")
    return {(int(version), alias): alias for alias, version in found[0].aliases.items()} if found else {}


def _record(entry: Any, aliases: Mapping[tuple[int, str], str]) -> ModelVersion:
    version = int(entry.version)
    held = tuple(alias for (number, alias) in aliases if number == version)
    return ModelVersion(Task(entry.name), version, entry.run_id, entry.source, held, dict(entry.tags))
