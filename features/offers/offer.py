"""One offer: what a retailer may say to a customer, to whom, when, where, at what cost and how often; checked, never changed.

A section of a file or a JSON object comes in, an `Offer` goes out, or the complaint that names the field. Money is in the
home's currency.
"""

import hashlib
import json
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from features.config import MAX_DAYS, MIN_DAYS, Config
from features.vocabulary import Channel

MAX_WHERE: Final = 2_000
"""Characters of a condition."""
MAX_PROMOTED: Final = 10_000
"""Products, categories or brands that one offer may name; more are better named by their category."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An id from the outside world: 1 to 256 characters, no control characters."""
Money = Annotated[float, Field(ge=0, le=1e12)]
"""An amount in the home's currency."""
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_PROMOTED)]


class Creative(Config):
    """What is said on one channel in one language; passed on as it is."""

    channel: Channel | None = None
    """Where it is said; none: on every channel that has no creative of its own."""
    language: str = Field("", max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$")
    """BCP 47, such as de or pt-BR; empty: whatever the language."""
    text: str = Field(max_length=20_000)
    """The words, or whatever the sender makes of them: an id of a template, JSON."""


class CustomerCap(Config):
    """At most `max` contacts with an offer for one customer in any `days` days."""

    max: int = Field(ge=1, le=1_000)
    """Contacts."""
    days: float = Field(ge=MIN_DAYS, le=MAX_DAYS)
    """Length of the rolling window."""


class OfferCaps(Config):
    """How often an offer is made at most."""

    per_customer: CustomerCap | None = None
    """To one customer, over all channels."""
    per_day: int | None = Field(None, ge=0)
    """To all customers together, on one day of the house's time zone."""
    total: int | None = Field(None, ge=0)
    """To all customers together, as long as it runs."""


class Offer(Config):
    """Something that a retailer may say to a customer."""

    offer_id: Name
    """What it is called in answers, events and reports; never given to another offer again."""
    name: str = Field("", max_length=256)
    """What people call it."""
    channels: tuple[Channel, ...] = ()
    """Where it may be made; empty: on every channel."""
    creatives: tuple[Creative, ...] = Field((), max_length=200)
    """What is said, by channel and language."""
    starts_at: datetime | None = None
    """From this moment on; none: at once."""
    ends_at: datetime | None = None
    """Before this moment; none: without end."""
    where: str | None = Field(None, max_length=MAX_WHERE)
    """Whom it is for: a condition on the columns of `omni audience`; none: everybody."""
    products: Names = ()
    """Ids of the products that it promotes."""
    categories: Names = ()
    """Categories that it promotes; together with brands, what is of one of both."""
    brands: Names = ()
    """Brands that it promotes."""
    promotes: Literal["product", "nothing"] = "product"
    """`nothing`: it is about no product (a survey, a club). Otherwise the best of what it names, or the customer's own best."""
    store_ids: Names = ()
    """Where it may be made, if the question names a store; empty: everywhere."""
    value: Annotated[float, Field(ge=0, le=1e12)] | Literal["margin", "price"] | None = None
    """What one response is worth: money, or its product's margin or price; none: `response_value` of the house's rules."""
    cost: Money = 0.0
    """Of one contact, on top of what its way costs."""
    caps: OfferCaps = OfferCaps()
    """How often it is made at most."""
    budget: Money | None = None
    """What all of its contacts may cost together, their ways' cost and its own; none: whatever they cost."""
    boost: float = Field(1.0, gt=0, le=1_000)
    """A factor on its expected value: above 1 pushes it, below 1 buries it."""
    boost_reason: str = Field("", max_length=256)
    """Why; must be said where `boost` is not 1."""
    tags: Names = ()
    """Campaign, theme, season: caps and reports go by them."""
    group: Name | None = None
    """Of one group at most one offer is in an answer."""
    control_share: float = Field(0.0, ge=0, lt=1)
    """Share of the customers who never get it, drawn by chance, to measure it against."""
    rebuys: Literal["any", "due", "never"] = "any"
    """Products that the customer buys anyway: `any` may be promoted, `due` those alone that are due, `never` none of them."""
    rest_days: float | None = Field(None, ge=0, le=MAX_DAYS)
    """How long it rests for a customer after a contact with it; none: as the house's rules say of campaigns."""
    paused: bool = False
    """Kept, and not made."""

    @field_validator("products", "categories", "brands", "store_ids", "tags", mode="before")
    @classmethod
    def _numbers_are_ids(cls, values: Any) -> Any:
        return [_as_id(value) for value in values] if isinstance(values, list | tuple) else values

    @field_validator("offer_id", "group", mode="before")
    @classmethod
    def _number_is_an_id(cls, value: Any) -> Any:
        return _as_id(value)

    @field_validator("channels", "products", "categories", "brands", "store_ids", "tags", mode="after")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @field_validator("starts_at", "ends_at", mode="before")
    @classmethod
    def _no_bare_number(cls, value: Any) -> Any:
        if value is None or isinstance(value, str | datetime):
            return value
        raise ValueError("Input should be a moment with its time zone, such as 2030-12-01T08:00:00+01:00")

    @field_validator("starts_at", "ends_at", mode="after")
    @classmethod
    def _names_its_zone(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError("Input should name its time zone, such as 2030-12-01T08:00:00+01:00")
        return moment

    @field_validator("where", mode="after")
    @classmethod
    def _no_empty_condition(cls, where: str | None) -> str | None:
        if where is not None and not where.strip():
            raise ValueError("Input should be a condition; leave the field out for everybody")
        return where

    @field_validator("creatives", mode="after")
    @classmethod
    def _one_for_each_place(cls, creatives: tuple[Creative, ...], info: ValidationInfo) -> tuple[Creative, ...]:
        places = [(creative.channel, creative.language.lower()) for creative in creatives]
        if len(set(places)) < len(places):
            raise ValueError("Input should have one creative for a channel and language")
        return creatives

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.starts_at is not None and self.ends_at is not None and self.ends_at <= self.starts_at:
            raise ValueError(f"offer {self.offer_id} ends before it starts: ends_at should be later than starts_at")
        if self.boost != 1 and not self.boost_reason.strip():
            raise ValueError(f"offer {self.offer_id} has a boost of {self.boost:g}: say why in boost_reason")
        if self.promotes == "nothing" and (self.names_products or isinstance(self.value, str)):
            raise ValueError(
                f'offer {self.offer_id} has promotes = "nothing": leave out products, categories and brands,'
                " and say its value in money"
            )
        return self

    def __copy__(self) -> Self:
        """A copy of which nothing is remembered: `model_copy` changes fields of it."""
        copied = super().__copy__()
        for name in ("text", "digest"):
            vars(copied).pop(name, None)
        return copied

    @property
    def names_products(self) -> bool:
        """Whether it says which products it promotes; otherwise it is about the customer's own best one."""
        return bool(self.products or self.categories or self.brands)

    def is_current(self, at: datetime) -> bool:
        """Whether it may be made at a moment, as far as its own dates and pause go."""
        if self.paused or (self.starts_at is not None and at < self.starts_at):
            return False
        return self.ends_at is None or at < self.ends_at

    def creative(self, channel: Channel, language: str = "") -> Creative | None:
        """What is said on a channel: in the language, else in its main language, else in any; None where nothing is."""
        for wanted in dict.fromkeys((language.lower(), language.lower().partition("-")[0], "")):
            for place in (channel, None):
                for each in self.creatives:
                    if each.channel == place and each.language.lower() == wanted:
                        return each
        return None

    @cached_property
    def text(self) -> str:
        """The offer as JSON, without what is as it always is."""
        return self.model_dump_json(exclude_defaults=True)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that are others whenever the offer is."""
        content = json.dumps(json.loads(self.text), sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()


def _as_id(value: Any) -> Any:
    """A whole number as the text that it is as an id; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
