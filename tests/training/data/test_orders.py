"""Which lines are one order: by its id, by a session without a gap, by the moment or the day; in the report and in baskets."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from made_log import START, event, write_timeline

from training.data.baskets import load_purchases
from training.report.config import ReportConfig
from training.report.scan import Period, timeline_connection
from training.report.success import measure_success

MINUTE = 1 / 24 / 60


def line(
    day: float, product: str, session: str | None = None, order: Any = None, customer: str = "ada"
) -> dict[str, Any]:
    properties = None if order is None else json.dumps({"order_id": order, "note": "x"})
    fields = {"product_id": product, "value": 10.0, "session_id": session, "properties": properties}
    return event(customer, day, "purchase", "web", **fields)


def orders(path: Path) -> list[tuple[float, float]]:
    """Day and money of each order."""
    with timeline_connection(path) as connection:
        rows = connection.execute("SELECT moment, value FROM orders ORDER BY customer_id, moment, value").fetchall()
    return [(round((moment - START) / timedelta(days=1), 6), value) for moment, value in rows]


def baskets(path: Path) -> list[list[str]]:
    purchases = load_purchases(path)
    lines = purchases.lines
    held: dict[int, list[str]] = {}
    for basket, item in zip(lines.basket.tolist(), lines.item.tolist(), strict=True):
        held.setdefault(basket, []).append(str(purchases.product_ids[item - 1]))
    return list(held.values())


CASES = {
    "one session of weeks": (
        [line(0, "tea", "s"), line(0.5 * MINUTE, "milk", "s"), line(5, "tea", "s"), line(9, "soap", "s")],
        [2, 1, 1],
        [["milk", "tea"], ["tea"], ["soap"]],
    ),
    "an hour is no gap, more is one": (
        [line(0, "tea", "s"), line(60 * MINUTE, "milk", "s"), line(121 * MINUTE, "soap", "s")],
        [2, 1],
        [["milk", "tea"], ["soap"]],
    ),
    "an order id holds over sessions and days": (
        [line(0, "tea", "s", "o1"), line(3, "milk", "t", "o1"), line(3, "soap", "t", "o2")],
        [2, 1],
        [["milk", "tea"], ["soap"]],
    ),
    "a number as order id": (
        [line(0, "tea", "s", 7), line(0, "milk", "s", 8), line(0, "soap", "s", "8")],
        [1, 2],
        None,
    ),
    "a number with a fraction of nothing, and blanks": (
        [line(0, "tea", None, 7), line(1, "milk", None, 7.0), line(2, "soap", None, " 7"), line(3, "tea", None, "7.0")],
        [3, 1],
        [["milk", "soap", "tea"], ["tea"]],
    ),
    "blank ids are none": ([line(0, "tea", "", ""), line(0, "milk", "", ""), line(2, "soap", "", "")], [2, 1], None),
    "one session of two customers": (
        [line(0, "tea", "s"), line(0, "tea", "s", customer="bob")],
        [1, 1],
        [["tea"], ["tea"]],
    ),
    "neither: a moment is an order, a day a basket": (
        [line(0, "tea"), line(0, "milk"), line(0.2, "soap"), line(1.1, "tea")],
        [2, 1, 1],
        [["milk", "soap", "tea"], ["tea"]],
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_lines_are_put_into_orders(tmp_path: Path, case: str) -> None:
    rows, sizes, expected = CASES[case]
    path = write_timeline(tmp_path / "timeline.parquet", rows)
    found = orders(path)
    assert sorted(value / 10 for _, value in found) == sorted(sizes)
    assert sum(value for _, value in found) == 10.0 * len(rows)
    if expected is not None:
        assert sorted(baskets(path)) == sorted(expected)


def test_an_order_of_a_long_session_is_dated_at_its_own_first_line(tmp_path: Path) -> None:
    rows = [line(-200, "tea", "s"), line(2, "tea", "s"), line(2 + MINUTE, "milk", "s"), line(4, "soap", "s")]
    path = write_timeline(tmp_path / "timeline.parquet", rows)
    assert orders(path) == [(-200.0, 10.0), (2.0, 20.0), (4.0, 10.0)]
    with timeline_connection(path) as connection:
        log = Period(START - timedelta(days=200), START + timedelta(days=10))
        success = measure_success(connection, ReportConfig(), Period(START, START + timedelta(days=10)), log)
    assert (success.counts["orders"], success.counts["revenue"]) == (2.0, 30.0)  # it was none: the session began before


def test_the_share_that_unsubscribed_does_not_count_ends_of_contracts(tmp_path: Path) -> None:
    rows = [event(name, 1, "send", "email") for name in ("ada", "bob", "cy", "di")]
    rows += [event("ada", 2, "unsubscribe", "email"), event("bob", 2, "unsubscribe", "web", product_id="plan")]
    rows += [event("cy", 2, "unsubscribe", "email", product_id="")]
    path = write_timeline(tmp_path / "timeline.parquet", rows)
    with timeline_connection(path) as connection:
        log = Period(START, START + timedelta(days=10))
        success = measure_success(connection, ReportConfig(), Period(START, START + timedelta(days=10)), log)
    rate = next(one.now.value for one in success.measures if one.name == "unsubscribe_rate")
    assert rate == pytest.approx(2 / 4)
