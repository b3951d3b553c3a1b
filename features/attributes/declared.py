"""Which attributes of customers are signals: OMNI_HOME/attributes.toml in, their columns with a marketer's words out.

    [attributes.age_band]
    kind = "categorical"
    values = ["19-24", "25-34", "35-44"]

An attribute comes as a property of `profile` events, and its value counts from the moment of the event. One file reaches the
fold, training, serving, Feast and the parity proof; a process reads it once, when it first needs it.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import Final

from pydantic import Field, field_validator, model_validator

from features.attributes.codes import text_code
from features.config import Config, load_own
from features.errors import InputError, SettingsError
from features.settings import ATTRIBUTES_FILE, Settings

TIME_ZONE: Final = "time_zone"
"""The attribute that is kept without being declared: the clock on the customer's wall."""
MAX_VALUES: Final = 64
"""Values of one attribute, each of which is a column."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Kind(StrEnum):
    """What an attribute's values are."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BIRTHDAY = "birthday"
    TIME_ZONE = "time_zone"


class Attribute(Config):
    """One attribute of customers."""

    kind: Kind
    """`numeric`, `categorical`, `birthday` (a date like 1985-03-17), or `time_zone` (a name like Europe/Berlin)."""
    values: tuple[str, ...] = Field((), max_length=MAX_VALUES)
    """Of a categorical attribute the values that become signals, each one of its own."""
    property: str = ""
    """Its name among the properties of `profile` events; left out: the attribute's own."""
    words: str = ""
    """What a marketer calls it; left out: its name."""

    @model_validator(mode="after")
    def _values_where_they_belong(self) -> "Attribute":
        if self.kind is Kind.CATEGORICAL and not self.values:
            raise ValueError("A categorical attribute needs values: each is a signal.")
        if self.kind is not Kind.CATEGORICAL and self.values:
            raise ValueError("Only a categorical attribute has values.")
        if len(set(self.values)) < len(self.values):
            raise ValueError("A value is named twice.")
        return self


class AttributesConfig(Config):
    """The file: a section per attribute."""

    attributes: dict[str, Attribute] = Field(default_factory=dict)

    @field_validator("attributes")
    @classmethod
    def _plain_names(cls, attributes: dict[str, Attribute]) -> dict[str, Attribute]:
        for name in attributes:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a signal: a letter, then small letters, digits and _, at most 40."
                )
        return attributes


@dataclass(frozen=True)
class Column:
    """One signal of an attribute."""

    name: str
    words: str
    attribute: str
    value: str | None = None
    """Of a categorical attribute, the value that it stands for."""


class Declared:
    """The attributes that are in force, by name; compared by identity, as there is one per process."""

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        of_zone = [name for name, each in attributes.items() if each.kind is Kind.TIME_ZONE]
        self.of: Final = {**({} if of_zone else {TIME_ZONE: Attribute(kind=Kind.TIME_ZONE)}), **attributes}
        """Every attribute that is kept, by its name."""
        self.zone_code: Final = text_code([*of_zone, TIME_ZONE][0])
        """The code of the attribute that says the customer's time zone."""
        self.by_property: Final = {each.property or name: name for name, each in self.of.items()}
        """The property of an event that tells each."""
        self.columns: Final = tuple(column for name, each in self.of.items() for column in _columns(name, each))
        """Their signals, in column order."""

    @cached_property
    def words(self) -> dict[str, str]:
        """The signals' names with a marketer's words."""
        return {column.name: column.words for column in self.columns}

    @cached_property
    def code_of(self) -> dict[str, float]:
        """The code of every attribute under which a state keeps it."""
        return {name: text_code(name) for name in self.of}

    @cached_property
    def stored(self) -> tuple[tuple[str, str, str], ...]:
        """What decides how events are stored: states of another one are folded anew."""
        return tuple(sorted((name, each.kind.value, each.property or name) for name, each in self.of.items()))


def read_attributes(settings: Settings) -> Declared:
    """What the home's file declares. Raises SettingsError for a file that cannot be used."""
    file = settings.files_home / ATTRIBUTES_FILE
    try:
        return Declared(load_own(AttributesConfig, file).attributes)
    except InputError as error:
        raise SettingsError(error.message, repair=error.repair) from error


_INSTEAD: Final[list[Declared]] = []


def declared() -> Declared:
    """The attributes in force: those of the home that the environment names. Raises SettingsError."""
    return _INSTEAD[-1] if _INSTEAD else _of_environment()


@cache
def _of_environment() -> Declared:
    return read_attributes(Settings.from_env(os.environ))


@contextmanager
def in_force(instead: Declared) -> Iterator[None]:
    """Have other attributes be in force for a while: for tests, and for programs that look into several homes."""
    _INSTEAD.append(instead)
    try:
        yield
    finally:
        _INSTEAD.remove(instead)


def _columns(name: str, attribute: Attribute) -> Iterator[Column]:
    words = attribute.words or name.replace("_", " ")
    if attribute.kind is Kind.NUMERIC:
        yield Column(name, words, name)
    if attribute.kind is Kind.BIRTHDAY:
        yield Column(f"{name}_age_years", f"age by {words}, in years", name)
        yield Column(f"{name}_in_days", f"days until the next {words}", name)
    if attribute.kind is Kind.CATEGORICAL:
        taken: dict[str, int] = {}
        for value in attribute.values:
            plain = slug(value)
            taken[plain] = taken.get(plain, 0) + 1
            ending = plain if taken[plain] == 1 else f"{plain}_{taken[plain]}"
            yield Column(f"{name}_is_{ending}", f"{words} is {value} (1 yes, 0 another one)", name, value)


def slug(value: str) -> str:
    """A value in letters that a column's name may have: '65+' is 65, 'Größe M' is grosse_m."""
    plain = unicodedata.normalize("NFKD", value.lower().replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "_", plain).strip("_") or "other_letters"
