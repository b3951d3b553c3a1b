"""The shapes of requests and answers: JSON bodies in, checked models out, with an example for each."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from features.erase_receipt import LearntModel
from features.vocabulary import Channel

Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An id from the outside world: 1 to 256 characters, no control characters."""
Probability = Annotated[float, Field(ge=0, le=1)]


def _config(example: dict[str, Any], *, request: bool = False) -> ConfigDict:
    return ConfigDict(
        extra="forbid" if request else "ignore",
        frozen=True,
        json_schema_extra={"examples": [example]},
        allow_inf_nan=False,
    )


class CustomerRef(BaseModel):
    """Who the question is about: the customer's id, or any identifier that a source knows them by."""

    model_config = _config({"identifiers": {"email": "ada@example.org"}}, request=True)

    customer_id: Name | None = Field(None, description="The customer's id.")
    identifiers: dict[Name, Name] = Field(
        default_factory=dict, max_length=16, description="Identifiers: email, phone, cookie, device, loyalty_card, …"
    )

    @model_validator(mode="after")
    def _names_someone(self) -> "CustomerRef":
        if self.customer_id is None and not self.identifiers:
            raise ValueError("name the customer: give customer_id, or at least one of identifiers")
        return self


class ProductFilter(CustomerRef):
    """What every question about products may narrow."""

    exclude: list[Name] = Field(default_factory=list, max_length=1000, description="Products never to answer with.")
    categories: list[Name] | None = Field(
        None, min_length=1, max_length=200, description="Only products of these categories."
    )
    brands: list[Name] | None = Field(None, min_length=1, max_length=200, description="Only products of these brands.")
    min_price: float | None = Field(None, ge=0, description="Only products that cost at least this much.")
    max_price: float | None = Field(None, ge=0, description="Only products that cost at most this much.")
    attributes: dict[Name, Name] = Field(
        default_factory=dict, max_length=16, description="Only products whose attributes have these values."
    )
    store_id: Name | None = Field(None, description="Only what this store has in stock; without it, the online stock.")
    rebuys: Literal["any", "due", "never"] = Field(
        "any", description="Products bought before: all, only those that are due again, or none."
    )


class NextProductsRequest(ProductFilter):
    """Which products will this customer buy next?"""

    model_config = _config({"customer_id": "1", "k": 5}, request=True)

    k: int = Field(10, ge=1, le=100, description="How many products.")
    exclude_recent_days: float = Field(
        0.0, ge=0, le=3650, description="Leave out what the customer bought in this many days."
    )
    allow_unknown: bool = Field(
        False, description="Answer with what is popular for somebody never seen, instead of 404."
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="0: the best products. More: fewer products of one category, at some cost."
    )
    explore_share: float = Field(
        0.0, ge=0, le=0.5, description="Chance with which a place goes to a new product; every place tells its own."
    )
    new_days: float = Field(28.0, gt=0, le=3650, description="A product is new for so long after it became available.")


class ChurnRequest(CustomerRef):
    """Is this customer about to leave?"""

    model_config = _config({"customer_id": "1", "explain": True}, request=True)

    explain: bool = Field(False, description="Add the reasons, strongest first (about 5 ms more).")


class BestChannelRequest(CustomerRef):
    """Through which channel does this customer answer?"""

    model_config = _config({"customer_id": "1"}, request=True)


class DecideRequest(ProductFilter):
    """Which product, through which channel, when, or nothing at all?"""

    model_config = _config({"customer_id": "1", "asked_by": "web"}, request=True)

    channels: list[Channel] | None = Field(
        None, min_length=1, max_length=16, description="Only these channels can be used."
    )
    asked_by: Channel | None = Field(
        None, description="The channel that asks. It is logged and never changes the answer."
    )


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


class RejectedEvent(BaseModel):
    """Why one event of a batch was not kept."""

    index: int = Field(description="Its place in the batch, from 0.")
    field: str
    reason: str
    event_id: str | None = None


class EventsAnswer(BaseModel):
    """What became of a batch: good events are kept and durable, bad ones are answered one by one."""

    model_config = _config({"accepted": 1, "duplicates": 0, "rejected": [], "erased": 0, "last_seq": 1469308})

    accepted: int = Field(description="New events, durable in the log.")
    duplicates: int = Field(description="Events whose event_id the log already holds; ignored.")
    rejected: list[RejectedEvent]
    erased: int = Field(0, description="Events of customers who were erased since they happened; not kept.")
    last_seq: int = Field(description="Place of the newest event in the log.")


