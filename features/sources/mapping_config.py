"""A mapping.toml comes in; the checked description of somebody's own columns goes out."""

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from features.config import Config, load_toml
from features.vocabulary import Channel, EventKind

_Target = Literal[
    "event_id", "occurred_at", "kind", "channel", "customer_id", "product_id", "quantity", "value", "unit_price",
    "currency", "campaign_id", "decision_id", "store_id", "session_id",
]  # fmt: skip
_Constant = Literal["kind", "channel", "currency", "store_id", "campaign_id"]
_ProductTarget = Literal["name", "category", "brand", "price"]
_Clearable = Literal["name", "category", "brand", "price", "attributes", "available_from"]


class MappingConfig(Config):
    """What somebody's columns mean. Left of each `=` is our word, right of it the name of their column."""

    columns: dict[_Target, str]
    """Event column -> your column; `unit_price` times the quantity makes the value, `session_id` is the basket."""
    constants: dict[_Constant, str] = Field(default_factory=dict)
    """Event column -> one value for every row, and for rows whose own column is blank: kind, channel, currency, ..."""
    identifiers: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")], str] = Field(default_factory=dict)
    """Id type (cookie, device, email, phone, loyalty_card, ...) -> your column."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Name of a property -> your column; anything else that is worth keeping."""
    products: dict[_ProductTarget, str] = Field(default_factory=dict)
    """Product column (name, category, brand, price) -> your column; of a product's rows the last that says it counts."""
    clear: tuple[_Clearable, ...] = ()
    """Fields of the product table that become empty for every product of the file that the file says nothing of; others
    stay as they are. `attributes` holds the mark `withdrawn`."""
    kinds: dict[str, EventKind] = Field(default_factory=dict)
    """Your word for what happened -> ours; words that are not listed must be ours already."""
    channels: dict[str, Channel] = Field(default_factory=dict)
    """Your word for a channel -> ours; words that are not listed must be ours already."""
    event_id_from: tuple[str, ...] = ()
    """Your columns that together name one row, such as order and line; empty: the whole row names itself."""
    event_id_prefix: str = ""
    """Put before each event_id, so that two files with the same numbers do not collide."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Rows with nothing to tell them apart: "drop" counts them once, "keep" counts each, in file order."""
    negative_quantity: Literal["return", "reject"] = "return"
    """A purchase of less than nothing: "return" makes it a return of that many, "reject" refuses it."""
    time_zone: str | None = None
    """Zone of times without an offset, like Europe/Berlin."""
    time_format: str | None = None
    """strptime pattern like "%d.%m.%Y %H:%M", or "epoch_s", "epoch_ms", "epoch_us" or "epoch_ns"; left out: ISO 8601, and
    numbers since 1970 whose size tells their unit."""
    ambiguous: Literal["first", "reject"] = "first"
    """A local time that happened twice as the clocks went back: the first of the two, or refused."""
    encoding: str = "utf-8"
    """Encoding of a text file, like utf-8 or cp1252; rows with other bytes are rejected."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Mark between the fields of a CSV file; left out: told from the header."""
    decimal: Literal[".", ","] = "."
    """Mark before the decimals of a number."""
    thousands: Literal["", ".", ",", "'", " "] = ""
    """Mark between the thousands of a number."""
    missing: tuple[str, ...] = ("", "NULL", "null", "None", "N/A", "nan", "NaN")
    """Texts that stand for no value; spaces at the ends of a value are always taken off first."""

    @model_validator(mode="after")
    def _check(self) -> "MappingConfig":
        if "occurred_at" not in self.columns:
            raise ValueError("columns.occurred_at is missing: name the column that says when it happened")
        for name in ("kind", "channel"):
            if name not in self.columns and name not in self.constants:
                raise ValueError(f"say the {name}: name its column under [columns], or one value under [constants]")
        if "customer_id" not in self.columns and not self.identifiers:
            raise ValueError("say who: name columns.customer_id, or at least one column under [identifiers]")
        if "value" in self.columns and "unit_price" in self.columns:
            raise ValueError("columns.value and columns.unit_price exclude each other: keep one")
        if "event_id" in self.columns and self.event_id_from:
            raise ValueError("columns.event_id and event_id_from exclude each other: keep one")
        if self.clear and "product_id" not in self.columns:
            raise ValueError("clear is of products: name columns.product_id")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}: they must differ")
        for name, words in (("kind", EventKind), ("channel", Channel)):
            if name in self.constants and self.constants[name] not in list(words):
                raise ValueError(f"constants.{name} is {self.constants[name]!r}: use one of {', '.join(words)}")
        if self.time_zone is not None:
            try:
                ZoneInfo(self.time_zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(f"time_zone {self.time_zone!r} is unknown: use a name like Europe/Berlin") from error
        return self

    def source_columns(self) -> list[str]:
        """Every column of the file that the mapping reads, each once."""
        groups = (self.columns, self.identifiers, self.properties, self.products)
        named = [column for group in groups for column in group.values()]
        return list(dict.fromkeys([*named, *self.event_id_from]))


def read_mapping(file: Path) -> MappingConfig:
    """The mapping in a TOML file; raises InputError that names the line or the key to mend."""
    return load_toml(MappingConfig, file)
