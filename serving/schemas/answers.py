"""What is answered about a customer: products, churn, channels, a decision, the one view."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from serving.schemas.base import Finite, Probability, described
from serving.schemas.offers import ONLY_WITH_OFFERS, OfferMade, OptionScore


class CustomerInfo(Finite):
    """The customer that the answer is about."""

    customer_id: str
    known: bool = Field(
        True, description="False where nothing was ever seen of them, or there was no time to look at them."
    )
    personal: bool = Field(
        True, description="False where they refused profiling: scores are then those of somebody unknown."
    )


class Answer(Finite):
    """What every answer carries."""

    customer: CustomerInfo
    as_of: datetime = Field(description="The moment the answer holds for, UTC.")
    feature_age_s: float | None = Field(
        description="Seconds between the newest behaviour in the features and as_of; null where there is none."
    )
    models: dict[str, str] = Field(description="Version of each model that was used.")
    degraded: list[Literal["online_store", "event_log"]] = Field(
        [],
        description="What did not answer and was done without. Without the online store the answer is right and slower; "
        "without the event log it may be stale.",
    )
    stale: bool = Field(
        False, description="True where the event log did not answer: the newest behaviour and consents may be missing."
    )
    stale_for_s: float | None = Field(
        None, description="Where it is stale: seconds for which the event log has not answered this worker."
    )


Why = Literal["no model", "model loading", "unknown customer", "profiling refused", "never bought", "deadline"]
"""Why an answer is not a model's word on this customer."""


class ServedAnswer(Answer):
    """An answer that a model gives, or what needs none."""

    served_by: Literal["model", "popularity", "population"] = Field(
        "model",
        description="Who answers: models; `popularity`, what everybody buys and what the customer buys again; or "
        "`population`, everybody's rates.",
    )
    reason: Why | None = Field(
        None,
        description="Why it is not a model's word on this customer; null where it is. A customer who `never bought` "
        "cannot leave.",
    )
    note: str | None = Field(None, description="The same as a sentence, with what to do about it.")
    fallbacks: dict[str, Why] = Field(
        {}, description="The tasks that no model answered, and why; empty where models did."
    )


class RuledAnswer(ServedAnswer):
    """An answer that the house rules have a say in."""

    rules_version: str | None = Field(None, description="Version of the rules that it follows.")


class Product(Finite):
    """A product with its score and why it is there."""

    product_id: str
    name: str | None = None
    category: str | None = None
    price: float | None = None
    score: float
    reasons: list[str] = Field([])
    pscore: Probability = 1.0
    """The chance with which this product was put in this place; below 1 only where new products are explored."""


Status = Literal["customer", "prospect"]
"""A prospect never bought and never had a contract."""
_STATUS_WORDS = "`prospect`: they never bought and never had a contract; churn and expectations are then null."


class NextProductsAnswer(RuledAnswer):
    """Products, best first."""

    model_config = described(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"next-product": "3"},
            "rules_version": "5f0c8a3b1e9d",
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


class Reason(Finite):
    """One cause of a prediction, in words; `effect` is its share of the log-odds."""

    text: str
    effect: float
    signal: str
    value: float | None


class HorizonProbability(Finite):
    """The chance of no purchase, or of a contract that is over, within one horizon."""

    horizon_days: float
    churn_probability: Probability


class WinBack(Finite):
    """What a contact does to a lapsing customer's return, learned from logged contacts."""

    uplift: float | None = Field(
        description="How much likelier a contact makes their return, as a difference of chances; null if they are not lapsing."
    )
    advice: Literal["contact", "leave alone"]
    model_version: str


