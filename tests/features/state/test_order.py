"""Events of one moment: each pair of kinds counts in its one order, whatever their ids and however they are folded."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.state import layout
from features.state.batch import StateBatch
from features.state.encoding import decode
from features.state.event_arrays import product_code
from features.state.fold import fold_customer, fold_timeline
from features.state.order import KINDS_IN_ORDER
from features.vocabulary import CHANNEL_CODES, KINDS, Task

START = datetime(2024, 1, 1, tzinfo=UTC)
EMAIL = CHANNEL_CODES["email"]


def timeline(*rows: tuple, customer: str = "c1") -> pa.Table:
    """Events as (minute, kind, channel, product, properties), with ids in the opposite order of their places in the log."""
    rows = tuple((*row, *[None] * (5 - len(row))) for row in rows)
    return pa.table(
        {
            "customer_id": pa.array([customer] * len(rows), pa.string()),
            "occurred_at": pa.array([START + timedelta(minutes=row[0]) for row in rows], pa.timestamp("us", "UTC")),
            "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
            "kind": pa.array([row[1] for row in rows], pa.string()),
            "channel": pa.array([row[2] for row in rows], pa.string()),
            "product_id": pa.array([row[3] for row in rows], pa.string()),
            "quantity": pa.array([1.0] * len(rows), pa.float64()),
            "value": pa.nulls(len(rows), pa.float64()),
            "properties": pa.array([row[4] for row in rows], pa.string()),
        }
    )


def either_way(*rows: tuple) -> StateBatch:
    """The state after `rows` of one moment, which is the same in any order of arrival."""
    first, *others = (fold_customer(timeline(*[(0, *row) for row in order])) for order in permutations(rows))
    for other in others:
        for name, values in vars(first).items():
            if name != "last_seq":
                np.testing.assert_array_equal(
                    getattr(values, "values", values), getattr(getattr(other, name), "values", getattr(other, name))
                )
    return first


NO_MAIL, YES_MAIL = '{"consent": {"email": false}}', '{"consent": {"email": true, "sms": true}}'


@pytest.mark.parametrize(
    "rows",
    [
        [("subscribe", "email"), ("unsubscribe", "email")],
        [("profile", "web", None, YES_MAIL), ("unsubscribe", "email")],
        [("subscribe", "email"), ("profile", "web", None, NO_MAIL)],
        [("profile", "web", None, YES_MAIL), ("profile", "web", None, NO_MAIL)],
        [("subscribe", "email"), ("profile", "web", None, NO_MAIL), ("profile", "web", None, YES_MAIL)],
    ],
)
def test_of_a_yes_and_a_no_at_one_moment_the_no_counts(rows: list) -> None:
    assert either_way(*rows).channels[0, EMAIL, layout.CONSENT] == 0.0


def test_two_answers_that_each_refuse_something_refuse_both() -> None:
    one, other = (
        '{"consent": {"email": true, "sms": false}}',
        '{"consent": {"email": false, "sms": true}, "profiling": true}',
    )
    state = either_way(
        ("profile", "web", None, one), ("profile", "web", None, other), ("profile", "web", None, '{"profiling": false}')
    )
    assert state.channels[0, [EMAIL, CHANNEL_CODES["sms"]], layout.CONSENT].tolist() == [0.0, 0.0]
    assert state.scalar("profiling")[0] == 0.0


def test_a_later_yes_counts_again() -> None:
    state = fold_customer(timeline((0, "subscribe", "email"), (0, "unsubscribe", "email"), (1, "subscribe", "email")))
    assert state.channels[0, EMAIL, layout.CONSENT] == 1.0


def test_what_was_put_in_the_cart_and_bought_is_not_in_the_cart() -> None:
    assert len(either_way(("add_to_cart", "web", "a"), ("purchase", "web", "a")).cart_product.values) == 0
    assert len(either_way(("add_to_cart", "web", "a"), ("remove_from_cart", "web", "a")).cart_product.values) == 0


def test_what_was_bought_and_returned_is_not_bought() -> None:
    state = either_way(("purchase", "store", "a"), ("return", "store", "a"))
    assert len(state.habit_product.values) == 0
    assert state.scalar("n_occasions")[0] == 0


def test_an_answer_comes_after_what_it_answers() -> None:
    assert either_way(("send", "email"), ("open", "email")).channels[0, EMAIL, layout.UNANSWERED] == 0


def test_a_contract_that_is_changed_ends_and_begins() -> None:
    state = either_way(("unsubscribe", "web", "old"), ("subscribe", "web", "new"))
    assert state.scalar("contract_since")[0] == START.timestamp()


def test_equal_kinds_count_as_they_arrived() -> None:
    for order in (["a", "b"], ["b", "a"]):
        state = fold_customer(timeline(*[(0, "view", "web", product) for product in order]))
        assert state.seq_product.values.tolist() == product_code(order).tolist()


def test_every_kind_has_one_place() -> None:
    assert sorted(KINDS_IN_ORDER) == sorted(KINDS)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["view", "add_to_cart", "purchase", "return", "send", "open", "subscribe", "unsubscribe"]),
            st.sampled_from(["web", "email"]),
            st.sampled_from(["a", "b"]),
        ),
        min_size=1,
        max_size=12,
    ),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_timeline_folds_alike_however_its_ties_are_sorted(rows: list, shuffled) -> None:
    rows = [row if row[1] not in ("send", "open", "subscribe", "unsubscribe") else row[:3] for row in rows]
    table = pa.concat_tables(
        [timeline(*rows, customer=name).sort_by("occurred_at") for name in ("c1", "c2")]  # stable: by seq
    )
    names, moments = table["customer_id"].to_pylist(), table["occurred_at"].to_pylist()
    order = sorted(range(table.num_rows), key=lambda i: (names[i], moments[i], shuffled.random()))
    for mine, theirs in zip(fold_timeline(table), fold_timeline(table.take(order)), strict=True):
        assert mine[0].equals(theirs[0])
        assert mine[1].equals(theirs[1])
    whole = fold_customer(timeline(*rows).take(pa.array(np.argsort([row[0] for row in rows], kind="stable"))))
    last = decode(pa.concat_tables([states for states, _ in fold_timeline(table)]), None)
    np.testing.assert_array_equal(last.scalars[-1], whole.scalars[0])
    np.testing.assert_array_equal(last.channels[-1], whole.channels[0])


@pytest.mark.parametrize("n_asked", [1, 63, 64, 5_000])
def test_there_is_one_row_for_a_customer_and_a_moment_however_many_are_asked(n_asked: int, tmp_path: Path, kit) -> None:
    def ties(customer: str) -> list:
        kinds = ("view", "purchase", "send", "add_to_cart", "open")
        return [kit.Happening(customer, day, kind, product="p") for day in (1, 2, 3) for kind in kinds * 3]

    names = [f"c{i}" for i in range(40)]
    store, files = kit.make_store(tmp_path / "home", [tie for name in names for tie in ties(name)])
    for path in (files.customer_state_path, files.customer_products_path):
        keys = pq.read_table(path, columns=["customer_id", "event_timestamp"]).to_pandas()
        assert not keys.duplicated().any()
        assert len(keys) == 3 * len(names)
    asked = [(names[i % len(names)], 1.5 + i % 3) for i in range(n_asked)]
    entities = pd.DataFrame(
        {
            "customer_id": [name for name, _ in asked],
            "as_of": pd.DatetimeIndex([kit.at(day) for _, day in asked], tz="UTC").as_unit("us"),
        }
    )
    states = store.training_states(entities, Task.NEXT_PRODUCT)
    bought = states.pair_stats.values[states.pair_codes.values % len(KINDS) == list(KINDS).index("purchase")]
    assert bought[:, layout.PAIR_TOTAL].tolist() == [3.0 * (1 + i % 3) for i in range(n_asked)]
    assert states.scalar("last_event").tolist() == [kit.at(1 + i % 3).timestamp() for i in range(n_asked)]
