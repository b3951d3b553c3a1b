"""Ids of every type and company: the same id is the same text, different ids stay different, and lost digits are told."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.ids import id_column, id_series, id_text, inexact, joined_ids, numbering, read_ids

TWENTY = "12345678901234567890"

TWELVE = {
    "int8": pa.array([12, None], pa.int8()),
    "int64": pa.array([12, None]),
    "uint64": pa.array([12, None], pa.uint64()),
    "float16": pa.array([np.float16(12), None], pa.float16()),
    "float32": pa.array([12, None], pa.float32()),
    "float64": pa.array([12.0, None]),
    "float64 with NaN": pa.array([12.0, float("nan")]),
    "decimal128(4, 2)": pa.array([Decimal("12.00"), None]),
    "decimal128(38, 0)": pa.array([Decimal(12), None], pa.decimal128(38, 0)),
    "decimal256": pa.array([Decimal(12), None], pa.decimal256(60, 3)),
    "string": pa.array(["12", None]),
    "large_string": pa.array(["12", None], pa.large_string()),
    "string_view": pa.array(["12", None], pa.string_view()),
    "binary": pa.array([b"12", None]),
    "dictionary of string": pa.array(["12", None]).dictionary_encode(),
    "dictionary of float": pa.array([12.0, None]).dictionary_encode(),
    "dictionary of decimal": pa.array([Decimal("12.0"), None]).dictionary_encode(),
    "pandas Int64": pa.Array.from_pandas(pd.Series([12, None], dtype="Int64")),
    "pandas category": pa.Array.from_pandas(pd.Series([12.0, None], dtype="category")),
}


@pytest.mark.parametrize("name", TWELVE)
def test_a_whole_number_is_one_id_whatever_its_type(name: str) -> None:
    column = TWELVE[name]
    assert id_column(column).to_pylist() == ["12", None]
    assert id_column(pa.chunked_array([column, column])).to_pylist() == ["12", None] * 2
    assert not inexact(column).any()


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([12.0, 12.5, None, -3.0, -0.0], ["12", "12.5", None, "-3", "0"]),
        ([Decimal("12.00"), Decimal("12.50"), Decimal("1200")], ["12", "12.5", "1200"]),
        (["1.10", "1.1", "1E3", "1000", "007", "7", "12.0", " a ", "nan", ""],) * 2,
        ([True, False, None], ["true", "false", None]),
        ([9007199254740991.0, None], ["9007199254740991", None]),
    ],
)
def test_neighbours_change_nothing_and_text_stays_as_it_is(values: list[Any], ids: list[str | None]) -> None:
    assert id_column(pa.array(values)).to_pylist() == ids
    assert [id_text(value) for value in values] == ids
    assert id_series(pd.Series(values, dtype=object)).tolist() == ids
    assert id_series(pd.Series([*values, "x"], dtype=object)).tolist() == [*ids, "x"]


def test_twenty_digits_stay_twenty_digits() -> None:
    assert id_column(pa.array([int(TWENTY)], pa.uint64())).to_pylist() == [TWENTY]
    assert id_column(pa.array([Decimal(TWENTY)])).to_pylist() == [TWENTY]
    assert id_column(pa.array([Decimal(TWENTY * 3)], pa.decimal256(76, 2))).to_pylist() == [TWENTY * 3]
    assert id_series(pd.Series([int(TWENTY), None], dtype=object)).tolist() == [TWENTY, None]
    assert id_series(pd.Series([int(TWENTY)], dtype="uint64")).tolist() == [TWENTY]
    assert id_text(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 1.2345678901234567e19]),
        pa.array([1.0, 2.0**53]),
        pa.array([1.0, 2.0**24], pa.float32()),
        pa.array([1.0, float("inf")]),
        pa.array([1.0, 1e20]).dictionary_encode(),
        pd.Series([1.0, 1e20]),
        pd.Series(["a", 1e20], dtype=object),
        pd.Series([1, np.float32(2.0**24)], dtype=object),
    ],
)
def test_lost_digits_are_told_with_the_row(column: Any) -> None:
    with pytest.raises(InputError, match=r"user_id: row 2 is .*too many digits.* Write it as text"):
        read_ids(column, "user_id")


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53) + 1, 2**53 - 1)), min_size=1, max_size=8))
def test_ints_floats_decimals_and_texts_of_one_number_agree(numbers: list[int | None]) -> None:
    texts = [None if number is None else str(number) for number in numbers]
    floats = pa.array([None if number is None else float(number) for number in numbers], pa.float64())
    decimals = pa.array([None if number is None else Decimal(number) for number in numbers], pa.decimal128(30, 4))
    for column in (pa.array(numbers, pa.int64()), floats, decimals, pa.array(texts, pa.string())):
        assert id_column(column).to_pylist() == texts


def test_an_absurd_exponent_is_no_megabyte_of_zeros() -> None:
    assert id_text(Decimal("1E+1000000")) == "1E+1000000"
    assert (id_text(Decimal("1E+3")), id_text(Decimal("-0.0")), id_text(Decimal("NaN"))) == ("1000", "0", None)


def test_distinct_ids_are_in_the_order_of_their_numbers_where_all_are_numbers() -> None:
    codes, ids = numbering(pd.Series(["10", "9", "10", "100"]))
    assert (codes.tolist(), ids.tolist()) == ([1, 0, 1, 2], ["9", "10", "100"])
    codes, ids = numbering(pd.Series(["10", "9", "010"]))
    assert (codes.tolist(), ids.tolist()) == ([1, 2, 0], ["010", "10", "9"])


def join(*parts: str | None) -> str | None:
    joined: str | None = joined_ids([pa.array([part], pa.string()) for part in parts])[0].as_py()
    return joined


def test_joined_ids_differ_where_a_part_does_and_plain_ones_are_as_ever() -> None:
    assert join("2024", "1") == "2024:1"
    assert join("2024", "1:1") == "2024:1:1"  # only the last part has a colon: nothing else is joined to this
    assert join("2024:1", "1") == "2024%3A1|1"
    assert join("a%|\\", "b") == "a%|\\:b"
    assert join("a", None) is None
    assert join("a:1") == "a:1"


_part = st.text(st.sampled_from(":|%3A25\\a"), max_size=5)


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[_part] * n), min_size=2, max_size=12, unique=True)))
def test_no_two_rows_have_one_joined_id(rows: list[tuple[str, ...]]) -> None:
    ids = joined_ids([pa.array(column, pa.string()) for column in zip(*rows, strict=True)]).to_pylist()
    assert len(set(ids)) == len(rows)
    for row, joined in zip(rows, ids, strict=True):
        assert joined == ":".join(row) or any(":" in part for part in row[:-1])
