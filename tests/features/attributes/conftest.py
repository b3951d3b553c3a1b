"""A home that declares an age band, a household's size, a birthday, and a store under another name."""

from collections.abc import Iterator

import pytest

from features.attributes.declared import AttributesConfig, Declared, in_force
from features.config import parse_toml

FILE = b"""
[attributes.age_band]
kind = "categorical"
values = ["19-24", "25-34", "65+"]
words = "age band"
[attributes.household_size]
kind = "numeric"
[attributes.birthday]
kind = "birthday"
[attributes.home_store]
kind = "categorical"
property = "store"
values = ["12", "Gr\xc3\xb6\xc3\x9fe M"]
"""


@pytest.fixture
def shop() -> Iterator[Declared]:
    """The attributes of FILE, in force."""
    from pathlib import Path

    declared = Declared(AttributesConfig.model_validate(parse_toml(FILE, Path("attributes.toml"))).attributes)
    with in_force(declared):
        yield declared
