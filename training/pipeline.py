"""One task in; a registered, measured version out: data, fit, evaluation, MLflow run, registry, promotion."""

import hashlib
import importlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from features.config import load_toml, parse_overrides
from features.errors import MissingError, StoreError
from features.evaluation.resampling import Metric
from features.fingerprint import FEATURE_CODE_TAG, feature_code
from features.log.engines import open_log
from features.offline.build_note import check_of_log, read_note
from features.settings import Settings
from features.vocabulary import Task
from training import registry, tracking
from training.data.suppressed import without_suppressed
from training.evaluation import plots
from training.evaluation.metrics import bootstrap_mean
from training.gates import PolicyGain
from training.headlines import description, headlines
from training.run import Run
from training.task import PolicyEvidence, Progress, TrainContext, TrainedModel
from training.tracking import CHAMPION, CONFIG_FILE, EVALUATION_FILE, FIGURES_FILE, ModelVersion

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

CONFIGS: Final = Path(__file__).resolve().parent / "configs"
DEFAULT_SEED: Final = 20170101


@dataclass(frozen=True)
class TaskModule:
    """Where a task's config class and training function are."""

    module: str
    config: str
    train: str


TASKS: Final[dict[Task, TaskModule]] = {
    Task.NEXT_PRODUCT: TaskModule("training.models.next_product.train", "NextProductConfig", "train_next_product"),
    Task.CHURN: TaskModule("training.models.churn.train", "ChurnConfig", "train_churn"),
    Task.BEST_CHANNEL: TaskModule("training.models.best_channel.train", "BestChannelConfig", "train_best_channel"),
    Task.WIN_BACK: TaskModule("training.models.win_back.train", "WinBackConfig", "train_win_back"),
}


@dataclass(frozen=True)
class TrainReport:
    """What `omni train` answers: the version, its figures beside the baselines', and whether it serves now."""

    task: Task
    version: int
    run_id: str
    champion: bool
    skipped: bool
    gates: tuple[str, ...] = ()
    metrics: dict[str, Metric] = field(default_factory=dict)
    baselines: dict[str, dict[str, Metric]] = field(default_factory=dict)
    gains: dict[str, Metric] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __rich__(self) -> Any:
        """The figures as a table, under a line that says what became of the version."""
        from rich.console import Group

        from training.evaluation.tables import gain_line, metric_table

        role = "champion: it serves" if self.champion else "challenger: promote it with `omni promote`"
        role += ", up to date" if self.skipped else ""
        heading = f"{self.task.value} version {self.version}, {role}"
        refusals = () if self.champion else self.gates
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        table = metric_table([(self.task.value, self.metrics, self.baselines)])
        return Group(heading, *refusals, "", table, "", gain_line(self.task, self.gains), took)


def train(
    task: Task,
    settings: Settings,
    overrides: Sequence[str] = (),
    *,
    config_path: Path | None = None,
    progress: Progress = lambda _: None,
    promote_if_none: bool = True,
    force_first: bool = False,
    reuse: bool = False,
    seed: int = DEFAULT_SEED,
) -> TrainReport:
    """Train, evaluate, log and register a challenger; the first one of a task becomes champion if the gates let it.

    The config is `config_path`, the home's own or ours; `overrides` are `key=value` texts that replace keys of it.
    With `reuse` nothing is done when the
    champion came from the same data, config and code. `force_first` makes the first version champion even when the
    gates refuse (recorded on the version): a demo on a handful of customers still has something to serve.
    Raises OmniError with the repair when the data is not there or too short.
    """
    config = load_config(task, config_path or own_config(task, settings), overrides)
    if reuse and (same := up_to_date(task, settings, config, seed)) is not None:
        progress(f"{task.value}: version {same.version} is up to date")
        return _report_of(same, settings)
    started = time.perf_counter()
    store = open_store(settings)
    module = TASKS[task]
    fit: Callable[[TrainContext], TrainedModel] = getattr(importlib.import_module(module.module), module.train)
    with tracking.start_run(task, settings) as run:
        run.log_params({**config.model_dump(mode="json"), "seed": seed})
        run.log_json(config.model_dump(mode="json"), CONFIG_FILE)
        with without_suppressed(settings) as learnt:
            trained = fit(TrainContext(learnt, store, config, run, seed, progress))
            progress(f"{task.value}: writing the run and the model to MLflow")
            version = _record(run, trained, settings, config, seed, time.perf_counter() - started)
    promotion, gates = _promote_first(task, settings, promote_if_none or force_first, force_first)
    return TrainReport(
        task=task,
        version=version.version,
        run_id=version.run_id,
        champion=promotion,
        skipped=False,
        gates=gates,
        metrics=dict(trained.metrics),
        baselines={name: dict(values) for name, values in trained.baselines.items()},
        gains=dict(trained.gains),
        rows=dict(trained.rows),
        seconds={**trained.seconds, "total": time.perf_counter() - started},
    )


