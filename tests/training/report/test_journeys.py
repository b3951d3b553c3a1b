"""The journey audit of a handful of customers, figure by figure, and the same in however many parts it is read."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.evaluation.resampling import Metric
from training.report import journey_table
from training.report.bundles import share_metrics
from training.report.config import ReportConfig
from training.report.journeys import JourneyAudit, audit_journeys, default_period
from training.report.scan import Period, timeline_connection

Event = Callable[..., dict[str, Any]]


@pytest.fixture
def rows(happened: Event) -> list[dict[str, Any]]:
    def buy(customer: str, day: float, channel: str, value: float, **fields: Any) -> dict[str, Any]:
        return happened(customer, day, "purchase", channel, value=value, **fields)

    return [
        # ada: an e-mail, the web, and a basket of two lines in the store; then two lines of one session
        happened("ada", 0, "send", "email"),
        happened("ada", 1, "click", "email"),
        happened("ada", 1, "view", "web"),
        happened("ada", 2, "add_to_cart", "web"),
        buy("ada", 3, "store", 10.0),
        buy("ada", 3, "store", 5.0),
        buy("ada", 4, "web", 7.0, session_id="s1"),
        buy("ada", 4.001, "web", 1.0, session_id="s1"),
        # bob: looks, puts in the cart and buys on the web; later looks and does not buy
        happened("bob", 0, "view", "web"),
        happened("bob", 0.1, "add_to_cart", "web"),
        buy("bob", 0.2, "web", 30.0),
        happened("bob", 10, "view", "web"),
        # cy: ignores an e-mail; dora: is still looking at the end of the log
        happened("cy", 0, "send", "email"),
        happened("dora", 55, "view", "web"),
        happened("dora", 60, "feedback", "web"),  # no touch
    ]


def audit(path: Path, start: datetime, **changes: Any) -> JourneyAudit:
    period = Period(start, start + timedelta(days=90))
    with timeline_connection(path) as connection:
        return audit_journeys(connection, ReportConfig(**changes), period, start + timedelta(days=60))


def test_paths_with_their_conversion_days_and_touches(write: Callable[..., Path], rows: list[dict[str, Any]]) -> None:
    found = audit(write(rows), rows[0]["occurred_at"])
    assert found.counts == {"customers": 4, "journeys": 5, "purchases": 3, "open": 1}
    assert found.conversion.value == pytest.approx(3 / 5)
    told = {
        row["path"]: (row["journeys"], row["purchases"], row["conversion"], row["median_days"], row["median_touches"])
        for row in found.paths.to_dict("records")
    }
    assert told["email > web > store"] == (1, 1, 1.0, 3.0, 4.0)
    assert told["web"] == (3, 2, pytest.approx(2 / 3), pytest.approx(0.1), 2.0)  # ada's second, bob's two
    assert told["email"][:3] == (1, 0, 0.0)
    assert set(told) == {"email > web > store", "web", "email"}


def test_who_hands_over_where_journeys_end_and_how_far_they_get(
    write: Callable[..., Path], rows: list[dict[str, Any]]
) -> None:
    found = audit(write(rows), rows[0]["occurred_at"])
    assert found.handovers.to_dict("records") == [
        {"touchpoint": "email", "next": "web", "count": 1, "share": 1.0},
        {"touchpoint": "web", "next": "store", "count": 1, "share": 1.0},
    ]
    ends = {
        row["touchpoint"]: (row["journeys"], row["ended"], row["share"]) for row in found.drop_off.to_dict("records")
    }
    assert ends == {"email": (2, 1, 0.5), "web": (4, 1, 0.25), "store": (1, 0, 0.0)}
    assert found.funnel.to_dict("records") == [
        {"channel": "web", "viewed": 3, "in_cart": 2, "bought": 1, "bought_anywhere": 2}
    ]


def test_purchases_over_several_channels_and_their_buyers(
    write: Callable[..., Path], rows: list[dict[str, Any]]
) -> None:
    found = audit(write(rows), rows[0]["occurred_at"])
    assert found.omnichannel_share.value == pytest.approx(1 / 3)
    assert {name: metric.value for name, metric in found.customer_value.items()} == {
        "several channels": 23.0,
        "one channel": 30.0,
        "difference": -7.0,
    }


def test_steps_can_be_channels_and_kinds_and_long_paths_are_cut(
    write: Callable[..., Path], rows: list[dict[str, Any]]
) -> None:
    found = audit(write(rows), rows[0]["occurred_at"], touchpoint="channel_and_kind", max_steps=2, top_paths=2)
    assert len(found.paths) == 2
    longest = audit(write(rows), rows[0]["occurred_at"], touchpoint="channel_and_kind", max_steps=3).paths["path"]
    assert "… > web view > web add_to_cart > store purchase" in longest.tolist()
    assert "web view > web add_to_cart > web purchase" in longest.tolist()


def test_journeys_count_by_their_beginning(write: Callable[..., Path], rows: list[dict[str, Any]]) -> None:
    later = audit(write(rows), rows[0]["occurred_at"] + timedelta(days=4))
    assert later.counts == {"customers": 3, "journeys": 2, "purchases": 1, "open": 1}


def test_contacts_of_a_moment_come_first_and_the_purchase_last(write: Callable[..., Path], happened: Event) -> None:
    rows = [
        happened("ada", 0, "purchase", "app", value=1.0),
        happened("ada", 0, "view", "web"),
        happened("ada", 0, "impression", "store"),
    ]
    assert audit(write(rows), rows[0]["occurred_at"]).paths["path"].tolist() == ["store > web > app"]


def test_however_many_customers_are_read_together(
    write: Callable[..., Path], made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made(3, n=150)
    path, start = write(rows), min(row["occurred_at"] for row in rows)
    whole = audit(path, start)
    monkeypatch.setattr(journey_table, "_ROWS_AT_ONCE", 100)
    parts = audit(path, start)
    assert whole.counts == parts.counts
    assert whole.counts["journeys"] > 500
    assert whole.paths.equals(parts.paths)
    for name, metric in whole.customer_value.items():
        assert parts.customer_value[name].to_dict() == pytest.approx(metric.to_dict())


def test_by_default_the_last_silence_is_left_out(happened: Event) -> None:
    start = happened("a", 0.5, "view", "web")["occurred_at"]
    day = start.replace(hour=0)
    assert default_period(start, start + timedelta(days=100), ReportConfig()) == Period(day, day + timedelta(days=70))
    short = start + timedelta(days=20)
    assert default_period(start, short, ReportConfig()) == Period(day, short)


def test_all_or_none_of_few_is_no_certainty() -> None:
    import pandas as pd

    rows = pd.DataFrame(
        {"key": ["all"] * 24 + ["none"] * 4, "bundle": [*range(24), *range(4)], "part": 1.0, "whole": 1.0}
    )
    rows.loc[rows["key"] == "none", "part"] = 0.0
    found = share_metrics(rows, "key", list(range(24)))
    assert found["all"] == Metric(1.0, pytest.approx(0.8575, abs=1e-4), 1.0)  # type: ignore[arg-type]
    assert found["none"] == Metric(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 4)))  # type: ignore[arg-type]
