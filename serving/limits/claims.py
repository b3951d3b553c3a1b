"""A decision that says `send` in, what it reserves in the ledger out; pure."""

from datetime import UTC, datetime

from features.clock import Clock
from features.log.reservations import Claim, Held
from features.offers.offer import Offer
from serving.decision.record import Drawn
from serving.decision.reserved import volume_places
from serving.decision.rules import Rules
from serving.guard.reliance import Named
from serving.limits.offers import offer_places
from serving.schemas import Product, Taken

_US = 1_000_000


def held_now(log: Named, customer_id: str, clock: Clock) -> Held:
    """What a customer has reserved by now."""
    return log.ledger().held(customer_id, int(clock.now().timestamp() * _US))


def taken_of(held: Held) -> list[Taken]:
    """What the customer is to be sent by other decisions, the first moment first."""
    live = sorted((one for one in held.reservations if not one.sent), key=lambda one: (one.send_at_us, one.decision_id))
    return [
        Taken(
            decision_id=one.decision_id,
            channel=one.channel,
            product_id=one.product_id,
            send_at=datetime.fromtimestamp(one.send_at_us / _US, UTC),
        )
        for one in live
    ]


def claim_of(
    drawn: Drawn,
    customer_id: str,
    product: Product | None,
    campaign_id: str | None,
    rules: Rules,
    now: datetime,
    offer: Offer | None = None,
) -> Claim | None:
    """The contact on a channel at a moment, and its places in the channel's volume and the offer's; None for `nothing`."""
    channel = drawn.arm.channel
    if drawn.number is None or channel is None:
        return None
    at_s = now.timestamp() if drawn.send_at_s is None else drawn.send_at_s
    ends_s = max(at_s, now.timestamp()) + rules.reservation_minutes * 60
    return Claim(
        drawn.decision_id,
        customer_id,
        str(channel),
        round(at_s * _US),
        round(ends_s * _US),
        None if product is None else product.product_id,
        campaign_id,
        None if offer is None else offer.offer_id,
        () if offer is None else offer.tags,
        (
            *volume_places(channel, at_s, rules),
            *(() if offer is None else offer_places(offer, drawn.arm.cost, at_s, rules)),
        ),
    )
