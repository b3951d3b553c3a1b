"""The commands around models: `omni train`, `models`, `promote`, `rollback`, `benchmark …`; and `omni report`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import features.cli
from features.console import JsonOption, Progress, emit, step
from features.errors import InputError
from features.settings import Settings
from features.vocabulary import Task
from training.report.cli import report

if TYPE_CHECKING:
    from features.scoring.quarantine import Quarantine
    from training.all_tasks import AllTasks
    from training.pipeline import TrainReport
    from training.tracking import ModelVersion


class Chosen(StrEnum):
    """One task, or all of them."""

    NEXT_PRODUCT = Task.NEXT_PRODUCT.value
    CHURN = Task.CHURN.value
    BEST_CHANNEL = Task.BEST_CHANNEL.value
    WIN_BACK = Task.WIN_BACK.value
    ALL = "all"


ChosenArgument = Annotated[Chosen, typer.Argument(help="next-product, churn, best-channel, win-back; or all.")]
TaskArgument = Annotated[Task, typer.Argument(help="next-product, churn, best-channel or win-back.")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="Write the report here as one JSON object.")]
SeedOption = Annotated[int, typer.Option(help="Of every random choice.")]


def register(app: typer.Typer) -> None:
    """Add this package's commands to the front door."""
    app.command("train")(train)
    app.command("models")(models)
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    group = typer.Typer(help="Measure a model on somebody's data, or the fold on simulated events, beside baselines.")
    group.command("next-product")(benchmark_next_product)
    group.command("churn")(benchmark_churn)
    group.command("best-channel")(benchmark_best_channel)
    features.cli.register_benchmarks(group)
    group.command("win-back")(benchmark_win_back)
    app.add_typer(group, name="benchmark", no_args_is_help=True)
    app.command("report")(report)


def train(
    task: ChosenArgument,
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file instead of training/configs/TASK.toml.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace one key of the config; repeatable.")
    ] = None,
    trials: Annotated[int, typer.Option(min=0, help="Search the settings with this many trials first.")] = 0,
    seed: SeedOption = 20170101,
    as_json: JsonOption = False,
) -> None:
    """Train a model, measure it against its baselines, log it to MLflow and register it as challenger.

    The settings are those of --config, else of OMNI_HOME/TASK.toml, else Omni's own. With all, every task that the log can
    feed: one that fails does not stop the others.
    """
    settings = Settings.from_env(os.environ)
    if task is not Chosen.ALL:
        with step(f"Training {task.value}") as progress:
            report = _train_one(Task(task.value), settings, config, overrides or [], trials, seed, progress)
        emit(report, as_json)
        return
    if config is not None or overrides:
        raise InputError(
            "--config and --set are about one task.",
            repair="Name it, or write OMNI_HOME/TASK.toml, which `omni train all` reads.",
        )
    from training.all_tasks import train_all

    def train_one(task: Task) -> "TrainReport":
        with step(f"Training {task.value}") as progress:
            return _train_one(task, settings, None, [], trials, seed, progress)

    _end_with(train_all(settings, train_one), as_json)


def _train_one(
    task: Task,
    settings: Settings,
    config: Path | None,
    overrides: list[str],
    trials: int,
    seed: int,
    progress: Progress,
) -> "TrainReport":
    from training import pipeline

    chosen = list(overrides)
    if trials:
        from training.tuning import tune

        base = pipeline.load_config(task, config or pipeline.own_config(task, settings), chosen)
        chosen += tune(task, settings, base, trials, progress, seed)
    return pipeline.train(task, settings, chosen, config_path=config, progress=progress, seed=seed)


def models(as_json: JsonOption = False) -> None:
    """List the registered versions of every task with their aliases and origin."""
    from features.scoring.model_digests import DIGEST_TAG
    from features.scoring.quarantine import Quarantine
    from training import tracking

    settings = Settings.from_env(os.environ)
    quarantine = Quarantine(settings.home)
    rows = [
        {
            "task": version.task.value,
            "version": version.version,
            "aliases": list(version.aliases),
            "trained_at": version.tags.get("trained_at", ""),
            "feature_service": version.tags.get("feature_service", ""),
            "as_of_end": version.tags.get("as_of_end", ""),
            "run_id": version.run_id,
            "has_digests": bool(version.tags.get(DIGEST_TAG)),
            "quarantine": _held_against(quarantine, version),
        }
        for version in tracking.versions(settings)
    ]
    emit({"models": rows}, True) if as_json else emit(_Versions(rows))


