"""Calls of the Segment spec come in (also RudderStack's and others'); events go out. Pure.

Pages and screens are visits, `identify` and `alias` join what somebody is known by, and of orders each product is an event
of its own, worth its price times its quantity less its share of the order's discount. Names count in any case, and the
ids of the older spec (`orderId`, `productId`) as those of today's. What WORDS does not know is skipped and counted by its
bare name.

https://segment.com/docs/connections/spec/ecommerce/v2/ and https://segment.com/docs/connections/spec/email/
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from features.events.values import shorten
from features.formats.money import net_values, order_discount
from features.formats.reading import (
    Fields,
    Meaning,
    Record,
    UnreadableError,
    at,
    digest,
    first,
    moment,
    named_visit,
    number,
    said,
    text,
)
from features.vocabulary import Channel, EventKind, IdType


class Word(NamedTuple):
    """What a name means; `channel` where it does not follow from the call, and whether its products are unrolled."""

    kind: EventKind
    channel: Channel | None = None
    is_order: bool = False


WORDS: Final[dict[str, Word]] = {
    "product viewed": Word(EventKind.VIEW),
    "viewed product": Word(EventKind.VIEW),
    "product added": Word(EventKind.ADD_TO_CART),
    "added product": Word(EventKind.ADD_TO_CART),
    "product removed": Word(EventKind.REMOVE_FROM_CART),
    "removed product": Word(EventKind.REMOVE_FROM_CART),
    "order completed": Word(EventKind.PURCHASE, is_order=True),
    "completed order": Word(EventKind.PURCHASE, is_order=True),
    "order refunded": Word(EventKind.RETURN, is_order=True),
    "refunded order": Word(EventKind.RETURN, is_order=True),
    "order cancelled": Word(EventKind.RETURN, is_order=True),
    "products searched": Word(EventKind.SEARCH),
    "product reviewed": Word(EventKind.FEEDBACK),
    "application opened": Word(EventKind.VISIT, Channel.APP),
    "email sent": Word(EventKind.SEND, Channel.EMAIL),
    "email delivered": Word(EventKind.DELIVER, Channel.EMAIL),
    "email opened": Word(EventKind.OPEN, Channel.EMAIL),
    "email link clicked": Word(EventKind.CLICK, Channel.EMAIL),
    "email marked as spam": Word(EventKind.UNSUBSCRIBE, Channel.EMAIL),
    "email unsubscribed": Word(EventKind.UNSUBSCRIBE, Channel.EMAIL),
    "unsubscribed": Word(EventKind.UNSUBSCRIBE, Channel.EMAIL),
    "subscribed": Word(EventKind.SUBSCRIBE, Channel.EMAIL),
    "sms sent": Word(EventKind.SEND, Channel.SMS),
    "sms delivered": Word(EventKind.DELIVER, Channel.SMS),
    "sms link clicked": Word(EventKind.CLICK, Channel.SMS),
    "push notification sent": Word(EventKind.SEND, Channel.PUSH),
    "push notification received": Word(EventKind.DELIVER, Channel.PUSH),
    "push notification tapped": Word(EventKind.CLICK, Channel.PUSH),
}
"""What `track` calls mean, by their names in small letters."""
TIMES: Final = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
_PRODUCTS: Final = (EventKind.VIEW, EventKind.ADD_TO_CART, EventKind.REMOVE_FROM_CART)
_MESSAGES: Final = (EventKind.SEND, EventKind.DELIVER, EventKind.OPEN, EventKind.CLICK, EventKind.UNSUBSCRIBE)
_CARTS: Final = tuple(f"properties.{name}" for name in ("cart_id", "cartId", "checkout_id", "checkoutId"))
_capitals = re.compile(r"(?<=[a-z])(?=[A-Z])")
_marks = re.compile(r"[\s_-]+")


def records(item: Any) -> Iterator[Any]:
    """The calls of one item: itself, or those of a {"batch": [...]}, which take over what the batch says for all."""
    if isinstance(item, Mapping) and isinstance(item.get("batch"), list):
        shared = {name: item[name] for name in ("sentAt", "context") if name in item}
        for call in item["batch"]:
            yield {**shared, **call} if isinstance(call, Mapping) else call
    else:
        yield item


def read(call: Record) -> Meaning:
    """What a call means. Raises UnreadableError for one that cannot be used."""
    kind = text(call.get("type"), "type")
    if kind is None:
        raise UnreadableError(
            "type", "is missing: a call says whether it is track, identify, page, screen, alias or group."
        )
    match kind.lower():
        case "page" | "screen":
            return Meaning((_base(call) | said(kind=EventKind.VISIT.value, session_id=_session(call)),))
        case "identify":
            return _identify(call, {})
        case "alias":
            return _identify(call, said(cookie=text(call.get("previousId"), "previousId")))
        case "track":
            return _track(call)
        case _:
            return Meaning(skipped=kind)


def _identify(call: Record, more: Fields) -> Meaning:
    fields = _base(call) | {"kind": EventKind.IDENTIFY.value}
    identifiers = {**fields.get("identifiers", {}), **more}
    if not identifiers:  # a customer id alone joins nothing
        return Meaning(skipped=str(call["type"]))
    return Meaning(({**fields, "identifiers": identifiers},))


def _track(call: Record) -> Meaning:
    name = text(call.get("event"), "event")
    if name is None:
        raise UnreadableError("event", "is missing: a track call names what happened.")
    word = WORDS.get(_marks.sub(" ", _capitals.sub(" ", name)).lower())
    if word is None:
        return Meaning(skipped=name)
    properties = call.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    fields = _base(call) | said(kind=word.kind.value, session_id=_session(call))
    if word.channel is not None:
        fields["channel"] = word.channel.value
    if word.is_order:
        return Meaning(tuple(_order(fields, properties)))
    if word.kind in _PRODUCTS:
        fields |= _product(properties)
    elif word.kind == EventKind.FEEDBACK:
        rating = number(properties.get("rating"), "rating")
        fields |= said(product_id=_product_id(properties), properties=said(rating=rating))
    elif word.kind in _MESSAGES:
        campaign = first(properties, ("campaign_id", "campaignId", "campaign.id", "campaign_name", "campaign.name"))
        fields |= said(campaign_id=text(campaign, "campaign_id"))
    return Meaning((fields,))


def _order(fields: Fields, properties: Record) -> Iterator[Fields]:
    """One event a product; of an order that names none, one of its whole value."""
    order = text(first(properties, ("order_id", "orderId")), "order_id")
    currency = text(properties.get("currency"), "currency")
    fields = fields | said(session_id=order or fields.get("session_id"), currency=currency)
    if order is not None:
        fields["properties"] = {"order_id": order}
    products = _products_of(properties.get("products"))
    goods = number(first(properties, ("revenue", "subtotal", "value")), "revenue")
    if not products:
        value = goods if goods is not None else number(properties.get("total"), "total")
        yield fields | said(value=None if value is None else abs(value))
        return
    lines = [_product(product) for product in products]
    prices = [line.get("value", 0.0) for line in lines]
    stated = number(properties.get("discount"), "discount") or 0.0
    values = net_values(prices, order_discount(prices, stated, goods))
    for place, (line, value) in enumerate(zip(lines, values, strict=True), 1):
        if "value" in line:
            line["value"] = value
        yield fields | line | {"event_id": f"{fields['event_id']}:{place}"}


def _products_of(written: Any) -> list[Record]:
    """The products of an order: a list, one alone, or either as JSON text, as warehouses keep it."""
    products = written
    if isinstance(products, str) and products.strip():
        try:
            products = json.loads(products)
        except ValueError:
            products = (None,)
    products = [products] if isinstance(products, Mapping) else products or ()
    if not isinstance(products, list | tuple) or not all(isinstance(product, Mapping) for product in products):
        reason = f"is {shorten(json.dumps(written, default=str))}, which is no list of objects."
        raise UnreadableError("products", reason)
    return list(products)


def _product(product: Record) -> Fields:
    price = number(product.get("price"), "price")
    quantity = number(product.get("quantity"), "quantity")
    off = number(product.get("discount"), "discount") or 0.0
    value = None if price is None else round(max(price * (1.0 if quantity is None else quantity) - off, 0.0), 6)
    return said(
        product_id=_product_id(product),
        quantity=1.0 if quantity is None else quantity,
        value=value,
        currency=text(product.get("currency"), "currency"),
    )


def _product_id(product: Record) -> str | None:
    return text(first(product, ("product_id", "productId", "sku", "id", "name")), "product_id")


def _base(call: Record) -> Fields:
    """What every call says: its id, when, where and who."""
    traits = [part for part in (call.get("traits"), at(call, "context.traits")) if isinstance(part, Mapping)]
    is_app = str(call.get("type")).lower() == "screen" or call.get("channel") == "mobile"
    identifiers = said(
        **{
            IdType.COOKIE.value: text(call.get("anonymousId"), "anonymousId"),
            IdType.EMAIL.value: _trait(traits, "email"),
            IdType.PHONE.value: _trait(traits, "phone"),
        }
    )
    return said(
        event_id=text(call.get("messageId"), "messageId") or digest(call),
        occurred_at=moment(first(call, TIMES), "timestamp"),
        channel=(Channel.APP if is_app else Channel.WEB).value,
        customer_id=text(call.get("userId"), "userId"),
        identifiers=identifiers,
    )


def _trait(traits: list[Mapping[str, Any]], name: str) -> str | None:
    return next((value for part in traits if (value := text(part.get(name), name)) is not None), None)


def _session(call: Record) -> str | None:
    """The cart, or the visit with its cookie (numbers of visits alone are those of many people)."""
    cart = text(first(call, _CARTS), "cart_id")
    visit = text(at(call, "context.sessionId"), "sessionId")
    who = text(first(call, ("anonymousId", "userId")), "anonymousId")
    return cart or named_visit(who, visit)
