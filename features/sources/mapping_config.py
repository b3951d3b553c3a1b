"""A mapping.toml comes in; the checked description of somebody's own columns goes out."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, model_validator

from features.config import Config, load_toml
from features.vocabulary import Channel, EventKind

_Target = Literal[
    "event_id", "occurred_at", "kind", "channel", "customer_id", "product_id", "quantity", "value", "unit_price",
    "discount", "order_discount", "currency", "campaign_id", "decision_id", "store_id", "session_id",
]  # fmt: skip
_Constant = Literal["kind", "channel", "currency", "store_id", "campaign_id"]
_ProductTarget = Literal["name", "category", "brand", "price"]
_Clearable = Literal["name", "category", "brand", "price", "attributes", "available_from"]
_Consent = Literal[
    "web", "app", "email", "sms", "push", "social", "ads", "chat", "call_center", "post", "store", "profiling",
]  # fmt: skip
MISSING: Final = (
    "", "NULL", "Null", "null", "None", "none", "nil", "N/A", "n/a", "NA", "#N/A", "<NA>", "nan", "NaN", "NAN", "NaT", "\\N",
    "(null)", "(none)", "(not set)", "undefined",
)  # fmt: skip
"""What databases, data frames, spreadsheets and web analytics write for nothing."""
YES: Final = ("true", "True", "TRUE", "yes", "Yes", "YES", "y", "Y", "1")
NO: Final = ("false", "False", "FALSE", "no", "No", "NO", "n", "N", "0")


class ColumnSpec(Config):
    """Where a value lies, where more than a name has to be said."""

    column: str | None = None
    """Your column, or the path to it."""
    first_of: tuple[str, ...] = ()
    """Instead: several columns, of which in each row the first that holds anything counts."""
    optional: bool = False
    """Whether the file may have no such column in any row."""

    @model_validator(mode="after")
    def _check_column(self) -> "ColumnSpec":
        if (self.column is None) is not bool(self.first_of):
            raise ValueError("say column, or first_of with a list of columns")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """The columns to look at, in order."""
        return self.first_of if self.column is None else (self.column,)


class WordSpec(ColumnSpec):
    """A column of words for yes and no; others are refused."""

    yes: tuple[str, ...] = YES
    """Words for yes."""
    no: tuple[str, ...] = NO
    """Words for no."""


class PropertySpec(WordSpec):
    """A property that is no text."""

    type: Literal["text", "number", "boolean", "json"] = "text"
    """What it becomes: `json` keeps objects and lists as they are."""


class JoinSpec(Config):
    """A second file with more columns of the same rows, such as the orders of lines."""

    file: str
    """Where it lies: beside the mapping, or below the folder in which omni runs."""
    key: str
    """The column that both files have."""


def _named(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


Named: TypeAlias = Annotated[ColumnSpec, BeforeValidator(_named)]
"""A column's name, or a table that says more."""


