"""What a home declares: the columns that come of it, and the files that are refused with a cure."""

import pytest

from features.attributes.declared import Declared, declared, read_attributes
from features.errors import SettingsError
from features.settings import Settings
from features.signals import SIGNAL_NAMES, describe, signal_index, signal_names


def test_every_value_is_a_signal_with_its_words(shop: Declared) -> None:
    assert [column.name for column in shop.columns] == [
        *("age_band_is_19_24", "age_band_is_25_34", "age_band_is_65", "household_size"),
        *("birthday_age_years", "birthday_in_days", "home_store_is_12", "home_store_is_grosse_m"),
    ]
    assert signal_names() == (*SIGNAL_NAMES, *(column.name for column in shop.columns))
    assert describe("age_band_is_65") == "age band is 65+ (1 yes, 0 another one)"
    assert describe("days_since_purchase") == "days since the last of: purchased lines"
    assert signal_index(["household_size"]).tolist() == [len(SIGNAL_NAMES) + 3]


def test_where_nothing_is_declared_the_time_zone_is_kept_and_no_signal_added(settings: Settings) -> None:
    nothing = read_attributes(settings)
    assert (list(nothing.of), nothing.columns) == (["time_zone"], ())
    assert declared().columns == ()
    assert signal_names() == SIGNAL_NAMES


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[attributes.tier]\nkind = "categorical"', "needs values"),
        ('[attributes.tier]\nkind = "numeric"\nvalues = ["a"]', "Only a categorical attribute has values"),
        ('[attributes.Tier]\nkind = "numeric"', "'Tier' is no name of a signal"),
        ('[attributes.tier]\nkind = "colour"', "attributes.tier.kind"),
        ('[attributes.tier]\nkind = "numeric"\nproprety = "x"', "Did you mean property?"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(settings: Settings, text: str, complaint: str) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "attributes.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"attributes\.toml") as refusal:
        read_attributes(settings)
    assert complaint in str(refusal.value)
