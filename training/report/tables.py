"""The report in; the tables that a person sees out, every cell as text, and all of it as text for a terminal."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from features.evaluation.resampling import Metric

if TYPE_CHECKING:
    from training.report.build import Report
    from training.report.holdout import HoldoutReport
    from training.report.journeys import JourneyAudit
    from training.report.success import Success

SHARES: Final = frozenset({"retention", "unsubscribe_rate", "engagement", "buyers", "unsubscribed"})
"""Measures that are shares of customers or messages, and shown as percentages; channels follow after a slash."""
SHOWN_ROWS: Final = 15
"""Rows of a table that are shown; the files hold all."""


class Shown(NamedTuple):
    """One table."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def shown_tables(report: "Report") -> Iterator[Shown]:
    """The tables in the order in which they are shown; those without a row are left out."""
    yield _success(report.success)
    if report.success.decisions:
        yield _decisions(report.success)
    if report.holdout is not None:
        yield _holdout(report.holdout)
    yield from (table for table in _journeys(report.journeys) if table.rows)


def as_text(report: "Report") -> Any:
    """The report for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    parts: list[Any] = []
    for title, headings, rows in shown_tables(report):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for place, heading in enumerate(headings):
            table.add_column(heading, justify="right" if place else "left", no_wrap=heading != "path")
        for row in rows:
            table.add_row(*row)
        parts += [table, ""]
    parts += [f"{name}: {meaning}" for name, meaning in meanings(report).items()]
    return Group(*parts, "", *(escape(f"Note: {note}") for note in report.notes))


def meanings(report: "Report") -> Mapping[str, str]:
    """What every word and measure of the report stands for; channels of one measure share a line."""
    told = {m.name.split("/")[0]: m.meaning for m in report.success.measures}
    if report.holdout is not None:
        told |= {f"{c.name} (hold-out)": c.meaning for c in report.holdout.comparisons}
    return {**report.definitions, **told}


def number(value: float) -> str:
    """A figure in as many digits as it takes; – where there is none."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    return f"{value:,.0f}" if size >= 10_000 else f"{value:,.2f}" if size >= 1 else f"{value:.4f}"


def percent(share: float) -> str:
    """A share as a percentage; – where there is none."""
    return f"{share:.1%}" if math.isfinite(share) else "–"


def _success(success: "Success") -> Shown:
    rows = []
    for m in success.measures:
        form, change = _forms(m.name)
        told = [_value(m.now, form), _interval(m.now, form), _value(m.before, form), _value(m.change, change)]
        rows.append([m.name, *told, _interval(m.change, change)])
    title = f"Measured success, {success.period}, beside the period before"
    return Shown(title, ["measure", "value", "95 %", "before", "change", "95 %"], rows)


def _decisions(success: "Success") -> Shown:
    rows = [
        [one.arm, f"{one.decisions:,}", f"{one.delivered:,}", f"{one.not_delivered:,}"] for one in success.decisions
    ]
    return Shown("Decisions to send of the period", ["arm", "decisions", "delivered", "not delivered"], rows)


def _holdout(told: "HoldoutReport") -> Shown:
    rows = []
    for c in told.comparisons:
        form, change = _forms(c.name)
        values = [_value(c.contacted, form), _value(c.held_out, form), _value(c.difference, change)]
        rows.append([c.name, *values, _interval(c.difference, change) + _no_different(c.difference)])
    for name, metric in (
        ("incremental revenue, all contacted", told.incremental_revenue),
        ("incremental revenue per money spent", told.return_on_spend),
        ("incremental margin per money spent", told.margin_on_spend),
    ):
        if metric is not None:
            rows.append([name, "", "", number(metric.value), _interval(metric, number)])
    sizes = ", ".join(f"{size:,} {group}" for group, size in told.customers.items() if size)
    title = f"Against the hold-out {told.name!r} ({sizes})"
    return Shown(title, ["measure", "contacted", "hold-out", "difference", "95 %"], rows)


def _journeys(journeys: "JourneyAudit") -> Iterator[Shown]:
    yield Shown(
        f"Paths of {journeys.counts['journeys']:,} journeys, {journeys.period}",
        ["path", "journeys", "conversion", "95 %", "days", "touches"],
        [
            [r["path"], f"{r['journeys']:,}", percent(r["conversion"]), _percents(r), _short(r["median_days"], 1),
             _short(r["median_touches"], 0)]
            for r in journeys.paths.head(SHOWN_ROWS).to_dict("records")
        ],
    )  # fmt: skip
    yield _handovers(journeys)
    yield Shown(
        "Where journeys end without a purchase",
        ["touchpoint", "journeys with it", "ended there", "share", "95 %"],
        [
            [r["touchpoint"], f"{r['journeys']:,}", f"{r['ended']:,}", percent(r["share"]), _percents(r)]
            for r in journeys.drop_off.head(SHOWN_ROWS).to_dict("records")
        ],
    )
    yield Shown(
        "Funnel per channel, journeys",
        ["channel", "viewed", "and in the cart", "and bought there", "viewed, bought anywhere"],
        [
            [r["channel"], *(f"{r[name]:,}" for name in ("viewed", "in_cart", "bought", "bought_anywhere"))]
            for r in journeys.funnel.to_dict("records")
        ],
    )
    yield Shown(
        f"Purchases over several channels: {percent(journeys.omnichannel_share.value)} "
        f"({_interval(journeys.omnichannel_share, percent)}) of {journeys.counts['purchases']:,}; revenue per buyer, "
        "which is not causal",
        ["buyers", "revenue", "95 %"],
        [[name, number(m.value), _interval(m, number)] for name, m in journeys.customer_value.items()],
    )


def _handovers(journeys: "JourneyAudit") -> Shown:
    """From (with the number of its handovers), to; a cell is the share of the row's handovers."""
    found = journeys.handovers
    order = found.groupby("touchpoint")["count"].sum().sort_values(ascending=False)
    targets = found.groupby("next")["count"].sum().sort_values(ascending=False).index[:SHOWN_ROWS]
    shares = {(str(r["touchpoint"]), str(r["next"])): r["share"] for r in found.to_dict("records")}
    rows = [
        [str(one), f"{n:,}", *(f"{shares[str(one), to]:.0%}" if (str(one), to) in shares else "·" for to in targets)]
        for one, n in order.head(SHOWN_ROWS).items()
    ]
    title = "Handovers within journeys: from the row's touchpoint to the column's, share of the row"
    return Shown(title, ["from", "handovers", *(str(to) for to in targets)], rows)


def _forms(measure: str) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How the measure is written, and how a difference of two is: of shares in percentage points."""
    if measure.split("/")[0] in SHARES:
        return percent, lambda share: f"{100 * share:+.1f} pt" if math.isfinite(share) else "–"
    return number, lambda value: ("+" if value > 0 else "") + number(value)


def _value(metric: Metric | None, form: Callable[[float], str]) -> str:
    return "–" if metric is None else form(metric.value)


def _interval(metric: Metric | None, form: Callable[[float], str]) -> str:
    return "–" if metric is None or not math.isfinite(metric.low) else f"{form(metric.low)} to {form(metric.high)}"


def _no_different(difference: Metric | None) -> str:
    """What is said of a difference whose interval holds 0."""
    return ", no different" if difference is not None and difference.low <= 0 <= difference.high else ""


def _percents(row: Mapping[Any, Any]) -> str:
    return f"{percent(row['low'])} to {percent(row['high'])}"


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
