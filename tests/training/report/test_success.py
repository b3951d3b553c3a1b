"""Measured success of a handful of customers, figure by figure: now, before, per channel, and what contacts cost."""

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from training.report.config import ReportConfig
from training.report.costs import contact_cost
from training.report.scan import Period, timeline_connection
from training.report.success import Measure, Success, default_success_period, measure_success

Event = Callable[..., dict[str, Any]]
LOG_DAYS = 13
"""How long the log is known after the period's beginning; messages are answered within seven."""


@pytest.fixture
def rows(happened: Event) -> list[dict[str, Any]]:
    """The period is [0, 10), the one before [-10, 0), and the log begins 20 days before."""

    def buy(customer: str, day: float, value: float) -> dict[str, Any]:
        return happened(customer, day, "purchase", "store", value=value)

    return [
        buy("ada", -20, 1.0),
        buy("ada", -5, 10.0),
        buy("ada", 2, 20.0),
        buy("ada", 3, 10.0),
        happened("ada", 4, "return", "store", value=10.0),
        buy("bob", -5, 10.0),
        happened("bob", 1, "visit", "web"),
        buy("cy", -15, 10.0),
        # three e-mails and a letter now; one e-mail is opened and clicked, cy unsubscribes
        happened("ada", 1, "decision", "email", decision_id="d1", properties=json.dumps({"arm": "news"})),
        happened("ada", 1, "send", "email", decision_id="d1"),
        happened("ada", 1.1, "open", "email", decision_id="d1"),
        happened("ada", 1.2, "click", "email", decision_id="d1"),
        happened("bob", 1, "send", "email", decision_id="d2"),
        happened("cy", 1, "send", "email", decision_id="d3"),
        happened("cy", 2, "unsubscribe", "email"),
        happened("cy", 5, "send", "post", properties=json.dumps({"campaign_type": "A"})),
        # impressions: none is ever answered in the store, one of two ads is
        happened("cy", 5, "impression", "store"),
        happened("cy", 5, "impression", "ads"),
        happened("cy", 5.5, "click", "ads"),
        happened("bob", 6, "impression", "ads"),
        happened("bob", 7, "impression", "ads"),  # too young to tell
        # before: one e-mail, opened
        happened("bob", -3, "send", "email", decision_id="d0"),
        happened("bob", -2, "open", "email", decision_id="d0"),
        happened("bob", 1.5, "click", "email", decision_id="d0"),  # answers the old one, not that of day 1
    ]


def measured(path: Path, start: datetime, log_start: datetime, **changes: Any) -> tuple[Success, dict[str, Measure]]:
    config = ReportConfig(costs={"email": 0.5}, **changes)
    with timeline_connection(path) as connection:
        log = Period(log_start, start + timedelta(days=LOG_DAYS))
        found = measure_success(connection, config, Period(start, start + timedelta(days=10)), log)
    return found, {one.name: one for one in found.measures}


def test_every_measure_now_and_before(write: Callable[..., Path], rows: list[dict[str, Any]]) -> None:
    start = rows[0]["occurred_at"] + timedelta(days=20)
    success, found = measured(write(rows), start, rows[0]["occurred_at"])
    now = {name: one.now.value for name, one in found.items()}
    before = {name: one.before and one.before.value for name, one in found.items()}
    assert now == {
        "retention": 0.5,  # of ada and bob, ada
        "orders_per_active": pytest.approx(2 / 3),
        "revenue_per_customer": pytest.approx(20 / 3),
        "contacts_per_customer": pytest.approx(8 / 3),
        "cost_per_customer": pytest.approx((3 * 0.5 + 0.6 + 0.02) / 3),
        "unsubscribe_rate": pytest.approx(1 / 3),
        "engagement/email": pytest.approx(1 / 3),  # opened and clicked is one answer
        "engagement/post": 0.0,
        "engagement/ads": 0.5,
    }
    assert before["retention"] == 0.5  # of ada and cy, ada
    assert before["orders_per_active"] == 1.0
    assert before["engagement/email"] == 1.0
    assert found["revenue_per_customer"].change is not None
    assert found["revenue_per_customer"].change.value == pytest.approx(20 / 3 - 10.0)
    assert success.counts["cost_unknown"] == 3  # the ads
    assert (success.counts["customers"], success.counts["orders"], success.counts["revenue"]) == (3, 2, 20)


