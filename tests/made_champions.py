"""Champions for a small home that nobody trained: real files in a real registry, so that a real service answers with them.

The next-product network prefers the earlier product of its vocabulary; churn and best-channel lean on one signal each.
"""

import json
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper

from features.scoring.mlflow_home import CHAMPION, EXPERIMENT, mlflow_at
from features.scoring.model_digests import DIGEST_TAG, digest_files, digest_of, write_digests
from features.scoring.model_inputs import INPUT_NAMES
from features.settings import Settings
from features.signals import SIGNAL_NAMES
from features.views import feature_service_name
from features.vocabulary import CORE_TASKS, Task

ARMS = ("email", "post")
_WHOLE_NUMBERS = ("item", "kind", "channel", "habit_item")


def make_champions(settings: Settings, product_ids: list[str]) -> None:
    """Register one version of each model that a service needs, and make it the champion; about ten seconds."""
    database = settings.home / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    client = mlflow_at(settings.mlflow_tracking_uri).MlflowClient(settings.mlflow_tracking_uri)
    experiment = client.create_experiment(EXPERIMENT, artifact_location=settings.mlflow_artifacts_dir.as_uri())
    for task in CORE_TASKS:
        folder = settings.mlflow_artifacts_dir / "made" / task.value
        folder.mkdir(parents=True)
        write_files(task, folder, product_ids)
        client.create_registered_model(task.value)
        digests = digest_files(folder, task.value)
        write_digests(folder, digests)
        tags = {"feature_service": feature_service_name(task), DIGEST_TAG: digest_of(digests)}
        run_id = client.create_run(experiment, tags={"task": task.value}).info.run_id
        version = client.create_model_version(task.value, folder.as_uri(), run_id, tags=tags)
        client.set_registered_model_alias(task.value, CHAMPION, version.version)


def write_files(task: Task, folder: Path, product_ids: list[str]) -> None:
    """What training would have written of a task's model."""
    (folder / "MLmodel").write_text("metadata:\n  horizon_days: 28\n")
    match task:
        case Task.CHURN:
            _booster(0.3).save_model(str(folder / "model.lgb"))
        case Task.BEST_CHANNEL:
            rows = [{"arm": arm, "channel": arm, "kind": "send", "rate": 0.2, "cost": 0.01} for arm in ARMS]
            (folder / "arms.json").write_text(json.dumps(rows))
            for arm in ARMS:
                _booster(0.2).save_model(str(folder / f"{arm}.txt"))
        case _:
            (folder / "vocabulary.json").write_text(json.dumps(product_ids))
            onnx.save(_network(len(product_ids)), str(folder / "model.onnx"))


def _booster(rate: float) -> lightgbm.Booster:
    rng = np.random.default_rng(7)
    x = rng.random((200, 3))
    y = (rng.random(200) < np.clip(rate + 0.3 * (x[:, 0] - 0.5), 0, 1)).astype(float)
    data = lightgbm.Dataset(x, y, feature_name=list(SIGNAL_NAMES[:3]))
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_leaves": 4, "num_threads": 1}, data, 3)


def _network(n_products: int) -> onnx.ModelProto:
    """Every customer's score of product i is -i, and of nothing minus infinity."""
    row = np.concatenate(([-np.inf], -np.arange(n_products))).astype(np.float32)[None]
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name in _WHOLE_NUMBERS else TensorProto.FLOAT, ["n", None]
        )
        for name in INPUT_NAMES
    ]
    nodes = [
        helper.make_node("ReduceSum", ["habit_weight", "axis"], ["weight"], keepdims=1),
        helper.make_node("Mul", ["weight", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "row"], ["score"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("row", TensorProto.FLOAT, row.shape, row.ravel()),
    ]
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", row.shape[1]])
    graph = helper.make_graph(nodes, "made", inputs, [score], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
