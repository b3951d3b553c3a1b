"""The command `omni report`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from features.console import JsonOption, emit, say, step
from features.settings import Settings


class TableFormat(StrEnum):
    """How tables are written."""

    CSV = "csv"
    PARQUET = "parquet"


def report(
    start: Annotated[
        str | None, typer.Option("--from", help="First day of the period, for example 2017-12-01.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The day after its last one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write every table and one page, report.html, into this folder.")
    ] = None,
    tables: Annotated[TableFormat, typer.Option(help="How --out writes the tables.")] = TableFormat.CSV,
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file instead of OMNI_HOME/report.toml.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Is it working? Customers' journeys over the channels, and what contacts brought, against a random hold-out.

    Without a period: the last whole 28 days beside the 28 before, and the journeys of all of the log.
    """
    from features.config import load_own
    from features.moments import utc
    from training.report.build import build_report
    from training.report.config import OWN_CONFIG, ReportConfig

    settings = Settings.from_env(os.environ)
    chosen = load_own(ReportConfig, settings.home / OWN_CONFIG, config)
    begin, until = (None if text is None else utc(text) for text in (start, end))
    with step("Reporting") as progress:
        found = build_report(settings, chosen, begin, until, progress=progress)
        if out is not None:
            from training.report.page import write_report

            progress("writing")
            for path in write_report(found, out, tables.value):
                say(f"wrote {path}")
    emit(found.to_dict() if as_json else found, as_json)