class ChurnAnswer(ServedAnswer):
    """How likely the customer buys nothing in the next `horizon_days`, or has no contract then."""

    model_config = described(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"churn": "2"},
            "kind": "non-contractual",
            "customer_status": "customer",
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
            "win_back": {"uplift": 0.034, "advice": "contact", "model_version": "1"},
        }
    )

    kind: Literal["non-contractual", "contract"] = Field(
        "non-contractual", description="Whether leaving is to buy no more, or the end of a contract."
    )
    customer_status: Status = Field(description=_STATUS_WORDS)
    churn_probability: Probability | None = Field(
        description="Null for a prospect, and where the question is of contracts and they have none."
    )
    horizon_days: float | None
    horizons: list[HorizonProbability] = Field([], description="Every horizon that the model knows, shortest first.")
    expected_purchases: float | None = Field(
        None, description="Purchase occasions expected within horizon_days; null for a prospect."
    )
    expected_revenue: float | None = Field(
        None, description="Money expected from them: a mean, most spend less; null for a prospect."
    )
    reasons: list[Reason] = Field([])
    win_back: WinBack | None = Field(None, description="Null where no win-back model serves.")


class ArmScore(Finite):
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
    reasons: list[str] = Field([])
    chance: Probability | None = Field(None, description="The policy's chance (pscore) of choosing it now.")


class BestChannelAnswer(RuledAnswer):
    """Ways of reaching the customer, best first."""

    model_config = described(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"best-channel": "1"},
            "rules_version": "5f0c8a3b1e9d",
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


class Taken(Finite):
    """A contact that another decision about the customer holds: it is decided, and not sent yet."""

    decision_id: str
    channel: str
    product_id: str | None
    send_at: datetime


class DecisionAnswer(RuledAnswer):
    """One decision, the same for every channel that asks within the same few minutes."""

    model_config = described(
        {
            "customer": {"customer_id": "1", "known": True},
            "as_of": "2018-01-01T10:15:00Z",
            "feature_age_s": 52310.0,
            "models": {"next-product": "3", "churn": "2", "best-channel": "1"},
            "rules_version": "5f0c8a3b1e9d",
            "decision_id": "d-5f0c8a3b1e9d4c7fa1b2",
            "action": "send",
            "arm": "post_a",
            "channel": "post",
            "pscore": 0.63,
            "send_at": "2018-01-01T17:00:00Z",
            "when": "best",
            "product": {"product_id": "1082185", "name": "BANANAS", "score": 4.21, "reasons": ["bought 23 times"]},
            "response_probability": 0.21,
            "customer_status": "customer",
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
    when: Literal["now", "best"] = Field(
        "best", description="Whether it is to be sent at once or at the customer's likeliest hour."
    )
    product: Product | None
    response_probability: Probability | None
    customer_status: Status = Field(description=_STATUS_WORDS)
    churn_probability: Probability | None
    reasons: list[str]
    arms: list[ArmScore]
    offer_id: Annotated[
        str | None, ONLY_WITH_OFFERS, Field(description="The offer that is made; left out where none is.")
    ] = None
    offer: Annotated[OfferMade | None, ONLY_WITH_OFFERS] = None
    terms: Annotated[
        dict[str, float | None] | None,
        ONLY_WITH_OFFERS,
        Field(description="What its value is made of: chances, money, weights and costs; see docs/decisions.md."),
    ] = None
    anyway_probability: Annotated[
        Probability | None,
        ONLY_WITH_OFFERS,
        Field(description="Of an offer: the chance that the customer buys its product without being told."),
    ] = None
    options: Annotated[
        list[OptionScore] | None,
        ONLY_WITH_OFFERS,
        Field(description="Where it is to explain: the best offers, and the first of those that may not be made."),
    ] = None
    taken: list[Taken] = Field(
        [],
        description="What other decisions about the customer hold, as of this one: their products rest, and they count for "
        "every cap.",
    )
    experiments: Annotated[
        dict[str, str] | None,
        ONLY_WITH_OFFERS,
        Field(description="The variant of each experiment that the customer is in; left out for who is in none."),
    ] = None


class Touch(Finite):
    """One interaction with a product."""

    at: datetime
    kind: str
    channel: str
    product_id: str | None
    name: str | None
    value: float | None


class CartLine(Finite):
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
