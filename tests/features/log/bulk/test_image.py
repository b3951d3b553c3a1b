"""SQLite finds in an image what was put there, on one leaf or on many."""

import sqlite3

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.log.bulk.image import TABLE, empty_image, image_of

_ROWS = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
    ),
    min_size=1,
    max_size=30,
)


def read(image: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(image)  # type: ignore[arg-type]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return connection.execute(f"SELECT * FROM {TABLE} ORDER BY rowid").fetchall()


@settings(deadline=None, max_examples=15)
@given(_ROWS, st.sampled_from([1, 2_000]))
def test_what_goes_in_comes_out(rows, times):
    rows = rows * times
    texts, numbers, reals = zip(*rows, strict=True)
    columns = {
        "t": pa.array(texts, pa.string()),
        "n": pa.array(numbers, pa.int64()),
        "r": pa.array(reals, pa.float64()),
    }
    assert read(image_of(columns)) == rows


def test_columns_of_a_part_of_a_table():
    column = pa.array(["a", "bc", None, "déf", ""]).slice(1, 3)
    assert read(image_of({"t": column})) == [("bc",), (None,), ("déf",)]


def test_a_long_row_has_a_page_of_its_own_and_a_longer_one_is_refused():
    texts = ["x" * 60_000, "y", "z" * 60_000]
    assert read(image_of({"t": pa.array(texts)})) == [(text,) for text in texts]
    with pytest.raises(ValueError, match="too long"):
        image_of({"t": pa.array(["x" * 70_000])})


def test_an_image_without_rows():
    assert read(empty_image()) == []
