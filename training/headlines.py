"""A run's figures in; the few that MLflow shows as metrics, and the words on top of the run, out.

All others are in the run's `metrics.json`: two hundred figures of one point each hide the ten that somebody compares.
"""

from features.evaluation.resampling import Metric
from training.evaluation.tables import HEADLINES, nearest_baseline
from training.task import TrainedModel


def headlines(trained: TrainedModel, seconds: float) -> dict[str, Metric | float]:
    """The gates' metric with its interval, a few more by value, the gain over the best baseline, rows and seconds."""
    primary, *beside = HEADLINES[trained.task]
    shown: dict[str, Metric | float] = {primary: trained.metrics[primary]} if primary in trained.metrics else {}
    shown |= {name: trained.metrics[name].value for name in beside if name in trained.metrics}
    nearest = nearest_baseline(trained.gains)
    if nearest is not None:
        shown["gain_over_best_baseline"] = nearest[1]
    rows = [count for name, count in trained.rows.items() if name.partition("/")[0] in ("train", "moments")]
    return shown | {"rows.train": float(sum(rows)), "seconds.total": seconds}


def description(trained: TrainedModel) -> str:
    """Markdown: what was learned until when, and the gates' metric beside every baseline's."""
    primary = HEADLINES[trained.task][0]
    as_of_end = str(trained.metadata.get("as_of_end", ""))[:10]
    rows = ", ".join(f"{count:,} {name}" for name, count in trained.rows.items())
    lines = [
        f"**{trained.task.value}**, measured on the last period, which neither fitting nor calibration saw"
        + (f"; the data ends {as_of_end}." if as_of_end else "."),
        "",
        f"| | {primary} | 95 % interval | difference |",
        "|---|---|---|---|",
    ]
    tables = {"this model": trained.metrics, **trained.baselines}
    for name, metrics in tables.items():
        if primary in metrics:
            found, gain = metrics[primary], trained.gains.get(name)
            difference = "" if gain is None else f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
            lines.append(f"| {name} | {found.value:.4f} | {found.low:.4f} to {found.high:.4f} | {difference} |")
    return "\n".join([*lines, "", f"Rows: {rows}." if rows else "", "Every figure: `metrics.json`."])