def up_to_date(task: Task, settings: Settings, config: BaseModel, seed: int = DEFAULT_SEED) -> ModelVersion | None:
    """The champion, if the same data, config, seed and code would be trained again; otherwise None."""
    champion = tracking.by_alias(settings, task, CHAMPION)
    if champion is None:
        return None
    wanted = _identity(settings, config, seed)
    return champion if all(champion.tags.get(key) == value for key, value in wanted.items()) else None


def load_config(task: Task, path: Path | None = None, overrides: Sequence[str] = ()) -> BaseModel:
    """The task's config from TOML (`training/configs/<task>.toml` unless a path is given) with `key=value` overrides.

    Raises InputError for a missing file, an unknown key or a value of the wrong type.
    """
    file = path or CONFIGS / f"{task.value}.toml"
    kind: type[BaseModel] = getattr(importlib.import_module(TASKS[task].module), TASKS[task].config)
    return load_toml(kind, file, parse_overrides(overrides))


def own_config(task: Task, settings: Settings) -> Path | None:
    """The home's own config of a task, OMNI_HOME/<task>.toml, which goes before ours; None where there is none."""
    file = settings.home / f"{task.value}.toml"
    return file if file.exists() else None


def code_fingerprint() -> str:
    """A hash of the code that a trained model depends on."""
    root = CONFIGS.parent.parent
    digest = hashlib.sha256()
    for path in sorted([*root.glob("training/**/*.py"), *root.glob("features/**/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _plain(metrics: Mapping[str, Metric]) -> dict[str, dict[str, float]]:
    return {name: metric.to_dict() for name, metric in metrics.items()}


def _report_of(version: ModelVersion, settings: Settings) -> TrainReport:
    """The report of a version that was trained before, from what its run keeps."""
    figures = tracking.run_json(settings, version.run_id, FIGURES_FILE) or {"metrics": {}, "baselines": {}}

    def read(plain: Mapping[str, Mapping[str, float]]) -> dict[str, Metric]:
        return {name: Metric(**metric) for name, metric in plain.items()}

    return TrainReport(
        task=version.task,
        version=version.version,
        run_id=version.run_id,
        champion=True,
        skipped=True,
        metrics=read(figures["metrics"]),
        baselines={name: read(values) for name, values in figures["baselines"].items()},
    )


def _record(
    run: Run, trained: TrainedModel, settings: Settings, config: BaseModel, seed: int, seconds: float
) -> ModelVersion:
    numbers: dict[str, Metric | float] = dict(trained.metrics)
    for name, values in trained.baselines.items():
        numbers |= {f"baseline.{name}.{metric}": value for metric, value in values.items()}
    numbers |= {f"gain_over.{name}": value for name, value in trained.gains.items()}
    numbers |= {f"seconds.{name}": value for name, value in trained.seconds.items()}
    numbers |= {f"rows.{name}": float(value) for name, value in trained.rows.items()}
    run.keep(numbers)
    run.write_kept()
    run.log_metrics(headlines(trained, seconds))
    about = description(trained)
    run.describe(about)
    run.log_json(
        {"metrics": _plain(trained.metrics), "baselines": {k: _plain(v) for k, v in trained.baselines.items()}},
        FIGURES_FILE,
    )
    identity = _identity(settings, config, seed)
    run.set_tags(identity)
    span = {"as_of_end": str(trained.metadata.get("as_of_end", ""))}
    rows = {f"rows.{name}": str(count) for name, count in trained.rows.items()}
    run.log_dataset("timeline", identity["data_fingerprint"][:36], settings.timeline_path, span | rows)
    for path, figure in plots.of_evaluation(trained.evaluation):
        run.log_figure(figure, path)
    uri = trained.log_model(run)
    if trained.evaluation is not None:
        run.log_table(trained.evaluation, EVALUATION_FILE)
        _rescore_champion(run, trained, settings)
    if trained.policy is not None:
        _compare_policies(run, trained.policy, trained.task, settings)
    tags = {
        **identity,
        FEATURE_CODE_TAG: feature_code(),
        "task": trained.task.value,
        "feature_service": str(trained.metadata.get("feature_service", "")),
        "as_of_end": str(trained.metadata.get("as_of_end", "")),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return tracking.register(run, uri, tags, about)


def _rescore_champion(run: Run, trained: TrainedModel, settings: Settings) -> None:
    """Put the champion's scores on the challenger's own test rows beside the challenger's: the gates compare pairs.

    A champion that was itself measured on these rows stands by what was measured then: its files know how the test period
    ended, as what serves should. A task's `rescore` sees to it that one which was measured on other rows is not told
    of the test period by its files.
    """
    champion = tracking.by_alias(settings, trained.task, CHAMPION)
    if champion is None or trained.rescore is None or trained.evaluation is None:
        return
    measured = tracking.run_table(settings, champion.run_id, EVALUATION_FILE)
    if measured is not None and _rows(measured) == _rows(trained.evaluation):
        return
    try:
        scores = trained.rescore(tracking.tried_model(settings, champion))
    except (
        StoreError
    ) as error:  # damaged, or of another version of Omni: it cannot serve either; what was trained is kept
        logger.warning("The champion cannot be compared with: %s", error)
        return
    run.log_table(trained.evaluation.assign(score=scores), registry.rescored_file(champion.version))


def _rows(evaluation: "pd.DataFrame") -> set[tuple[str, str]]:
    return set(zip(evaluation["key"], evaluation["part"], strict=True))


def _compare_policies(run: Run, policy: PolicyEvidence, task: Task, settings: Settings) -> None:
    """Keep how the policy compares with the champion's on the same decisions, where either of them has one."""
    champion = tracking.by_alias(settings, task, CHAMPION)
    try:
        theirs = None if champion is None else policy.rival(tracking.tried_model(settings, champion))
    except StoreError as error:
        logger.warning("The champion's choices cannot be compared with: %s", error)
        theirs = None
    if not policy.learned and theirs is None:
        return
    version = None if champion is None else champion.version
    rival = "the log's own decisions" if theirs is None else f"version {version}"
    if policy.refusal:
        found = PolicyGain(rival, version, policy.refusal)
    else:
        earned = policy.logged if theirs is None else theirs
        gain = bootstrap_mean(policy.scores - earned, policy.groups)
        found = PolicyGain(rival, version, "", gain.value, gain.low, gain.high, float(earned.mean()))
    run.log_json(asdict(found), registry.POLICY_FILE)


def _promote_first(task: Task, settings: Settings, wanted: bool, force: bool) -> tuple[bool, tuple[str, ...]]:
    if not wanted or tracking.by_alias(settings, task, CHAMPION) is not None:
        return False, ()
    try:
        return True, registry.promote(task, settings, force=force).reasons
    except registry.GateError as refusal:
        logger.warning("%s", refusal)
        return False, (str(refusal),)


def config_fingerprint(config: BaseModel, *more: int) -> str:
    """Fingerprint of a config and whatever else decides about a run, such as its seed."""
    text = json.dumps([config.model_dump(mode="json"), *more], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _identity(settings: Settings, config: BaseModel, seed: int) -> dict[str, str]:
    return {
        "data_fingerprint": data_fingerprint(settings),
        "config_fingerprint": config_fingerprint(config, seed),
        "code_fingerprint": code_fingerprint(),
    }


def data_fingerprint(settings: Settings) -> str:
    """Fingerprint of the events that the features were built from.

    Raises MissingError before the first build, and StoreError where the log does not hold what they were built from.
    """
    note = read_note(settings)
    if note is None:
        raise MissingError("There are no features to train on.", repair="Run: omni features build")
    with closing(open_log(settings)) as log:
        check_of_log(settings, log)
    return note.log_fingerprint


def open_store(settings: Settings) -> Any:
    """The feature store; imported here, because Feast takes ten seconds to import."""
    from features.store.feature_store import Store

    return Store(settings)
