"""The command `omni experiment report`."""

import os
from typing import Annotated

import typer

from features.console import JsonOption, emit, step
from features.settings import Settings


def register(group: typer.Typer) -> None:
    """Add it to the group `omni experiment`."""
    group.command("report")(report)


def report(
    name: Annotated[str, typer.Argument(help="The experiment's name.")],
    as_json: JsonOption = False,
) -> None:
    """What the variants brought by the last build: differences with intervals that hold however often one looks."""
    from training.experiments.report import report_experiment

    with step("Reporting") as progress:
        found = report_experiment(Settings.from_env(os.environ), name, progress)
    emit(found.to_dict() if as_json else found, as_json)