class MappingConfig(Config):
    """What somebody's columns mean. Left of each `=` is our word, right of it the name of their column."""

    columns: dict[_Target, Named]
    """Event column -> your column; `unit_price` times the quantity makes the value, `discount` is money off this line and
    `order_discount` off the whole order, `session_id` is the basket."""
    constants: dict[_Constant, str] = Field(default_factory=dict)
    """Event column -> one value for every row, and for rows whose own column is blank: kind, channel, currency, ..."""
    identifiers: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")], Named] = Field(default_factory=dict)
    """Id type (cookie, device, email, phone, loyalty_card, ...) -> your column."""
    properties: dict[str, Annotated[PropertySpec, BeforeValidator(_named)]] = Field(default_factory=dict)
    """Name of a property -> your column; anything else that is worth keeping. It is text, or the `type` that is said."""
    consent: dict[_Consent, Annotated[WordSpec, BeforeValidator(_named)]] = Field(default_factory=dict)
    """Channel, or profiling -> your column and its words for yes and no; a blank says nothing. It makes a profile event."""
    products: dict[_ProductTarget, Named] = Field(default_factory=dict)
    """Product column (name, category, brand, price) -> your column; of a product's rows the last that says it counts."""
    clear: tuple[_Clearable, ...] = ()
    """Fields of the product table that become empty for every product of the file that the file says nothing of; others
    stay as they are. `attributes` holds the mark `withdrawn`."""
    kinds: dict[str, EventKind] = Field(default_factory=dict)
    """Your word for what happened -> ours; words that are not listed must be ours already. `page/*` is every word that
    begins so, and `*` the rest."""
    kind_from: tuple[str, ...] = ()
    """Instead of columns.kind: columns whose words, joined by /, say what happened."""
    skip: dict[_Target, tuple[str, ...]] = Field(default_factory=dict)
    """Our column -> words of yours in it whose rows are not wanted; they are counted, and not rejected."""
    channels: dict[str, Channel] = Field(default_factory=dict)
    """Your word for a channel -> ours; words that are not listed must be ours already."""
    event_id_from: tuple[str, ...] = ()
    """Your columns that together name one row, such as order and line; empty: the whole row names itself."""
    line_of: str | None = None
    """Your column whose rows of one value are lines of one thing: the number of the line, from 1, is added to event_id_from."""
    carry_down: tuple[str, ...] = ()
    """Your columns that hold a value in the first row of a group only: the rows below it get the same."""
    within: str | None = None
    """Your column that tells the groups of carry_down and order_discount."""
    explode: str | None = None
    """A list of objects in each row: every element makes an event of its own, with the row's other values."""
    join: JoinSpec | None = None
    """A second file with more columns of the same rows."""
    event_id_prefix: str = ""
    """Put before each event_id, so that two files with the same numbers do not collide."""
    duplicates: Literal["drop", "keep", "first"] = "drop"
    """Rows with nothing to tell them apart: "drop" counts them once, "keep" counts each, in file order. Rows that share an
    event id and differ refuse the file, unless "first" takes the first of them."""
    negative_quantity: Literal["return", "reject"] = "return"
    """A purchase of less than nothing: "return" makes it a return of that many, "reject" refuses it."""
    time_zone: str | None = None
    """Zone of times without an offset, like Europe/Berlin."""
    time_format: str | None = None
    """strptime pattern like "%d.%m.%Y %H:%M", or for numbers since 1970 their unit: "epoch_s", "epoch_ms", "epoch_us" or
    "epoch_ns"; left out: ISO 8601."""
    ambiguous: Literal["first", "reject"] = "first"
    """A local time that happened twice as the clocks went back: the first of the two, or refused."""
    encoding: str = "utf-8"
    """Encoding of a text file, like utf-8 or cp1252; rows with other bytes are rejected."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Mark between the fields of a CSV file; left out: told from the header."""
    quoting: Literal["standard", "none"] = "standard"
    """How a CSV file quotes: "none" where a quote is a character like any other (Snowplow, COPY, mysql --batch)."""
    multiline: bool = False
    """Whether quoted fields of a CSV file may go over several lines; a file that has such fields is refused otherwise."""
    header: tuple[str, ...] = ()
    """Names of the columns of a file that has none in its first line."""
    sheet: str | None = None
    """Sheet of an Excel workbook; left out: the first that holds anything."""
    decimal: Literal[".", ","] = "."
    """Mark before the decimals of a number."""
    thousands: Literal["", ".", ",", "'", " "] = ""
    """Mark between the thousands of a number."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """What one unit of the file's amounts of money is: 0.01 where they are in cents."""
    missing: tuple[str, ...] = MISSING
    """What stands for no value, also where it is a number; spaces at the ends of a value are always taken off first."""

    @model_validator(mode="after")
    def _check(self) -> "MappingConfig":
        if "occurred_at" not in self.columns:
            raise ValueError("columns.occurred_at is missing: name the column that says when it happened")
        if self.kind_from and "kind" in self.columns:
            raise ValueError("columns.kind and kind_from exclude each other: keep one")
        for name in ("kind", "channel"):
            said = (
                name in self.columns or name in self.constants or (name == "kind" and (self.kind_from or self.consent))
            )
            if not said:
                raise ValueError(f"say the {name}: name its column under [columns], or one value under [constants]")
        if "customer_id" not in self.columns and not self.identifiers:
            raise ValueError("say who: name columns.customer_id, or at least one column under [identifiers]")
        if "value" in self.columns and "unit_price" in self.columns:
            raise ValueError("columns.value and columns.unit_price exclude each other: keep one")
        for name in ("discount", "order_discount"):
            if name in self.columns and not self.columns.keys() & {"value", "unit_price"}:
                raise ValueError(f"columns.{name} is taken off a value: name columns.value or columns.unit_price")
        if "order_discount" in self.columns and not (self.explode or self.within or self.line_of):
            raise ValueError("columns.order_discount is of an order: say explode, or within = its column")
        if self.carry_down and self.within is None:
            raise ValueError("carry_down ends with a group: say within = the column that tells the groups")
        if self.line_of is not None and "event_id" in self.columns:
            raise ValueError("line_of adds to event_id_from: leave columns.event_id out")
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

    def specs(self) -> list[ColumnSpec]:
        """Everything of the file that the mapping reads."""
        groups = (self.columns, self.identifiers, self.properties, self.consent, self.products)
        named: list[ColumnSpec] = [spec for group in groups for spec in group.values()]
        texts = [*self.event_id_from, *self.kind_from, *self.carry_down, self.within, self.line_of]
        return [*named, *(ColumnSpec(column=text) for text in texts if text is not None)]

    def source_columns(self) -> list[str]:
        """Every column or path that the mapping reads, each once."""
        return list(dict.fromkeys(path for spec in self.specs() for path in spec.paths))


def read_mapping(file: Path) -> MappingConfig:
    """The mapping in a TOML file; raises InputError that names the line or the key to mend."""
    return load_toml(MappingConfig, file)
