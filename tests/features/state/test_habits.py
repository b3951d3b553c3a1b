"""Habits: purchases of a product that follow each other within a day are one occasion, however they come in and are folded."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.state import layout
from features.state.batch import StateBatch
from features.state.bought import bought_products
from features.state.encoding import decode, encode
from features.state.event_arrays import product_code
from features.state.fold import customer_arrays, fold_customer, fold_newer

START = datetime(2024, 1, 1, tzinfo=UTC)
PRODUCTS = ("a", "b", "c")
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Row:
    """One event: milliseconds after START, and what happened."""

    at_ms: int
    kind: str
    product: str
    channel: str = "web"
    quantity: float | None = None


Habit = tuple[int, int, int, int]  # occasions; ms of the first, of the beginning of the last, of the last purchase


def timeline(rows: list[Row]) -> pa.Table:
    """The rows by time; their numbers in the log are those of the list, which may have come in any order."""
    numbered = sorted(enumerate(rows, 1), key=lambda item: item[1].at_ms)
    moments = [START + timedelta(milliseconds=row.at_ms) for _, row in numbered]
    return pa.table(
        {
            "occurred_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "seq": pa.array([seq for seq, _ in numbered], pa.int64()),
            "kind": pa.array([row.kind for _, row in numbered], pa.string()),
            "channel": pa.array([row.channel for _, row in numbered], pa.string()),
            "product_id": pa.array([row.product for _, row in numbered], pa.string()),
            "quantity": pa.array([row.quantity for _, row in numbered], pa.float64()),
            "value": pa.nulls(len(rows), pa.float64()),
        }
    )


def by_hand(rows: list[Row]) -> dict[str, Habit]:
    """Each product's habit, from the rule as it is written: a return takes the newest units that came before it."""
    lines: dict[str, list[list[float]]] = {name: [] for name in PRODUCTS}
    for row in sorted(rows, key=lambda row: (row.at_ms, row.kind == "return")):
        mine = lines[row.product]
        if row.kind == "purchase":
            mine.append([row.at_ms, row.quantity or 1.0])
        elif row.kind == "return":
            left = row.quantity or next((units for _, units in reversed(mine) if units), 0.0)
            for line in reversed(mine):
                taken = min(left, line[1])
                line[1] -= taken
                left -= taken
    habits = {}
    for name, mine in lines.items():
        moments = [int(at_ms) for at_ms, units in mine if units]
        begun = [at for before, at in pairwise([-DAY_MS, *moments]) if at - before >= DAY_MS]
        if begun:
            habits[name] = (len(begun), begun[0], begun[-1], moments[-1])
    return habits


def habits_of(state: StateBatch) -> dict[str, Habit]:
    names = dict(zip(product_code(PRODUCTS).tolist(), PRODUCTS, strict=True))
    columns = [layout.HABIT_FIRST, layout.HABIT_BEGAN, layout.HABIT_LAST]
    rows = zip(state.habit_product.values.tolist(), state.habit_stats.values, strict=True)
    return {names[code]: (int(row[layout.HABIT_OCCASIONS]), *(ms(at) for at in row[columns])) for code, row in rows}


def ms(at_s: float) -> int:
    return round((at_s - START.timestamp()) * 1_000)


STEPS = st.sampled_from([0, 1, 5_000, 1_800_000, DAY_MS - 1, DAY_MS, DAY_MS + 1, 3 * DAY_MS, 40 * DAY_MS])
ROWS = st.lists(
    st.tuples(
        STEPS,
        st.sampled_from(["purchase", "purchase", "purchase", "return", "view"]),
        st.sampled_from(PRODUCTS),
        st.sampled_from(["web", "store", "app"]),
        st.sampled_from([None, 1.0, 2.0]),
    ),
    max_size=25,
)


def test_two_lines_of_a_basket_and_the_shop_half_an_hour_later_are_one_occasion() -> None:
    rows = [Row(0, "purchase", "a"), Row(5_000, "purchase", "a"), Row(1_805_000, "purchase", "a", "store")]
    assert habits_of(fold_customer(timeline(rows))) == {"a": (1, 0, 0, 1_805_000)}
    day_later = [*rows, Row(1_805_000 + DAY_MS, "purchase", "a")]
    assert habits_of(fold_customer(timeline(day_later))) == {"a": (2, 0, 1_805_000 + DAY_MS, 1_805_000 + DAY_MS)}


@settings(max_examples=300, deadline=None)
@given(steps=ROWS, shuffled=st.randoms(use_true_random=False), cut=st.floats(0, 1))
@example(steps=[(0, "purchase", "a", "web", 1.0)] * 3, shuffled=None, cut=0.5)
def test_habits_count_occasions_however_the_events_come_in(steps: list, shuffled: object, cut: float) -> None:
    at_ms, rows = 0, []
    for step, *told in steps:
        at_ms += step
        rows.append(Row(at_ms, *told))
    expected = by_hand(rows)
    arrived = list(rows)
    kinds = {row.kind for row in rows}
    if shuffled is not None and "return" not in kinds:  # which purchase of a moment goes back hangs on who came first
        shuffled.shuffle(arrived)
    whole = timeline(arrived)
    state = fold_customer(whole)
    assert habits_of(state) == expected

    begin = round(cut * len(rows))
    older = whole.slice(0, begin)
    stored = decode(*encode(fold_customer(older), ["ada"])) if begin else StateBatch.empty(1)
    newer = fold_newer(stored, customer_arrays(whole.slice(begin)))
    if newer is not None:
        assert habits_of(newer) == expected

    bought = bought_products(customer_arrays(whole))
    moments = zip(bought.first_s.tolist(), bought.began_s.tolist(), bought.last_s.tolist(), strict=True)
    from_log = {
        code: (n, *(ms(at) for at in times))
        for code, n, times in zip(bought.code.tolist(), bought.occasions.tolist(), moments, strict=True)
    }
    assert from_log == {int(product_code([name])[0]): habit for name, habit in expected.items()}
