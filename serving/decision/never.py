"""What a shop never advertises, as rules.toml says it: categories, brands, products, attributes, too low a price or margin."""

from functools import cached_property
from typing import Any, Final

from pydantic import Field, field_validator

from features.config import Config

MARGIN: Final = "margin"
"""The attribute that tells a product's margin as a share of its price."""
COST: Final = "cost"
"""The attribute that tells what a product costs the shop, in money; without a `margin` that follows from it and the price."""

NOTHING_TO_ADVERTISE: Final = "nothing may be advertised"
"""How the reason begins against every arm that shows a product."""


class Never(Config):
    """Products that no answer shows, whoever asks: one match is enough. Only what is known counts: a product without a price
    is not below any. Texts match in whatever case.
    """

    categories: tuple[str, ...] = ()
    """Whole categories, by name."""
    brands: tuple[str, ...] = ()
    """Whole brands, by name."""
    products: tuple[str, ...] = ()
    """Ids of products."""
    attributes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Values of an attribute, one or several: { adult = true, class = ["a", "b"] }."""
    min_price: float | None = Field(None, ge=0)
    """Nothing that costs less."""
    min_margin: float | None = Field(None, lt=1)
    """Nothing with a smaller margin as a share of the price: the attribute `margin`, or else price less attribute `cost`."""

    @field_validator("products", mode="before")
    @classmethod
    def _as_ids(cls, ids: Any) -> Any:
        is_list = isinstance(ids, list | tuple)
        return (
            [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in ids]
            if is_list
            else ids
        )

    @field_validator("attributes", mode="before")
    @classmethod
    def _as_lists(cls, attributes: Any) -> Any:
        if not isinstance(attributes, dict):
            return attributes
        return {
            name: [_text(value) for value in (values if isinstance(values, list | tuple) else [values])]
            for name, values in attributes.items()
        }

    @cached_property
    def text(self) -> str:
        """The section as JSON."""
        return self.model_dump_json()

    def __hash__(self) -> int:
        """By content, so that masks of products can be kept by it."""
        return hash(self.text)

    @cached_property
    def is_empty(self) -> bool:
        """Whether everything may be advertised."""
        return self == Never()


def _text(value: Any) -> Any:
    """A value as product tables compare it."""
    return str(value) if isinstance(value, bool | int | float) else value
