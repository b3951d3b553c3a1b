"""The commands that begin and end experiments: `omni experiment start`, `stop`, `list`; `report` is training's."""

import os
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.console import JsonOption, emit
from features.settings import Settings

if TYPE_CHECKING:
    from features.log.lists.experiment_table import KeptExperiment


@dataclass(frozen=True)
class Row:
    """An experiment in a list."""

    name: str
    state: str
    """`ahead`, `running` or `over`."""
    starts_at: datetime
    stops_at: datetime | None
    unit: str
    metric: str
    variants: dict[str, float]
    """Share by variant; the first one is the control."""

    @classmethod
    def of(cls, kept: "KeptExperiment") -> "Row":
        """As it is now."""
        now_s, experiment = time.time(), kept.experiment
        state = "over" if kept.is_over(now_s) else "running" if kept.is_in_force(now_s) else "ahead"
        shares = {variant.name: variant.share for variant in experiment.variants}
        return cls(experiment.name, state, kept.starts_at, kept.stops_at, experiment.unit, experiment.metric, shares)


@dataclass(frozen=True)
class Listed:
    """The experiments of a home."""

    experiments: tuple[Row, ...]

    def __rich__(self) -> Any:
        """As a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("name", "state", "begins", "ends", "unit", "metric", "variants", box=None, pad_edge=False)
        for row in self.experiments:
            ends = "" if row.stops_at is None else f"{row.stops_at:%Y-%m-%d %H:%M}"
            shares = ", ".join(f"{name} {share:.0%}" for name, share in row.variants.items())
            begins = f"{row.starts_at:%Y-%m-%d %H:%M}"
            table.add_row(escape(row.name), row.state, begins, ends, row.unit, row.metric, escape(shares))
        return table


def register(group: typer.Typer) -> None:
    """Add these commands to the group `omni experiment`."""
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("list")(list_experiments)


def start(
    file: Annotated[Path, typer.Argument(help="A TOML file with the experiment: its name and its variants.")],
    as_json: JsonOption = False,
) -> None:
    """Check an experiment and begin it, in all workers at the same moment, in five seconds."""
    from features.config import load_toml
    from features.experiments.experiment import Experiment
    from features.log.engines import open_log
    from serving.experiments.in_force import LEAD_S
    from serving.experiments.opening import check_experiment, overlap

    settings = Settings.from_env(os.environ)
    experiment = load_toml(Experiment, file)
    check_experiment(settings, experiment)
    with closing(open_log(settings)) as log:
        kept = log.experiments().start(experiment, LEAD_S, lambda known: overlap(experiment, known))
    emit(Row.of(kept), as_json)


def stop(
    name: Annotated[str, typer.Argument(help="The experiment's name.")],
    as_json: JsonOption = False,
) -> None:
    """End an experiment, in all workers at the same moment, in five seconds; everybody is decided for as before it."""
    from features.log.engines import open_log
    from serving.experiments.in_force import LEAD_S

    with closing(open_log(Settings.from_env(os.environ))) as log:
        kept = log.experiments().stop(name, LEAD_S)
    emit(Row.of(kept), as_json)


def list_experiments(as_json: JsonOption = False) -> None:
    """The experiments of this home, those that are over among them."""
    from features.log.engines import open_log

    with closing(open_log(Settings.from_env(os.environ))) as log:
        known = log.experiments().all()
    emit(Listed(tuple(map(Row.of, known.experiments))), as_json)
