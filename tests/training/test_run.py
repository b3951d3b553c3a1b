"""What MLflow shows of a training run: headlines, flat parameters, the data, words; every other figure is in a file."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_buyers import regular_buyers

from features.evaluation.resampling import Metric
from features.settings import Settings
from features.vocabulary import Task
from training import pipeline, tracking
from training.benchmarks.report import MemoryStates, as_timeline
from training.run import flat_params, flatten

# MLflow's own imports and its use of SQLAlchemy; nothing of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
SMALL = ("horizon_days=20", "step_days=10", "booster.max_rounds=30", "booster.min_data_in_leaf=20")


def test_mlflow_shows_a_run_of_its_task_with_headlines_flat_params_its_data_and_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    settings.timeline_path.parent.mkdir(parents=True)
    timeline = as_timeline(regular_buyers(150))
    pq.write_table(timeline, settings.timeline_path)
    monkeypatch.setattr(pipeline, "open_store", lambda _: MemoryStates(timeline))
    monkeypatch.setattr(pipeline, "data_fingerprint", lambda _: "data-1")
    first = pipeline.train(Task.CHURN, settings, SMALL)
    client = tracking.connect(settings).MlflowClient()
    run = client.get_run(first.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "omni/churn"
    curve = {"held_log_loss"}
    assert set(run.data.metrics) - curve == {
        *("log_loss", "log_loss_low", "log_loss_high", "auc", "average_precision", "brier", "ece"),
        "lift_at_10pct",
        *("gain_over_best_baseline", "gain_over_best_baseline_low", "gain_over_best_baseline_high"),
        *("rows.train", "seconds.total"),
    }
    assert run.data.metrics["auc"] == pytest.approx(first.metrics["auc"].value)
    nearest = min(first.gains.values(), key=lambda gain: gain.value)
    assert run.data.metrics["gain_over_best_baseline"] == pytest.approx(nearest.value)
    assert len(client.get_metric_history(first.run_id, "held_log_loss")) > 1
    params = run.data.params
    assert params["booster.max_rounds"] == "30"
    assert params["kind"] == "non-contractual"
    assert params["activity_kinds"] == '["purchase"]'
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("timeline", "data-1")
    assert {tag.key: tag.value for tag in dataset.tags}["rows.test"] == str(first.rows["test"])
    note = run.data.tags["mlflow.note.content"]
    assert f"| recency | {first.baselines['recency']['log_loss'].value:.4f} |" in note
    assert client.get_model_version("churn", "1").description == note
    assert client.get_registered_model("churn").description.startswith("The chance that a customer buys nothing")


def test_nested_params_become_one_level_of_words() -> None:
    nested = {"trees": {"depth": 3, "arms": [Task.CHURN.value, 2]}, "task": Task.CHURN, "off": None}
    assert flat_params(nested) == {
        "trees.depth": "3",
        "trees.arms": '["churn", 2]',
        "task": "churn",
        "off": "None",
    }


def test_metric_names_become_keys_that_the_store_accepts() -> None:
    assert flatten({"lift@10%": Metric(2.0, 1.0, 3.0)}) == {
        "lift_at_10pct": 2.0,
        "lift_at_10pct_low": 1.0,
        "lift_at_10pct_high": 3.0,
    }
