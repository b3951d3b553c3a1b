"""Single-precision numbers as people read them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.arrays import shown


@pytest.mark.parametrize("number", [6.56, 0.1, 0.0, -2.5, 1234567.0, 1e-12])
def test_a_number_reads_as_it_was_written(number: float) -> None:
    assert shown(np.float32(number)) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_it_is_still_the_same_single(number: float) -> None:
    assert np.float32(shown(number)) == np.float32(number)
    assert len(repr(shown(number))) <= len(repr(float(np.float32(number))))


def test_what_is_no_number_stays_none() -> None:
    assert np.isnan(shown(np.float32("nan")))
