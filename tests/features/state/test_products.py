"""Product states: sums fade exactly, in any order of purchases, and rows hold what they are made of."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.state.event_arrays import product_code
from features.state.product_blocks import BLOCK, BLOCK_SCHEMA, N_BLOCKS, ProductBlocks
from features.state.products import POPULARITY_DAYS, ProductStates, fold_purchases, purchases
from features.vocabulary import DAY_S

Purchases = list[tuple[int, float]]
LISTS = st.lists(st.tuples(st.integers(1, 200), st.floats(0, 400)), max_size=40)


def folded(bought: Purchases, states: ProductStates | None = None) -> ProductStates:
    """Purchases as (code, day)."""
    code = np.array([code for code, _ in bought], np.int64)
    return fold_purchases(states or ProductStates.empty(), code, np.array([day * DAY_S for _, day in bought]))


def test_a_sum_is_what_is_left_of_each_purchase() -> None:
    states = folded([(7, 0.0), (3, 10.0), (7, 20.0)])

    assert states.code.tolist() == [3, 7]
    assert (states.first_s / DAY_S).tolist() == [10.0, 0.0]
    assert (states.last_s / DAY_S).tolist() == [10.0, 20.0]
    for column, days in enumerate(POPULARITY_DAYS):
        assert states.count[:, column] == pytest.approx([1.0, 1.0 + 2 ** (-20 / days)])
        assert states.counts(34 * DAY_S)[:, column] == pytest.approx(
            [2 ** (-24 / days), 2 ** (-14 / days) + 2 ** (-34 / days)]
        )


def test_a_sum_does_not_grow_where_the_clock_stands_before_the_last_purchase() -> None:
    states = folded([(7, 20.0)])

    assert states.counts(0.0).tolist() == [[1.0] * len(POPULARITY_DAYS)]


@given(LISTS, st.randoms(use_true_random=False))
def test_purchases_fold_in_any_order_and_in_any_pieces(bought: Purchases, random) -> None:
    whole, order = folded(bought), list(bought)
    random.shuffle(order)
    cut = random.randint(0, len(order))

    pieces = folded(order[cut:], folded(order[:cut]))

    assert pieces.code.tolist() == whole.code.tolist()
    for name in ("count", "first_s", "last_s"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=1e-9)


def test_rows_of_codes_that_nobody_bought_are_minus_one() -> None:
    assert folded([(7, 0.0), (3, 1.0)]).rows_of(np.array([3, 4, 7, 9])).tolist() == [0, -1, 1, -1]
    assert ProductStates.empty().rows_of(np.array([[3], [4]])).tolist() == [[-1], [-1]]


@given(LISTS)
def test_rows_hold_all_of_the_states(bought: Purchases) -> None:
    blocks = ProductBlocks(folded(bought), np.arange(N_BLOCKS))

    table = blocks.rows()
    back = ProductBlocks.of_rows((row[BLOCK], row) for row in reversed(table.to_pylist()))

    assert table.schema == BLOCK_SCHEMA
    for name in ("code", "count", "first_s", "last_s"):
        np.testing.assert_array_equal(getattr(back.states, name), getattr(blocks.states, name))
    there = sorted({code % N_BLOCKS for code, _ in bought})
    assert back.last_seq[there].tolist() == there


def test_a_purchase_counts_once_however_often_it_comes() -> None:
    code, time_s, seq = np.array([1, 65, 2]), np.array([0.0, DAY_S, DAY_S]), np.array([1, 2, 3])
    blocks, changed = ProductBlocks.empty().add(code, time_s, seq, upto_seq=4)
    assert (changed.tolist(), blocks.last_seq.tolist()) == ([1, 2], [4] * N_BLOCKS)

    again, unchanged = blocks.add(code, time_s, seq, upto_seq=3)
    more, changed = again.add(np.array([2, 2]), np.array([2 * DAY_S, 0.0]), np.array([4, 6]), upto_seq=7)

    assert unchanged.tolist() == []
    assert again.states.count.tolist() == blocks.states.count.tolist()
    assert changed.tolist() == [2]
    assert more.states.count[1] == pytest.approx([1 + 2 ** (-1 / days) for days in POPULARITY_DAYS])
    assert more.rows([2, 5])[BLOCK].to_pylist() == ["2"]


def test_only_purchases_of_a_product_count() -> None:
    moment = pa.scalar(1_500_000, pa.timestamp("us", "UTC"))
    rows = [("purchase", "tea"), ("view", "tea"), ("purchase", None), ("purchase", ""), ("purchase", "milk")]
    events = pa.Table.from_pylist(
        [
            {"kind": kind, "product_id": product, "occurred_at": moment, "seq": seq}
            for seq, (kind, product) in enumerate(rows)
        ]
    )

    code, time_s, seq = purchases(events)

    assert code.tolist() == product_code(["tea", "milk"]).tolist()
    assert (time_s.tolist(), seq.tolist()) == ([1.5, 1.5], [0, 4])
