"""The report in; a folder with its tables and one page that needs nothing from outside out."""

import base64
import html
import io
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from features.errors import InputError
from features.evaluation.resampling import Metric
from features.spreadsheet import guarded
from training.evaluation import plots
from training.report.build import Report
from training.report.tables import meanings, shown_tables

PAGE: Final = "report.html"
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e3e6ea }
th:first-child, td:first-child { text-align: left }
figure { display: inline-block; width: 48%; margin: 0 } img { max-width: 100% }
.note { background: #fff6dd; padding: .5rem 1rem; border-left: 4px solid #d9a400 } dt { font-weight: 600 }
.wide { overflow-x: auto }
"""


def write_report(report: Report, folder: Path, kind: str = "csv") -> list[Path]:
    """Write every table as `kind` (csv or parquet) and `report.html`; answers their paths. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, table in plain_tables(report).items():
            path = folder / f"{name}.{kind}"
            table.to_parquet(path, index=False) if kind == "parquet" else guarded(table).to_csv(path, index=False)
            written.append(path)
        page = folder / PAGE
        page.write_text(as_html(report), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}.", repair="Choose another --out.") from error
    return [*written, page]


def plain_tables(report: Report) -> dict[str, pd.DataFrame]:
    """Every part of the report as a table of its own, by the name of the file that holds it."""
    journeys = report.journeys
    success = [
        {"measure": m.name, **_columns("now", m.now), **_columns("before", m.before), **_columns("change", m.change)}
        for m in report.success.measures
    ]
    value = [{"buyers": name, **_columns("revenue", metric)} for name, metric in journeys.customer_value.items()]
    tables = {
        "success": pd.DataFrame(success),
        "paths": journeys.paths,
        "handovers": journeys.handovers,
        "drop_off": journeys.drop_off,
        "funnel": journeys.funnel,
        "customer_value": pd.DataFrame(value),
    }
    if report.success.decisions:
        tables["decisions"] = pd.DataFrame([asdict(one) for one in report.success.decisions])
    if report.holdout is not None:
        compared = [
            {
                "measure": c.name,
                **_columns("contacted", c.contacted),
                **_columns("held_out", c.held_out),
                **_columns("difference", c.difference),
            }
            for c in report.holdout.comparisons
        ]
        tables["holdout"] = pd.DataFrame(compared)
    return tables


def as_html(report: Report) -> str:
    """The page: notes, tables, plots (embedded), and what every word means."""
    parts = ["<h1>Customer journeys and measured success</h1>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in report.notes]
    for title, headings, rows in shown_tables(report):
        head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
        parts.append(f'<h2>{html.escape(title)}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>')
    parts += [
        f'<figure><img alt="{html.escape(title)}" src="data:image/png;base64,{_png(figure)}"></figure>'
        for title, figure in _figures(report)
    ]
    told = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{html.escape(text)}</dd>" for word, text in meanings(report).items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>omni report</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}<h2>What the words mean</h2><dl>{told}</dl></html>\n"
    )


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    handovers = report.journeys.handovers
    if len(handovers):
        matrix = handovers.pivot_table(index="touchpoint", columns="next", values="share", aggfunc="sum").fillna(0.0)
        title = "Who hands over to whom"
        yield title, plots.matrix(matrix, "next touchpoint", "touchpoint", title)
    drop_off = report.journeys.drop_off
    if len(drop_off):
        title = "Where journeys end without a purchase"
        yield (
            title,
            plots.intervals(
                drop_off["touchpoint"].tolist(), drop_off[["share", "low", "high"]].to_numpy(), "share", title
            ),
        )
    if report.holdout is not None:
        told = [c for c in report.holdout.comparisons if c.held_out.value > 0]
        relative = [
            [v / c.held_out.value for v in (c.difference.value, c.difference.low, c.difference.high)] for c in told
        ]
        title = "Contacted minus hold-out, as a share of the hold-out's"
        yield title, plots.intervals([c.name for c in told], relative, "difference, 95 % interval", title)


def _columns(name: str, metric: Metric | None) -> dict[str, float]:
    m = metric or Metric(math.nan, math.nan, math.nan)
    return {name: m.value, f"{name}_low": m.low, f"{name}_high": m.high}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
