"""What is asked about up to 1,000 customers in one call, and their answers or problems, in the same order."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from features.settings import MAX_TIMEOUT_MS
from serving.schemas.answers import BestChannelAnswer, ChurnAnswer, NextProductsAnswer
from serving.schemas.base import Name, described
from serving.schemas.receipts import Problem
from serving.schemas.requests import MAX_PRODUCTS, CustomerRef, NextProductsRequest

MAX_CUSTOMERS: Final = 1_000
"""Of one call."""


class AskedCustomer(BaseModel):
    """One customer by identifiers, or by id as a single question names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customer_id: str | None = None
    identifiers: dict[str, str] = Field(default_factory=dict, max_length=16)


class ManyRequest(BaseModel):
    """Whom one question is about. Who cannot be asked about has a problem of their own among the answers."""

    customers: list[str | AskedCustomer] = Field(
        min_length=1,
        max_length=MAX_CUSTOMERS,
        description="Customers by id, or as objects with `customer_id` or `identifiers`; twice is answered twice.",
    )
    timeout_ms: int | None = Field(
        None,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="How long the caller waits for all of the answers: 504 after that. Left out: 25 s.",
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, data: Any) -> Any:
        """JSON knows one kind of number: 5.0 is 5."""
        if not isinstance(data, dict):
            return data
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in data.items()
        }


class _ManyProducts(ManyRequest):
    model_config = ConfigDict(**described({"customers": ["1", "2"], "k": 5}, request=True), strict=True)


_OWN: Final = {
    name: (field.annotation, field)
    for name, field in NextProductsRequest.model_fields.items()
    if name not in CustomerRef.model_fields and name != "explain"
}
_QUESTION: Final[dict[str, Any]] = {
    **_OWN,
    "candidates": (
        list[Name] | None,
        Field(None, min_length=1, max_length=MAX_PRODUCTS, description="These products alone are ranked."),
    ),
    "explain": (
        bool,
        Field(False, description="True: reasons in words, which take as long as single calls do."),
    ),
}
NextProductsBatchRequest: Final[type[ManyRequest]] = create_model(
    "NextProductsBatchRequest",
    __base__=_ManyProducts,
    __doc__="What will each of these customers buy next? The fields are those of `/v1/next-products`, for all of them.",
    **_QUESTION,
)


class PredictBatchRequest(ManyRequest):
    """One prediction about each of these customers."""

    model_config = ConfigDict(**described({"task": "churn", "customers": ["1", "2"]}, request=True), strict=True)

    task: Literal["churn", "best-channel", "next-product"] = Field(
        description="What `/v1/churn`, `/v1/best-channel` or `/v1/next-products` answer; of products the best 10."
    )
    explain: bool = Field(
        False, description="Of churn and products: add the reasons, which take as long as single calls do."
    )


class _Row(BaseModel):
    error: Problem | None = Field(None, description="Why there is no answer; left out where there is one.")


class NextProductsRow(_Row):
    """One customer's answer or problem."""

    answer: NextProductsAnswer | None = Field(None, description="What the customer alone is answered.")


class PredictionRow(_Row):
    """One customer's answer or problem."""

    answer: ChurnAnswer | BestChannelAnswer | NextProductsAnswer | None = Field(
        None, description="What the customer alone is answered."
    )


class _Counts(BaseModel):
    answered: int
    failed: int = Field(description="How many of the results are problems.")


class NextProductsBatchAnswer(_Counts):
    """One result per customer, in the order in which they were asked about."""

    model_config = described(
        {
            "answered": 1,
            "failed": 1,
            "results": [
                {"answer": dict(NextProductsAnswer.model_config["json_schema_extra"]["examples"][0])},  # type: ignore[index,arg-type]
                {"error": {"code": "customer_unknown", "message": "Nothing is known of this customer.", "details": []}},
            ],
        }
    )

    results: list[NextProductsRow]


class PredictBatchAnswer(_Counts):
    """One result per customer, in the order in which they were asked about."""

    model_config = described(
        {
            "answered": 1,
            "failed": 1,
            "results": [
                {"answer": dict(ChurnAnswer.model_config["json_schema_extra"]["examples"][0])},  # type: ignore[index,arg-type]
                {"error": {"code": "customer_unknown", "message": "Nothing is known of this customer.", "details": []}},
            ],
        }
    )

    results: list[PredictionRow]
