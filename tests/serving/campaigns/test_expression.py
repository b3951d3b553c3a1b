"""Conditions choose the rows that they name, nothing is ever run, and mistakes are answered with what to write."""

import pandas as pd
import pytest

from features.errors import InputError
from serving.campaigns.expression import select

TABLE = pd.DataFrame(
    {
        "customer_id": ["ada", "bob", "cy", "di"],
        "churn_probability": [0.9, 0.7, 0.2, None],
        "value_decile": [9, 3, 10, 8],
        "lifecycle": ["at_risk", "lapsed", "active", None],
        "consent_email": [True, True, False, True],
    }
)


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("churn_probability > 0.6 and value_decile >= 8 and consent_email", ["ada"]),
        ("churn_probability > 0.6 or value_decile == 10", ["ada", "bob", "cy"]),
        ("not consent_email", ["cy"]),
        ("lifecycle in ['at_risk', 'lapsed']", ["ada", "bob"]),
        ("lifecycle not in ('at_risk', 'lapsed')", ["cy"]),
        ("lifecycle != 'active'", ["ada", "bob"]),
        ("0.5 < churn_probability <= 0.7", ["bob"]),
        ("churn_probability * value_decile > 2 * 2", ["ada"]),
        ("-value_decile < -8", ["ada", "cy"]),
        ("churn_probability < 0.99", ["ada", "bob", "cy"]),
        ("consent_email == True", ["ada", "bob", "di"]),
        ("True", ["ada", "bob", "cy", "di"]),
        ("value_decile / 0 > 1 and consent_email", ["ada", "bob", "di"]),
    ],
)
def test_the_rows_that_are_named_are_chosen(where: str, chosen: list[str]) -> None:
    assert TABLE.loc[select(TABLE, where), "customer_id"].tolist() == chosen


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("churn_probabilty > 0.6", "Did you mean churn_probability.*Columns: customer_id, churn_probability"),
        ("value_decile", "value_decile is not yes or no"),
        ("lifecycle > 3", "text and a number"),
        ("lifecycle < 'b'", "has no order"),
        ("lifecycle + 1 > 3", "is text"),
        ("value_decile in 3", "is not a list"),
        ("value_decile >", "cannot be read"),
        ("", "cannot be read"),
        ("value_decile is None", "in a way that is not known"),
        ("__import__('os').system('true')", "is not a condition"),
        ("value_decile.sum() > 3", "cannot be used"),
        ("(lambda: 1)() > 0", "cannot be used"),
        ("value_decile ** 9 > 3", "cannot be used"),
        ("[x for x in (1,)] == 1", "cannot be used"),
        ("not " * 900 + "consent_email", "characters|deep|cannot be read"),
    ],
)
def test_anything_else_is_refused_with_words(where: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        select(TABLE, where)
