"""What the next-product network reads: by hand, and the same as the plain form of it over dense arrays."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.arrays import FloatArray
from features.scoring.model_inputs import INPUT_NAMES, STORE, UNKNOWN_GAP_DAYS, CodeRows, model_inputs
from features.state import layout
from features.state.batch import Ragged, StateBatch
from features.state.event_arrays import product_code
from features.vocabulary import DAY_S

NOW = 1.7e9
IDS = [f"p{i}" for i in range(60)]


def plain_inputs(states: StateBatch, as_of_s: FloatArray, to_rows: CodeRows) -> dict[str, np.ndarray]:
    """The same, array by array."""
    as_of = np.asarray(as_of_s, dtype=np.float64)[:, None]
    length = layout.SEQUENCE_LENGTH
    item = to_rows(states.seq_product.dense(length, 0))
    event = states.seq_event.dense(length, 0).astype(np.int64)
    age = (as_of - states.seq_time.dense(length, 0.0)) / DAY_S
    habit_item = to_rows(states.habit_product.dense(layout.N_HABITS, 0))
    columns = (layout.HABIT_WEIGHT, layout.HABIT_LAST, layout.HABIT_FIRST, layout.HABIT_COUNT)
    weight, last, first, count = (
        Ragged(states.habit_stats.offsets, states.habit_stats.values[:, column]).dense(layout.N_HABITS, 0.0)
        for column in columns
    )
    habit_age = np.where(habit_item > 0, (as_of - last) / DAY_S, 0.0)
    decayed = weight * np.exp2(-habit_age / layout.HABIT_HALF_LIFE_DAYS)
    gap = np.where(count > 1, (last - first) / DAY_S / np.maximum(count - 1, 1), UNKNOWN_GAP_DAYS)
    return {
        "item": item,
        "kind": event // layout.EVENT_CODE_BASE,
        "channel": event % layout.EVENT_CODE_BASE,
        "age_days": np.where(item > 0, age, 0.0).astype(np.float32),
        "habit_item": habit_item,
        "habit_weight": np.where(habit_item > 0, decayed, 0.0).astype(np.float32),
        "habit_age_days": habit_age.astype(np.float32),
        "habit_gap_days": gap.astype(np.float32),
        "habit_count": np.where(habit_item > 0, count, 0.0).astype(np.float32),
        STORE: states.scalar("last_store"),
    }


def drawn(n: int, longest: int, rng: np.random.Generator) -> StateBatch:
    """States with sequences and habits of products in the vocabulary and beyond."""
    codes = np.concatenate([product_code(IDS), product_code(["unknown", "of another shop"])])
    seq_at, habit_at = (np.concatenate([[0], np.cumsum(rng.integers(0, longest + 1, n))]) for _ in range(2))
    m, k = seq_at[-1], habit_at[-1]
    stats = rng.exponential(3.0, (k, layout.HABIT_WIDTH))
    stats[:, layout.HABIT_LAST] = NOW - rng.exponential(60 * DAY_S, k)
    stats[:, layout.HABIT_FIRST] = stats[:, layout.HABIT_LAST] - rng.exponential(90 * DAY_S, k)
    stats[:, layout.HABIT_COUNT] = rng.integers(1, 5, k)
    parts = vars(StateBatch.empty(n)) | {
        "seq_product": Ragged(seq_at, rng.choice(codes, m)),
        "seq_event": Ragged(seq_at, rng.integers(0, 22 * layout.EVENT_CODE_BASE, m).astype(np.int32)),
        "seq_time": Ragged(seq_at, NOW - rng.exponential(60 * DAY_S, m)),
        "habit_product": Ragged(habit_at, rng.choice(codes, k)),
        "habit_stats": Ragged(habit_at, stats),
    }
    return StateBatch(**parts)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), longest=st.sampled_from([0, 3, layout.N_HABITS]))
def test_any_states_give_the_same_inputs_as_array_by_array(seed: int, n: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    states, as_of, rows = drawn(n, longest, rng), NOW + rng.exponential(9 * DAY_S, n), CodeRows(IDS)
    found, expected = model_inputs(states, as_of, rows), plain_inputs(states, as_of, rows)
    assert set(found) == {*INPUT_NAMES, STORE}
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_values_by_hand() -> None:
    stats = np.zeros((2, layout.HABIT_WIDTH))
    stats[:, layout.HABIT_WEIGHT] = 2.0, 1.0
    stats[:, layout.HABIT_LAST] = NOW - 60 * DAY_S, NOW
    stats[:, layout.HABIT_FIRST] = NOW - 80 * DAY_S, NOW
    stats[:, layout.HABIT_COUNT] = 3, 1
    at = np.array([0, 2])
    codes = product_code(["p1", "unknown"])
    states = StateBatch(
        **{
            **vars(StateBatch.empty(1)),
            "seq_product": Ragged(at, codes),
            "seq_event": Ragged(at, np.array([4 * 16 + 10, 2 * 16 + 1], np.int32)),
            "seq_time": Ragged(at, np.array([NOW - 3 * DAY_S, NOW - DAY_S])),
            "habit_product": Ragged(at, codes),
            "habit_stats": Ragged(at, stats),
        }
    )
    found = {
        name: values[0, -3:].tolist()
        for name, values in model_inputs(states, np.array([NOW]), CodeRows(IDS)).items()
        if name != STORE
    }
    assert found == {
        "item": [0, 2, 0],
        "kind": [0, 4, 2],
        "channel": [0, 10, 1],
        "age_days": [0.0, 3.0, 0.0],
        "habit_item": [0, 2, 0],
        "habit_weight": [0.0, 1.0, 0.0],
        "habit_age_days": [0.0, 60.0, 0.0],
        "habit_gap_days": [-1.0, 10.0, -1.0],
        "habit_count": [0.0, 3.0, 0.0],
    }