def promote(
    task: ChosenArgument,
    version: Annotated[int | None, typer.Option(help="A version instead of the challenger.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote even if the gates refuse; this is recorded.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the challenger the champion if it passes the gates of mlflow/gates.toml.

    On the same data it must be better than the champion; with newer data, no worse by more than a stated share. With all,
    every task that has a challenger.
    """
    settings = Settings.from_env(os.environ)
    if task is not Chosen.ALL:
        from training import registry

        emit(registry.promote(Task(task.value), settings, version=version, force=force), as_json)
        return
    if version is not None:
        raise InputError("--version is about one task.", repair="Name it, or leave --version out.")
    from training.all_tasks import promote_all

    _end_with(promote_all(settings, force=force), as_json)


def rollback(task: TaskArgument, as_json: JsonOption = False) -> None:
    """Give the champion's place back to the version that had it before."""
    from training import registry

    emit(registry.rollback(task, Settings.from_env(os.environ)), as_json)


def benchmark_churn(
    events: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet: the event schema, or customer_id, occurred_at, value; or, for contracts, one row per "
            "customer with a yes/no column called churn."
        ),
    ],
    cutoff: Annotated[
        str | None, typer.Option(help="Of a log: the moment of prediction, for example 2017-12-01.")
    ] = None,
    horizon_days: Annotated[
        float | None, typer.Option(min=1, help="Of a log: churned means no purchase in this many days.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Of contracts: the column that says who churned, if it is not called churn.")
    ] = None,
    more_horizons: Annotated[
        list[float] | None,
        typer.Option("--more-horizon", min=1, help="Of a log: compare one survival model over horizons; repeatable."),
    ] = None,
    report: ReportOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Churn: a log at one cutoff, where every customer seen before it counts; or contracts, by 5 folds three times."""
    from features.moments import utc
    from training.benchmarks.churn import benchmark

    moment = None if cutoff is None else utc(cutoff)
    with step("Benchmark churn") as progress:
        found = benchmark(
            events,
            moment,
            horizon_days,
            label=label,
            more_horizons_days=more_horizons or (),
            seed=seed,
            progress=progress,
        )
    _hand_over(found, report, as_json)


def benchmark_next_product(
    interactions: Annotated[Path, typer.Option(help="CSV or Parquet: user_id, item_id, position or timestamp.")],
    protocol: Annotated[str, typer.Option(help="leave-one-out or next-basket.")] = "leave-one-out",
    refit: Annotated[bool, typer.Option("--refit", help="Fit the validation item too before testing.")] = False,
    ablation: Annotated[bool, typer.Option("--ablation", help="Also measure each part alone, and all but it.")] = False,
    parts: Annotated[
        str | None, typer.Option(help="Only these parts of the model, for example rules,item_knn.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep the sequence model's fit here, to go on after an interruption.")
    ] = None,
    report: ReportOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Next product: all items ranked, nothing filtered, averaged over users."""
    from training.benchmarks.next_product import benchmark, load_config

    config = load_config(protocol, {} if parts is None else {"parts": parts.split(",")})
    with step("Benchmark next-product") as progress:
        found = benchmark(
            interactions,
            protocol,
            refit=refit,
            seed=seed,
            progress=progress,
            config=config,
            ablation=ablation,
            checkpoint=checkpoint,
        )
    _hand_over(found, report, as_json)


def benchmark_best_channel(
    decisions: Annotated[Path, typer.Option(help="Parquet or CSV: action, pscore, reward, x_*, optional timestamp.")],
    report: ReportOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Best channel: what a policy learned from logged decisions is worth, cross-fitted, beside simple policies."""
    from training.benchmarks import best_channel

    with step("Benchmark best-channel") as progress:
        found = best_channel.benchmark(decisions, seed=seed, progress=progress)
    _hand_over(found, report, as_json)


def benchmark_win_back(
    events: Annotated[
        Path, typer.Option(help="Parquet or CSV: the event schema; who acts on their own later was kept.")
    ],
    decisions: Annotated[
        Path, typer.Option(help="Parquet or CSV: customer_id, as_of, action ('nothing': left alone), x_*, pscore.")
    ],
    truth: Annotated[Path | None, typer.Option(help="Of a simulated world: truth.parquet.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write uplift, risk and advice (contact, leave alone) per moment here.")
    ] = None,
    report: ReportOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Win-back: whom a contact keeps, against whom a churn model calls at risk, at the same number of contacts."""
    from training.benchmarks.winback import benchmark

    with step("Benchmark win-back") as progress:
        found = benchmark(events, decisions, truth, out=out, seed=seed, progress=progress)
    _hand_over(found, report, as_json)


def _end_with(report: "AllTasks", as_json: bool) -> None:
    emit(report, as_json)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _held_against(quarantine: "Quarantine", version: "ModelVersion") -> str:
    entry = quarantine.entry(version.task, str(version.version), version.run_id)
    return "" if entry is None else str(entry)


class _Versions:
    """A table of versions for a person."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __rich__(self) -> Any:
        from rich.table import Table

        if not self._rows:
            return "No model is registered yet. Run: omni train TASK"
        table = Table(box=None, pad_edge=False)
        for name in ("task", "version", "aliases", "trained_at", "feature_service", "remarks"):
            table.add_column(name.replace("_", " "))
        for row in self._rows:
            table.add_row(
                row["task"],
                str(row["version"]),
                ", ".join(row["aliases"]),
                row["trained_at"],
                row["feature_service"],
                row["quarantine"] or ("" if row["has_digests"] else "has no digests: from before they were kept"),
            )
        return table


def _hand_over(found: Any, report: Path | None, as_json: bool) -> None:
    if report is not None:
        found.write(report)
    emit(found.to_dict() if as_json else found, as_json)
