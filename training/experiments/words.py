"""A report of an experiment in, tables for a person out."""

from typing import Any

from training.evaluation.metrics import Metric
from training.experiments.report import ExperimentReport


def as_text(report: ExperimentReport) -> Any:
    """What `omni experiment report` prints."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    sizes = Table("variant", "customers", f"{report.unit}s counted", box=None, pad_edge=False)
    for name, n in report.came_in.items():
        sizes.add_row(escape(name), f"{n:,}", f"{report.counted[name]:,}")
    columns = ("metric", "variant", "control", "value", "difference", "95 %, one look", "any time", "past explains")
    table = Table(*columns, box=None, pad_edge=False)
    for line in report.comparisons:
        table.add_row(
            line.metric,
            escape(line.variant),
            f"{line.control:.4g}",
            f"{line.value:.4g}",
            f"{line.difference.value:+.4g}",
            _range(line.difference),
            _range(line.at_any_time),
            f"{line.explained:.0%}",
        )
    words = [escape(report.verdict), f"The split has a p-value of {report.split_p_value:.3g}."]
    if report.units_needed is not None:
        more = "" if report.days_needed is None else f", in about {report.days_needed:,.0f} days"
        words.append(
            f"To tell the effect that was asked for it takes about {report.units_needed:,.0f} {report.unit}s{more}."
        )
    return Group(sizes, "", table, "", *words, *(f"Note: {escape(note)}" for note in report.notes))


def _range(metric: Metric) -> str:
    return f"{metric.low:+.4g} to {metric.high:+.4g}"
