"""What is answered about offers: the one that is made, what its value is made of, and the others."""

from typing import Any, Final

from pydantic import Field

from serving.schemas.base import Finite, Probability


def _is_unsaid(value: Any) -> bool:
    return value is None


ONLY_WITH_OFFERS: Final = Field(exclude_if=_is_unsaid)
"""Of a field that is left out where there is nothing to say: without offers an answer is what it is without them."""


class OfferMade(Finite):
    """The offer that a decision makes, as its sender needs it."""

    name: str = ""
    text: str | None = Field(
        None, description="Its creative for the channel and the language asked for; null without one."
    )
    language: str = Field("", description="Language of that creative; empty where it is for all.")
    group: str | None = None
    tags: list[str] = Field([])


class OptionScore(Finite):
    """One offer as it could be made to this customer: on the way that it is worth most by."""

    offer_id: str
    arm: str | None = Field(description="The way; null where it may be made on none.")
    product_id: str | None = None
    value: float | None = Field(None, description="Expected value there; null where it may not be made.")
    chance: Probability = Field(0.0, description="The policy's chance of the offer, on whatever way.")
    eligible: bool
    reasons: list[str] = Field([], description="Why it may not be made.")
