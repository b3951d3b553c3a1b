"""The search of settings by Optuna: a task's search space and config in, better overrides out; no trial sees a test row.

The study is kept in a SQLite file under OMNI_HOME, so an interrupted search is taken up where it stopped; another space, like
other data, settings or code, is another study.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, model_validator

from features.config import Config, check, read_toml
from features.errors import InputError, OmniError
from features.settings import Settings
from features.vocabulary import Task
from training import tracking
from training.pipeline import CONFIGS, code_fingerprint, config_fingerprint, data_fingerprint, open_store
from training.task import Progress, TrainContext

if TYPE_CHECKING:
    import optuna


SPACE: Final = "space"
"""The attribute of a study that holds its space."""


class Range(Config):
    """What one key may be in a search: anything from low to high, or one of a few values."""

    low: float = 0.0
    """Smallest value."""
    high: float = 0.0
    """Largest value."""
    among: tuple[float, ...] = ()
    """The values to choose from, in place of low and high."""
    log: bool = False
    """Sample on a logarithmic scale."""
    integer: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if not self.among and not self.low < self.high:
            raise ValueError("a search needs low < high, or the values among which to choose")
        return self


def load_space(task: Task, path: Path | None = None) -> dict[str, Range]:
    """Dotted config key to range, from `training/configs/<task>-search.toml`. Raises InputError for a bad file."""
    file = path or CONFIGS / f"{task.value}-search.toml"
    return {key: check(Range, value, file, tuple(key.split("."))) for key, value in _leaves(read_toml(file))}


def check_space(config: BaseModel, space: Mapping[str, Range], file: Path) -> None:
    """Raises InputError for a searched key that the config does not have, with the new name where it was renamed."""
    for key, room in space.items():
        for value in room.among or (int(room.low) if room.integer else room.low,):
            check(type(config), _values(config, {key: value}), file)


def space_fingerprint(space: Mapping[str, Range]) -> str:
    """A hash of the keys and their ranges, in whatever order they are written."""
    return hashlib.sha256(json.dumps(_plain(space), sort_keys=True).encode()).hexdigest()[:16]


Report = Callable[[int, float], None]
"""Takes a step and the value reached there; raises to cut a hopeless trial short."""


@dataclass(frozen=True)
class Search:
    """How one task is searched: data loaded once, then a validation value per config."""

    metric: str
    direction: Literal["minimize", "maximize"]
    warm_up: int
    """Steps before a trial can be cut short."""
    evaluate: Callable[[BaseModel, Report], float]


def tune(task: Task, settings: Settings, config: BaseModel, trials: int, progress: Progress, seed: int) -> list[str]:
    """The best trial's values as `key=value` overrides; each trial is a nested run, hopeless ones are cut short.

    The first trial is the config as given, so that the gain is known. Several processes that search the same task on the
    same data in the same space share one study; a study of another space is kept and not gone on with.
    """
    import optuna

    if task not in SEARCHES:
        raise InputError(f"{task} has no settings to search.", repair="Train it without --trials.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = load_space(task)
    check_space(config, space, CONFIGS / f"{task.value}-search.toml")
    folder = settings.home / "tuning"
    folder.mkdir(parents=True, exist_ok=True)
    with tracking.start_run(task, settings, name=f"{task.value}-search") as run:
        search = SEARCHES[task](TrainContext(settings, open_store(settings), config, run, seed, progress))
        started = time.perf_counter()
        question = f"{task.value}-{data_fingerprint(settings)}-{code_fingerprint()}-{config_fingerprint(config)}"
        storage, name = f"sqlite:///{folder / f'{task.value}.db'}", f"{question}-{space_fingerprint(space)}"
        _tell_other_space(question, name, space, storage, task, progress)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            load_if_exists=True,
            direction=search.direction,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=search.warm_up),
        )
        study.set_user_attr(SPACE, _plain(space))
        given = _given(config, space)
        if given is not None:
            study.enqueue_trial(given, skip_if_exists=True)

        def objective(trial: "optuna.Trial") -> float:
            # Seeded by the trial, so that processes that share the study do not all draw the same.
            study.sampler = optuna.samplers.TPESampler(seed=seed + trial.number)
            values = {key: _suggest(trial, key, room) for key, room in space.items()}
            with tracking.start_run(task, settings, name=f"trial-{trial.number}", nested=True) as nested:
                nested.log_params(values)
                try:
                    reached = search.evaluate(_with_values(config, values), _pruner(trial))
                    nested.log_metrics({f"valid_{search.metric}": reached})
                except optuna.TrialPruned:
                    reached = None
                    nested.set_tags({"pruned": "true"})
            if reached is None:
                progress(f"{task.value}: trial {trial.number + 1}, cut short")
                raise optuna.TrialPruned
            progress(f"{task.value}: trial {trial.number + 1}, validation {search.metric} {reached:.4f}")
            return reached

        study.optimize(objective, n_trials=max(0, trials - _finished(study)))
        first = [trial.value for trial in study.trials if trial.params == given and trial.value is not None]
        figures = {
            f"best_valid_{search.metric}": float(study.best_value),
            "trials": float(len(study.trials)),
            "search_seconds": time.perf_counter() - started,
        } | {f"given_valid_{search.metric}": value for value in first[:1]}
        run.log_metrics(figures)
        before = f" ({first[0]:.4f} with the settings given)" if first else ""
        progress(
            f"{task.value}: best validation {search.metric} {study.best_value:.4f}{before}, {_finished(study)} trials, "
            f"{figures['search_seconds']:.0f} s"
        )
    return [f"{key}={value}" for key, value in study.best_params.items()]


def _churn_search(ctx: TrainContext) -> Search:
    from training.models.churn import train
    from training.models.churn.blend import held_out_loss

    assert isinstance(ctx.config, train.ChurnConfig)
    if ctx.config.kind == "contract":
        raise InputError(
            "Contract churn chooses its settings by folds of its own.", repair="Train it without --trials."
        )
    data = train.load_data(ctx)
    known = data.known
    if known is None:
        raise OmniError("The log is too short to search on.", repair="Set a shorter horizon_days.")

    def evaluate(config: BaseModel, report: Report) -> float:
        assert isinstance(config, train.ChurnConfig)
        return held_out_loss(known, config.booster, data.test.feature_names, ctx.seed, report)

    return Search("log_loss", "minimize", 0, evaluate)


def _next_product_search(ctx: TrainContext) -> Search:
    from training.models.next_product.config import NextProductConfig
    from training.models.next_product.dataset import prepare
    from training.models.next_product.system import fit

    data = prepare(ctx).dataset

    def evaluate(config: BaseModel, report: Report) -> float:
        assert isinstance(config, NextProductConfig)
        _, history = fit(data, config, ctx.seed, lambda _: None, report)
        return max(history.valid)

    return Search("ndcg_at_10", "maximize", 1, evaluate)


def _best_channel_search(ctx: TrainContext) -> Search:
    from training.models.best_channel.data import BestChannelConfig, load_data, with_arms_of_log
    from training.models.best_channel.train import fit_arm

    data, _ = load_data(with_arms_of_log(ctx))

    def evaluate(config: BaseModel, report: Report) -> float:
        assert isinstance(config, BestChannelConfig)
        losses: list[float] = []
        for part in data:
            model = fit_arm(part, config, ctx.seed)
            if not model.constant:
                losses.append(min(model.history))
                report(len(losses), float(np.mean(losses)))
        if not losses:
            raise OmniError("No arm has enough answers to search on.", repair="Train without --trials.")
        return float(np.mean(losses))

    return Search("log_loss", "minimize", 1, evaluate)


SEARCHES: Final[dict[Task, Callable[[TrainContext], Search]]] = {
    Task.CHURN: _churn_search,
    Task.NEXT_PRODUCT: _next_product_search,
    Task.BEST_CHANNEL: _best_channel_search,
}


def _plain(space: Mapping[str, Range]) -> dict[str, Any]:
    return {key: room.model_dump(mode="json") for key, room in space.items()}


def _tell_other_space(
    question: str, name: str, space: Mapping[str, Range], storage: str, task: Task, progress: Progress
) -> None:
    """Say that a new study begins where the same question was searched in another space before, and what is other."""
    import optuna

    before = [one for one in optuna.get_all_study_summaries(storage) if one.study_name.startswith(question)]
    if not before or name in {one.study_name for one in before}:
        return
    last = max(before, key=lambda one: one.datetime_start.timestamp() if one.datetime_start else 0.0)
    old, new = last.user_attrs.get(SPACE, {}), _plain(space)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    what = f" in {', '.join(keys)}" if old else ""
    progress(
        f"{task.value}: the search space changed{what}: a new study begins, the one before is kept ({last.n_trials} trials)"
    )


def _given(config: BaseModel, space: Mapping[str, Range]) -> dict[str, Any] | None:
    """The config's own values of the searched keys, or None where one lies outside its range."""
    plain, found = config.model_dump(), {}
    for key, room in space.items():
        value: Any = plain
        for part in key.split("."):
            value = value[part]
        if value not in room.among if room.among else not room.low <= value <= room.high:
            return None
        found[key] = value
    return found


def _with_values(config: BaseModel, values: Mapping[str, Any]) -> BaseModel:
    return type(config).model_validate(_values(config, values))


def _values(config: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the config says, with values by dotted key in place of its own."""
    plain = config.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")
        inner = plain
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return plain


def _suggest(trial: "optuna.Trial", key: str, room: Range) -> float:
    if room.among:
        return float(trial.suggest_categorical(key, room.among))
    if room.integer:
        return trial.suggest_int(key, int(room.low), int(room.high), log=room.log)
    return trial.suggest_float(key, room.low, room.high, log=room.log)


def _pruner(trial: "optuna.Trial") -> Report:
    import optuna

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def _finished(study: "optuna.Study") -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for key, value in tree.items():
        if value.keys() & {"low", "among"}:
            found.append((prefix + key, value))
        else:
            found += _leaves(value, f"{prefix}{key}.")
    return found
