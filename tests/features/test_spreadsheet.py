"""Text that a spreadsheet would run is guarded, whatever it is; everything else stays, and it can all be read back."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.spreadsheet import guard, guarded, unguard, unguarded

SIGNS = "=+-@＝＋－＠"
PIECES = st.lists(st.sampled_from([*SIGNS, "'", ";", ",", " ", "\t", "\r", "\n", "\u00a0", "\ufeff", "a", "1", '"']))
TEXTS = st.one_of(PIECES.map("".join), st.text())


@pytest.mark.parametrize("text", ["=1+1", "+49 151", "-5", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"])
def test_what_begins_a_formula_gets_an_apostrophe(text: str) -> None:
    assert guard(text) == "'" + text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("ada@example.org", "ada@example.org"),
        ("store>web", "store>web"),
        ("2024-03-01", "2024-03-01"),
        ("a, -50 %", "a, -50 %"),  # the comma is the file's own separator, and such a cell is quoted
        ("'tis", "'tis"),
        ("  =1", "'  =1"),
        ("\ufeff=1", "'\ufeff=1"),
        ("'=1", "''=1"),
        ("milk;=cmd|' /C calc'!A0", "milk;'=cmd|' /C calc'!A0"),
        ("milk\n@x", "milk\n'@x"),
        ("\t=1", "'\t'=1"),
    ],
)
def test_everything_else_stays_as_it_is(text: str, written: str) -> None:
    assert guard(text) == written
    assert unguard(written) == text


@given(TEXTS)
def test_no_cell_of_any_reader_begins_a_formula_and_all_can_be_read_back(text: str) -> None:
    written = guard(text)
    for cell in written.replace("\t", ";").replace("\r", ";").replace("\n", ";").split(";"):
        assert cell.strip(" \u00a0\ufeff")[:1] not in set(SIGNS)
    assert written[:1] not in set("\t\r\n")
    assert unguard(written) == text


@given(st.lists(TEXTS.filter(lambda text: "\r" not in text and "\x00" not in text), min_size=1))
def test_a_csv_is_read_back_as_it_was(texts: list[str]) -> None:
    table = pd.DataFrame({"customer_id": texts, "score": np.linspace(-1, 1, len(texts)), "=name": texts})
    file = io.StringIO()
    guarded(table).to_csv(file, index=False)
    file.seek(0)
    found = pd.read_csv(file, dtype={"customer_id": str, "'=name": str}, keep_default_na=False)
    pd.testing.assert_frame_equal(unguarded(found), table, check_exact=False)


def test_numbers_stay_numbers_and_kinds_of_text_are_all_guarded() -> None:
    table = pd.DataFrame(
        {
            "number": [-1.5, 2.0],
            "whole": pd.array([-3, None], "Int64"),
            "yes": [True, False],
            "at": pd.to_datetime(["2024-03-01", "2024-03-02"], utc=True),
            "object": ["=a", None],
            "string": pd.array(["-b", None], "string"),
            "levels": pd.Categorical(["+c", "d"]),
            "mixed": ["@e", -7],
        }
    )
    found = guarded(table)
    assert found["number"].tolist() == [-1.5, 2.0]
    assert found["whole"].tolist()[0] == -3
    assert found["mixed"].tolist() == ["'@e", -7]
    assert [found[name].iloc[0] for name in ("object", "string", "levels")] == ["'=a", "'-b", "'+c"]
    assert found["levels"].tolist() == ["'+c", "d"]
    assert found[["yes", "at"]].equals(table[["yes", "at"]])
    assert table["object"].tolist() == ["=a", None]
