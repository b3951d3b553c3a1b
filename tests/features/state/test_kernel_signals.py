"""The compiled signals against the readable ones: the same bits, and a group that is changed in one place only is noticed."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import signals
from features.signals import GROUPS, SIGNAL_NAMES, compute_signals, read_signals
from features.state.batch import StateBatch
from features.state.drawn import drawn_states
from features.state.fold import fold_customer
from features.state.kernel_agreement import N_DRAWN
from features.state.kernel_signals import Part
from features.state.moment import Group
from features.vocabulary import CHANNELS, KINDS

START = datetime(2024, 1, 1, tzinfo=UTC)


def assert_same(states: StateBatch, as_of: np.ndarray) -> None:
    """To the bit, but for sums near 0 that are made in another order."""
    compiled, readable = compute_signals(states, as_of), read_signals(states, as_of)
    np.testing.assert_allclose(compiled, readable, rtol=1e-6, atol=1e-9)
    differs = (compiled != readable) & ~(np.isnan(compiled) & np.isnan(readable))
    assert differs.mean() < 1e-4, [SIGNAL_NAMES[column] for column in np.flatnonzero(differs.any(axis=0))]


def test_every_group_is_compiled_and_agrees() -> None:
    assert [group.part for group in GROUPS] == list(Part)
    first, others = signals._where_from()
    assert others == () and (first >= 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40))
def test_states_drawn_at_random_give_the_same_numbers(seed: int, n: int) -> None:
    assert_same(*drawn_states(n, np.random.default_rng(seed)))


def test_drawn_states_hold_whatever_a_signal_reads() -> None:
    states, as_of = drawn_states(N_DRAWN, np.random.default_rng(0))
    values = read_signals(states, as_of)
    constant = [name for name, column in zip(SIGNAL_NAMES, values.T, strict=True) if len(np.unique(column)) < 3]
    two_values = [f"consent_{channel.value}" for channel in CHANNELS] + [
        f"prefers_{channel.value}" for channel in CHANNELS
    ]
    assert set(constant) <= set(two_values)


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2_000).map(lambda hours: hours / 2.0),
        st.sampled_from([kind.value for kind in KINDS]),
        st.sampled_from([channel.value for channel in CHANNELS]),
        st.sampled_from(["a", "b", "c", None]),
        st.one_of(st.none(), st.integers(1, 3).map(float)),
        st.one_of(st.none(), st.integers(0, 50).map(float)),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(rows=EVENTS, later_days=st.floats(0, 900))
def test_folded_states_give_the_same_numbers(rows: list, later_days: float) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    state = fold_customer(
        pa.table(
            {
                "occurred_at": pa.array([START + timedelta(hours=row[0]) for row in rows], pa.timestamp("us", "UTC")),
                "seq": pa.array(range(1, len(rows) + 1), pa.int64()),
                "kind": pa.array([row[1] for row in rows], pa.string()),
                "channel": pa.array([row[2] for row in rows], pa.string()),
                "product_id": pa.array([row[3] for row in rows], pa.string()),
                "quantity": pa.array([row[4] for row in rows], pa.float64()),
                "value": pa.array([row[5] for row in rows], pa.float64()),
            }
        )
    )
    assert_same(state, np.array([(START + timedelta(days=42 + later_days)).timestamp()]))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Group]]:
    """The groups, to be changed by a test; nothing is remembered of them."""
    changed = list(GROUPS)
    monkeypatch.setattr(signals, "GROUPS", changed)
    signals._where_from.cache_clear()
    yield changed
    signals._where_from.cache_clear()


def test_a_group_whose_meaning_changed_is_computed_as_it_is_written(groups: list[Group]) -> None:
    cart = groups[Part.CART]
    groups[Part.CART] = dataclasses.replace(cart, compute=lambda m: [2.0 * column for column in cart.compute(m)])
    states, as_of = drawn_states(20, np.random.default_rng(3))
    np.testing.assert_array_equal(compute_signals(states, as_of), read_signals(states, as_of))
    first, others = signals._where_from()
    assert others == (groups[Part.CART],)
    assert [part for part in Part if first[part] < 0] == [Part.CART]


def test_two_signals_that_changed_places_are_noticed(groups: list[Group]) -> None:
    money = groups[Part.MONEY]
    groups[Part.MONEY] = dataclasses.replace(
        money, compute=lambda m: money.compute(m)[:-2] + money.compute(m)[-2:][::-1]
    )
    assert signals._where_from()[1] == (groups[Part.MONEY],)


def test_a_group_that_is_wider_than_its_compiled_part_is_computed_as_it_is_written(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = dataclasses.replace(
        groups[Part.FEEDBACK],
        words={**groups[Part.FEEDBACK].words, "twice_the_ratings": "ratings given, twice"},
        compute=lambda m: [*GROUPS[Part.FEEDBACK].compute(m), 2.0 * m.scalar("n_ratings")],
    )
    groups[Part.FEEDBACK] = wider
    monkeypatch.setattr(signals, "SIGNAL_NAMES", tuple(name for group in groups for name in group.words))
    states, as_of = drawn_states(20, np.random.default_rng(3))
    found = compute_signals(states, as_of)
    np.testing.assert_allclose(found, read_signals(states, as_of), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(
        found[:, signals.SIGNAL_NAMES.index("twice_the_ratings")], 2 * found[:, signals.SIGNAL_NAMES.index("n_ratings")]
    )
    assert signals._where_from()[1] == (wider,)


def test_a_group_that_is_not_compiled_stands_beside_those_that_are(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Group({"hour_of_the_moment": "hour of the day"}, lambda m: [m.as_of % 86_400 // 3_600])
    groups.insert(3, new)
    monkeypatch.setattr(signals, "SIGNAL_NAMES", tuple(name for group in groups for name in group.words))
    states, as_of = drawn_states(5_000, np.random.default_rng(4))  # more than are opened at a time
    found = compute_signals(states, as_of)
    assert signals._where_from()[1] == (new,)
    np.testing.assert_array_equal(
        found[:, signals.SIGNAL_NAMES.index("hour_of_the_moment")], (as_of % 86_400 // 3_600).astype(np.float32)
    )
    np.testing.assert_allclose(found, read_signals(states, as_of), rtol=1e-6, atol=1e-9)
