"""The one front door: `omni COMMAND …` comes in, one of the three packages' commands runs.

For notebooks and programs it is the one import: `from omni import Settings, Store, signals_frame`; PUBLIC says what there is.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

import features.cli
import serving.cli
import serving.experiments.cli
import training.cli
import training.experiments.cli
from features import __version__
from features.console import JsonOption, Progress, emit, fail, say, set_up_logging, step
from features.databases import SERVICE_WAIT_S, explain, wait_at_most
from features.errors import OmniError
from features.settings import Settings
from features.vocabulary import CORE_TASKS, Task

if TYPE_CHECKING:
    from features.meter import Costs, Meter
    from features.sample.bring_in import SampleReport
    from serving.showcase import Mix, Shown
    from training.pipeline import TrainReport

logger = logging.getLogger(__name__)

QUIET_LIBRARIES = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "FEAST_USAGE": "False",
    "DO_NOT_TRACK": "1",
    "SCARF_NO_ANALYTICS": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""No library that we use reports to anybody or draws on the terminal, unless the user's own environment says so."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
USER_CAN_MEND: Final = 2
"""Exit code after one line about what the user can mend."""
COMMAND_WAIT_S: Final = 10.0
"""How long a command waits for a database that another process has locked."""
WAITS_S: Final = {"doctor": 2.0, "ingest": 30.0, "demo": 30.0, "sample": 30.0, "serve": SERVICE_WAIT_S}
"""Commands that wait otherwise: a doctor looks at every database, and two loads of much data wait for each other."""

DEMO_SHOP: Final = {"customers": 400, "days": 150}
"""As small as three models can be trained on, so that the demo's first answers come within a minute."""
DEMO_SHOP_OVERRIDES: Final = {Task.NEXT_PRODUCT: ("with_ranker=false",)}
"""What costs more time than four hundred customers are worth."""
PUBLIC: Final[dict[str, tuple[str, ...]]] = {
    "features.settings": ("Settings",),
    "features.errors": ("OmniError", "InputError", "MissingError", "StoreError"),
    "features.vocabulary": ("Channel", "Columns", "EventKind", "Task"),
    "features.log.engines": ("open_log",),
    "features.ingest": ("ingest",),
    "features.build": ("build_features",),
    "features.store.feature_store": ("Store",),
    "features.signals": ("SIGNAL_NAMES", "compute_signals", "describe", "signal_names", "signals_frame"),
    "features.simulator.world": ("simulate", "world_config"),
    "training.pipeline": ("train", "load_config"),
    "training.registry": ("promote", "rollback"),
    "training.benchmarks.report": ("MemoryStates", "parquet"),
    "training.data.baskets": ("load_purchases",),
    "training.data.decisions": ("as_decisions",),
    "training.data.held_out": ("NEXT_BASKET", "read_held_out"),
    "training.data.labels": ("data_span",),
    "training.evaluation": ("plots",),
    "features.evaluation.intervals": ("gain", "intervals"),
    "training.evaluation.metrics": ("Metric", "resample"),
    "features.evaluation.off_policy": ("single_arm", "statistics", "support"),
    "training.evaluation.qini": ("N_POINTS", "qini_curve"),
    "training.evaluation.ranking": ("coverage_at_k", "paired_gain", "ranking_values", "with_intervals"),
    "training.models.uplift.meta_learners": ("EffectConfig", "reward_model"),
    "training.models.uplift.policy": ("learn_policy",),
    "training.task": ("evaluation_table",),
    "serving.client": ("AsyncOmniClient", "OmniClient"),
    "serving.decision.policy": ("choose",),
    "serving.products.catalogue": ("load_catalogue",),
    "serving.products.diversity": ("diversify",),
}
"""What `from omni import …` gives, by the module that it lies in; it is loaded when first asked for."""
_HOME: Final = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = ["PUBLIC", "app", "main", *_HOME]


def __getattr__(name: str) -> Any:
    """A public name, from where it lies."""
    if name not in _HOME:
        raise AttributeError(f"omni has no {name!r}; PUBLIC in omni.py says what there is.")
    module = import_module(_HOME[name])
    return getattr(module, name) if hasattr(module, name) else import_module(f"{_HOME[name]}.{name}")


_UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
# Typer carries its own copy of click in some releases and the real one in others; this is the base in both.


