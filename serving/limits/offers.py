"""Caps and budgets of offers: what the ledger knows in, offers without room left, and the room that one needs, out; pure."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from features.log.reservations import Held, Place
from features.offers.offer import Offer, OfferCaps
from features.vocabulary import DAY_S
from serving.decision.reserved import Used, tag_refusal
from serving.decision.rules import Rules

_US: Final = 1_000_000
_NO_CAPS: Final = OfferCaps()
_AHEAD_DAYS: Final = 2
"""An offer is to be sent within so many days: what its best moment is, is not known when offers are looked at."""


def offer_places(offer: Offer, arm_cost: float, send_at_s: float, rules: Rules) -> tuple[Place, ...]:
    """The room that one contact with an offer needs, by a way of that cost: in its total, on its day, in its budget."""
    places = []
    if offer.caps.total is not None:
        places.append(Place(f"offer:{offer.offer_id}:total", 1.0, float(offer.caps.total)))
    if offer.caps.per_day is not None:
        day = rules.local(send_at_s).date()
        places.append(Place(f"offer:{offer.offer_id}:day:{day}", 1.0, float(offer.caps.per_day)))
    if offer.budget is not None:
        places.append(Place(f"offer:{offer.offer_id}:budget", arm_cost + offer.cost, offer.budget))
    return tuple(places)


def offer_refusals(
    offers: Sequence[Offer], held: Held, as_of_s: float, rules: Rules, used: Used | None
) -> dict[str, str]:
    """Offers that a customer may not get now, by id, with the reason: their own caps, their tags', and what is used up.

    A cap for one customer is held around every moment at which it could be sent.
    """
    refused: dict[str, str] = {}
    offers = [offer for offer in offers if offer.tags or offer.budget is not None or offer.caps != _NO_CAPS]
    wanted = {offer.offer_id: offer_places(offer, 0.0, as_of_s, rules) for offer in offers} if used else {}
    taken = used([place.key for places in wanted.values() for place in places]) if used and any(wanted.values()) else {}
    for offer in offers:
        cap = offer.caps.per_customer
        if cap is not None:
            since_s = as_of_s - cap.days * DAY_S
            made = [
                one for one in held.reservations if one.offer_id == offer.offer_id and one.send_at_us / _US > since_s
            ]
            if len(made) >= cap.max:
                refused[offer.offer_id] = f"{cap.max} contacts with it in {cap.days:g} days is the cap"
        reason = tag_refusal(held, offer.tags, as_of_s, rules) or tag_refusal(
            held, offer.tags, as_of_s + timedelta(days=_AHEAD_DAYS).total_seconds(), rules
        )
        if reason is not None:
            refused.setdefault(offer.offer_id, reason)
        for place in wanted.get(offer.offer_id, ()):
            if taken.get(place.key, 0.0) + place.amount > place.limit or taken.get(place.key, 0.0) >= place.limit:
                refused.setdefault(offer.offer_id, f"what it may be used for is used up ({place.key.split(':', 2)[2]})")
    return refused
