"""A home with champions in, a folder for the straightforward service out: its own Feast repository and the models' files.

`python -m over_http.straightforward_store CUSTOMERS FOLDER`: the home and its time as the environment says; an id a line.
"""

import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import torch
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Array, Float32, Int64, String
from feast.value_type import ValueType
from onnx import numpy_helper
from over_http.straightforward import INPUTS, VIEW

from features.online.reader import OnlineReader
from features.scoring.mlflow_home import CHAMPION, mlflow_at
from features.scoring.model_inputs import CodeRows, model_inputs
from features.scoring.next_product import ProductFiles
from features.settings import Settings
from features.signals import SIGNAL_NAMES, compute_signals
from features.state.batch import StateBatch
from features.vocabulary import Task


def main() -> None:
    """Write the champions' files and a Feast repository whose one view holds what they read."""
    settings, folder = Settings.from_env(os.environ), Path(sys.argv[2])
    customers = Path(sys.argv[1]).read_text().split()
    folder.mkdir()
    models = {task: _champion(settings, task) for task in (Task.CHURN, Task.BEST_CHANNEL, Task.NEXT_PRODUCT)}
    shutil.copy(next(models[Task.CHURN].rglob("model.lgb")), folder / "churn.lgb")
    (folder / "arms").mkdir()
    for file in next(models[Task.BEST_CHANNEL].rglob("arms.json")).parent.glob("*.txt"):
        shutil.copy(file, folder / "arms")
    files = ProductFiles.load(models[Task.NEXT_PRODUCT], "the champion")
    graph = onnx.load(next(models[Task.NEXT_PRODUCT].rglob("*.onnx"))).graph
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    weights["log_popularity"] = torch.from_numpy(np.array(files.log_popularity))
    torch.save({"size": _size(weights), "weights": weights}, folder / "network.pt")
    n_rows = len(weights["item.weight"]) - 1
    names = [*files.product_ids, *(f"spare-{at}" for at in range(n_rows - len(files.product_ids)))]
    (folder / "products.json").write_text(json.dumps(names))
    _write_repository(folder / "repository", _rows(settings, customers, files.product_ids))


def _champion(settings: Settings, task: Task) -> Path:
    mlflow = mlflow_at(settings.mlflow_tracking_uri)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    return Path(mlflow.artifacts.download_artifacts(f"models:/{task.value}@{CHAMPION}"))


def _size(weights: dict[str, Any]) -> dict[str, int]:
    """The shapes of a network without transformer blocks, by its weights."""
    n_items, dim = weights["item.weight"].shape
    return {
        "n_items": n_items - 1,
        "n_kinds": len(weights["kind.weight"]),
        "n_channels": len(weights["channel.weight"]),
        "embedding_dim": dim,
        "repeat_dim": weights["repeat.weight"].shape[1],
        "hidden_dim": len(weights["context.weight"]),
        "n_heads": len(weights["pool.forgetting"]),
        "n_traces": len(weights["trace_rate"]),
    }


def _rows(settings: Settings, customers: list[str], product_ids: tuple[str, ...]) -> pd.DataFrame:
    """A row per customer: every signal a day after their last event, and the network's inputs as lists."""
    stored = OnlineReader(settings).read_states(customers)
    states = StateBatch.concat([one.state for one in stored.values()])
    as_of = np.array([one.state.scalar("last_event")[0] + 86_400.0 for one in stored.values()])
    rows = pd.DataFrame(compute_signals(states, as_of), columns=list(SIGNAL_NAMES))
    inputs = model_inputs(states, as_of, CodeRows(product_ids))
    for name in INPUTS:
        rows[name] = list(inputs[name])
    return rows.assign(customer_id=list(stored), event_timestamp=datetime.now(UTC) - timedelta(hours=1))


def _write_repository(folder: Path, rows: pd.DataFrame) -> None:
    folder.mkdir()
    configuration = {
        "project": "straightforward",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(json.dumps(configuration))
    rows.to_parquet(folder / "customers.parquet")
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    schema = [Field(name="customer_id", dtype=String), *(Field(name=name, dtype=Float32) for name in SIGNAL_NAMES)]
    for name in INPUTS:
        whole = np.issubdtype(rows[name].iloc[0].dtype, np.integer)
        schema.append(Field(name=name, dtype=Array(Int64 if whole else Float32)))
    source = FileSource(path=str(folder / "customers.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name=VIEW, entities=[customer], ttl=timedelta(days=365), schema=schema, source=source)
    store = FeatureStore(repo_path=str(folder))
    store.apply([customer, view])
    store.materialize_incremental(end_date=datetime.now(UTC))


if __name__ == "__main__":
    main()
