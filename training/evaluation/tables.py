"""The table that a person reads of a training: metrics with intervals and the baselines' in, rows out."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from features.evaluation.resampling import Metric
from features.vocabulary import Task
from training.evaluation.metrics import badness

HEADLINES: Final[dict[Task, tuple[str, ...]]] = {
    Task.NEXT_PRODUCT: (
        *("ndcg@10", "recall@10", "hr@10", "recall_repeat@10", "recall_explore@10"),
        *("ndcg_new@10", "coverage@10"),
    ),
    Task.CHURN: ("log_loss", "auc", "average_precision", "brier", "ece", "lift@10%"),
    Task.BEST_CHANNEL: ("log_loss", "auc", "ece", "policy_value_dr"),
    Task.WIN_BACK: ("policy_value", "qini", "auuc", "effect_slope", "kept_per_contact@20%"),
}
"""The figures worth a first look, the one that decides about promotion first; every other one is in MLflow."""

Figures = tuple[str, Mapping[str, Metric], Mapping[str, Mapping[str, Metric]]]
"""A heading, a model's metrics, and each baseline's."""


def metric_table(
    figures: Iterable[Figures], title: str = "", names: Mapping[str, tuple[str, ...]] | None = None
) -> Any:
    """A rich table with a row per metric: value, 95 % interval, and the best baseline.

    `names` picks metrics per heading, where a name also takes its parts (`auc` takes `auc/mailer`); without it all are shown.
    """
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in ("model", "metric", "value", "95 %", "best baseline"):
        table.add_column(column, no_wrap=column != "best baseline")
    for heading, metrics, baselines in figures:
        wanted = None if names is None else names[heading]
        for name, metric in metrics.items():
            if wanted is None or name.split("/")[0] in wanted:
                interval = f"{metric.low:.4f} to {metric.high:.4f}"
                table.add_row(heading, name, f"{metric.value:.4f}", interval, _best(name, baselines))
    return table


def nearest_baseline(gains: Mapping[str, Metric]) -> tuple[str, Metric] | None:
    """The baseline that is beaten by least, and by how much; None where nothing was compared.

    Where gains are told as a whole and by part (`most_engaged/mailer`), those of the whole count.
    """
    whole = {name: gain for name, gain in gains.items() if "/" not in name} or dict(gains)
    return min(whole.items(), key=lambda item: item[1].value) if whole else None


def gain_line(task: Task, gains: Mapping[str, Metric]) -> str:
    """The smallest gain in the headline metric over a baseline, in words; '' where there is none.

    One whose 95 % interval holds 0 is none: then the two are no different, as far as the data tell.
    """
    nearest = nearest_baseline(gains)
    if nearest is None:
        return ""
    name, gain = nearest
    if gain.low <= 0 <= gain.high:
        held = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        return f"{HEADLINES[task][0]}: no different from {name}, {held}, in pairs"
    worse = gain.value < 0
    found = Metric(-gain.value, -gain.high, -gain.low) if worse else gain
    word = "worse" if worse else "better"
    return (
        f"{HEADLINES[task][0]}: {word} than {name} by {found.value:.4f} ({found.low:.4f} to {found.high:.4f}), in pairs"
    )


def ablation_table(
    metrics: Mapping[str, Metric],
    ablation: Mapping[str, Mapping[str, Metric]],
    shown: tuple[str, ...] = ("ndcg@10", "hr@10", "recall@10", "coverage@10"),
) -> Any:
    """A rich table with a row for the whole model and for each variant of it, a column per metric."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("variant", *shown):
        table.add_column(column, no_wrap=True)
    for name, values in {"all parts": metrics, **ablation}.items():
        table.add_row(name, *(f"{values[column].value:.4f}" for column in shown))
    return table


def _best(name: str, baselines: Mapping[str, Mapping[str, Metric]]) -> str:
    rivals = {rival: values[name].value for rival, values in baselines.items() if name in values}
    if not rivals:
        return ""
    best = min(rivals, key=lambda rival: badness(name, rivals[rival]))
    return f"{best} {rivals[best]:.4f}"
