"""Conditions of offers say what DuckDB says, for one customer and for many; what cannot be compiled is refused in words."""

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from serving.offers.columns import KINDS
from serving.offers.condition import compile_condition
from serving.offers.expression import Masked

TYPES = {"double": pa.float64(), "whole": pa.int64(), "text": pa.string(), "yesno": pa.bool_()}
COLUMNS = {
    "churn_probability": "double",
    "spend_365d": "double",
    "value_decile": "whole",
    "lifecycle": "text",
    "consent_email": "yesno",
    "may_profile": "yesno",
}

doubles = st.sampled_from([0.0, 0.5, 0.1, -1.0, 2.0, 3.0, 1e3, float("inf")])
row = st.fixed_dictionaries(
    {
        "churn_probability": st.none() | doubles,
        "spend_365d": st.none() | doubles,
        "value_decile": st.none() | st.integers(1, 10),
        "lifecycle": st.none() | st.sampled_from(["due", "at_risk", "new", "", "d%e", "Due"]),
        "consent_email": st.none() | st.booleans(),
        "may_profile": st.none() | st.booleans(),
    }
)

constants = st.sampled_from(["0.5", "0.1", "3", "1e3"])
double = st.recursive(
    st.sampled_from(["churn_probability", "spend_365d", '"Churn_Probability"']),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(list("+-*/")), inner | constants).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("abs({})".format),
        inner.map("-({})".format),
        inner.map("coalesce({}, 0.5)".format),
    ),
    max_leaves=4,
)
number = st.one_of(double, st.sampled_from(["0.5", "0.1", "-1", "3", "1e3", "2.0", "value_decile", "value_decile * 2"]))
text = st.sampled_from(["lifecycle", "'due'", "''", "coalesce(lifecycle, 'new')"])
comparison = st.sampled_from(["=", "==", "<>", "!=", "<", "<=", ">", ">="])
leaf = st.one_of(
    st.tuples(double, comparison, number).map(" ".join),
    st.tuples(st.just("value_decile"), comparison, number).map(" ".join),
    st.tuples(st.just("lifecycle"), comparison, text).map(" ".join),
    st.sampled_from(
        [
            "consent_email",
            "may_profile = consent_email",
            "consent_email IS TRUE",
            "consent_email IS NOT FALSE",
            "churn_probability IS NULL",
            "lifecycle IS NOT NULL",
            "lifecycle IN ('due', 'new')",
            "lifecycle NOT IN ('due', NULL)",
            "value_decile IN (1, 2.5, 3)",
            "spend_365d IN (0.1, 3, NULL)",
            "value_decile BETWEEN 2 AND 7.5",
            "spend_365d NOT BETWEEN churn_probability AND 2",
            "lifecycle BETWEEN 'a' AND 'e'",
            "lifecycle LIKE 'd%'",
            "lifecycle NOT LIKE '%_e'",
            "starts_with(lifecycle, 'd%')",
            "contains(lifecycle, 'ue')",
            "churn_probability IS DISTINCT FROM spend_365d",
            "lifecycle IS NOT DISTINCT FROM 'due'",
            "true",
            "NULL",
        ]
    ),
)
condition = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(" ".join),  # as SQL binds them
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("NOT ({})".format),
        inner.map("NOT {}".format),
    ),
    max_leaves=5,
)


class Arrays:
    """Columns of rows that are given."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, name: str) -> Masked:
        values = [row[name] for row in self._rows]
        missing = np.array([value is None for value in values], np.bool_)
        blank: Mapping[str, Any] = {"double": 0.0, "whole": 0, "text": None, "yesno": False}
        dtype = {"text": object}.get(COLUMNS[name])
        return Masked(np.array([blank[COLUMNS[name]] if v is None else v for v in values], dtype), missing)


def by_duckdb(where: str, rows: list[dict[str, Any]]) -> list[bool]:
    arrays = {name: pa.array([row[name] for row in rows], TYPES[kind]) for name, kind in COLUMNS.items()}
    with duckdb.connect() as connection:
        connection.register("customers", pa.table(arrays))
        chosen = connection.sql(f"SELECT ({where}) AS chosen FROM customers").fetchall()
    return [answer is True for (answer,) in chosen]


@settings(max_examples=60, deadline=None)
@given(where=condition, rows=st.lists(row, min_size=1, max_size=6))
def test_one_customer_and_many_are_answered_as_duckdb_answers(where: str, rows: list[dict[str, Any]]) -> None:
    compiled = compile_condition(where)
    expected = by_duckdb(where, rows)
    assert [compiled.holds(row) for row in rows] == expected
    assert compiled.which(Arrays(rows)).tolist() == expected


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("value_decil > 3", "no column 'value_decil'. Did you mean value_decile"),
        ('lifecycle = "due"', "no column 'due'. Text stands in single quotes"),
        ("churn_probability", "is not yes or no"),
        ("churn_probability >", "cannot be read"),
        ("churn_probability > 'high'", "compares a number with text"),
        ("lifecycle AND consent_email", "takes text for yes or no"),
        ("consent_email > true", "puts yes and no in an order"),
        ("upper(lifecycle) = 'DUE'", "holds no UPPER"),
        ("regexp_matches(lifecycle, 'd')", "holds no"),
        ("churn_probability > (SELECT 1)", "holds no query"),
        ("lifecycle IN (SELECT 'due')", "holds no query"),
        ("churn_probability::int > 0", "holds no cast"),
        ("value_decile * 0.1 > 0.3", "cannot be computed the same way everywhere"),
        ("value_decile * 2000000 > 3", "cannot be computed the same way everywhere"),
        ("value_decile IN (value_decile)", "lists what is no constant"),
        ("lifecycle LIKE purchase_path", "looks for what is no constant text"),
        ("true; false", "more than one condition"),
        ("count(*) > 1", "holds no COUNT"),
        ("(" * 900 + "true" + ")" * 900, "cannot be read"),
        ("x" * 2001, "has 2001 characters"),
        ("churn_probability > ?", "holds no"),
        ("coalesce(lifecycle, 3) = 'due'", "mixes kinds"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(where: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        compile_condition(where)


def test_a_condition_names_its_columns_once_and_in_small_letters() -> None:
    compiled = compile_condition("Churn_Probability > 0.5 OR churn_probability < 0.1 AND consent_email")
    assert compiled.columns == ("churn_probability", "consent_email")


def test_every_column_of_the_tests_is_one_that_there_is() -> None:
    assert {name: KINDS[name] for name in COLUMNS} == COLUMNS
