"""Bits of the kinds of identifier that events name: one each, none of what names nobody, the same in bulk and one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.contact_points import KNOWN_KINDS, identified_bits, identified_column, kind_bit
from features.events.schema import EVENT_SCHEMA

PAIRS = st.dictionaries(
    st.sampled_from([*KNOWN_KINDS, "telegram", "card"]), st.sampled_from(["a@b.org", "undefined", "0", "+49 1", "x"])
)


def test_every_known_kind_has_a_bit_of_its_own_and_all_fit_into_a_float() -> None:
    bits = [kind_bit(kind) for kind in KNOWN_KINDS]
    assert bits == [1 << place for place in range(6)]
    others = {kind_bit(f"kind {number}") for number in range(500)}
    assert len(others) == 40 and not others & set(bits)
    assert max(others) < 2**53


@pytest.mark.parametrize(
    ("identifiers", "kinds"),
    [
        ({}, []),
        ({"email": "ada@example.org"}, ["email"]),
        ({"email": "ada@example.org", "cookie": "c-1"}, ["email", "cookie"]),
        ({"phone": "undefined", "device": "00000000-0000-0000-0000-000000000000"}, []),
        ({"telegram": "@ada", "loyalty_card": " 0 "}, ["telegram"]),
    ],
)
def test_who_names_nobody_has_no_bit(identifiers: dict[str, str], kinds: list[str]) -> None:
    assert identified_bits(identifiers) == sum(kind_bit(kind) for kind in kinds)


@settings(max_examples=40)
@given(st.lists(st.none() | PAIRS, max_size=90), st.integers(0, 40))
def test_a_column_has_what_its_rows_have(rows: list[dict[str, str] | None], start: int) -> None:
    field = EVENT_SCHEMA.field("identifiers")
    pairs = [None if row is None else list(row.items()) for row in rows]
    table = pa.table({"identifiers": pa.array(pairs, field.type)}).slice(start)
    expected = [identified_bits(row) if row else 0 for row in rows[start:]]
    np.testing.assert_array_equal(identified_column(table), np.array(expected, np.int64))
