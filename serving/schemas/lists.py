"""What the pages of a shop ask for beside a customer's next products: lists that need no customer, and their answers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from features.settings import MAX_TIMEOUT_MS
from features.vocabulary import Channel
from serving.schemas.answers import Product
from serving.schemas.base import NO_TEXT, Finite, Name, described
from serving.schemas.requests import Narrowing

Source = Literal["model", "content", "popularity"]
"""What a list rests on: a next-product model, what is said of the products, or what is popular."""


class ListRequest(Narrowing):
    """What every list may narrow; it needs no customer."""

    model_config = described({}, request=True)

    k: Annotated[int, Field(ge=1, le=100), NO_TEXT] = Field(10, description="How many products.")
    customer_id: Name | None = Field(
        None, description="Whom it is shown to: what they bought lately is left out, and nothing else changes."
    )
    identifiers: dict[Name, Name] = Field(default_factory=dict, max_length=16, description="The same, by identifiers.")
    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS), NO_TEXT] | None = Field(
        None, description="How long the caller waits for the answer. Left out: OMNI_DEADLINE_MS (200)."
    )
    explain: StrictBool = Field(True, description="False: the answer is the same, without its reasons in words.")

    @property
    def names_somebody(self) -> bool:
        """Whether a customer is named."""
        return self.customer_id is not None or bool(self.identifiers)


class SimilarRequest(ListRequest):
    """What serves the same need as this product?"""

    model_config = described({"product_id": "1082185", "k": 5}, request=True)

    product_id: Name = Field(description="The product of the page.")


class BoughtTogetherRequest(ListRequest):
    """What is bought together with these products?"""

    model_config = described({"product_ids": ["1082185"], "k": 5}, request=True)

    product_ids: list[Name] = Field(
        default_factory=list,
        max_length=100,
        description="A product, or all of a cart. Left out: the customer's open cart; what is popular where there is none.",
    )


class PopularRequest(ListRequest):
    """What do people buy now?"""

    model_config = described({"k": 5, "by": "trending"}, request=True)

    by: Literal["popular", "trending"] = Field(
        "popular",
        description="`popular`: what sells most of late. `trending`: what sells more in these days than in the weeks before.",
    )
    channel: Channel | None = Field(None, description="What is popular on this channel.")


class ListAnswer(Finite):
    """A list of products, best first."""

    model_config = described(
        {
            "as_of": "2018-01-01T10:15:00Z",
            "served_by": "model",
            "models": {"next-product": "3"},
            "rules_version": "5f0c8a3b1e9d",
            "products": [
                {
                    "product_id": "1029743",
                    "name": "MILK",
                    "category": "FLUID MILK",
                    "price": 2.49,
                    "score": 0.31,
                    "reasons": ["bought together with BANANAS"],
                }
            ],
        }
    )

    as_of: datetime = Field(description="The moment the answer holds for, UTC.")
    served_by: Source = Field(
        description="What the list rests on: a `model`, the `content` of the product table, or `popularity`."
    )
    note: str | None = Field(None, description="Where it does not rest on a model: why, and what to do about it.")
    models: dict[str, str] = Field(description="Version of each model that was used.")
    rules_version: str | None = Field(None, description="Version of the rules that it follows.")
    products: list[Product]
