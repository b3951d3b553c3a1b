"""What contacts brought, where the lift is known: the intervals hold it; groups come from the log's own flags."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_log import CONTACT_COST, DAYS, ORDER_VALUE, SENDS

from training.report.config import ReportConfig
from training.report.holdout import ADJUSTED, HoldoutReport, compare_with_holdout
from training.report.scan import Period, timeline_connection
from training.report.success import make_contacts

Event = Callable[..., dict[str, Any]]


def compare(path: Path, happened: Event, days: float = DAYS, **changes: Any) -> HoldoutReport | None:
    start = happened("a", 0, "view", "web")["occurred_at"]
    config = ReportConfig(costs={"email": CONTACT_COST}, **changes)
    period = Period(start, start + timedelta(days=days))
    with timeline_connection(path) as connection:
        make_contacts(connection, config, period.start, period.end)
        return compare_with_holdout(connection, config, period)


def flag(held_out: bool, name: str = "h", share: float = 0.5) -> dict[str, str]:
    return {"properties": json.dumps({"holdout": {"name": name, "share": share, "held_out": held_out}})}


@pytest.mark.parametrize("lift", [0.0, 1.0])
def test_the_intervals_hold_the_known_lift(
    write: Callable[..., Path], made: Callable[..., Any], happened: Event, lift: float
) -> None:
    found = compare(write(made(11, lift=lift)), happened, margin_share=0.3)
    assert found is not None
    differences = {one.name: one.difference for one in found.comparisons}
    truth = lift * ORDER_VALUE
    for name in ("revenue_per_customer", ADJUSTED):
        assert differences[name].low <= truth <= differences[name].high
    assert differences["orders_per_customer"].low <= lift <= differences["orders_per_customer"].high
    plain, adjusted = differences["revenue_per_customer"], differences[ADJUSTED]
    assert adjusted.high - adjusted.low < 0.95 * (plain.high - plain.low)
    assert (adjusted.low > 0) is (lift > 0)
    assert differences["contacts_per_customer"].value == 4.0
    assert found.customers["contacted"] + found.customers["hold-out"] == 1_200
    assert found.customers["switched"] == 0
    assert found.cautions == ()
    total, spend, margin = found.incremental_revenue, found.return_on_spend, found.margin_on_spend
    assert spend is not None and margin is not None
    assert total.low <= truth * found.customers["contacted"] <= total.high
    assert spend.low <= truth / (SENDS * CONTACT_COST) <= spend.high
    assert margin.value == pytest.approx(0.3 * spend.value)


def test_without_a_flag_there_is_no_comparison(write: Callable[..., Path], happened: Event) -> None:
    rows = [happened("a", 0, "decision", "web", decision_id="d", properties='{"arm": "nothing", "pscore": 1.0}')]
    assert compare(write(rows), happened) is None


def test_somebody_belongs_to_their_first_group_and_counts_from_then_on(
    write: Callable[..., Path], happened: Event
) -> None:
    rows = [
        happened("old", -40, "decision", "web", decision_id="o", **flag(True, name="last-year")),
        # held: decided for on day 5; what they bought before is no outcome. Later they became one with somebody else.
        happened("held", 5, "decision", "web", decision_id="h1", **flag(True)),
        happened("held", 8, "decision", "web", decision_id="h2", **flag(False)),
        happened("held", 4, "purchase", "web", value=100.0),
        happened("held", 6, "purchase", "web", value=7.0),
        happened("held", 7, "return", "web", value=2.0),
        happened("mail", 0, "decision", "web", decision_id="m1", **flag(False)),
        happened("mail", 1, "send", "email", decision_id="m1"),
        happened("mail", 2, "click", "email", decision_id="m1"),
        happened("mail", 3, "unsubscribe", "email"),
        happened("mail", DAYS, "purchase", "web", value=50.0),  # after the period
        happened("never-decided", 1, "purchase", "web", value=1_000.0),
    ]
    found = compare(write(rows), happened)
    assert found is not None
    assert found.name == "h"
    assert found.customers == {"contacted": 1, "hold-out": 1, "switched": 1}
    told = {one.name: (one.contacted.value, one.held_out.value) for one in found.comparisons}
    assert told["revenue_per_customer"] == (0.0, 5.0)
    assert told["buyers"] == (0.0, 1.0)
    assert told["retention"][1] == 1.0  # they had bought in the days before they entered
    assert told["responses_per_customer"] == (1.0, 0.0)
    assert told["unsubscribed"] == (1.0, 0.0)
    assert told["cost_per_customer"] == (0.5, 0.0)
    assert found.cautions == ("1 customers changed their group later; they count in their first one.",)


def test_what_makes_the_comparison_doubtful_is_said(write: Callable[..., Path], happened: Event) -> None:
    rows = [happened(f"c{i}", 0, "decision", "web", decision_id=f"d{i}", **flag(i < 10, share=0.5)) for i in range(100)]
    rows.append(happened("c1", 2, "send", "email"))
    found = compare(write(rows), happened)
    assert found is not None
    assert [caution.split(":")[0] for caution in found.cautions] == [
        "The hold-out is 10.0% of the customers where 50.0% were to be drawn",
        "Somebody else contacted the hold-out",
    ]
    alone = compare(write(rows[:5]), happened)
    assert alone is not None
    assert alone.cautions == ("One of the two groups has nobody yet: nothing can be compared.",)
    assert alone.return_on_spend is None
