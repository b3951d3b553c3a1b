"""Rows of a state that are made when asked for: as the dict of all of them, and no row is made that nobody asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.state_rows import StateRows


@given(st.dictionaries(st.integers(-5, 50), st.integers(), max_size=8), st.lists(st.integers(-6, 51), max_size=5))
def test_it_is_the_dict_of_all_rows(expected: dict[int, int], asked: list[int]) -> None:
    rows = StateRows(np.array(list(expected), np.int64), lambda: [np.array(list(expected.values()), object)], int)
    assert dict(rows) == expected
    assert rows == expected
    assert len(rows) == len(expected)
    assert list(rows) == list(expected)
    assert list(rows.items()) == list(expected.items())
    assert list(rows.values()) == list(expected.values())
    for code in asked:
        assert rows.get(code) == expected.get(code)
        assert (code in rows) == (code in expected)


def test_a_row_is_made_when_it_is_asked_for() -> None:
    made: list[str] = []

    def make(word: str, number: int) -> str:
        made.append(f"{word}{number}")
        return made[-1]

    def never() -> list[np.ndarray]:
        raise AssertionError

    rows = StateRows(np.array([7, 8, 9]), lambda: [np.array(["a", "b", "c"]), np.array([1, 2, 3])], make)
    assert rows[8] == "b2"
    assert rows.get(10) is None
    assert made == ["b2"]
    with pytest.raises(KeyError):
        rows[10]
    unasked = StateRows(np.array([7]), never, make)
    assert 7 in unasked and 8 not in unasked
