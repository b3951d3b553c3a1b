"""What a retailer keeps up over HTTP: offers, the suppression list, products and stock."""

from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Field, model_validator

from features.offers.offer import Offer
from serving.schemas.base import Name, described

MAX_ROWS: Final = 10_000
"""Of one call."""
_OFFER: Final[dict[str, Any]] = {
    "offer_id": "spring",
    "channels": ["email"],
    "where": "value_decile >= 8",
    "categories": ["shoes"],
    "value": "margin",
    "caps": {"per_customer": {"max": 2, "days": 7}, "total": 5000},
}


class OfferRequest(Offer):
    """An offer; `offer_id` may be left out, for the path names it."""

    model_config = described(_OFFER, request=True)

    @model_validator(mode="before")
    @classmethod
    def _as_json_has_it(cls, content: Any) -> Any:
        """Refuse a text where a number is meant: a file may have it, JSON has its own numbers."""
        if isinstance(content, dict):
            _check_types(Offer, content)
        return content


class OfferAnswer(BaseModel):
    """An offer as it is kept."""

    model_config = described(
        {"offer": _OFFER, "digest": "5f0c8a3b1e9d", "in_force": True, "of_file": False, "problem": None}
    )

    offer: Offer
    digest: str = Field(description="Another one whenever the offer is; also in ETag, for If-Match.")
    in_force: bool = Field(description="Whether it may be made now, by its dates and pause.")
    of_file: bool = Field(False, description="Whether offers.toml owns it: then it is changed there alone.")
    problem: str | None = Field(None, description="Why it is not made, where its condition cannot be used any more.")


class OffersAnswer(BaseModel):
    """All offers."""

    model_config = described({"version": 3, "offers": [OfferAnswer.model_config["json_schema_extra"]["examples"][0]]})  # type: ignore[index]

    version: int = Field(description="Another number whenever any offer is.")
    offers: list[OfferAnswer]
    problem: str | None = Field(None, description="What is wrong with offers.toml, which therefore does not count.")


class RemovedAnswer(BaseModel):
    """What was taken out."""

    model_config = described({"removed": 1})

    removed: int


class SuppressionRequest(BaseModel):
    """Why nothing is to be sent to somebody."""

    model_config = described({"reason": "staff"}, request=True)

    reason: Name = Field(description="Told wherever a decision is refused for it.")


class SuppressionAnswer(BaseModel):
    """A name on the suppression list."""

    model_config = described({"name": "42", "reason": "staff", "added_at": "2024-03-01T12:00:00Z"})

    name: str = Field(description="As it is kept: an address may be a hash.")
    reason: str
    added_at: datetime


class SuppressionsAnswer(BaseModel):
    """The suppression list."""

    model_config = described({"suppressions": [{"name": "42", "reason": "staff", "added_at": "2024-03-01T12:00:00Z"}]})

    suppressions: list[SuppressionAnswer]


class StockRow(BaseModel):
    """Units of one product at one place; each row is checked by itself, and a bad one does not keep the others out."""

    model_config = {"extra": "allow"}

    product_id: Any = Field(None, description="The product.")
    store_id: Any = Field(None, description="The store; left out or null: online.")
    units: Any = Field(None, description="How many are there; 0: sold out.")
    as_of: Any = Field(None, description="When that was so; left out: now. Of several the newest counts.")


class ProductRow(BaseModel):
    """What is said of one product; a field that is left out stays as it is."""

    model_config = {"extra": "allow"}

    product_id: Any = Field(None, description="The product.")
    name: Any = Field(None, description="What people call it.")
    category: Any = Field(None, description="Its category.")
    brand: Any = Field(None, description="Its brand.")
    price: Any = Field(None, description="A number.")
    currency: Any = Field(None, description="Of the price, ISO 4217; left out: the home's.")
    attributes: Any = Field(None, description="An object; `withdrawn` true takes the product out of every answer.")
    available_from: Any = Field(None, description="Since when it is sold.")


class StockRequest(BaseModel):
    """Rows of stock."""

    model_config = described({"stock": [{"product_id": "1082185", "store_id": "367", "units": 12}]}, request=True)

    stock: list[StockRow] = Field(min_length=1, max_length=MAX_ROWS)


class ProductsRequest(BaseModel):
    """Rows of products."""

    model_config = described(
        {"products": [{"product_id": "1082185", "price": 0.99, "attributes": {"withdrawn": False}}]}, request=True
    )

    products: list[ProductRow] = Field(min_length=1, max_length=MAX_ROWS)


class RefusedRow(BaseModel):
    """Why one row was not kept."""

    index: int = Field(description="Its place in the list, from 0.")
    field: str
    reason: str


class MergedAnswer(BaseModel):
    """What became of rows."""

    model_config = described({"merged": 1, "rejected": []})

    merged: int = Field(description="Rows that are in the table now; every worker answers by them within a second.")
    rejected: list[RefusedRow]


def _check_types(model: type[BaseModel], content: dict[str, Any], place: str = "") -> None:
    """Raises ValueError for the first value that is not of a type which the field has in JSON."""
    for name, value in content.items():
        field = model.model_fields.get(name)
        if field is not None and value is not None:
            _check_type(field.annotation, value, f"{place}{name}")


def _check_type(kind: Any, value: Any, place: str) -> None:
    kinds = _json_kinds(kind)
    items = [each for each in kinds if isinstance(each, _Items)]
    nested = [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]
    if isinstance(value, list) and items:
        for number, each in enumerate(value):
            _check_type(items[0].kind, each, f"{place}.{number}")
    elif isinstance(value, dict) and nested:
        _check_types(nested[0], value, f"{place}.")
    elif type(value) not in kinds and not (float in kinds and type(value) is int):
        raise ValueError(f"{place} is {type(value).__name__ if value is not None else 'null'}, which it cannot be")


class _Items(NamedTuple):
    """A list of values of one kind."""

    kind: Any


def _json_kinds(kind: Any) -> set[Any]:
    """The types that a value of a field's type has in JSON."""
    if get_origin(kind) is Annotated:
        return _json_kinds(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return set().union(*(_json_kinds(part) for part in get_args(kind)))
    if get_origin(kind) is tuple:
        return {_Items(get_args(kind)[0])}
    if get_origin(kind) is Literal or kind is datetime or (isinstance(kind, type) and issubclass(kind, Enum)):
        return {str}
    if kind is int:
        return {int, float}  # 5.0 is a whole number in JSON
    return {kind}
