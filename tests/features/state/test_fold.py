"""The fold: known small histories by hand, and batch = live for any history."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreError
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.state.encoding import decode, decode_one, encode
from features.state.event_arrays import event_arrays, product_code
from features.state.fold import customer_arrays, fold_customer, fold_events, fold_newer, fold_timeline
from features.state.kernel_parts import decay
from features.vocabulary import CHANNEL_CODES, CHANNELS, KIND_CODES, KINDS

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday


def timeline(*rows: tuple, customer: str = "c1") -> pa.Table:
    """Events as (days after START, kind, channel, product, quantity, value)."""
    return pa.table(
        {
            "customer_id": pa.array([customer] * len(rows), pa.string()),
            "occurred_at": pa.array([START + timedelta(days=row[0]) for row in rows], pa.timestamp("us", "UTC")),
            "event_id": pa.array([f"e{i:04}" for i in range(len(rows))], pa.string()),
            "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
            "kind": pa.array([row[1] for row in rows], pa.string()),
            "channel": pa.array([row[2] for row in rows], pa.string()),
            "product_id": pa.array([row[3] if len(row) > 3 else None for row in rows], pa.string()),
            "quantity": pa.array([row[4] if len(row) > 4 else None for row in rows], pa.float64()),
            "value": pa.array([row[5] if len(row) > 5 else None for row in rows], pa.float64()),
        }
    )


def pair(state: StateBatch, channel: str, kind: str) -> np.ndarray:
    code = CHANNEL_CODES[channel] * len(KINDS) + KIND_CODES[kind]
    return state.pair_stats.values[list(state.pair_codes.values).index(code)]


def assert_same(a: StateBatch, b: StateBatch) -> None:
    for name, left in vars(a).items():
        right = getattr(b, name)
        if isinstance(left, Ragged):
            np.testing.assert_array_equal(left.offsets, right.offsets, err_msg=name)
            np.testing.assert_array_equal(left.values, right.values, err_msg=name)
        else:
            np.testing.assert_array_equal(left, right, err_msg=name)


def test_a_decayed_count_halves_in_its_half_life() -> None:
    state = fold_customer(timeline((0, "view", "web", "p"), (7, "view", "web", "p")))
    stats = pair(state, "web", "view")
    assert stats[layout.PAIR_TOTAL] == 2
    assert stats[layout.PAIR_COUNTS + 1] == pytest.approx(1.5)  # half-life 7 days
    assert stats[layout.PAIR_COUNTS + 2] == pytest.approx(1 + 2 ** (-7 / 30))


def test_money_decays_like_counts_and_a_missing_value_adds_nothing() -> None:
    state = fold_customer(timeline((0, "purchase", "store", "p", 1, 10.0), (30, "purchase", "store", "q", 1, None)))
    assert pair(state, "store", "purchase")[layout.PAIR_VALUES + 2] == pytest.approx(5.0)  # half-life 30 days


def test_lines_of_one_basket_are_one_occasion() -> None:
    state = fold_customer(
        timeline(
            (0, "purchase", "store", "a", 1, 2.0),
            (0, "purchase", "store", "b", 1, 3.0),
            (4, "purchase", "web", "a", 1, 7.0),
            (10, "purchase", "web", "a", 1, 1.0),
        )
    )
    assert state.scalar("n_occasions")[0] == 3
    assert state.scalar("gap_mean_days")[0] == pytest.approx(5.0)
    assert state.scalar("gap_m2")[0] == pytest.approx(2.0)  # (4 - 5)^2 + (6 - 5)^2
    assert state.scalar("last_gap_days")[0] == pytest.approx(6.0)
    assert state.scalar("occasion_value")[0] == pytest.approx(1.0)
    assert state.scalar("previous_occasion_value")[0] == pytest.approx(7.0)


def test_the_cart_is_emptied_by_a_purchase_on_any_channel() -> None:
    in_cart = (0, "add_to_cart", "app", "a", 2)
    state = fold_customer(
        timeline(
            in_cart, (1, "add_to_cart", "web", "b"), (2, "add_to_cart", "web", "a"), (3, "purchase", "store", "b", 1)
        )
    )
    assert state.cart_product.values.tolist() == product_code(["a"]).tolist()
    assert state.cart_stats.values[0].tolist()[:2] == [CHANNEL_CODES["web"], 3.0]


def test_units_taken_out_of_the_cart_leave_the_others_in() -> None:
    rows = [(0, "add_to_cart", "app", "a", 3), (1, "remove_from_cart", "web", "a", 1)]
    assert fold_customer(timeline(*rows)).cart_stats.values[0, layout.CART_QUANTITY] == 2
    for gone in ((2, "remove_from_cart", "web", "a", 2), (2, "remove_from_cart", "web", "a")):
        assert len(fold_customer(timeline(*rows, gone)).cart_product.values) == 0


def test_a_return_takes_back_the_last_purchase_of_a_habit() -> None:
    bought = [(0, "purchase", "store", "a", 1, 1.0), (0, "purchase", "store", "b", 1, 1.0)]
    again = (30, "purchase", "web", "a", 1, 1.0)
    back = [(day, "return", "store", product, 1, 1.0) for day, product in ((31, "a"), (32, "b"), (33, "never bought"))]
    state = fold_customer(timeline(*bought, again, *back))
    assert state.habit_product.values.tolist() == product_code(["a"]).tolist()
    assert state.habit_stats.values[0].tolist() == [
        1.0,
        START.timestamp(),
        START.timestamp(),
        1.0,
        0.0,
        1.0,
        START.timestamp(),
    ]  # as bought on the first day
    assert len(fold_customer(timeline(*bought, back[0], back[1])).habit_product.values) == 0


def test_looked_up_powers_are_powers() -> None:
    elapsed = np.concatenate([np.random.default_rng(1).uniform(0, 40, 500), [0.0, 1.0, 900.5, 1_080.0, 1e9]])
    found = np.array([decay.py_func(x) for x in elapsed])
    np.testing.assert_allclose(found, np.exp2(-elapsed), rtol=1e-15, atol=1e-300)
    assert decay(3.0) == 0.125


def test_contacts_go_unanswered_until_the_customer_responds_on_that_channel() -> None:
    events = timeline(
        (0, "send", "email"), (1, "send", "email"), (1, "send", "sms"), (2, "open", "email"), (3, "send", "email")
    )
    state = fold_customer(events)
    unanswered = state.channels[0, :, layout.UNANSWERED]
    assert unanswered[CHANNEL_CODES["email"]] == 1
    assert unanswered[CHANNEL_CODES["sms"]] == 1
    assert state.contacts.values[:, 0].tolist() == [CHANNEL_CODES[c] for c in ("email", "email", "email", "sms")]
    assert (state.contacts.values[:, 1] - START.timestamp()).tolist() == [0.0, 86_400.0, 3 * 86_400.0, 86_400.0]


def test_consent_is_the_last_word_per_channel() -> None:
    state = fold_customer(timeline((0, "subscribe", "email"), (1, "subscribe", "sms"), (2, "unsubscribe", "email")))
    consent = dict(zip(CHANNELS, state.channels[0, :, layout.CONSENT], strict=True))
    assert (consent["email"], consent["sms"], consent["push"]) == (0, 1, -1)


def test_habits_keep_the_products_bought_most_and_latest() -> None:
    n = layout.N_HABITS
    once = [(i / 100, "purchase", "store", f"once{i}", 1, 1.0) for i in range(n)]
    twice = [(5, "purchase", "store", "twice", 1, 1.0), (9, "purchase", "store", "twice", 1, 1.0)]
    state = fold_customer(timeline(*once, *twice))
    held = set(state.habit_product.values.tolist())
    assert len(held) == n
    assert product_code(["twice"])[0] in held
    assert product_code(["once0"])[0] not in held  # the one that had decayed most made room
    at = np.flatnonzero(state.habit_product.values == product_code(["twice"])[0])[0]
    weight, last, first, count = state.habit_stats.values[at, :4]
    assert ((last - first) / 86_400, count) == (4.0, 2)
    assert weight == pytest.approx(1 + 2 ** (-4 / layout.HABIT_HALF_LIFE_DAYS))


def test_the_sequence_holds_the_last_128_interactions_in_order() -> None:
    state = fold_customer(timeline(*[(i, "view", "web", f"p{i}") for i in range(200)]))
    assert state.seq_product.values.tolist() == product_code([f"p{i}" for i in range(72, 200)]).tolist()


def test_hours_count_active_moments_in_the_week_from_monday() -> None:
    state = fold_customer(
        timeline((1 + 9 / 24, "visit", "store"), (1 + 9.5 / 24, "view", "app", "p"), (0, "send", "email"))
    )
    assert state.hour_bins.values.tolist() == [24 + 9]  # Tuesday, nine o'clock; the second action is the same occasion


def test_hours_decay_to_the_last_action_over_any_time() -> None:
    century = 100 * 365.0
    for days in (90.0, century):  # beyond 15 years the weights are brought to a new moment
        state = fold_customer(timeline((0, "visit", "store"), (1, "visit", "web"), (days + 1.5 / 24, "visit", "store")))
        hours = state.hours()[0]
        # hour 0 on the first day, and hour 1 of whatever weekday the last one is
        assert hours[0] == pytest.approx(2 ** (-(days + 1.5 / 24) / layout.HOUR_HALF_LIFE_DAYS), rel=1e-6, abs=1e-30)
        assert hours[24] == pytest.approx(
            2 ** (-(days - 1 + 1.5 / 24) / layout.HOUR_HALF_LIFE_DAYS), rel=1e-6, abs=1e-30
        )
        assert hours[int(days) % 7 * 24 + 1] == pytest.approx(1.0)
    assert state.scalar("hours_from")[0] > START.timestamp()
    assert StateBatch.empty(2).hours().sum() == 0


def test_bookkeeping_events_change_nothing_but_the_place_in_the_log() -> None:
    before = fold_customer(timeline((0, "view", "web", "p")))
    decision = timeline((1, "decision", "email"))
    after = fold_events(before, decision.set_column(3, "seq", pa.array([9], pa.int64())))
    assert after.last_seq[0] == 9
    np.testing.assert_array_equal(after.scalars, before.scalars)


def test_an_event_that_is_not_newer_is_late() -> None:
    state = fold_customer(timeline((5, "view", "web", "p")))
    assert fold_newer(state, event_arrays(timeline((5, "view", "web", "q")))) is None
    assert fold_newer(state, event_arrays(timeline((4, "view", "web", "q")))) is None
    newer = timeline((5.001, "view", "web", "q"))
    found = fold_newer(state, event_arrays(newer))
    assert found is not None
    assert_same(found, fold_events(state, newer))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_few_events_become_the_same_arrays_as_many(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (day, "purchase", "store", None if day % 3 == 0 else f"p{day}", 1.0, None if day % 2 else 2.0)
        for day in range(n)
    ]
    events = timeline(*rows)
    few = event_arrays(events)
    monkeypatch.setattr("features.state.event_arrays._FEW", -1)
    for name, values in event_arrays(events)._asdict().items():
        assert getattr(few, name).dtype == values.dtype, name
        np.testing.assert_array_equal(getattr(few, name), values, err_msg=name)


@given(st.lists(st.one_of(st.none(), st.sampled_from(["", "tea", "01", "1000002", "\u00e9"])), max_size=20))
def test_a_product_has_one_code_whoever_asks_beside_it(ids: list[str]) -> None:
    assert product_code(ids).tolist() == [int(product_code([name])[0]) for name in ids]


def test_product_codes_are_stable_and_zero_for_none() -> None:
    assert product_code(["1029743", "", None]).tolist() == [product_code(["1029743"])[0], 0, 0]
    assert product_code(["a"])[0] > 0
    many = product_code([str(i) for i in range(5000)])
    assert many[7] == product_code(["7"])[0]  # the bulk path hashes categories; the hash is the same


def test_a_state_row_is_written_for_every_customer_and_moment() -> None:
    events = pa.concat_tables(
        [
            timeline((0, "view", "web", "a"), (0, "view", "web", "b"), (2, "send", "email")),
            timeline((1, "purchase", "store", "a", 1, 1.0), customer="c2"),
        ]
    )
    states, products = (pa.concat_tables(part) for part in zip(*fold_timeline(events), strict=True))
    assert states["customer_id"].to_pylist() == ["c1", "c1", "c2"]
    assert states["event_timestamp"].to_pylist() == [START + timedelta(days=d) for d in (0, 2, 1)]
    assert products["event_timestamp"].to_pylist() == [START, START + timedelta(days=1)]  # a send changes no products


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda hours: hours / 3.0),
        st.sampled_from([kind.value for kind in KINDS]),
        st.sampled_from(["web", "email", "store"]),
        st.sampled_from(["a", "b", "c", None]),
        st.one_of(st.none(), st.integers(1, 3)),
        st.one_of(st.none(), st.integers(0, 50).map(float)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(rows=EVENTS, cuts=st.sets(st.integers(0, 40)), capacity=st.integers(1, 5))
def test_batch_and_live_fold_to_the_same_bits(rows: list, cuts: set, capacity: int) -> None:
    events = timeline(*sorted(rows, key=lambda row: row[0]))
    moments = events["occurred_at"].cast(pa.int64()).to_numpy()
    live, at = StateBatch.empty(1), 0
    for cut in sorted({c for c in cuts if 0 < c < len(moments) and moments[c] != moments[c - 1]} | {len(moments)}):
        newer = fold_newer(live, customer_arrays(events.slice(at, cut - at)))
        live = fold_customer(events.slice(0, cut)) if newer is None else newer
        live = decode(*encode(live, ["c1"]))  # what the online store would keep and give back
        at = cut
    assert_same(live, fold_customer(events))
    states = [rows for rows, _ in fold_timeline(events, row_capacity=capacity)]
    if states:
        last = pa.concat_tables(states).slice(sum(map(len, states)) - 1)
        batch = decode(last, None)
        np.testing.assert_array_equal(batch.scalars, live.scalars)
        np.testing.assert_array_equal(batch.pair_stats.values, live.pair_stats.values)


@settings(max_examples=60, deadline=None)
@given(rows=EVENTS)
def test_decayed_counts_equal_their_definition(rows: list) -> None:
    rows = [row for row in rows if row[1] != "return"]  # what they take back: test_returns.py
    events = timeline(*sorted(rows, key=lambda row: row[0]))
    state = fold_customer(events)
    for code, stats in zip(state.pair_codes.values, state.pair_stats.values, strict=True):
        channel, kind = CHANNELS[code // len(KINDS)].value, KINDS[code % len(KINDS)].value
        days = [row[0] for row in rows if row[1] == kind and row[2] == channel]
        expected = [sum(2 ** (-(max(days) - day) / half_life) for day in days) for half_life in (1, 7, 30, 90, 365)]
        np.testing.assert_allclose(stats[layout.PAIR_COUNTS : layout.PAIR_COUNTS + 5], expected, rtol=1e-6)
        assert stats[layout.PAIR_TOTAL] == len(days)


def test_a_missing_row_is_a_customer_without_history() -> None:
    states, products = encode(fold_customer(timeline((0, "purchase", "store", "a", 1, 2.0))), ["c1"])
    nothing = pa.table({name: pa.nulls(1, states.schema.field(name).type) for name in states.column_names})
    none = pa.table({name: pa.nulls(1, products.schema.field(name).type) for name in products.column_names})
    both = decode(pa.concat_tables([states, nothing, states]), pa.concat_tables([products, none, products]))
    assert_same(both.take(np.array([1])), StateBatch.empty(1))
    assert_same(both.take(np.array([2])), both.take(np.array([0])))


def test_decode_one_reads_what_encode_wrote() -> None:
    state = fold_customer(
        timeline((0, "purchase", "store", "a", 1, 2.0), (1, "add_to_cart", "web", "b"), (2, "send", "sms"))
    )
    tables = encode(state, ["c1"])
    fields = {n: t[n][0].as_py() for t in tables for n in t.column_names if n not in ("customer_id", "event_timestamp")}
    assert_same(decode_one(fields), state)
    assert_same(decode_one({}), StateBatch.empty(1))


def test_lists_are_right_aligned_in_dense_form() -> None:
    ragged = Ragged(np.array([0, 2, 2, 5]), np.array([1, 2, 3, 4, 5]))
    assert ragged.dense(3, 0).tolist() == [[0, 1, 2], [0, 0, 0], [3, 4, 5]]
    assert ragged.take(np.array([2, 0, 2])).values.tolist() == [3, 4, 5, 1, 2, 3, 4, 5]
    assert Ragged.concat([ragged, ragged]).offsets.tolist() == [0, 2, 2, 5, 7, 7, 10]


def test_states_of_another_layout_are_refused_with_what_to_run() -> None:
    rows, _ = encode(fold_customer(timeline((0, "view", "web", "p"))), ["c1"])
    other = pa.array([bytes([value[0] ^ 1]) + value[1:] for value in rows["state"].to_pylist()], pa.binary())
    with pytest.raises(StoreError, match=r"another version of the fold\. Run: omni features build --force"):
        decode(rows.set_column(rows.column_names.index("state"), "state", other), None)
