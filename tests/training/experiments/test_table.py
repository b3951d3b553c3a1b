"""What counts of a customer in an experiment: their first variant, their own window, and their past."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_log import event, write_timeline

from features.experiments.experiment import Experiment
from training.experiments.table import came_in, make_members, outcomes
from training.report.scan import timeline_connection

WARMER = Experiment(
    name="warmer",
    variants=[{"name": "as-is", "share": 0.5}, {"name": "warm", "share": 0.5}],
    window_days=10,
    past_days=20,
)


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """The outcomes until a day, and who came in."""

    def measure(rows: list[dict[str, Any]], until_day: float) -> tuple[Any, Any]:
        end = event("a", until_day, "view", "web")["occurred_at"]
        with timeline_connection(write_timeline(tmp_path / "timeline.parquet", rows)) as connection:
            make_members(connection, WARMER)
            found = outcomes(connection, WARMER, end)
            return found.set_index("customer_id").to_dict("index"), came_in(connection)

    return measure


def decided(customer: str, day: float, variant: str | None, **more: str) -> dict[str, Any]:
    flag = {} if variant is None else {"experiments": {"warmer": variant, **more}}
    return event(
        customer, day, "decision", "web", decision_id=f"{customer}{day}", properties=json.dumps({"arm": "x", **flag})
    )


def bought(customer: str, day: float, value: float) -> dict[str, Any]:
    return event(customer, day, "purchase", "web", value=value)


def test_it_counts_from_just_after_the_first_decision_for_the_window(measured: Callable[..., Any]) -> None:
    rows = [
        bought("ada", -20.5, 99),  # too long ago
        bought("ada", -19, 7),
        decided("ada", 0, "warm"),
        bought("ada", 0, 3),  # what they were decided for after
        bought("ada", 4, 5),
        event("ada", 5, "return", "web", value=1.0),
        event("ada", 6, "click", "email", decision_id="d"),
        event("ada", 6.1, "open", "email", decision_id="d"),
        event("ada", 10, "unsubscribe", "email"),
        bought("ada", 10.5, 50),  # after it
    ]
    found, (counts, switched, days) = measured(rows, 10)
    row = found["ada"]
    assert (row["variant"], row["has_past"]) == ("warm", True)
    assert (row["revenue"], row["orders"], row["responses"], row["unsubscribed"]) == (4, 1, 1, 1)
    assert (row["past_revenue"], row["past_orders"], row["past_responses"], row["past_unsubscribed"]) == (10, 2, 0, 0)
    assert (counts, switched, days) == ({"warm": 1}, 0, 0.0)


def test_who_is_not_there_for_long_enough_is_left_out(measured: Callable[..., Any]) -> None:
    rows = [decided("early", 0, "as-is"), decided("late", 3, "warm"), event("late", 4, "view", "web")]
    found, (counts, _, days) = measured(rows, 12.9)
    assert list(found) == ["early"]
    assert (counts, days) == ({"as-is": 1, "warm": 1}, 3.0)
    assert list(measured(rows, 13)[0]) == ["early", "late"]


def test_who_came_for_it_has_no_past_and_who_did_nothing_has_zeros(measured: Callable[..., Any]) -> None:
    rows = [
        event("new", -0.5, "view", "web"),
        decided("new", 0, "warm"),
        bought("new", 1, 8),
        event("old", -30, "view", "web"),
        decided("old", 0, "as-is"),
        decided("nobody", 0, "as-is"),
    ]
    found, _ = measured(rows, 20)
    assert [(name, found[name]["has_past"], found[name]["revenue"]) for name in ("new", "old", "nobody")] == [
        ("new", False, 8),
        ("old", True, 0),
        ("nobody", False, 0),
    ]


def test_the_first_variant_counts_and_other_experiments_do_not(measured: Callable[..., Any]) -> None:
    rows = [
        decided("ada", 0, "warm"),
        decided("ada", 2, "as-is"),
        decided("ben", 0, None),
        decided("cleo", 0, "of-another-version"),
        event("dan", 0, "decision", "web", properties=json.dumps({"experiments": {"colder": "warm"}})),
    ]
    found, (counts, switched, _) = measured(rows, 20)
    assert {name: row["variant"] for name, row in found.items()} == {"ada": "warm"}
    assert (counts, switched) == ({"warm": 1}, 1)


def test_names_with_a_dot_are_found(tmp_path: Path) -> None:
    dotted = WARMER.model_copy(update={"name": "v1.2"})
    properties = json.dumps({"experiments": {"v1.2": "warm"}})
    rows = [event("ada", 0, "decision", "web", properties=properties), event("ada", 30, "view", "web")]
    end = event("a", 30, "view", "web")["occurred_at"]
    with timeline_connection(write_timeline(tmp_path / "timeline.parquet", rows)) as connection:
        make_members(connection, dotted)
        assert outcomes(connection, dotted, end + timedelta(days=1))["variant"].tolist() == ["warm"]