class ErasureAnswer(BaseModel):
    """What an erasure did so far, without personal data. Asking again gives the newest state of the same receipt."""

    model_config = _config(
        {
            "receipt_id": "20240301T120300-5f0c9a1e",
            "customer": "9b0e6a4f4bd1c3a79c2f3f1b8a6de014",
            "erased_at": "2024-03-01T12:03:00Z",
            "removed": {"log: events": 612, "log: identifiers": 2, "online store: rows": 2},
            "pending": ["files", "models"],
            "models": [],
            "notes": [],
        }
    )

    receipt_id: str
    customer: str = Field(description="Keyed hash of the customer's id.")
    erased_at: datetime
    removed: dict[str, int] = Field(description="Rows taken out, by place.")
    pending: list[str] = Field(
        description="Steps still to be done; they go on in the background, and `omni erase --finish` does them too."
    )
    models: list[LearntModel] = Field(description="Models that learnt from the customer; train them again.")
    notes: list[str]


class CustomerInfo(BaseModel):
    """The customer that the answer is about."""

    customer_id: str
    known: bool = Field(True, description="False where nothing was ever seen of them.")
    personal: bool = Field(
        True, description="False where they refused profiling: scores are then those of somebody unknown."
    )


class Answer(BaseModel):
    """What every answer carries."""

    customer: CustomerInfo
    as_of: datetime = Field(description="The moment the answer holds for, UTC.")
    feature_age_s: float | None = Field(
        description="Seconds between the newest behaviour in the features and as_of; null where there is none."
    )
    models: dict[str, str] = Field(description="Version of each model that was used.")


class Product(BaseModel):
    """A product with its score and why it is there."""

    product_id: str
    name: str | None = None
    category: str | None = None
    price: float | None = None
    score: float
    reasons: list[str] = []
    pscore: Probability = 1.0
    """The chance with which this product was put in this place; below 1 only where new products are explored."""


class NextProductsAnswer(Answer):
    """Products, best first."""

    model_config = _config(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"next-product": "3"},
            "products": [
                {
                    "product_id": "1082185",
                    "name": "BANANAS",
                    "category": "TROPICAL FRUIT",
                    "price": 0.99,
                    "score": 4.21,
                    "reasons": ["bought 23 times", "bought about every 12 days", "last bought 13 days ago: due"],
                }
            ],
        }
    )

    products: list[Product]
    decision_id: str | None = Field(
        None, description="Where new products are explored: names this answer in the log; send it along with outcomes."
    )


class Reason(BaseModel):
    """One cause of a prediction, in words; `effect` is its share of the log-odds."""

    text: str
    effect: float
    signal: str
    value: float | None


class HorizonProbability(BaseModel):
    """The chance of no purchase within one horizon."""

    horizon_days: float
    churn_probability: Probability


class ChurnAnswer(Answer):
    """How likely the customer buys nothing in the next `horizon_days`."""

    model_config = _config(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"churn": "2"},
            "churn_probability": 0.071,
            "horizon_days": 28,
            "expected_purchases": 3.1,
            "expected_revenue": 88.4,
            "reasons": [
                {
                    "text": "no store visit for 41 days (usually every 9 days): raises the risk by 12 points",
                    "effect": 0.84,
                    "signal": "overdue_ratio",
                    "value": 4.6,
                }
            ],
        }
    )

    churn_probability: Probability
    horizon_days: float | None
    horizons: list[HorizonProbability] = Field([], description="Every horizon that the model knows, shortest first.")
    expected_purchases: float | None = Field(None, description="Purchase occasions expected within horizon_days.")
    expected_revenue: float | None = Field(None, description="Money expected from them: a mean, most spend less.")
    reasons: list[Reason] = []


