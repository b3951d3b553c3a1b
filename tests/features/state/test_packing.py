"""Packed states: small for busy customers, and the same numbers when they are read back."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.benchmarks.timelines import make_events
from features.errors import StoreError, UnreadableError
from features.state import kernel, kernel_batch
from features.state.batch import Ragged, StateBatch, rows_in_buffers
from features.state.encoding import decode, decode_one, encode
from features.state.layout import MAX_PRODUCTS_BYTES, MAX_STATE_BYTES, new_buffers


@pytest.fixture(scope="module")
def states() -> StateBatch:
    """States of a hundred made customers with some hundred events each."""
    piece = next(make_events(20_000, seed=3))
    buffers = new_buffers(2_000)
    _, n = kernel_batch.fold_newest(kernel.new_scratch(), piece.events, piece.customers, 0, buffers)
    return rows_in_buffers(buffers, n)


def same(left: StateBatch, right: StateBatch) -> None:
    for name, mine in vars(left).items():
        theirs = getattr(right, name)
        if isinstance(mine, Ragged):
            np.testing.assert_array_equal(mine.offsets, theirs.offsets, err_msg=name)
        np.testing.assert_array_equal(getattr(mine, "values", mine), getattr(theirs, "values", theirs), err_msg=name)


def test_states_that_were_stored_are_the_states(states: StateBatch) -> None:
    names = [f"c{i}" for i in range(len(states))]
    rows = encode(states, names)
    same(decode(*rows), states)
    fields = {name: table[name][7].as_py() for table in rows for name in table.column_names}
    same(decode_one(fields), states.take(np.array([7])))


def test_a_busy_customer_takes_at_most_four_kilobytes(states: StateBatch) -> None:
    tables = encode(states, [f"c{i}" for i in range(len(states))])
    parts = zip(tables[0]["state"].to_pylist(), tables[1]["products"].to_pylist(), strict=True)
    sizes = [len(state) + len(products) for state, products in parts]
    assert np.median(sizes) <= 4_000
    assert max(sizes) <= MAX_STATE_BYTES + MAX_PRODUCTS_BYTES
    assert len(encode(StateBatch.empty(1), ["nobody"])[0]["state"][0].as_py()) < 20


@pytest.mark.parametrize("field", ["state", "products"])
def test_a_state_of_another_layout_or_of_half_a_head_is_refused(states: StateBatch, field: str) -> None:
    rows = dict(zip(("state", "products"), encode(states.take(np.array([3])), ["c"]), strict=True))
    value = rows[field][field][0].as_py()
    with pytest.raises(StoreError, match="another version of the fold"):
        decode_one({field: bytes([value[0] ^ 1]) + value[1:]})
    for wrong in (value[:2], value[:-1], value + b"0"):
        with pytest.raises(UnreadableError, match="damaged"):
            decode_one({field: wrong})


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(["state", "products"]), place=st.integers(4, 10_000), byte=st.integers(0, 255))
def test_a_damaged_byte_is_said_or_is_another_number(states: StateBatch, field: str, place: int, byte: int) -> None:
    rows = dict(zip(("state", "products"), encode(states.take(np.array([3])), ["c"]), strict=True))
    value = bytearray(rows[field][field][0].as_py())
    value[4 + (place - 4) % (len(value) - 4)] = byte
    with suppress(UnreadableError):
        assert len(decode_one({field: bytes(value)})) == 1
