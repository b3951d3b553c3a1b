"""Returns: what went back was not bought, for habits, rhythm, money and sequence; however it is folded."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.state import layout
from features.state.batch import StateBatch
from features.state.bought import bought_products
from features.state.encoding import encode
from features.state.event_arrays import product_code
from features.state.fold import customer_arrays, fold_customer, fold_newer, fold_timeline
from features.vocabulary import CHANNEL_CODES, KIND_CODES, KINDS

START = datetime(2024, 1, 1, tzinfo=UTC)
PURCHASE, RETURN = KIND_CODES["purchase"], KIND_CODES["return"]


def timeline(*rows: tuple) -> pa.Table:
    """Events as (days after START, kind, product, quantity, value, order)."""
    rows = tuple((*row, *[None] * (6 - len(row))) for row in rows)
    return pa.table(
        {
            "occurred_at": pa.array([START + timedelta(days=row[0]) for row in rows], pa.timestamp("us", "UTC")),
            "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
            "kind": pa.array([row[1] for row in rows], pa.string()),
            "channel": pa.array(["store"] * len(rows), pa.string()),
            "product_id": pa.array([row[2] for row in rows], pa.string()),
            "quantity": pa.array([row[3] for row in rows], pa.float64()),
            "value": pa.array([row[4] for row in rows], pa.float64()),
            "properties": pa.array([None if row[5] is None else f'{{"order_id": "{row[5]}"}}' for row in rows]),
        }
    )


def habit(state: StateBatch, product: str) -> dict[str, float] | None:
    at = np.flatnonzero(state.habit_product.values == product_code([product])[0])
    if not len(at):
        return None
    weight, last, first, count = state.habit_stats.values[at[0], :4]
    return {
        "weight": weight,
        "last": (last - START.timestamp()) / 86_400,
        "span": (last - first) / 86_400,
        "count": count,
    }


def spent(state: StateBatch) -> tuple[float, float]:
    """Purchased lines, and money with hardly any decay, of the store."""
    code = CHANNEL_CODES["store"] * len(KINDS) + PURCHASE
    rows = state.pair_stats.values[state.pair_codes.values == code]
    return (rows[0, layout.PAIR_TOTAL], rows[0, layout.PAIR_VALUES + 4]) if len(rows) else (0.0, 0.0)


def test_of_ten_bought_and_one_returned_nine_are_left() -> None:
    state = fold_customer(timeline((0, "purchase", "a", 10, 100.0), (0, "return", "a", 1, 10.0)))
    assert habit(state, "a") == {"weight": 1, "last": 0, "span": 0, "count": 1}
    assert spent(state) == (1, pytest.approx(90.0))
    assert state.scalar("occasion_value")[0] == pytest.approx(90.0)


def test_of_two_lines_of_a_basket_one_is_left() -> None:
    lines = [(0, "purchase", "a", 1, 5.0), (0, "purchase", "a", 1, 5.0)]
    state = fold_customer(timeline(*lines, (3, "return", "a", 1, 5.0)))
    assert habit(state, "a") == {"weight": 1, "last": 0, "span": 0, "count": 1}
    assert spent(state) == (1, pytest.approx(5.0))


def test_without_the_last_purchase_the_rhythm_is_that_of_the_others() -> None:
    bought = [(day, "purchase", "a", 1, 4.0) for day in (0, 10, 20)]
    state = fold_customer(timeline(*bought, (25, "return", "a", 1, 4.0)))
    assert habit(state, "a") == {"weight": pytest.approx(1 + 2 ** (-10 / 60)), "last": 10, "span": 10, "count": 2}
    assert state.scalar("n_occasions")[0] == 2
    assert state.scalar("gap_mean_days")[0] == 10
    assert (state.scalar("last_occasion")[0] - START.timestamp()) / 86_400 == 10
    assert (state.seq_event.values // layout.EVENT_CODE_BASE).tolist() == [PURCHASE, PURCHASE, RETURN]


def test_an_order_is_undone_by_its_own_return() -> None:
    bought = [(0, "purchase", "a", 1, 4.0, "A"), (10, "purchase", "a", 1, 6.0, "B")]
    first = fold_customer(timeline(*bought, (11, "return", "a", 1, 4.0, "A")))
    newest = fold_customer(timeline(*bought, (11, "return", "a", 1, 4.0)))
    other = fold_customer(timeline(*bought, (11, "return", "a", 1, 4.0, "from before we kept a log")))
    assert [habit(state, "a")["last"] for state in (first, newest, other)] == [10, 0, 10]
    assert habit(other, "a")["count"] == 2
    unnamed = [(0, "purchase", "a", 1, 4.0), (10, "purchase", "a", 1, 6.0, "B")]
    assert habit(fold_customer(timeline(*unnamed, (11, "return", "a", 1, 4.0, "A"))), "a")["last"] == 10


def test_who_returned_everything_is_no_buyer_and_nothing_goes_below_zero() -> None:
    state = fold_customer(timeline((0, "purchase", "a", 2, 8.0), (1, "return", "a", 5, 20.0), (2, "return", "a")))
    assert habit(state, "a") is None
    assert spent(state) == (0.0, 0.0)
    assert state.scalar("n_occasions")[0] == 0
    assert np.isnan([state.scalar(name)[0] for name in ("first_purchase", "last_purchase", "last_occasion")]).all()
    again = fold_customer(
        timeline((0, "purchase", "a", 2, 8.0), (1, "return", "a", 5, 20.0), (2, "purchase", "a", 1, 4.0))
    )
    assert habit(again, "a") == {"weight": 1, "last": 2, "span": 0, "count": 1}


def test_a_return_that_does_not_say_how_many_takes_one_purchase() -> None:
    state = fold_customer(timeline((0, "purchase", "a", 3, 9.0), (1, "purchase", "a", 3, 9.0), (2, "return", "a")))
    assert habit(state, "a") == {"weight": 1, "last": 0, "span": 0, "count": 1}


def test_the_sequence_fills_up_again_from_before() -> None:
    views = [(day, "view", f"p{day}") for day in range(layout.SEQUENCE_LENGTH)]
    late = layout.SEQUENCE_LENGTH + 1
    state = fold_customer(timeline(*views, (late, "purchase", "a", 1, 1.0), (late + 1, "return", "a", 1, 1.0)))
    expected = product_code([f"p{day}" for day in range(1, layout.SEQUENCE_LENGTH)] + ["a"])
    assert state.seq_product.values.tolist() == expected.tolist()


def test_a_return_on_top_of_a_state_is_folded_from_the_beginning() -> None:
    state = fold_customer(timeline((0, "purchase", "a", 1, 1.0)))
    assert fold_newer(state, customer_arrays(timeline((1, "return", "a", 1, 1.0)))) is None


STORIES = st.lists(
    st.tuples(
        st.integers(0, 40).map(lambda half: half / 2),
        st.sampled_from(["purchase", "purchase", "purchase", "return", "view"]),
        st.sampled_from(["a", "b", "c"]),
        st.one_of(st.none(), st.integers(1, 4)),
        st.integers(0, 20).map(float),
        st.sampled_from([None, None, "A", "B"]),
    ),
    max_size=30,
)


def kept_by_hand(rows: list[tuple]) -> list[tuple]:
    """Purchases (day, product, units left, value left) of rows in order, by the rule as it is written."""
    bought: list[list] = []
    for day, kind, product, quantity, value, order in rows:
        if kind == "purchase":
            bought.append([day, product, quantity or 1, quantity or 1, value, order])
        elif kind == "return":
            mine = [line for line in reversed(bought) if line[1] == product and line[2] > 0]
            if order is not None:
                mine = [line for line in mine if line[5] == order] + [line for line in mine if line[5] is None]
            left = quantity if quantity is not None else (mine[0][2] if mine else 0)
            for line in mine:
                taken = min(left, line[2])
                line[2] -= taken
                left -= taken
    return [
        (day, product, units, value * units / all_units) for day, product, units, all_units, value, _ in bought if units
    ]


@settings(max_examples=200, deadline=None)
@given(rows=STORIES)
def test_a_history_with_returns_folds_like_one_without_what_went_back(rows: list) -> None:
    rank = {"view": 0, "purchase": 1, "return": 2}
    rows = sorted(rows, key=lambda row: (row[0], rank[row[1]]))
    kept = kept_by_hand(rows)
    state = fold_customer(timeline(*rows))
    wanted = fold_customer(timeline(*[(day, "purchase", product, units, value) for day, product, units, value in kept]))
    np.testing.assert_array_equal(state.habit_product.values, wanted.habit_product.values)
    np.testing.assert_array_equal(state.habit_stats.values, wanted.habit_stats.values)
    for name in ("first_purchase", "last_occasion", "n_occasions", "gap_mean_days", "gap_m2", "last_gap_days"):
        np.testing.assert_array_equal(state.scalar(name), wanted.scalar(name), err_msg=name)
    np.testing.assert_allclose(spent(state), spent(wanted), rtol=1e-6)
    np.testing.assert_allclose(state.scalar("occasion_value"), wanted.scalar("occasion_value"), rtol=1e-9, atol=1e-9)
    of_purchases = state.seq_event.values // layout.EVENT_CODE_BASE == PURCHASE
    assert state.seq_product.values[of_purchases].tolist() == wanted.seq_product.values.tolist()
    bought = bought_products(customer_arrays(timeline(*rows)))
    rows = zip(wanted.habit_product.values.tolist(), wanted.habit_stats.values.tolist(), strict=True)
    held = {code: (occasions, first, began, last) for code, (_, last, first, _, _, occasions, began) in rows}
    columns = bought.occasions, bought.first_s, bought.began_s, bought.last_s
    of_log = zip(*(column.tolist() for column in columns), strict=True)
    assert dict(zip(bought.code.tolist(), of_log, strict=True)) == held


@settings(max_examples=100, deadline=None)
@given(rows=STORIES)
def test_returns_that_are_counted_at_the_end_end_in_the_state_that_counting_at_each_does(rows: list) -> None:
    """Bit for bit: answers fold a customer to the newest state, builds to the state of every moment."""
    events = timeline(*rows)
    events = events.take(pc.sort_indices(events["occurred_at"])).append_column(
        "customer_id", pa.repeat("ada", len(rows))
    )
    states = [row for part, _ in fold_timeline(events) for row in part["state"].to_pylist()]
    products = [row for _, part in fold_timeline(events) for row in part["products"].to_pylist()]
    newest, of_products = encode(fold_customer(events), ["ada"])
    if rows:
        assert newest["state"].to_pylist() == states[-1:]
        assert of_products["products"].to_pylist() == products[-1:]