def test_what_others_said_for_a_common_address_makes_nobody_active(
    write: Callable[..., Path], rows: list[dict[str, Any]], happened: Event
) -> None:
    start = rows[0]["occurred_at"] + timedelta(days=20)
    others = [
        happened(customer, 4, "unsubscribe", "email", event_id=f"consent:0123456789abcdef:{seq}")
        for seq, customer in enumerate(("dan", "bob"))
    ]
    success, found = measured(write([*rows, *others]), start, rows[0]["occurred_at"])
    assert success.counts["customers"] == 3
    assert found["orders_per_active"].now.value == pytest.approx(2 / 3)
    assert found["unsubscribe_rate"].now.value == pytest.approx(2 / 3)  # bob is written to no more


def test_what_the_log_does_not_reach_is_not_told(write: Callable[..., Path], rows: list[dict[str, Any]]) -> None:
    start = rows[0]["occurred_at"] + timedelta(days=20)
    _, some = measured(write(rows), start, start - timedelta(days=10))
    assert some["retention"].now.value == 0.5
    assert some["retention"].before is None
    assert some["orders_per_active"].before is not None
    _, none = measured(write(rows), start, start - timedelta(days=1))
    assert math.isnan(none["retention"].now.value)
    assert none["orders_per_active"].before is None
    assert none["orders_per_active"].now.value == pytest.approx(2 / 3)


def test_a_contact_costs_what_its_decisions_arm_costs_then_what_describes_it_then_its_channel(
    write: Callable[..., Path], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    arms = tmp_path / "arms.toml"
    arms.write_text(
        '[[arms]]\nname = "news"\nchannel = "email"\nkind = "decision"\ncost = 4.0\nresponse_days = 1\n'
        '[[arms]]\nname = "letter"\nchannel = "post"\nkind = "send"\nproperties = { campaign_type = ["A"] }\ncost = 9.0\n',
        encoding="utf-8",
    )
    start = rows[0]["occurred_at"] + timedelta(days=20)
    success, _ = measured(write(rows), start, rows[0]["occurred_at"], arms=arms)
    assert success.counts["cost"] == pytest.approx(4.0 + 9.0 + 2 * 0.5)
    with pytest.raises(InputError, match="neither an arm nor a channel"):
        contact_cost(ReportConfig(costs={"pigeon": 1.0}))
    with pytest.raises(InputError, match="no-file"):
        contact_cost(ReportConfig(arms=tmp_path / "no-file.toml"))


def test_without_a_known_cost_there_is_no_measure_of_it(
    write: Callable[..., Path], happened: Event, tmp_path: Path
) -> None:
    rows = [happened("ada", 1, "send", "sms"), happened("ada", 2, "purchase", "web", value=3.0)]
    _, found = measured(write(rows), rows[0]["occurred_at"], rows[0]["occurred_at"])
    assert "cost_per_customer" not in found
    assert found["contacts_per_customer"].now.value == 1.0


def test_the_default_period_is_the_last_whole_days(happened: Event) -> None:
    start = happened("a", 0, "view", "web")["occurred_at"]
    end = start + timedelta(days=40, hours=5)
    assert default_success_period(None, None, end, 28) == Period(start + timedelta(days=12), start + timedelta(days=40))
    assert default_success_period(start, None, end, 28) == Period(start, start + timedelta(days=40))
    assert default_success_period(None, start, end, 28) == Period(start - timedelta(days=28), start)
