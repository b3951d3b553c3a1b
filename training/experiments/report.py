"""Settings and an experiment's name in, what its variants brought out: differences, the split, and what is missing yet."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from features.errors import MissingError
from features.experiments.experiment import CUSTOMER, Experiment
from features.log.engines import open_log
from features.log.lists.experiment_table import KeptExperiment
from features.offline.build_note import check_of_log
from features.settings import Settings
from training.evaluation.metrics import Metric
from training.experiments.statistics import (
    ALPHA,
    MISMATCH_P,
    Difference,
    Group,
    compare,
    deviation_of,
    looks_factor,
    split_p_value,
    units_needed,
)
from training.experiments.table import METRICS, came_in, make_members, outcomes
from training.report.scan import timeline_connection
from training.task import Progress

FEW_UNITS: Final = 100
"""Below so many in a variant a mean is not yet as good as normal."""


@dataclass(frozen=True)
class VariantMetric:
    """One metric of one variant against the control's."""

    variant: str
    metric: str
    meaning: str
    control: float
    value: float
    difference: Metric
    """With the interval of one look, for a moment that was set beforehand."""
    at_any_time: Metric
    """The same with an interval that holds however often, and whenever, one looks."""
    explained: float
    """Share of the variance that the past took away."""
    smallest: float
    """The smallest difference that one look would tell from none, with chance 0.8."""


@dataclass(frozen=True)
class ExperimentReport:
    """What `omni experiment report` answers."""

    name: str
    unit: str
    metric: str
    begins: datetime
    ends: datetime | None
    came_in: Mapping[str, int]
    """Customers by variant."""
    counted: Mapping[str, int]
    """Units by variant whose customers' window is over."""
    split_p_value: float
    """The chance of a split as uneven as this, by the shares."""
    comparisons: tuple[VariantMetric, ...]
    units_needed: float | None
    """Units that a look at any time needs for the effect that was asked for, by what is known so far."""
    days_needed: float | None
    """Days from now until they are there, as they have come in so far."""
    verdict: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    def __rich__(self) -> Any:
        """Tables for a person."""
        from training.experiments.words import as_text

        return as_text(self)


def report_experiment(settings: Settings, name: str, progress: Progress = lambda _: None) -> ExperimentReport:
    """What an experiment brought by now.

    Raises InputError for a name that there is not, MissingError where the timeline is not built or nobody's window is over,
    StoreError where the timeline is of another log.
    """
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run: omni features build")
    with closing(open_log(settings)) as log:
        kept = log.experiments().all().get(name)
        check_of_log(settings, log)
        unit = kept.experiment.unit
        units = None if unit == CUSTOMER else log.experiments().units(unit)
        left_out = set(log.suppressions().customers())
    progress("who is in it, and what they did")
    with timeline_connection(settings.timeline_path) as connection:
        make_members(connection, kept.experiment)
        entered, switched, days = came_in(connection)
        last = connection.execute("SELECT max(occurred_at) FROM timeline").fetchall()[0][0]
        end = last if kept.stops_at is None or last is None else min(last, kept.stops_at)
        rows = outcomes(connection, kept.experiment, end)
    rows = rows[~rows["customer_id"].isin(left_out)]
    if rows["variant"].nunique() < 2:
        raise MissingError(
            f"Of {sum(entered.values()):,} customers in {name} no two variants have one yet who was in it for "
            f"{kept.experiment.window_days:g} days.",
            repair="Wait, run omni features build, and ask again.",
        )
    return report_of(kept, rows, units, entered, switched, days)


def report_of(
    kept: KeptExperiment,
    rows: pd.DataFrame,
    units: Mapping[str, str] | None,
    entered: Mapping[str, int],
    switched: int = 0,
    days: float = 0.0,
) -> ExperimentReport:
    """The report from what each customer did (`table.outcomes`); `units` by customer, None where each is one."""
    experiment = kept.experiment
    names = [variant.name for variant in experiment.variants]
    of_unit = rows["customer_id"] if units is None else rows["customer_id"].map(units)
    groups = {
        metric: {name: _group(rows[rows["variant"] == name], of_unit, metric) for name in names} for metric in METRICS
    }
    counted = {name: len(group) for name, group in groups[experiment.metric].items()}
    pairs = [name for name in names[1:] if min(counted[name], counted[names[0]]) > 1]
    found = {
        (name, metric): compare(groups[metric][names[0]], groups[metric][name], with_past=experiment.past_days > 0)
        for metric in [experiment.metric, *(other for other in METRICS if other != experiment.metric)]
        for name in pairs
    }
    alpha = ALPHA / max(len(names) - 1, 1)
    lines = tuple(
        _line(name, metric, difference, _scale(experiment, difference), alpha)
        for (name, metric), difference in found.items()
    )
    shares = [variant.share for variant in experiment.variants]
    split = split_p_value([entered.get(name, 0) for name in names], shares) if units is None else float("nan")
    if units is not None:
        split = split_p_value([counted[name] for name in names], shares)
    needed = _needed(experiment, groups[experiment.metric], found)
    days_needed = None
    if needed is not None and days > 0:
        a_day = sum(counted.values()) / days
        days_needed = max(0.0, (needed - sum(counted.values())) / a_day) if a_day else None
    notes = _notes(experiment, split, counted, switched, sum(entered.values()) - len(rows))
    verdict = _verdict(experiment, lines, split)
    return ExperimentReport(
        experiment.name,
        experiment.unit,
        experiment.metric,
        kept.starts_at,
        kept.stops_at,
        {name: entered.get(name, 0) for name in names},
        counted,
        split,
        lines,
        needed,
        days_needed,
        verdict,
        notes,
    )


