"""The link to MLflow, training's only importer of it: runs, metrics and models go out, plain records come back.

MLflow takes seconds to import, so it is imported when a connection is first made, never with this module.
"""

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from features.errors import MissingError, ModelError
from features.scoring.mlflow_home import CHAMPION as CHAMPION
from features.scoring.mlflow_home import (
    EXPERIMENT,
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
from training.evaluation.metrics import Metric

if TYPE_CHECKING:
    import onnx
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

CHALLENGER: Final = "challenger"
CONFIG_FILE: Final = "config.json"
"""Where a training run keeps its resolved config."""
EVALUATION_FILE: Final = "evaluation.parquet"
FIGURES_FILE: Final = "figures.json"
_FORBIDDEN_IN_KEYS = re.compile(r"[^\w\-. :/]")
_BATCH = 500
_LOGGED_MODEL: Final = "models:/"


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a task's model."""

    task: Task
    version: int
    run_id: str
    uri: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """An open MLflow run; every method writes into it."""

    task: Task
    run_id: str
    mlflow: ModuleType

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Flat parameters, in one call."""
        self._batch(params=[self.mlflow.entities.Param(_key(k), str(v)) for k, v in params.items()])

    def log_metrics(self, metrics: Mapping[str, Metric | float], step: int = 0) -> None:
        """Numbers in one call; a Metric becomes `name`, `name_low` and `name_high`. Undefined numbers are left out."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        flat = {key: value for key, value in flatten(metrics).items() if np.isfinite(value)}
        self._batch(metrics=[self.mlflow.entities.Metric(k, v, now, step) for k, v in flat.items()])

    def log_history(self, name: str, values: Sequence[float]) -> None:
        """One number per epoch or boosting round, in one call."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        self._batch(metrics=[self.mlflow.entities.Metric(_key(name), float(v), now, i) for i, v in enumerate(values)])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run."""
        self._batch(tags=[self.mlflow.entities.RunTag(k, str(v)) for k, v in tags.items()])

    def log_json(self, content: Any, path: str) -> None:
        """An object as a JSON file in the run."""
        self.mlflow.log_text(json.dumps(content, indent=2, default=str), path, run_id=self.run_id)

    def log_figure(self, figure: "Figure", path: str) -> None:
        """A matplotlib figure, as an image in the run."""
        self.mlflow.MlflowClient().log_figure(self.run_id, figure, path)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A file as it is."""
        self.mlflow.log_artifact(str(path), artifact_path=folder, run_id=self.run_id)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """A table as a Parquet file in the run's root."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            table.to_parquet(path, index=False)
            self.log_file(path)

    def log_pyfunc(
        self,
        script: Path,
        artifacts: Mapping[str, Path],
        example: pd.DataFrame,
        output: pd.DataFrame | np.ndarray,
        metadata: Mapping[str, Any],
        requirements: Sequence[str] = (),
        modules: Sequence[Path] = (),
    ) -> str:
        """A pyfunc whose code is `script` (models-from-code: the file travels with the model); answers its URI.

        `modules` are files that the script imports by their own names; they travel with it.
        """
        info = self.mlflow.pyfunc.log_model(
            name=self.task.value,
            python_model=str(script),
            code_paths=[str(path) for path in modules] or None,
            artifacts={name: str(path) for name, path in artifacts.items()},
            signature=self.mlflow.models.infer_signature(example, output),
            input_example=example,
            metadata=_plain(metadata),
            pip_requirements=[*requirements, *_base_requirements(self.mlflow)],
        )
        return str(info.model_uri)

    def log_onnx(
        self,
        model: "onnx.ModelProto",
        example: Mapping[str, np.ndarray],
        output: Mapping[str, np.ndarray],
        metadata: Mapping[str, Any],
        extra_files: Sequence[Path] = (),
    ) -> str:
        """An ONNX graph in MLflow's onnx flavour with extra files beside it (`extra_files/`); answers its URI."""
        import onnx
        import onnxruntime

        signature = self.mlflow.models.infer_signature(dict(example), dict(output))
        info = self.mlflow.onnx.log_model(
            model,
            name=self.task.value,
            signature=signature,
            input_example=dict(example),
            metadata=_plain(metadata),
            extra_files=[str(path) for path in extra_files] or None,
            save_as_external_data=False,
            onnx_execution_providers=["CPUExecutionProvider"],
            pip_requirements=[
                f"onnx=={onnx.__version__}",
                f"onnxruntime=={onnxruntime.__version__}",
                *_base_requirements(self.mlflow),
            ],
        )
        return str(info.model_uri)

    def _batch(self, **items: Any) -> None:
        client = self.mlflow.MlflowClient()
        longest = max((len(values) for values in items.values()), default=0)
        limit = 100 if "params" in items or "tags" in items else _BATCH
        for start in range(0, longest, limit):
            client.log_batch(self.run_id, **{k: v[start : start + limit] for k, v in items.items()})


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
    """An open run of the project's experiment, tagged with the task; `nested` makes it a child of the open one."""
    mlflow = connect(settings)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        location = None if tracking_database(settings) is None else settings.mlflow_artifacts_dir.as_uri()
        experiment_id = mlflow.create_experiment(EXPERIMENT, artifact_location=location)
    else:
        experiment_id = experiment.experiment_id
    with mlflow.start_run(
        experiment_id=experiment_id, run_name=name or task.value, nested=nested, tags={"task": task.value}
    ) as active:
        yield Run(task, active.info.run_id, mlflow)


def register(run: Run, uri: str, tags: Mapping[str, str]) -> ModelVersion:
    """A new version of the run's task under the alias `challenger`; the digests of its files are kept with it."""
    client = run.mlflow.MlflowClient()
    if uri.startswith(_LOGGED_MODEL):
        tags = {**tags, DIGEST_TAG: _record_digests(run, uri)}
    if not client.search_registered_models(filter_string=f"name = '{run.task.value}'"):
        client.create_registered_model(run.task.value)
    made = client.create_model_version(run.task.value, source=uri, run_id=run.run_id, tags=dict(tags))
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
    """The last value of every metric of a run, by its stored key."""
    return dict(connect(settings).MlflowClient().get_run(run_id).data.metrics)


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


def metric_key(name: str) -> str:
    """The name under which MLflow keeps a metric: `lift@10%` becomes `lift_at_10pct`."""
    return _key(name)


def flatten(metrics: Mapping[str, Metric | float]) -> dict[str, float]:
    """Metrics as plain numbers by stored key."""
    flat: dict[str, float] = {}
    for name, metric in metrics.items():
        key = _key(name)
        if isinstance(metric, Metric):
            flat |= {key: metric.value, f"{key}_low": metric.low, f"{key}_high": metric.high}
        else:
            flat[key] = float(metric)
    return flat


def _record_digests(run: Run, uri: str) -> str:
    """Write the digests of a model's files beside them; answers that of all together."""
    folder = Path(run.mlflow.artifacts.download_artifacts(artifact_uri=uri))
    digests = digest_files(folder, f"The model of run {run.run_id}")
    with tempfile.TemporaryDirectory() as place:
        file = write_digests(Path(place), digests)
        run.mlflow.MlflowClient().log_model_artifact(uri.removeprefix(_LOGGED_MODEL), str(file))
    return digest_of(digests)


def _key(name: str) -> str:
    return _FORBIDDEN_IN_KEYS.sub("_", name.replace("@", "_at_").replace("%", "pct"))


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), default=str))
    return plain


def _base_requirements(mlflow: ModuleType) -> list[str]:
    return [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}", f"pandas=={pd.__version__}"]


def _aliases(client: Any, task: Task) -> dict[tuple[int, str], str]:
    found = client.search_registered_models(filter_string=f"name = '{task.value}'")
    return {(int(version), alias): alias for alias, version in found[0].aliases.items()} if found else {}


def _record(entry: Any, aliases: Mapping[tuple[int, str], str]) -> ModelVersion:
    version = int(entry.version)
    held = tuple(alias for (number, alias) in aliases if number == version)
    return ModelVersion(Task(entry.name), version, entry.run_id, entry.source, held, dict(entry.tags))
