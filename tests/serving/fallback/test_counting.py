"""Events in, everybody's numbers out: by hand on a few rows, and the same however they come in parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import StoreError
from features.vocabulary import DAY_S
from serving.fallback import counting
from serving.fallback.counting import Buyers, Counting, Counts, timeline_batches
from serving.fallback.population import ChurnRate, Population

NOW_S = 1_700_000_000.0
ROWS = [  # days ago, kind, channel, product, store, customer
    (14.0, "purchase", "store", "tea", "s1", "a"),
    (0.0, "purchase", "web", "tea", None, "b"),
    (28.0, "purchase", "web", "milk", None, "a"),
    (40.0, "purchase", "web", None, None, "c"),
    (3.0, "send", "email", None, None, "a"),
    (2.0, "open", "email", None, None, "a"),
]


def table(rows: list[tuple[float, str, str, str | None, str | None, str]]) -> pa.Table:
    days, kind, channel, product, store, customer = zip(*rows, strict=True)
    moments = pa.array([int((NOW_S - ago * DAY_S) * 1e6) for ago in days], pa.timestamp("us", "UTC"))
    texts = {"kind": kind, "channel": channel, "product_id": product, "store_id": store, "customer_id": customer}
    return pa.table(
        {"occurred_at": moments, **{name: pa.array(list(values), pa.string()) for name, values in texts.items()}}
    )


def counted(*parts: pa.Table) -> Population:
    counting = Counting(Counts(NOW_S))
    for part in parts:
        counting.add(part)
    counts = counting.counts()
    return Population(counts.sales, counts.contacts)


def shares(population: Population, place: str) -> dict[str, float]:
    counts = population.sales.counts(place)
    return {name: float(n) for name, n in zip(population.sales.product_ids, counts, strict=True) if n}


def test_sales_fade_and_are_counted_by_place() -> None:
    found = counted(table(ROWS))
    assert shares(found, "") == pytest.approx({"tea": 1.5, "milk": 0.25})
    assert shares(found, "channel:web") == pytest.approx({"tea": 1.0, "milk": 0.25})
    assert shares(found, "store:s1") == pytest.approx({"tea": 0.5})
    assert shares(found, "store:nowhere") == {}
    assert found.contacts == {("email", "send"): 1, ("email", "open"): 1}


def test_parts_come_to_what_the_whole_does() -> None:
    whole, parts = counted(table(ROWS)), counted(*(table([row]) for row in reversed(ROWS)))
    for place in ("", "channel:web", "channel:store", "store:s1"):
        assert shares(parts, place) == pytest.approx(shares(whole, place))
    assert parts.ways == whole.ways and parts.version == whole.version


def test_what_sold_least_is_let_go_where_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_PAIRS", 2)
    assert shares(counted(table(ROWS)), "") == pytest.approx({"tea": 1.5})


def test_the_rate_is_of_those_who_had_bought_before() -> None:
    parts = [Buyers.of(table([row]), "customer_id") for row in ROWS[:4]]
    assert Buyers.together(parts).churn(NOW_S) == ChurnRate(28.0, 1, 1)  # c alone: a and b came later or came back
    assert Buyers.together(parts).churn(NOW_S + DAY_S) == ChurnRate(28.0, 2, 1)
    assert Buyers.together(parts).churn(NOW_S - 20 * DAY_S) is None


def test_ways_begin_with_a_guess_and_end_with_what_was_seen() -> None:
    new = {arm.name: rate for arm, rate in Population().ways}
    assert new == {"email": 0.02, "push": 0.02, "sms": 0.02}
    sent = {("email", "send"): 100_000, ("email", "open"): 30_000, ("email", "click"): 5_000, ("post", "send"): 10}
    seen = {arm.name: (rate, arm.cost) for arm, rate in Population(contacts=sent).ways}
    assert seen["email"] == (0.3, 0.0)
    assert 0.2 < seen["post"][0] < 0.3 and seen["post"][1] == 0.6  # ten letters say little yet
    assert Population(contacts=sent).version != Population().version


def test_a_damaged_timeline_says_what_to_do(tmp_path: Path) -> None:
    whole = tmp_path / "timeline.parquet"
    pq.write_table(table(ROWS), whole)
    assert np.isclose(sum(shares(counted(*timeline_batches(whole)), "").values()), 1.75)
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(StoreError, match="omni features build --force"):
        list(timeline_batches(whole))
