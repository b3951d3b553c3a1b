"""An open MLflow run, into which training writes: params, headline figures, curves, files, the data that it saw, a model."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from features.evaluation.resampling import Metric
from features.vocabulary import Task

if TYPE_CHECKING:
    import onnx
    from matplotlib.figure import Figure

METRICS_FILE: Final = "metrics.json"
"""Where a run keeps every figure by its stored key; MLflow's own metrics are the headlines and the curves."""
_FORBIDDEN_IN_KEYS: Final = re.compile(r"[^\w\-. :/]")
_BATCH: Final = 500
_NOTE: Final = "mlflow.note.content"


@dataclass(frozen=True)
class Run:
    """An open MLflow run; every method writes into it."""

    task: Task
    run_id: str
    mlflow: ModuleType
    kept: dict[str, float] = field(default_factory=dict)
    """Figures by their stored key, for METRICS_FILE."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters in one call: nested ones by their path with dots (`booster.num_leaves`), enums by their value."""
        flat = flat_params(params)
        self._batch(params=[self.mlflow.entities.Param(metric_key(k), v) for k, v in flat.items()])

    def log_metrics(self, metrics: Mapping[str, Metric | float], step: int = 0) -> None:
        """Numbers in one call; a Metric becomes `name`, `name_low` and `name_high`. Undefined numbers are left out."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        flat = {key: value for key, value in flatten(metrics).items() if np.isfinite(value)}
        self._batch(metrics=[self.mlflow.entities.Metric(k, v, now, step) for k, v in flat.items()])

    def keep(self, metrics: Mapping[str, Metric | float]) -> None:
        """Numbers for `metrics.json`, which `write_kept` writes: too many to be looked at as curves of one point."""
        self.kept.update({key: value for key, value in flatten(metrics).items() if np.isfinite(value)})

    def write_kept(self) -> None:
        """Every figure that was kept, as one file."""
        self.log_json(dict(sorted(self.kept.items())), METRICS_FILE)

    def log_dataset(self, name: str, digest: str, source: Path, tags: Mapping[str, str]) -> None:
        """What was learned from, as MLflow's dataset input; `digest` has at most 36 characters."""
        entities = self.mlflow.entities
        dataset = entities.Dataset(name, digest, "local", json.dumps({"uri": source.as_uri()}))
        labels = [entities.InputTag(k, v) for k, v in {"mlflow.data.context": "training", **tags}.items()]
        self.mlflow.MlflowClient().log_inputs(self.run_id, [entities.DatasetInput(dataset, labels)])

    def describe(self, text: str) -> None:
        """Markdown that MLflow shows on top of the run."""
        self.set_tags({_NOTE: text})

    def log_history(self, name: str, values: Sequence[float]) -> None:
        """One number per epoch or boosting round, in one call."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        self._batch(
            metrics=[self.mlflow.entities.Metric(metric_key(name), float(v), now, i) for i, v in enumerate(values)]
        )

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
        limit = 100 if "params" in items or "tags" in items else _BATCH  # what a server of MLflow takes at once
        for start in range(0, longest, limit):
            client.log_batch(self.run_id, **{k: v[start : start + limit] for k, v in items.items()})


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as one level of texts, with dots between the names; lists are JSON."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple | set | frozenset):
            flat[prefix + name] = json.dumps(list(value), default=str)
        else:
            flat[prefix + name] = str(value.value if isinstance(value, Enum) else value)
    return flat


def metric_key(name: str) -> str:
    """The name under which MLflow keeps a metric: `lift@10%` becomes `lift_at_10pct`."""
    return _FORBIDDEN_IN_KEYS.sub("_", name.replace("@", "_at_").replace("%", "pct"))


def flatten(metrics: Mapping[str, Metric | float]) -> dict[str, float]:
    """Metrics as plain numbers by stored key."""
    flat: dict[str, float] = {}
    for name, metric in metrics.items():
        key = metric_key(name)
        if isinstance(metric, Metric):
            flat |= {key: metric.value, f"{key}_low": metric.low, f"{key}_high": metric.high}
        else:
            flat[key] = float(metric)
    return flat


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), default=str))
    return plain


def _base_requirements(mlflow: ModuleType) -> list[str]:
    return [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}", f"pandas=={pd.__version__}"]