class FrontDoor(TyperGroup):
    """A command group whose errors are one line on stderr and exit code 2: what was wrong, and what to do."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command line; leaves the process with 0, 2 for what the user can mend, or a traceback for a bug."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
            if code == INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
                say("omni: stopped.")
        except OmniError as error:
            fail(error)
            code = USER_CAN_MEND
        except _UsageError as error:
            say(_one_line(error))
            code = error.exit_code
        except typer.Abort:
            say("omni: stopped.")
            code = INTERRUPTED
        except Exception as error:  # the one place for what libraries say of a locked or damaged file, or a full disk
            trouble = explain(error) or _in_words(error)
            if trouble is None:
                raise
            logger.info("What it came from", exc_info=error)
            fail(trouble)
            code = USER_CAN_MEND
        if standalone_mode:
            raise SystemExit(code if isinstance(code, int) else 0)
        return code


def _in_words(error: Exception) -> OmniError | None:
    """What a full disk or a damaged file makes a library raise, as an error with a repair; None for a defect."""
    from features.checks.files import in_words

    try:
        return in_words(error, Settings.from_env(os.environ))
    except OmniError as other:
        return other


def _one_line(error: Any) -> str:
    message = " ".join(error.format_message().split()).replace(": Value error, ", ": ")  # pydantic's own prefix
    command = error.ctx.command_path if getattr(error, "ctx", None) else "omni"
    return f"omni: {message} Try '{command} --help'." if message else f"omni: Try '{command} --help'."


app = typer.Typer(
    name="omni",
    cls=FrontDoor,
    help="One customer, every channel, one decision: which product, through which channel, when, or nothing at all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"omni {__version__}")
        raise typer.Exit


@app.callback()
def front_door(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to stderr.")] = False,
) -> None:
    """One customer, every channel, one decision: which product, through which channel, when, or nothing at all."""
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    if not verbose:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    set_up_logging(verbose)
    wait_at_most(WAITS_S.get(context.invoked_subcommand or "", COMMAND_WAIT_S))


@dataclass(frozen=True)
class DemoReport:
    """What the demo shows: the models' figures, three customers' answers, and where the time and memory went."""

    sample_shop: "Mix | None"
    models: "tuple[TrainReport, ...]"
    customers: "tuple[Shown, ...]"
    costs: "Costs"

    def __rich__(self) -> Any:
        """All of it in words but the sample shop, which was shown as soon as it could be asked."""
        from rich.console import Group

        return Group(*self.customers, "", _model_table(self.models), "", self.costs)


@app.command()
def sample(
    customers: Annotated[int | None, typer.Option(min=1, help="How many customers. [default: 3000]")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How many days of history. [default: 200]")] = None,
    seed: Annotated[int | None, typer.Option(help="Which shop: the same seed gives the same one. [default: 0]")] = None,
    until: Annotated[
        str | None, typer.Option(help="The moment at which the shop stands: 2026-06-01T12:00:00Z. [default: now]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """An invented shop of all channels, up to this moment: events, products, stock, decisions and their outcomes.

    It is for trying everything out without data of your own, and never mixed with any: the home must be empty, or hold it.
    """
    from features.moments import utc

    settings = Settings.from_env(os.environ)
    wanted = {"customers": customers, "days": days, "seed": seed, "until": None if until is None else utc(until)}
    with step("Making the sample shop") as progress:
        report = _make_sample(settings, {name: value for name, value in wanted.items() if value is not None}, progress)
    emit(report, as_json)


def _make_sample(settings: Settings, wanted: dict[str, Any], progress: Progress) -> "SampleReport":
    """The sample shop in the home, with the arms that its decisions chose among as the home's own best-channel.toml."""
    from features import atomic
    from features.clock import Clock
    from features.sample.bring_in import bring_in_sample
    from training.pipeline import CONFIGS, own_config

    report = bring_in_sample(settings, wanted, Clock.from_settings(settings).now(), progress)
    if own_config(Task.BEST_CHANNEL, settings) is None:
        arms = (CONFIGS / "best-channel-decisions.toml").read_text(encoding="utf-8")
        atomic.write_text(settings.home / f"{Task.BEST_CHANNEL.value}.toml", arms)
    return report


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop the service at the end, instead of leaving it up.")
    ] = False,
    sample: Annotated[
        float | None, typer.Option(min=0.001, max=1.0, help="Take this share of the customers; for a quick look.")
    ] = None,
    source: Annotated[str, typer.Option(help="The built-in source to take.")] = "complete-journey",
    path: Annotated[Path | None, typer.Option(help="Where the source's files are, if it does not bring them.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the service listens, on 127.0.0.1.")] = 3000,
    shop: Annotated[
        bool, typer.Option(help="Begin with a small sample shop: decisions by e-mail, push and SMS within a minute.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """The whole path, on an invented shop of all channels and on real data: events, features, models, service, answers.

    What is done already is not done again. Without --once the service of the real data stays up until Ctrl-C.
    """
    from features.meter import Meter, release_memory
    from serving import showcase
    from serving.supervisor import run_until_stopped, start_service

    settings = Settings.from_env(os.environ)
    with Meter() as meter:
        mix = _show_sample(settings, meter, port) if shop else None
        if mix is not None and not as_json:
            emit(mix)
            sys.stdout.flush()  # it is to be read while the rest goes on
        _bring_in(settings, meter, source, sample, path)
        models = _train_all(settings, meter)
        picks = showcase.pick_customers(settings)
        if settings.clock_start is None:
            settings = replace(settings, clock_start=showcase.replay_start(settings))
        release_memory()
        service = start_service(settings, port=port, log_file=settings.home / "service.log")
        try:
            with meter.step("Start the service") as progress:
                service.wait_ready(progress=progress)
            with meter.step(f"Ask about {len(picks)} customers"):
                shown = tuple(showcase.show(customer_id, picked_as, service.url) for customer_id, picked_as in picks)
        except BaseException:
            service.stop()
            raise
        emit(DemoReport(mix, models, shown, meter.costs()), as_json)
    if once:
        service.stop()
        return
    say(f"\nThe service stays up: {service.url} (Ctrl-C stops it)")
    raise typer.Exit(run_until_stopped(service, drain_s=0.0))


def _show_sample(settings: Settings, meter: "Meter", port: int) -> "Mix":
    """The first act: a small sample shop in a home of its own, on files whatever engines the real one has."""
    from serving import showcase
    from serving.supervisor import start_service

    kept = {name: os.environ[name] for name in ("OMNI_CLOCK_START", "OMNI_TIMEOUT_MS") if name in os.environ}
    home = Settings.from_env({"OMNI_HOME": str(settings.home / "sample"), **kept})
    with meter.step("Make a sample shop") as progress:
        _make_sample(home, DEMO_SHOP, progress)
    _train_all(home, meter, "sample shop's ", DEMO_SHOP_OVERRIDES)
    service = start_service(home, port=port, log_file=home.home / "service.log")
    try:
        with meter.step("Ask the sample shop") as progress:
            service.wait_ready(progress=progress)
            return showcase.show_mix(home, service.url)
    finally:
        service.stop()


def _bring_in(settings: Settings, meter: "Meter", source: str, sample: float | None, path: Path | None) -> None:
    from features.meter import release_memory

    with meter.step(f"Ingest {source}") as progress:
        from features.ingest import ingest, is_ingested, note_ingested, take_rules
        from features.offline.build_note import events_since_build

        if is_ingested(settings, source, sample, path):
            progress("the log holds it already")
            take_rules(source, settings)
        else:
            ingest(source, settings, sample=sample, path=path, progress=progress)
            note_ingested(settings, source, sample, path)
    with meter.step("Build features") as progress:
        from features.build import build_features

        if events_since_build(settings) == 0:
            progress("level with the log")
        else:
            build_features(settings, progress)
    release_memory()  # or the next steps' peaks come on top of what this one no longer needs


def _train_all(
    settings: Settings, meter: "Meter", whose: str = "", overrides: Mapping[Task, Sequence[str]] = MappingProxyType({})
) -> "tuple[TrainReport, ...]":
    from features.meter import release_memory

    reports = []
    for task in CORE_TASKS:
        with meter.step(f"Train {whose}{task}") as progress:
            from training.pipeline import train

            chosen = overrides.get(task, ())
            reports.append(train(task, settings, chosen, progress=progress, reuse=True, force_first=True))
        release_memory()
    return tuple(reports)


def _model_table(models: "tuple[TrainReport, ...]") -> Any:
    from training.evaluation.tables import HEADLINES, metric_table

    names = {task.value: wanted for task, wanted in HEADLINES.items()}
    figures = [(report.task.value, report.metrics, report.baselines) for report in models]
    return metric_table(figures, "The models, on a test period after everything they learnt from", names)


features.cli.register(app)
training.cli.register(app)
serving.cli.register(app)
experiment = typer.Typer(
    help="Try variants of rules and models on customers who are drawn for them, and see what they bring."
)
serving.experiments.cli.register(experiment)
training.experiments.cli.register(experiment)
app.add_typer(experiment, name="experiment", no_args_is_help=True)


def main() -> None:
    """What the installed script `omni` calls."""
    app(prog_name="omni")


if __name__ == "__main__":
    main()