class ArmScore(BaseModel):
    """One way of reaching the customer; `nothing` is one of them."""

    arm: str
    channel: str | None
    response_probability: Probability | None
    effect: float | None = Field(
        None, description="Expected gain over nothing, learned from logged decisions, costs included; null if unknown."
    )
    cost: float
    value: float = Field(
        description="Expected value: the effect where it is known; else response probability times its value, less cost."
    )
    eligible: bool
    reasons: list[str] = []
    chance: Probability | None = Field(None, description="The policy's chance (pscore) of choosing it now.")


class BestChannelAnswer(Answer):
    """Ways of reaching the customer, best first."""

    model_config = _config(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"best-channel": "1"},
            "best": "post_a",
            "arms": [
                {
                    "arm": "post_a",
                    "channel": "post",
                    "response_probability": 0.21,
                    "cost": 0.6,
                    "value": 1.5,
                    "eligible": True,
                    "reasons": [],
                },
                {
                    "arm": "nothing",
                    "channel": None,
                    "response_probability": None,
                    "cost": 0.0,
                    "value": 0.0,
                    "eligible": True,
                    "reasons": [],
                },
            ],
        }
    )

    best: str = Field(description="The eligible arm of the highest value.")
    reasons: list[str] = Field([], description="Why it is the best, and what its value rests on.")
    arms: list[ArmScore]


class DecisionAnswer(Answer):
    """One decision, the same for every channel that asks within the same few minutes."""

    model_config = _config(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"next-product": "3", "churn": "2", "best-channel": "1"},
            "decision_id": "d-5f0c8a3b1e9d4c7fa1b2",
            "action": "send",
            "arm": "post_a",
            "channel": "post",
            "pscore": 0.63,
            "send_at": "2018-01-01T17:00:00Z",
            "product": {"product_id": "1082185", "name": "BANANAS", "score": 4.21, "reasons": ["bought 23 times"]},
            "response_probability": 0.21,
            "churn_probability": 0.071,
            "reasons": ["post_a has the highest expected value of 4 allowed ways"],
            "arms": [],
        }
    )

    decision_id: str
    action: Literal["send", "nothing"]
    arm: str
    channel: str | None
    pscore: Probability = Field(description="The chance with which the policy chose this arm.")
    send_at: datetime | None
    product: Product | None
    response_probability: Probability | None
    churn_probability: Probability | None
    reasons: list[str]
    arms: list[ArmScore]


class Touch(BaseModel):
    """One interaction with a product."""

    at: datetime
    kind: str
    channel: str
    product_id: str | None
    name: str | None
    value: float | None


class CartLine(BaseModel):
    """A product left in the cart."""

    product_id: str | None
    name: str | None
    quantity: float
    channel: str
    since: datetime


class ProfileAnswer(Answer):
    """One customer over all channels."""

    first_seen: datetime | None
    last_event: datetime | None
    purchases: dict[str, float | None] = Field(description="Occasions, days between them, money: the lifecycle.")
    activity: dict[str, dict[str, int]] = Field(description="Number of events by channel and kind.")
    consents: dict[str, bool] = Field(description="Channels on which the customer said yes or no.")
    cart: list[CartLine]
    recent: list[Touch] = Field(description="The latest interactions with products, newest first.")
    signals: dict[str, float | None] | None = Field(None, description="Every feature; only with ?signals=true.")


class ModelInfo(BaseModel):
    """One model that answers now, or what to do so that it will."""

    task: str
    ready: bool
    version: str | None = None
    alias: str = "champion"
    feature_service: str | None = None
    trained_at: str | None = None
    run_id: str | None = None
    problem: str | None = None


class ModelsAnswer(BaseModel):
    """The models in use."""

    model_config = _config(
        {
            "models": [
                {
                    "task": "churn",
                    "ready": True,
                    "version": "2",
                    "alias": "champion",
                    "feature_service": "churn_v1",
                    "trained_at": "2018-01-01T00:00:00Z",
                    "run_id": "4be1…",
                    "problem": None,
                }
            ]
        }
    )

    models: list[ModelInfo]


class Problem(BaseModel):
    """What went wrong, for a program (`code`) and for a person (`message`)."""

    code: str
    message: str
    details: list[dict[str, Any]] = []


class ErrorAnswer(BaseModel):
    """Every error, whatever its status."""

    model_config = _config(
        {
            "error": {
                "code": "customer_unknown",
                "message": "No event of this customer is in the log.",
                "details": [],
            }
        }
    )

    error: Problem
