"""A report of customers whose truth is known: who is told from whom, how sure, and how long it takes."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.experiments.experiment import Experiment
from features.log.lists.experiment_table import KeptExperiment
from training.experiments.report import ExperimentReport, report_of

VARIANTS = [{"name": "as-is", "share": 0.5}, {"name": "warm", "share": 0.5}]


def rows_of(n: int, lift: float, seed: int = 1) -> pd.DataFrame:
    """Two variants of n customers each; money follows the past, and is `lift` more in the second."""
    rng = np.random.default_rng(seed)
    spends = rng.gamma(2, 10, 2 * n)
    warm = np.arange(2 * n) % 2 == 1
    plain = {name: np.zeros(2 * n) for name in ("responses", "past_responses", "past_unsubscribed")}
    return pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(2 * n)],
            "variant": np.where(warm, "warm", "as-is"),
            "has_past": True,
            "revenue": spends + rng.normal(0, 3, 2 * n) + lift * warm,
            "past_revenue": spends,
            "orders": rng.poisson(2, 2 * n).astype(float),
            "past_orders": rng.poisson(2, 2 * n).astype(float),
            "unsubscribed": (rng.random(2 * n) < 0.1).astype(float),
            **plain,
        }
    )


def report(
    rows: pd.DataFrame, entered: dict[str, int] | None = None, units: Any = None, **more: Any
) -> ExperimentReport:
    kept = KeptExperiment(Experiment(name="warmer", variants=VARIANTS, **more), 0.0)
    counts = entered or rows["variant"].value_counts().to_dict()
    return report_of(kept, rows, units, counts, days=10.0)


def test_a_difference_that_is_there_is_told_at_any_time_and_one_that_is_not_is_not() -> None:
    found = report(rows_of(500, lift=2.0))
    revenue, orders, responses, unsubscribed = found.comparisons
    assert (revenue.metric, orders.metric) == ("revenue", "orders")
    assert 0 < revenue.at_any_time.low < revenue.difference.low < 2.0 < revenue.difference.high
    assert revenue.explained > 0.9
    assert orders.at_any_time.low < 0 < orders.at_any_time.high
    assert (responses.control, responses.value) == (0.0, 0.0)
    assert 0 < unsubscribed.control < 0.2
    assert found.verdict == "warm has more revenue than as-is."
    assert (found.counted, found.notes) == ({"as-is": 500, "warm": 500}, ())
    assert report(rows_of(500, lift=0.0)).verdict == "No variant is told from as-is in revenue yet."


def test_without_the_past_the_same_customers_tell_less() -> None:
    rows = rows_of(500, lift=2.0)
    assert report(rows, past_days=0).comparisons[0].explained == 0.0
    widths = [
        each.difference.high - each.difference.low
        for each in (report(rows, past_days=days).comparisons[0] for days in (56, 0))
    ]
    assert widths[0] < 0.4 * widths[1]


def test_a_broken_split_forbids_every_verdict() -> None:
    found = report(rows_of(500, lift=2.0), entered={"as-is": 500, "warm": 400})
    assert found.split_p_value < 1e-3
    assert "nothing may be concluded" in found.verdict
    assert "something decides about who" in found.notes[0]


def test_it_says_how_many_and_how_long_it_takes() -> None:
    found = report(rows_of(500, lift=0.0), effect=0.02)
    assert found.units_needed is not None and found.days_needed is not None
    assert found.days_needed == pytest.approx((found.units_needed - 1_000) / 100)
    assert report(rows_of(500, lift=0.0), effect=0.04).units_needed == pytest.approx(found.units_needed / 4, rel=1e-6)
    assert report(rows_of(500, lift=0.0), effect=1.0).days_needed == 0.0


def test_households_are_one_unit_each() -> None:
    rows = rows_of(400, lift=0.0)
    units = {name: f"h{number // 4}-{number % 2}" for number, name in enumerate(rows["customer_id"])}
    found = report(rows, units=units, unit="household")
    assert found.counted == {"as-is": 200, "warm": 200}
    assert found.comparisons[0].control == pytest.approx(rows[rows["variant"] == "as-is"]["revenue"].mean())


def test_few_units_and_those_who_are_not_counted_are_said() -> None:
    found = report(rows_of(20, lift=0.0), entered={"as-is": 30, "warm": 28})
    assert found.notes[0].startswith("Fewer than 100 units are in as-is, warm")
    assert found.notes[1].startswith("18 customers are not counted yet")
    assert math.isfinite(found.comparisons[0].at_any_time.high)
