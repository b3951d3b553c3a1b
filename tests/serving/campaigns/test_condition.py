"""Conditions choose the rows that they name, nothing is ever run, and mistakes are answered with what to write."""

import pandas as pd
import pytest

from features.errors import InputError
from serving.campaigns.condition import Condition

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
        ("churn_probability > 0.5 AND churn_probability <= 0.7", ["bob"]),
        ("churn_probability BETWEEN 0.5 AND 0.7", ["bob"]),
        ("Churn_Probability > 0.6 AND Consent_Email = TRUE", ["ada", "bob"]),
        ("churn_probability IS NULL", ["di"]),
        ("NOT (churn_probability > 0.6)", ["cy"]),
        ("coalesce(churn_probability, 1) > 0.8 AND lower(customer_id) LIKE '%d%'", ["ada", "di"]),
        ("lifecycle NOT IN ('active') OR lifecycle IS NULL -- who is not active", ["ada", "bob", "di"]),
        ("churn_probability * value_decile > 2 * 2", ["ada"]),
        ("-value_decile < -8", ["ada", "cy"]),
        ("churn_probability < 0.99", ["ada", "bob", "cy"]),
        ("consent_email == True", ["ada", "bob", "di"]),
        ("True", ["ada", "bob", "cy", "di"]),
        ("value_decile / 0 > 1 and consent_email", ["ada", "bob", "di"]),
    ],
)
def test_the_rows_that_are_named_are_chosen(where: str, chosen: list[str]) -> None:
    assert TABLE.loc[Condition.parse(where).select(TABLE), "customer_id"].tolist() == chosen


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("churn_probabilty > 0.6", "Did you mean churn_probability.*Columns: customer_id, churn_probability"),
        ('lifecycle = "at_risk"', "no column 'at_risk'. Text stands in single quotes"),
        ("value_decile", "value_decile is not yes or no.*value_decile > 0"),
        ("lifecycle > 3", "cannot be used: Binder Error"),
        ("value_decile >", "cannot be read at character"),
        ("", "cannot be read"),
        ("0.5 < churn_probability <= 0.7", "AND to combine"),
        ("count(*) > 1", "aggregates"),
        ("nonsense(value_decile) > 1", "nonsense does not exist"),
        ("value_decile > (SELECT 1)", "no query"),
        ("EXISTS (FROM read_csv('file.csv'))", "no query"),
        ("row_number() OVER () > 1", "no window function"),
        ("*", r"no \*"),
        ("value_decile > ?", "no parameter"),
        ("value_decile > 1, TRUE", "more than a condition"),
        ("TRUE FROM read_csv('file.csv')", "more than a condition"),
        ("TRUE WHERE FALSE", "more than a condition"),
        ("TRUE; SELECT TRUE", "more than a condition"),
        ("TRUE) FROM audience; SELECT (TRUE", "cannot be read"),
        ("TRUE UNION SELECT TRUE", "more than a condition"),
        ("TRUE LIMIT 1", "more than a condition"),
        ("NOT " * 900 + "consent_email", "characters"),
    ],
)
def test_anything_else_is_refused_with_words(where: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Condition.parse(where).select(TABLE)
