"""What is asked, as JSON bodies: about a customer, about products, and what happened."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, Strict, StrictBool, model_validator

from features.settings import MAX_TIMEOUT_MS
from features.vocabulary import Channel
from serving.schemas.base import NO_TEXT, Name, Real, described

MAX_PRODUCTS: Final = 100
"""Of one answer, where its caller says how many."""
MAX_CANDIDATES: Final = 5_000


class CustomerRef(BaseModel):
    """Who the question is about: the customer's id, or any identifier that a source knows them by."""

    model_config = described({"identifiers": {"email": "ada@example.org"}}, request=True)

    customer_id: Name | None = Field(None, description="The customer's id.")
    identifiers: dict[Name, Name] = Field(
        default_factory=dict, max_length=16, description="Identifiers: email, phone, cookie, device, loyalty_card, …"
    )

    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS), NO_TEXT] | None = Field(
        None,
        description="How long the caller waits for the answer: after that what needs no model is answered. Left out: "
        "OMNI_DEADLINE_MS (200).",
    )

    @model_validator(mode="after")
    def _names_someone(self) -> "CustomerRef":
        if self.customer_id is None and not self.identifiers:
            raise ValueError("name the customer: give customer_id, or at least one of identifiers")
        return self


class Narrowing(BaseModel):
    """Which products may be answered with."""

    exclude: list[Name] = Field(default_factory=list, max_length=1000, description="Products never to answer with.")
    categories: list[Name] | None = Field(
        None, min_length=1, max_length=200, description="Only products of these categories."
    )
    brands: list[Name] | None = Field(None, min_length=1, max_length=200, description="Only products of these brands.")
    min_price: Real | None = Field(None, ge=0, description="Only products that cost at least this much.")
    max_price: Real | None = Field(None, ge=0, description="Only products that cost at most this much.")
    attributes: dict[Name, Name] = Field(
        default_factory=dict, max_length=16, description="Only products whose attributes have these values."
    )
    store_id: Name | None = Field(None, description="Only what this store has in stock; without it, the online stock.")


class ProductFilter(Narrowing, CustomerRef):
    """What every question about a customer's products may narrow."""

    rebuys: Literal["any", "due", "never"] = Field(
        "any", description="Products bought before: all, only those that are due again, or none."
    )
    explain: StrictBool = Field(True, description="False: the answer is the same, without its reasons in words.")


class NextProductsRequest(ProductFilter):
    """Which products will this customer buy next?"""

    model_config = described({"customer_id": "1", "k": 5}, request=True)

    k: Annotated[int, Field(ge=1, le=MAX_PRODUCTS), NO_TEXT] = Field(
        10, description="How many products. Left out with `candidates`: all of these that may be answered."
    )
    candidates: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CANDIDATES,
        description="The caller's own list, such as search results: these products alone are ranked.",
    )
    session: list[Name] = Field(
        default_factory=list,
        max_length=100,
        description="Products looked at in this visit, oldest first: they count as views of this moment and are not kept.",
    )
    objective: Literal["conversion", "revenue", "margin"] = Field(
        "conversion", description="What is ranked by: the chance to be bought, or that times the price or the margin."
    )
    exclude_recent_days: Real = Field(
        0.0, ge=0, le=3650, description="Leave out what the customer bought in this many days."
    )
    exclude_resting: StrictBool = Field(
        False, description="Leave out what rests after messages and impressions, as decisions do."
    )
    allow_unknown: StrictBool = Field(
        False,
        description="Answer with what is popular even for what names nobody (a placeholder such as `undefined`), or where "
        "the event log does not answer who is asked about.",
    )
    channel: Channel | None = Field(None, description="Where no model answers: what is popular on this channel.")
    diversity: Real = Field(
        0.0, ge=0, le=1, description="0: the best products. More: fewer products of one category, at some cost."
    )
    explore_share: Real = Field(
        0.0, ge=0, le=0.5, description="Chance with which a place goes to a new product; every place tells its own."
    )
    new_days: Real = Field(28.0, gt=0, le=3650, description="A product is new for so long after it became available.")

    @property
    def n_places(self) -> int:
        """How many products are answered at most."""
        return self.k if self.candidates is None or "k" in self.model_fields_set else len(self.candidates)


class ChurnRequest(CustomerRef):
    """Is this customer about to leave?"""

    model_config = described({"customer_id": "1", "explain": True}, request=True)

    explain: StrictBool = Field(False, description="Add the reasons, strongest first (about 5 ms more).")


class BestChannelRequest(CustomerRef):
    """Through which channel does this customer answer?"""

    model_config = described({"customer_id": "1"}, request=True)


_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT: Final = datetime(3000, 1, 1, tzinfo=UTC)


def _on_the_calendar(moment: datetime) -> datetime:
    """Refuse what no clock of every zone can show."""
    if not _FIRST_MOMENT <= moment < _LAST_MOMENT:
        raise ValueError("the moment must be between 1970 and 2999")
    return moment


_Moment = Annotated[AwareDatetime, Strict(), AfterValidator(_on_the_calendar)]


class DecideRequest(ProductFilter):
    """Which product, through which channel, when, or nothing at all?"""

    model_config = described({"customer_id": "1", "asked_by": "web"}, request=True)

    channels: list[Channel] | None = Field(
        None, min_length=1, max_length=16, description="Only these channels can be used."
    )
    campaign_id: Name | None = Field(
        None, description="The campaign that it is for: while that rests for the customer, nothing is sent."
    )
    asked_by: Channel | None = Field(
        None, description="The channel that asks. It is logged and never changes the answer."
    )
    when: Literal["now", "best"] | None = Field(
        None,
        description="`now`: at once or not at all. `best`: at the customer's likeliest hour. Left out: now for who is there "
        "(their newest event is a visit, view, search, cart change, call or chat of the last minutes), else best.",
    )
    not_before: _Moment | None = Field(
        None,
        description="The offer begins then: nothing is sent earlier. With a zone, for example 2018-01-01T10:00:00Z.",
    )
    not_after: _Moment | None = Field(
        None, description="The offer ends then: nothing is sent from then on. With a zone."
    )
    language: Annotated[str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")] | None = Field(
        None, description="The language in which an offer is told, such as de or pt-BR."
    )
    log: StrictBool = Field(
        True,
        description="False: only looked at, drawn as it would be. It is not logged and reserves nothing; do not send it.",
    )
    dry_run: StrictBool = Field(
        False,
        description="True: only looked at, and nothing is drawn: the way of the highest value is answered, with pscore 1. "
        "It is not logged and reserves nothing; do not send it.",
    )
    request_id: Name | None = Field(
        None,
        description="A name of this very question, as is the header Idempotency-Key: asked again under it within a day, the "
        "same decision is answered, whatever happened since. Another question under it is refused.",
    )

    @model_validator(mode="after")
    def _offer_has_a_time(self) -> "DecideRequest":
        if self.not_before is not None and self.not_after is not None and self.not_after <= self.not_before:
            raise ValueError("not_after must be later than not_before")
        return self

    @property
    def acts(self) -> bool:
        """Whether the decision is kept, and may be sent by."""
        return self.log and not self.dry_run


class EventsRequest(BaseModel):
    """Things that happened. A bare list of events, or one event, is accepted too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event_id": "web-93f1",
                            "occurred_at": "2018-01-01T10:15:00Z",
                            "kind": "add_to_cart",
                            "channel": "web",
                            "customer_id": "1",
                            "product_id": "1082185",
                            "quantity": 1,
                        }
                    ]
                }
            ]
        }
    )

    events: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)
