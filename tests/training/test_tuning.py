"""A search over made-up settings: what it tries first, what it remembers, what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from features.errors import InputError
from features.settings import Settings
from features.vocabulary import Task
from training import tuning
from training.models.next_product.config import NextProductConfig
from training.pipeline import load_config
from training.tuning import SEARCHES, Range, Search, check_space, load_space, space_fingerprint, tune


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True)

    rate: float = 0.5


class Config(BaseModel):
    model_config = ConfigDict(frozen=True)

    size: int = 4
    inner: Inner = Inner()


SPACE = {"size": Range(low=1, high=64, log=True, integer=True), "inner.rate": Range(low=0.0, high=1.0)}


class Study:
    """What `tune` reaches outside itself, made up: the value is best at size 16 and rate 0.25."""

    def __init__(self) -> None:
        self.tried: list[Config] = []
        self.runs: list[dict[str, Any]] = []
        self.cut: set[int] = set()

    def evaluate(self, config: BaseModel, report: tuning.Report) -> float:
        assert isinstance(config, Config)
        self.tried.append(config)
        if len(self.tried) in self.cut:
            import optuna

            raise optuna.TrialPruned
        return -abs(config.size - 16) - abs(config.inner.rate - 0.25)

    @contextmanager
    def start_run(self, task: Task, settings: Settings, *, name: str, nested: bool = False) -> Iterator[Any]:
        logged: dict[str, Any] = {"name": name, "nested": nested}
        self.runs.append(logged)
        yield SimpleNamespace(log_params=logged.update, log_metrics=logged.update, set_tags=logged.update)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    made = Study()
    monkeypatch.setattr(tuning, "SEARCHES", {Task.CHURN: lambda ctx: Search("fit", "maximize", 0, made.evaluate)})
    monkeypatch.setattr(tuning, "load_space", lambda task: SPACE)
    monkeypatch.setattr(tuning, "open_store", lambda settings: None)
    monkeypatch.setattr(tuning, "data_fingerprint", lambda settings: "data")
    monkeypatch.setattr(tuning.tracking, "start_run", made.start_run)
    return made


def settings(tmp_path: Any) -> Settings:
    return Settings.from_env({"OMNI_HOME": str(tmp_path)})


def test_the_first_trial_is_what_was_given_and_the_best_is_answered(study: Study, tmp_path: Any) -> None:
    said: list[str] = []
    overrides = tune(Task.CHURN, settings(tmp_path), Config(), 8, said.append, seed=3)
    assert study.tried[0] == Config()
    best = max(study.tried, key=lambda one: -abs(one.size - 16) - abs(one.inner.rate - 0.25))
    assert overrides == [f"size={best.size}", f"inner.rate={best.inner.rate}"]
    assert study.runs[0] == {
        "name": "churn-search",
        "nested": False,
        "best_valid_fit": -abs(best.size - 16) - abs(best.inner.rate - 0.25),
        "given_valid_fit": -12.25,
        "trials": 8.0,
        "search_seconds": study.runs[0]["search_seconds"],
    }
    assert [run["nested"] for run in study.runs[1:]] == [True] * 8
    assert "-12.2500 with the settings given" in said[-1] and "8 trials" in said[-1]


def test_a_search_that_goes_on_tries_only_what_is_left(study: Study, tmp_path: Any) -> None:
    tune(Task.CHURN, settings(tmp_path), Config(), 3, lambda _: None, seed=3)
    tune(Task.CHURN, settings(tmp_path), Config(), 5, lambda _: None, seed=3)
    assert len(study.tried) == 5
    assert len({one.model_dump_json() for one in study.tried}) == 5
    in_one_go, study.tried = study.tried, []
    tune(Task.CHURN, settings(tmp_path / "else"), Config(), 5, lambda _: None, seed=3)
    assert study.tried == in_one_go


def test_other_settings_are_another_study(study: Study, tmp_path: Any) -> None:
    tune(Task.CHURN, settings(tmp_path), Config(), 2, lambda _: None, seed=3)
    tune(Task.CHURN, settings(tmp_path), Config(size=2), 2, lambda _: None, seed=3)
    assert [one.size for one in study.tried if one.inner.rate == 0.5] == [4, 2]


def test_a_changed_space_is_searched_and_said_and_the_study_of_the_old_one_is_kept(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    home = settings(tmp_path)
    tune(Task.CHURN, home, Config(), 4, said.append, seed=3)
    assert not any("space" in line for line in said)
    wide = {**SPACE, "size": Range(low=100, high=200, integer=True)}
    monkeypatch.setattr(tuning, "load_space", lambda task: wide)
    study.tried, said[:] = [], []
    overrides = tune(Task.CHURN, home, Config(), 4, said.append, seed=3)
    assert len(study.tried) == 4
    assert all(100 <= config.size <= 200 for config in study.tried)
    assert 100 <= int(overrides[0].removeprefix("size=")) <= 200
    expected = "churn: the search space changed in size: a new study begins, the one before is kept (4 trials)"
    assert said[0] == expected and sum("space" in line for line in said) == 1
    study.tried, said[:] = [], []
    monkeypatch.setattr(
        tuning, "load_space", lambda task: dict(reversed(SPACE.items()))
    )  # the old one, written otherwise
    tune(Task.CHURN, home, Config(), 6, said.append, seed=3)
    assert len(study.tried) == 2
    assert not any("space" in line for line in said)


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"size": Range(low=1, high=64, log=True, integer=True)}, False),
        ({"size": Range(low=1, high=64, integer=True)}, True),
        ({"size": Range(among=(4.0, 8.0))}, True),
        ({"size": Range(low=1, high=65, log=True, integer=True)}, True),
        ({"more": Range(low=0.0, high=1.0)}, True),
    ],
)
def test_every_part_of_a_range_belongs_to_the_space(change: dict[str, Range], other: bool) -> None:
    assert (space_fingerprint({**SPACE, **change}) != space_fingerprint(SPACE)) is other


def test_settings_outside_the_ranges_are_not_tried(study: Study, tmp_path: Any) -> None:
    tune(Task.CHURN, settings(tmp_path), Config(size=100), 2, lambda _: None, seed=3)
    assert all(one.size <= 64 for one in study.tried)
    assert "given_valid_fit" not in study.runs[0]


def test_what_was_cut_short_says_so_and_is_not_the_best(study: Study, tmp_path: Any) -> None:
    study.cut = {2}
    said: list[str] = []
    tune(Task.CHURN, settings(tmp_path), Config(), 3, said.append, seed=3)
    assert study.runs[2]["pruned"] == "true" and "valid_fit" not in study.runs[2]
    assert said[1] == "churn: trial 2, cut short"


def test_a_task_without_settings_to_search_says_so(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="win-back has no settings to search"):
        tune(Task.WIN_BACK, settings(tmp_path), Config(), 3, lambda _: None, seed=3)


@pytest.mark.parametrize("task", list(SEARCHES))
def test_search_spaces_name_keys_of_their_configs(task: Task) -> None:
    space = load_space(task)
    assert space
    for key, room in space.items():
        values = room.among or (room.low, room.high)
        for value in values:
            load_config(task, None, [f"{key}={int(value) if room.integer else value}"])


def test_one_of_a_few_values_is_tried_where_only_these_may_be(
    study: Study, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"size": Range(among=(4.0, 16.0, 32.0)), "inner.rate": Range(low=0.25, high=0.5)}
    monkeypatch.setattr(tuning, "load_space", lambda task: space)
    overrides = tune(Task.CHURN, settings(tmp_path), Config(), 8, lambda _: None, seed=3)
    assert {config.size for config in study.tried} == {4, 16, 32}
    assert "size=16.0" in overrides


@pytest.mark.parametrize("room", [{}, {"low": 1.0}, {"low": 2.0, "high": 2.0}])
def test_a_search_without_room_is_refused(room: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="low < high"):
        Range(**room)


def test_a_value_that_the_config_does_not_take_is_named_before_the_search(tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    with pytest.raises(InputError, match="half-lives"):
        check_space(NextProductConfig(), {"popularity_half_life_days": Range(among=(7.0, 8.0))}, file)
