"""All tasks in one call: each is told, one that fails stops none of the others, and the exit code says so."""

import json
import logging
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import omni
from features.errors import InputError, StoreError
from features.evaluation.resampling import Metric
from features.settings import Settings
from features.vocabulary import Task
from training.all_tasks import AllTasks, promote_all, train_all
from training.cli import Chosen
from training.pipeline import TrainReport

ALL_NEEDED = tuple(Task)
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own


def outcome_of(task: Task) -> TrainReport:
    if task is Task.CHURN:
        raise InputError("The log is too short.", repair="Bring more.")
    if task is Task.BEST_CHANNEL:
        raise ZeroDivisionError("a defect")
    metrics = {"ndcg@10": Metric(0.25, 0.2, 0.3)} if task is Task.NEXT_PRODUCT else {}
    passed = task is Task.NEXT_PRODUCT
    return TrainReport(task, 3, "run", passed, False, () if passed else ("refused: policy_value",), metrics)


def test_one_that_fails_stops_none_of_the_others(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        report = train_all(settings, outcome_of)

    assert {each.task.value: each.outcome for each in report.tasks} == {
        "next-product": "champion",
        "churn": "lacking",
        "best-channel": "failed",
        "win-back": "challenger",
    }
    assert report.tasks[0].figure == "ndcg@10 0.2500"
    assert report.tasks[1].reason == "The log is too short. Bring more."
    assert report.tasks[3].reason == "refused: policy_value"
    assert "ZeroDivisionError" in caplog.text
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("needed", "error", "code"),
    [
        (ALL_NEEDED, InputError("too short"), 2),
        (ALL_NEEDED, StoreError("damaged"), 2),
        ((Task.NEXT_PRODUCT,), InputError("too short"), 0),
        ((Task.NEXT_PRODUCT,), ValueError("a defect"), 1),
    ],
)
def test_what_the_shop_needs_decides_about_the_exit_code(settings, needed, error, code) -> None:
    def train_one(task: Task) -> TrainReport:
        if task is Task.WIN_BACK:
            raise error
        return TrainReport(task, 1, "run", True, False)

    assert train_all(replace(settings, tasks=needed), train_one).exit_code == code


def test_nothing_to_promote_is_told_and_no_failure(settings: Settings) -> None:
    report = promote_all(settings)

    assert [each.outcome for each in report.tasks] == ["nothing"] * len(Task)
    assert report.tasks[0].reason == "There is no challenger. Run: omni train next-product"
    assert report.exit_code == 0


def test_an_empty_log_feeds_no_task(tmp_path) -> None:
    result = CliRunner().invoke(omni.app, ["train", "all", "--json"], env={"OMNI_HOME": str(tmp_path)})

    told = json.loads(result.stdout)
    assert result.exit_code == 2
    assert [each["outcome"] for each in told["tasks"]] == ["lacking"] * len(Task)
    assert all("omni features build" in each["reason"] for each in told["tasks"])


@pytest.mark.parametrize(
    "words",
    [["train", "all", "--set", "n_blocks=1"], ["train", "all", "--config", "x"], ["promote", "all", "--version", "2"]],
)
def test_what_is_about_one_task_is_refused_for_all(words, tmp_path) -> None:
    result = CliRunner().invoke(omni.app, words, env={"OMNI_HOME": str(tmp_path)})

    assert result.exit_code == 2
    assert "about one task" in result.stderr


def test_every_task_can_be_chosen() -> None:
    assert {chosen.value for chosen in Chosen} == {*(task.value for task in Task), "all"}


def test_no_tasks_are_no_failure() -> None:
    assert AllTasks((), 0.0).exit_code == 0
