"""Hashes are those that pandas gives, which logs hold sums of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pandas.util import hash_array

from features.events.hashing import hash_numbers, hash_texts

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(texts=st.lists(TEXTS, max_size=8))
def test_of_texts(texts):
    wanted = hash_array(np.array(texts, dtype=object), categorize=False) if texts else np.array([], np.uint64)
    assert hash_texts(texts).tolist() == wanted.tolist()


@given(whole=st.lists(st.integers(-(2**63), 2**63 - 1)), fractions=st.lists(st.floats()))
def test_of_numbers(whole, fractions):
    for numbers in (np.array(whole, np.int64), np.array(fractions, np.float64)):
        assert hash_numbers(numbers).tolist() == hash_array(numbers).tolist()
