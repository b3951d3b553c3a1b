"""The way from a timeline to a served version: a real MLflow store, the gates, and files that stand alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_buyers import regular_buyers

from features.errors import InputError, MissingError
from features.scoring.churn import SCORE_FILE, ChurnScore
from features.settings import Settings
from features.signals import SIGNAL_NAMES, signal_index
from features.vocabulary import Task
from training import pipeline, registry, tracking
from training.benchmarks.report import MemoryStates, as_timeline
from training.models import boosted
from training.models.best_channel import train
from training.models.best_channel.data import ArmConfig
from training.models.best_channel.train import ArmModel

# MLflow's own imports and its use of SQLAlchemy; nothing of ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
SMALL = [
    "horizon_days=20",
    "step_days=10",
    "booster.max_rounds=30",
    "booster.min_data_in_leaf=20",
    "booster.learning_rate=0.2",
]
FINGERPRINT = {"now": "data-1"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    made = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("home"))})
    made.timeline_path.parent.mkdir(parents=True)
    timeline = as_timeline(regular_buyers(150))
    pq.write_table(timeline, made.timeline_path)
    store = MemoryStates(timeline)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "open_store", lambda _: store)
        patch.setattr(pipeline, "data_fingerprint", lambda _: FINGERPRINT["now"])
        patch.setattr(pipeline, "code_fingerprint", lambda: "code")
        yield made


@pytest.fixture(scope="module")
def first(settings: Settings) -> pipeline.TrainReport:
    return pipeline.train(Task.CHURN, settings, SMALL)


def test_the_first_version_passes_the_gates_and_becomes_champion(first, settings) -> None:
    assert (first.version, first.champion, first.skipped) == (1, True, False)
    assert first.metrics["auc"].value > 0.9
    version = tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION)
    assert version is not None
    assert {key: version.tags[key] for key in ("feature_service", "task", "data_fingerprint")} == {
        "feature_service": "in-memory",
        "task": "churn",
        "data_fingerprint": "data-1",
    }
    assert version.tags["as_of_end"].startswith("2024-06-3")
    assert {"trained_at", "gates"} <= set(version.tags)


def test_the_run_keeps_metrics_with_intervals_baselines_plots_and_the_config(first, settings) -> None:
    stored = tracking.run_metrics(settings, first.run_id)
    assert stored["log_loss"] == pytest.approx(first.metrics["log_loss"].value)
    assert stored["lift_at_10pct_low"] <= stored["lift_at_10pct"] <= stored["lift_at_10pct_high"]
    assert stored["baseline.recency.auc"] == pytest.approx(first.baselines["recency"]["auc"].value)
    client = tracking.connect(settings).MlflowClient()
    files = {item.path for folder in ("", "plots") for item in client.list_artifacts(first.run_id, folder)}
    assert {"config.json", "evaluation.parquet", "plots/calibration.png", "plots/lift.png"} <= files
    assert {"metrics.json", "plots/importance.png", "plots/shap.png"} <= files


def test_the_churn_file_stands_alone(first, settings, tmp_path) -> None:
    version = tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION)
    folder = tracking.local_model(settings, version)
    found = run_elsewhere(folder, tmp_path)
    # what a plain MLflow user gets is what was measured and serves
    rows = np.array(found["rows"], np.float32)
    signals = np.zeros((len(rows), len(SIGNAL_NAMES)), np.float32)
    signals[:, signal_index(tuple(found["columns"]))] = rows
    score = ChurnScore.from_json(next(folder.rglob(SCORE_FILE)).read_text(encoding="utf-8"))
    trees = lightgbm.Booster(model_file=str(next(folder.rglob("model.lgb")))).predict(rows, raw_score=True)
    assert found["answer"] == pytest.approx(score.probability(signals, trees).tolist(), abs=1e-9)
    metadata = found["metadata"]
    assert metadata["task"] == "churn"
    assert metadata["horizon_days"] == 20
    assert metadata["signal_names"] == found["columns"]


def test_nothing_is_done_again_while_nothing_changed(first, settings) -> None:
    again = pipeline.train(Task.CHURN, settings, SMALL, reuse=True)
    assert (again.version, again.skipped) == (1, True)
    assert again.metrics == first.metrics  # read back from the run
    assert again.baselines == first.baselines
    config = pipeline.load_config(Task.CHURN, None, SMALL)
    assert pipeline.up_to_date(Task.CHURN, settings, config, seed=5) is None
    FINGERPRINT["now"] = "data-2"
    assert pipeline.up_to_date(Task.CHURN, settings, config) is None
    FINGERPRINT["now"] = "data-1"


def test_a_wrong_key_is_answered_with_the_keys_of_its_section() -> None:
    with pytest.raises(
        InputError, match=r"no key booster\.leaves\. Did you mean num_leaves\? Known keys: learning_rate"
    ):
        pipeline.load_config(Task.CHURN, None, ["booster.leaves=3"])
    with pytest.raises(
        InputError, match=r"no key horizon\. Did you mean horizon_days\? Known keys: kind, horizon_days"
    ):
        pipeline.load_config(Task.CHURN, None, ["horizon=3"])
    with pytest.raises(InputError, match=r"greater than 0\. Mend the value"):
        pipeline.load_config(Task.CHURN, None, ["horizon_days=-1"])


def test_a_challenger_is_refused_forced_and_rolled_back(first, settings) -> None:
    with pytest.raises(MissingError, match="no challenger"):
        registry.promote(Task.BEST_CHANNEL, settings)
    same = registry.promote(Task.CHURN, settings)  # the first training promoted it
    assert (same.version, same.previous, same.reasons) == (1, 1, (registry.ALREADY,))
    with pytest.raises(MissingError, match="no earlier champion"):
        registry.rollback(Task.CHURN, settings)
    worse = pipeline.train(Task.CHURN, settings, [*SMALL, "booster.max_rounds=1"])
    assert not worse.champion
    with pytest.raises(registry.GateError, match=r"log_loss gain over the champion -0\.\d+"):
        registry.promote(Task.CHURN, settings)
    forced = registry.promote(Task.CHURN, settings, force=True)
    assert (forced.version, forced.previous, forced.forced) == (worse.version, 1, True)
    assert tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION).tags["forced"] == "true"
    assert registry.rollback(Task.CHURN, settings).version == 1
    assert tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION).version == 1


def test_the_same_again_replaces_a_champion_only_where_its_data_is_newer(first, settings) -> None:
    again = pipeline.train(Task.CHURN, settings, SMALL)
    with pytest.raises(registry.GateError, match=r"log_loss gain over the champion .*, needs > 0"):
        registry.promote(Task.CHURN, settings)
    champion = tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION)
    tracking.tag_version(settings, champion, {"as_of_end": "2024-06-01T00:00:00+00:00"})
    promotion = registry.promote(Task.CHURN, settings)
    assert (promotion.version, promotion.previous, promotion.forced) == (again.version, champion.version, False)
    assert any("it knows newer data" in reason for reason in promotion.reasons)
    registry.rollback(Task.CHURN, settings)


def test_churn_of_contracts_is_not_compared_with_churn_of_purchases(first, settings, monkeypatch) -> None:
    worse = pipeline.train(Task.CHURN, settings, [*SMALL, "booster.max_rounds=1"])
    read = tracking.run_json
    monkeypatch.setattr(
        tracking,
        "run_json",
        lambda given, run, path: (
            {"kind": "contract"} if (run, path) == (worse.run_id, "config.json") else read(given, run, path)
        ),
    )
    with pytest.raises(registry.GateError, match=r"another question than the champion \(kind contract, not non-contr"):
        registry.promote(Task.CHURN, settings)
    assert registry.promote(Task.CHURN, settings, force=True).forced
    registry.rollback(Task.CHURN, settings)


def test_a_champion_is_scored_again_only_on_rows_that_it_was_not_measured_on(first, settings) -> None:
    same = pipeline.train(Task.CHURN, settings, [*SMALL, "booster.max_rounds=2"])
    assert tracking.run_table(settings, same.run_id, registry.rescored_file(1)) is None
    other = pipeline.train(Task.CHURN, settings, [*SMALL, "horizon_days=10"])
    rescored = tracking.run_table(settings, other.run_id, registry.rescored_file(1))
    ours = tracking.run_table(settings, other.run_id, tracking.EVALUATION_FILE)
    assert rescored is not None and ours is not None
    assert rescored["key"].tolist() == ours["key"].tolist()
    assert (rescored["score"] != ours["score"]).mean() > 0.9


def test_the_best_channel_file_stands_alone(settings, tmp_path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 2)).astype(np.float32)
    fitted = boosted.fit_calibrated(
        (features[:300], (features[:300, 0] > 0).astype(float)),
        (features[300:], (features[300:, 0] > 0).astype(float)),
        ("a", "b"),
        boosted.BoosterConfig(max_rounds=5, min_data_in_leaf=10),
        0,
    )
    arm = {"kind": "send", "response_kinds": ["click"], "response_days": 3}
    models = [
        ArmModel(ArmConfig.model_validate({**arm, "name": "mail", "channel": "email"}), fitted.booster, 0.5, False),
        ArmModel(
            ArmConfig.model_validate({**arm, "name": "text", "channel": "sms"}),
            boosted.constant_booster(0.03, ("a", "b")),
            0.03,
            True,
        ),
    ]

    class Test:
        pass

    test = Test()
    test.features, test.feature_names = features, ("a", "b")  # type: ignore[attr-defined]
    with tracking.start_run(Task.BEST_CHANNEL, settings) as run:
        uri = train.log_model(run, models, test, {"task": "best-channel"})  # type: ignore[arg-type]
        version = tracking.register(run, uri, {"task": "best-channel"})
    folder = tracking.local_model(settings, version)
    found = run_elsewhere(folder, tmp_path)
    assert found["answer"]["text"] == pytest.approx([0.03] * 3)
    assert found["answer"]["mail"] == pytest.approx(fitted.booster.predict(features[:3]).tolist())
    arms = json.loads(next(folder.rglob("arms.json")).read_text())
    assert [(row["arm"], row["channel"], row["constant"]) for row in arms] == [
        ("mail", "email", False),
        ("text", "sms", True),
    ]
    assert {path.name for path in folder.rglob("*.txt")} >= {"mail.txt", "text.txt"}


def run_elsewhere(model: Path, folder: Path) -> dict:
    """Load a model's files in a process that cannot see this project and predict its own input example."""
    script = """
import json, sys
import mlflow, numpy as np, pandas as pd
assert not any(name in sys.modules for name in ("features", "training", "serving"))
model = mlflow.pyfunc.load_model(sys.argv[1])
example = model.input_example
answer = model.predict(example)
answer = answer.to_dict("list") if isinstance(answer, pd.DataFrame) else np.asarray(answer).tolist()
for package in ("features", "training", "serving"):
    assert package not in sys.modules, package
rows = np.asarray(example).tolist() if isinstance(example, pd.DataFrame) else None
print(json.dumps({"answer": answer, "columns": list(example.columns), "rows": rows, "metadata": model.metadata.metadata}))
"""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(model)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_configs_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    config = pipeline.load_config(Task.CHURN, None, ["horizon_days=14", "booster.num_leaves=5"])
    assert (config.horizon_days, config.booster.num_leaves) == (14, 5)
    with pytest.raises(InputError, match="no_such_key"):
        pipeline.load_config(Task.CHURN, None, ["no_such_key=1"])
    with pytest.raises(InputError, match="has no value"):
        pipeline.load_config(Task.CHURN, None, ["horizon_days"])
    with pytest.raises(InputError, match="readable TOML"):
        pipeline.load_config(Task.CHURN, tmp_path / "none.toml")
