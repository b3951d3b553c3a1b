"""The way from a timeline to a served version: a real MLflow store, the gates, and files that stand alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from made_buyers import regular_buyers

from features.errors import InputError, MissingError
from features.scoring.churn import SCORE_FILE, ChurnScore
from features.settings import Settings
from features.signals import SIGNAL_NAMES, signal_index
from features.vocabulary import Task
from training import gates, pipeline, registry, tracking
from training.benchmarks.report import MemoryStates, as_timeline
from training.gates import Gates, PolicyGain, Verdict, judge_against, judge_first
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


def evaluation(scores: list[float], labels: list[float] | None = None) -> pd.DataFrame:
    n = len(scores)
    return pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(n)],
            "customer_id": [f"c{i}" for i in range(n)],
            "label": labels if labels is not None else [np.nan] * n,
            "score": scores,
            "part": "all",
        }
    )


def test_the_gates_demand_a_paired_gain() -> None:
    rules = Gates(primary="ndcg@10")
    low, high = evaluation([0.1, 0.5, 0.2, 0.4] * 30), evaluation([0.2, 0.6, 0.3, 0.5] * 30)
    assert judge_against(rules, {}, high, low).passed
    assert not judge_against(rules, {}, low, high).passed
    assert not judge_against(rules, {}, low, low).passed
    assert "same rows" in str(judge_against(rules, {}, high, low.iloc[1:]))


def test_with_newer_data_no_worse_is_enough_if_the_baselines_are_beaten() -> None:
    rules = Gates(primary="ndcg@10", max_loss_if_newer=0.02)
    champion = evaluation([0.1, 0.5, 0.2, 0.4] * 30)  # 0.3 in the mean: 0.006 may be lost
    found = {"ndcg_at_10": 0.3, "baseline.popularity.ndcg_at_10": 0.2}

    def verdict(loss: float, newer: bool = True, rules: Gates = rules) -> Verdict:
        ours = champion.assign(score=champion["score"] - loss)
        return judge_against(rules, found, ours, champion, newer_data=newer)

    assert verdict(0.0).passed
    assert "needs > -0.006 (2.0% less than the champion: it knows newer data)" in str(verdict(0.0))
    assert verdict(0.005).passed
    assert not verdict(0.007).passed
    assert not verdict(0.0, newer=False).passed
    assert not verdict(0.0, rules=Gates(primary="ndcg@10")).passed
    found["baseline.popularity.ndcg_at_10"] = 0.35
    assert "refused: ndcg@10 0.3000, popularity has 0.3500" in str(verdict(0.005))
    assert verdict(-0.01).passed  # better: baselines are the first champion's matter


def test_with_newer_data_slices_and_policies_may_lose_the_same_share() -> None:
    rules = Gates(primary="ndcg@10", max_loss_if_newer=0.02, min_policy_gain=0.0)
    champion = evaluation([0.1, 0.5, 0.2, 0.4] * 30).assign(part=["a", "b"] * 60)  # 0.15 and 0.45 in the mean
    for loss, passed in ((0.002, True), (0.005, False)):
        ours = champion.assign(score=champion["score"] - np.where(champion["part"] == "a", loss, 0.0))
        assert judge_against(rules, {}, ours, champion, newer_data=True).passed == passed
    for low, passed in ((-0.01, True), (-0.03, False)):
        policy = PolicyGain("version 3", 3, "", 0.0, low, 0.01, rival_value=1.0)
        assert judge_against(rules, {}, champion, champion, policy, 3, newer_data=True).passed == passed
        assert not judge_against(rules, {}, champion, champion, policy, 3).passed


def test_the_gates_watch_calibration_and_floors() -> None:
    labels = [1.0, 0.0] * 200
    sure, unsure = evaluation([0.7, 0.3] * 200, labels), evaluation([0.5, 0.5] * 200, labels)
    assert judge_against(Gates(primary="log_loss"), {}, sure, unsure).passed
    strict = Gates(primary="log_loss", max_ece_increase=0.005)
    assert "refused: calibration error 0.3000" in str(judge_against(strict, {}, sure, unsure))
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.1, 0.9, 400)
    drawn = (rng.uniform(size=400) < chances).astype(float).tolist()
    champion = evaluation(chances.tolist(), drawn)
    for shift, says in (
        (0.03, "ok"),
        (0.04, "refused"),
    ):  # 0.0122 and 0.0182 worse, of which 0.0077 and 0.0098 is chance
        verdict = judge_against(strict, {}, champion.assign(score=champion["score"] + shift), champion)
        assert f"{says}: calibration error" in str(verdict)
    floored = Gates(primary="ndcg@10", floors={"coverage@10": 0.2})
    assert not judge_first(floored, {"ndcg_at_10": 0.5, "coverage_at_10": 0.1}).passed
    assert judge_first(floored, {"ndcg_at_10": 0.5, "coverage_at_10": 0.3}).passed


def test_the_first_version_must_beat_every_baseline() -> None:
    rules = Gates(primary="log_loss")
    assert judge_first(rules, {"log_loss": 0.3, "baseline.a.log_loss": 0.4, "baseline.a.auc": 0.9}).passed
    verdict = judge_first(rules, {"log_loss": 0.3, "baseline.a.log_loss": 0.4, "baseline.b.log_loss": 0.2})
    assert not verdict.passed
    assert "refused: log_loss 0.3000, b has 0.2000" in str(verdict)


def test_a_policy_must_not_be_worth_less_than_the_champions() -> None:
    rules = Gates(primary="ndcg@10", min_policy_gain=0.0)
    low, high = evaluation([0.1, 0.5, 0.2, 0.4] * 30), evaluation([0.2, 0.6, 0.3, 0.5] * 30)

    def verdict(policy: PolicyGain | None, champion: int = 3) -> Verdict:
        return judge_against(rules, {}, high, low, policy, champion)

    assert verdict(None).passed
    assert verdict(PolicyGain("version 3", 3, "", 0.0, 0.0, 0.0)).passed  # the same choices
    assert verdict(PolicyGain("version 3", 3, "", 0.5, 0.1, 0.9)).passed
    unsure = verdict(PolicyGain("version 3", 3, "", 0.5, -0.1, 1.1))
    assert not unsure.passed
    assert "refused: value of its choices over version 3's 0.5000 [-0.1000, 1.1000] per decision" in str(unsure)
    assert "compared with another champion (version 2)" in str(verdict(PolicyGain("version 2", 2, "", 0.5, 0.1, 0.9)))
    untold = PolicyGain("version 3", 3, "3.0 effective rows")
    assert "refused: what its choices are worth cannot be told from the log: 3.0 effective" in str(verdict(untold))
    first = judge_first(rules, {"ndcg_at_10": 0.5}, PolicyGain("the log's own decisions", None, "3.0 effective rows"))
    assert not first.passed
    assert judge_first(
        rules, {"ndcg_at_10": 0.5}, PolicyGain("the log's own decisions", None, "", 0.1, -0.1, 0.3)
    ).passed


def test_every_task_has_gates_and_a_broken_file_is_named(tmp_path: Path) -> None:
    assert {gates.load_gates(task).primary for task in Task} == {"log_loss", "ndcg@10", "policy_value"}
    (tmp_path / "gates.toml").write_text("[churn]\nprimary = 'auc'\nbeat_everything = true\n")
    with pytest.raises(InputError, match="beat_everything"):
        gates.load_gates(Task.CHURN, tmp_path / "gates.toml")


def test_configs_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    config = pipeline.load_config(Task.CHURN, None, ["horizon_days=14", "booster.num_leaves=5"])
    assert (config.horizon_days, config.booster.num_leaves) == (14, 5)
    with pytest.raises(InputError, match="no_such_key"):
        pipeline.load_config(Task.CHURN, None, ["no_such_key=1"])
    with pytest.raises(InputError, match="has no value"):
        pipeline.load_config(Task.CHURN, None, ["horizon_days"])
    with pytest.raises(InputError, match="readable TOML"):
        pipeline.load_config(Task.CHURN, tmp_path / "none.toml")
