"""The log's flagged decisions and what their customers did in, what contacts brought against a random hold-out out.

Who is in the hold-out is read from the decisions' own flags, not drawn anew from the rules: the rules of today may not be
those of the period, and somebody for whom nothing was ever decided was never treated in either way. A customer belongs to
the group of their first decision under the hold-out's name, and counts from that moment on: nothing that a contact did can
have decided about either. Later changes of group (two customers became one, the share was raised) change nothing, which
makes the difference a little too small, and are counted as `switched`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.evaluation.resampling import Metric, Sampled, Statistic, resample
from training.report.bundles import Ratio, ratio
from training.report.config import ReportConfig
from training.report.holdout_table import SPENT_BEFORE, make_members, make_outcomes, outcome_sums, spending_slope
from training.report.scan import Period

NO_HOLDOUT: Final = (
    "No decision in the log is of a hold-out, so nothing says what contacts bring. Set holdout_share (0.1, say) in "
    "rules.toml, let `omni serve` or `omni decide --all` decide for some weeks, run `omni features build`, and ask again."
)
CONTACTED, HELD_OUT = "contacted", "hold-out"
REVENUE: Final = "revenue_per_customer"
COMPARED: Final[dict[str, tuple[Ratio, str]]] = {
    "buyers": (("bought", "n"), "share who bought"),
    "retention": (
        ("retained", "bought_before"),
        "of those who bought in as many days before they entered, who bought again",
    ),
    "orders_per_customer": (("orders", "n"), "orders per customer"),
    REVENUE: (("revenue", "n"), "purchases less returns, per customer"),
    "contacts_per_customer": (("contacts", "n"), "sends and impressions, per customer"),
    "responses_per_customer": (("responses", "n"), "messages opened, clicked or followed by an outcome, per customer"),
    "unsubscribed": (("unsubscribed", "n"), "share who unsubscribed"),
    "cost_per_customer": (("cost", "n"), "what contacts cost, per customer"),
}
"""Name to the sums that are divided, in either group, and its meaning."""
ADJUSTED: Final = f"{REVENUE}, adjusted"
_ADJUSTED_MEANING: Final = "the same difference, less what the groups differed in before they entered"
_SUSPICIOUS: Final = 4.0
"""Standard errors by which the hold-out's size may be away from its share; more is no chance."""


@dataclass(frozen=True)
class Comparison:
    """One measure in both groups, and contacted minus hold-out."""

    name: str
    meaning: str
    contacted: Metric
    held_out: Metric
    difference: Metric


@dataclass(frozen=True)
class HoldoutReport:
    """What contacts brought in a period."""

    name: str
    customers: Mapping[str, int]
    """Per group; `switched` were later decided for as of the other one."""
    comparisons: tuple[Comparison, ...]
    incremental_revenue: Metric
    """Of all contacted customers together: the adjusted difference times their number."""
    return_on_spend: Metric | None
    """Incremental revenue per money spent on contacts; None where no cost is known."""
    margin_on_spend: Metric | None
    """The same in margin, where `margin_share` is configured."""
    cautions: tuple[str, ...]


def compare_with_holdout(
    connection: duckdb.DuckDBPyConnection, config: ReportConfig, period: Period, seed: int = 0
) -> HoldoutReport | None:
    """The newest hold-out that was decided under before the period's end, or None where there is none.

    Needs the table `contacts` (success.make_contacts) of the period.
    """
    name = make_members(connection, period)
    if name is None:
        return None
    make_outcomes(connection, period)
    sums = outcome_sums(connection, [name for rule, _ in COMPARED.values() for name in rule])
    sizes = {group: int(sums[f"n_{code}"].sum()) for code, group in ((0, CONTACTED), (1, HELD_OUT))}
    switched, share = connection.execute("SELECT sum(switched::INT), avg(share) FROM members").fetchall()[0]
    found = _sampled(sums, spending_slope(connection), seed)
    gain = found[ADJUSTED]
    comparisons = []
    for one, (_, meaning) in COMPARED.items():
        contacted, held_out = found[f"{one}@0"], found[f"{one}@1"]
        row = Comparison(one, meaning, contacted.metric(), held_out.metric(), contacted.minus(held_out).metric())
        comparisons.append(row)
        if one == REVENUE:
            comparisons.append(replace(row, name=ADJUSTED, meaning=_ADJUSTED_MEANING, difference=gain.metric()))
    spend = found["return_on_spend"]
    known = np.isfinite(spend.point)
    total = Sampled(gain.point * sizes[CONTACTED], gain.draws * sizes[CONTACTED])
    share_of = config.margin_share
    return HoldoutReport(
        name=name,
        customers={**sizes, "switched": int(switched or 0)},
        comparisons=tuple(comparisons),
        incremental_revenue=total.metric(),
        return_on_spend=spend.metric() if known else None,
        margin_on_spend=Sampled(spend.point * share_of, spend.draws * share_of).metric()
        if known and share_of
        else None,
        cautions=_cautions(sizes, float(share), int(switched or 0), float(sums["contacts_1"].sum())),
    )


def _sampled(sums: pd.DataFrame, slope: float, seed: int) -> dict[str, Sampled]:
    """Every measure of either group, the adjusted difference of revenue and the return on spend, on the same resamples."""
    statistics = {
        f"{name}@{g}": ratio(sums[f"{above}_{g}"], sums[f"{below}_{g}"])
        for name, ((above, below), _) in COMPARED.items()
        for g in (0, 1)
    }
    gap = {name: _gap(sums, name) for name in ("revenue", SPENT_BEFORE, "cost")}

    def adjusted(w: FloatArray) -> float:
        return gap["revenue"](w) - slope * gap[SPENT_BEFORE](w)

    def return_on_spend(w: FloatArray) -> float:
        spent = gap["cost"](w)
        return adjusted(w) / spent if spent > 0 else float("nan")

    return resample(
        {**statistics, ADJUSTED: adjusted, "return_on_spend": return_on_spend}, np.arange(len(sums)), seed=seed
    )


def _gap(sums: pd.DataFrame, name: str) -> Statistic:
    """The mean of the contacted minus the mean of the held-out."""
    contacted, held_out = (ratio(sums[f"{name}_{g}"], sums[f"n_{g}"]) for g in (0, 1))
    return lambda w: contacted(w) - held_out(w)


def _cautions(sizes: Mapping[str, int], share: float, switched: int, reached: float) -> tuple[str, ...]:
    """What makes the comparison less than it seems, in sentences."""
    n = sizes[CONTACTED] + sizes[HELD_OUT]
    found = []
    if not sizes[HELD_OUT] or not sizes[CONTACTED]:
        found.append("One of the two groups has nobody yet: nothing can be compared.")
    elif abs(sizes[HELD_OUT] - n * share) > _SUSPICIOUS * np.sqrt(n * share * (1 - share)):
        found.append(
            f"The hold-out is {sizes[HELD_OUT] / n:.1%} of the customers where {share:.1%} were to be drawn: more than "
            "chance does, so something decides about who is in the log."
        )
    if switched:
        found.append(f"{switched:,} customers changed their group later; they count in their first one.")
    if reached:
        found.append(f"Somebody else contacted the hold-out: {reached:,.0f} sends and impressions reached it.")
    return tuple(found)
