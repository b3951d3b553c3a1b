"""Columns of an audience that tell what customers like, and what is declared of them."""

import pytest

from features.attributes.declared import Attribute, Declared, Kind, in_force
from features.errors import InputError
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from serving.campaigns.audience import audience_table
from serving.campaigns.condition import Condition
from serving.campaigns.taste_columns import TasteColumns
from serving.products.catalogue import Catalogue
from serving.runtime import Runtime


def test_named_tastes_and_those_that_are_always_there(runtime: Runtime) -> None:
    plain = audience_table(runtime, ["ada"])
    assert plain["top_category"].tolist() == ["drinks"]
    share = plain["top_category_share"][0]
    assert 0.6 < share < 0.7  # three times tea, some weeks ago, against milk yesterday
    assert plain["top_brand"].tolist() == [None]

    table = audience_table(runtime, ["ada"], named=["category_share_drinks", "category_affinity_dairy", "lifecycle"])
    assert table["category_share_drinks"][0] == pytest.approx(share)
    assert table["category_affinity_dairy"][0] == pytest.approx(1.0)  # she is the population
    assert set(table.columns) - set(plain.columns) == {"category_share_drinks", "category_affinity_dairy"}
    assert Condition.parse("Category_Share_Drinks > 0.6 and top_category = 'drinks'").select(table).tolist() == [True]


def test_a_category_that_is_none_is_refused_with_those_that_are_near(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="Some that are: drinks"):
        TasteColumns(runtime.knowledge.catalogue, ["category_affinity_drink"])
    with pytest.raises(InputError, match="Bring products"):
        TasteColumns(Catalogue(), ["brand_share_acme"])


def test_what_is_declared_is_a_column_and_a_model_that_was_trained_before_goes_on(
    runtime: Runtime, log: SqliteEventLog
) -> None:
    said = {"age_band": "25-34", "size": 3, "birthday": "1990-03-11", "time_zone": "Europe/Berlin"}
    item = {"event_id": "p1", "kind": "profile", "channel": "store", "customer_id": "ada", "properties": said}
    log.append(events_to_table(parse_events([item], runtime.clock.now())[0]))
    declared = Declared(
        {
            "age_band": Attribute(kind=Kind.CATEGORICAL, values=("25-34",)),
            "size": Attribute(kind=Kind.NUMERIC),
            "birthday": Attribute(kind=Kind.BIRTHDAY),
        }
    )
    without = audience_table(runtime, ["ada"])
    with in_force(declared):
        table = audience_table(runtime, ["ada"])
        ada = table.iloc[0]
        assert (ada["age_band"], ada["size"], str(ada["birthday"])) == ("25-34", 3.0, "1990-03-11")
        assert ada["time_zone"] == "Europe/Berlin"
        assert (ada["birthday_age_years"] // 1, ada["birthday_in_days"]) == (33, 10)
        assert Condition.parse("age_band = '25-34' and birthday < '1995-01-01'").select(table).tolist() == [True]
    assert ada["churn_probability"] == without["churn_probability"][0]