def _group(rows: pd.DataFrame, of_unit: pd.Series, metric: str) -> Group:
    """The units of one variant, in the order of their names."""
    has_past = rows["has_past"].to_numpy(dtype=np.float64)
    table = pd.DataFrame(
        {
            "customers": 1.0,
            "total": rows[metric].to_numpy(dtype=np.float64),
            "past": rows[f"past_{metric}"].to_numpy(dtype=np.float64) * has_past,
            "with_past": has_past,
        }
    )
    sums = table.groupby(of_unit[rows.index].to_numpy(), sort=True).sum()
    return Group(*(sums[name].to_numpy() for name in ("customers", "total", "past", "with_past")))


def _scale(experiment: Experiment, difference: Difference) -> float:
    """The effect that is worth finding, in the metric's own units."""
    return experiment.effect * abs(difference.control)


def _line(name: str, metric: str, found: Difference, scale: float, alpha: float) -> VariantMetric:
    return VariantMetric(
        variant=name,
        metric=metric,
        meaning=METRICS[metric],
        control=found.control,
        value=found.variant,
        difference=Metric(found.value, *found.interval()),
        at_any_time=Metric(found.value, *found.sequence(scale, alpha)),
        explained=found.explained,
        smallest=found.smallest(),
    )


def _needed(
    experiment: Experiment, groups: Mapping[str, Group], found: Mapping[tuple[str, str], Difference]
) -> float | None:
    """Units over all variants that tell the effect in the largest pair of variants, at any look."""
    control, *others = experiment.variants
    known = [
        (other, found[other.name, experiment.metric]) for other in others if (other.name, experiment.metric) in found
    ]
    if not known or not known[0][1].control:
        return None
    other, difference = max(known, key=lambda pair: pair[0].share)
    left = max(1 - difference.explained, 0.0)
    deviation = deviation_of(groups[control.name]) * left**0.5
    scale = _scale(experiment, difference)
    in_pair = units_needed(deviation, scale, [control.share, other.share]) * looks_factor(scale)
    return float(in_pair * sum(variant.share for variant in experiment.variants) / (control.share + other.share))


def _verdict(experiment: Experiment, lines: Sequence[VariantMetric], split: float) -> str:
    """What may be said of the metric that it is about, however often somebody looks."""
    if split < MISMATCH_P:
        return "The split is not what was drawn: nothing may be concluded before it is known why."
    told = [line for line in lines if line.metric == experiment.metric]
    sure = [line for line in told if line.at_any_time.low > 0 or line.at_any_time.high < 0]
    if not sure:
        return f"No variant is told from {experiment.variants[0].name} in {experiment.metric} yet."
    return " ".join(
        f"{line.variant} has {'more' if line.difference.value > 0 else 'less'} {line.metric} than "
        f"{experiment.variants[0].name}."
        for line in sure
    )


def _notes(
    experiment: Experiment, split: float, counted: Mapping[str, int], switched: int, unripe: int
) -> tuple[str, ...]:
    notes = []
    if split < MISMATCH_P:
        notes.append(
            f"A split as uneven as this one has a chance of {split:.1g}: something decides about who is decided for, "
            "or about whose decisions are in the log."
        )
    few = [name for name, n in counted.items() if n < FEW_UNITS]
    if few:
        notes.append(f"Fewer than {FEW_UNITS} units are in {', '.join(few)}: intervals may be too narrow.")
    if unripe:
        notes.append(
            f"{unripe:,} customers are not counted yet, or never: their {experiment.window_days:g} days are not over."
        )
    if switched:
        notes.append(
            f"{switched:,} customers were later decided for by another variant; they count in their first one."
        )
    return tuple(notes)
