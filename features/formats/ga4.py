"""Rows of GA4's export to BigQuery come in, or bodies of its Measurement Protocol; events go out. Pure.

Times are microseconds, parameters lie in a list by key, and each item of a product event is an event of its own, in local
money. The cookie is `user_pseudo_id`, text even where it looks like a number, and a session is named with it, because
its number alone is that of many people. Lists of items that were on a page are no contacts: they are skipped, like every name
that WORDS does not know, and counted.

https://support.google.com/analytics/answer/7029846 and
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from features.formats.reading import (
    Fields,
    Meaning,
    Record,
    UnreadableError,
    at,
    epoch,
    first,
    named_visit,
    number,
    said,
    text,
)
from features.vocabulary import Channel, EventKind, IdType

WORDS: Final[dict[str, EventKind]] = {
    "session_start": EventKind.VISIT,
    "view_item": EventKind.VIEW,
    "add_to_cart": EventKind.ADD_TO_CART,
    "remove_from_cart": EventKind.REMOVE_FROM_CART,
    "purchase": EventKind.PURCHASE,
    "ecommerce_purchase": EventKind.PURCHASE,
    "refund": EventKind.RETURN,
    "search": EventKind.SEARCH,
    "view_search_results": EventKind.SEARCH,
}
"""What happened, by `event_name`."""
NOBODY: Final = "no user_pseudo_id"
"""The word under which rows are counted that name no user: those of people who agreed to no cookie."""
_ITEM_KINDS: Final = (EventKind.VIEW, EventKind.ADD_TO_CART, EventKind.REMOVE_FROM_CART)
_ORDER_KINDS: Final = (EventKind.PURCHASE, EventKind.RETURN)
_ITEM_VALUES: Final = {EventKind.PURCHASE: "item_revenue", EventKind.RETURN: "item_refund"}
_ORDER_VALUES: Final = {
    EventKind.PURCHASE: ("ecommerce.purchase_revenue",),
    EventKind.RETURN: ("ecommerce.refund_value",),
}
_VALUES: Final = ("string_value", "int_value", "float_value", "double_value")
_APPS: Final = ("ANDROID", "IOS")


def records(item: Any) -> Iterator[Any]:
    """The rows of one item: itself, or one for each event of a body of the Measurement Protocol."""
    if not (isinstance(item, Mapping) and isinstance(item.get("events"), list)):
        yield item
        return
    app = item.get("app_instance_id")
    for place, event in enumerate(item["events"], 1):
        if not isinstance(event, Mapping):
            yield event
            continue
        given = event.get("params")
        params: Record = given if isinstance(given, Mapping) else {}
        yield {
            "event_name": event.get("name"),
            "event_timestamp": event.get("timestamp_micros") or item.get("timestamp_micros"),
            "event_params": {**params, "ga_session_id": params.get("session_id")},
            "batch_event_index": place,
            "user_pseudo_id": app if app is not None else item.get("client_id"),
            "user_id": item.get("user_id"),
            "platform": "WEB" if app is None else "ANDROID",
            "items": params.get("items"),
            "ecommerce": {"transaction_id": params.get("transaction_id"), "purchase_revenue": params.get("value")},
        }


def read(row: Record) -> Meaning:
    """What a row means. Raises UnreadableError for one that cannot be used."""
    name = text(row.get("event_name"), "event_name")
    if name is None:
        raise UnreadableError("event_name", "is missing: a row says what happened.")
    kind = WORDS.get(name)
    if kind is None:
        return Meaning(skipped=name)
    params = _params(row.get("event_params"))
    cookie, customer = _cookie(row.get("user_pseudo_id")), text(row.get("user_id"), "user_id")
    order = text(at(row, "ecommerce.transaction_id"), "transaction_id") or text(
        params.get("transaction_id"), "transaction_id"
    )
    identifiers = said(**{IdType.COOKIE.value: cookie})
    if not identifiers and customer is None:
        if order is None or kind not in _ORDER_KINDS:
            return Meaning(skipped=NOBODY)
        identifiers = {"order": order}
    session = text(params.get("ga_session_id"), "ga_session_id")
    fields = said(
        event_id=_event_id(row, name, cookie or customer or order),
        occurred_at=epoch(row.get("event_timestamp"), "us", "event_timestamp"),
        kind=kind.value,
        channel=(Channel.APP if row.get("platform") in _APPS else Channel.WEB).value,
        customer_id=customer,
        identifiers=identifiers,
        session_id=named_visit(cookie or customer, session),
    )
    if kind in _ITEM_KINDS or kind in _ORDER_KINDS:
        return Meaning(tuple(_items(fields, kind, row, params, order)))
    return Meaning((fields,))


def _items(fields: Fields, kind: EventKind, row: Record, params: Record, order: str | None) -> Iterator[Fields]:
    """One event an item; of an order that names none, one of its whole value."""
    fields = fields | said(currency=text(params.get("currency"), "currency"))
    if kind in _ORDER_KINDS and order is not None:
        fields["properties"] = {"order_id": order}
    items = _items_of(row.get("items"))
    if not items:
        if kind not in _ORDER_KINDS:
            raise UnreadableError("items", "is empty: a product event names its product.")
        value = first(row, _ORDER_VALUES[kind])
        yield fields | said(value=number(params.get("value") if value is None else value, "value"))
        return
    for place, item in enumerate(items, 1):
        quantity = number(item.get("quantity"), "quantity")
        quantity = 1.0 if quantity is None else quantity
        price = number(item.get("price"), "price")
        value = number(item.get(_ITEM_VALUES.get(kind, "")), "item_revenue")
        if value is None and price is not None:
            value = round(price * quantity, 6)
        product = text(first(item, ("item_id", "item_name")), "item_id")
        event_id = f"{fields['event_id']}:{place}"
        yield fields | said(event_id=event_id, product_id=product, quantity=quantity, value=value)


def _items_of(items: Any) -> Sequence[Record]:
    items = items.get("list") if isinstance(items, Mapping) else items  # how some writers of Parquet nest a list
    items = items if isinstance(items, list | tuple) else ()
    unwrapped = [item["element"] if isinstance(item, Mapping) and "element" in item else item for item in items]
    return [item for item in unwrapped if isinstance(item, Mapping)]


def _params(params: Any) -> Record:
    """Parameters by their keys; each has one of four values."""
    if isinstance(params, Mapping) and "list" not in params:
        return params
    read: dict[str, Any] = {}
    for pair in _items_of(params):
        value = pair.get("value")
        key = pair.get("key")
        if isinstance(key, str) and isinstance(value, Mapping):
            read[key] = next((value[name] for name in _VALUES if value.get(name) is not None), None)
    return read


def _cookie(value: Any) -> str | None:
    """The id of a browser or of an installed app, which looks like a number and is none: as one it loses its last zeros."""
    if isinstance(value, int | float):
        raise UnreadableError("user_pseudo_id", f"is the number {value}, which has lost digits: export it as text.")
    return text(value, "user_pseudo_id")


def _event_id(row: Record, name: str, who: str | None) -> str:
    """What names a row, of which the export has no id: two events of one moment are in one bundle at two places."""
    parts = [row.get(column) for column in ("event_timestamp", "event_bundle_sequence_id", "batch_event_index")]
    return ":".join([str(who), name, *(str(part) for part in parts if part is not None)])
