"""States of several batches put together, and taken apart again."""

import itertools

import numpy as np
import pytest

from features.state.batch import Ragged, StateBatch
from features.state.drawn import drawn_states


def assert_same(found: StateBatch, expected: StateBatch) -> None:
    for name, part in vars(expected).items():
        other = getattr(found, name)
        if isinstance(part, Ragged):
            np.testing.assert_array_equal(other.offsets, part.offsets, err_msg=name)
            np.testing.assert_array_equal(other.values, part.values, err_msg=name)
        else:
            np.testing.assert_array_equal(other, part, err_msg=name)


@pytest.mark.parametrize("cuts", [[], [0], [1, 1, 5], range(30), [30]])
def test_parts_of_a_batch_make_the_batch_again(cuts: list[int]) -> None:
    states, _ = drawn_states(30, np.random.default_rng(0))
    borders = [0, *cuts, 30]
    parts = [states.take(np.arange(begin, end)) for begin, end in itertools.pairwise(borders)]
    assert_same(StateBatch.concat(parts), states)


def test_one_of_a_batch_is_what_take_takes() -> None:
    states, _ = drawn_states(5, np.random.default_rng(1))
    for row in range(5):
        assert_same(states.one(row), states.take(np.array([row])))
