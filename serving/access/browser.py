"""What a page in a visitor's browser may send and ask; everybody can read its key, so the rules are all there is.

A page speaks of one visitor, by a cookie that it made itself of 128 random bits or more: whoever does not know it can name
nobody. It says what that visitor saw and did, and neither who they are nor what they bought, agreed to or were sent: those come
from the shop's own servers. Otherwise a stranger could join a cookie to somebody else's address, and then ask what that
person buys. Answers to a page hold products alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from features.events.schema import Rejection
from features.events.values import printable
from features.log.batches import Events
from features.vocabulary import Channel, Columns, EventKind, IdType
from serving import problems, schemas

MAX_EVENTS: Final = 100
MAX_BODY_BYTES: Final = 64 * 1024
"""What browsers send as a beacon."""
KINDS: Final = (
    EventKind.VISIT,
    EventKind.VIEW,
    EventKind.SEARCH,
    EventKind.ADD_TO_CART,
    EventKind.REMOVE_FROM_CART,
    EventKind.IMPRESSION,
    EventKind.CLICK,
)
CHANNELS: Final = (Channel.WEB, Channel.APP)
COLUMNS: Final = (
    Columns.EVENT_ID,
    Columns.KIND,
    Columns.CHANNEL,
    Columns.IDENTIFIERS,
    Columns.PRODUCT_ID,
    Columns.QUANTITY,
    Columns.DECISION_ID,
    Columns.SESSION_ID,
)
VISITOR: Final = "visitor"
"""What a page is told of whom it asked about."""
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
_EVENT_ID: Final = re.compile(r"b-[A-Za-z0-9_-]{16,128}")
"""An id that no other sender uses, nor can guess: with it nothing of theirs can be kept out as a duplicate."""


def sort_out(
    items: Sequence[Any], by_rules: Callable[[Sequence[Any]], tuple[Events, list[Rejection]]]
) -> tuple[Events, list[Rejection]]:
    """The events that a page may send and that are good `by_rules`, and what is wrong with the others, in their order."""
    if len(items) > MAX_EVENTS:
        raise problems.too_many_events(MAX_EVENTS)
    places, rejections = [], []
    for place, item in enumerate(items):
        problem = _problem(item) if isinstance(item, Mapping) else None  # what is no event, the rules of events refuse
        if problem is None:
            places.append(place)
        else:
            event_id = item.get(Columns.EVENT_ID)
            rejections.append(Rejection(place, *problem, event_id if isinstance(event_id, str) else None))
    events, bad = by_rules([items[place] for place in places])
    rejections += [replace(rejection, index=places[rejection.index]) for rejection in bad]
    return events, sorted(rejections, key=lambda rejection: rejection.index)


def narrow(wanted: schemas.NextProductsRequest) -> schemas.NextProductsRequest:
    """The question as a page may ask it. Raises ApiError (403) for one about anybody but a visitor by their own cookie."""
    if wanted.customer_id is not None or not _is_cookie(wanted.identifiers):
        raise problems.not_for_pages(
            "A page may ask about the visitor of its own cookie alone: identifiers is one cookie of 22 or more random letters.",
            "customer_id" if wanted.customer_id is not None else Columns.IDENTIFIERS,
        )
    return wanted.model_copy(update={"explain": False, "allow_unknown": True})


def without_customer(answer: schemas.NextProductsAnswer) -> schemas.NextProductsAnswer:
    """The answer with its products, and nothing of whom it is about."""
    customer = answer.customer.model_copy(update={"customer_id": VISITOR})
    products = [product.model_copy(update={"reasons": []}) for product in answer.products]
    return answer.model_copy(update={"customer": customer, "products": products, "feature_age_s": None})


def _problem(item: Mapping[str, Any]) -> tuple[str, str] | None:
    for column, value in item.items():
        if column not in COLUMNS and value is not None:
            return printable(str(column)), "is nothing that a page may say: send it from a server."
    kind, channel = item.get(Columns.KIND), item.get(Columns.CHANNEL)
    if kind in tuple(EventKind) and kind not in KINDS:
        return Columns.KIND, f"is nothing that a page may say: it says {', '.join(KINDS)}."
    if channel in tuple(Channel) and channel not in CHANNELS:
        return Columns.CHANNEL, f"is none of a page's: {', '.join(CHANNELS)}."
    event_id = item.get(Columns.EVENT_ID)
    if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
        return Columns.EVENT_ID, "of a page begins with b- and has 16 or more random letters, digits, - and _ after it."
    if not _is_cookie(item.get(Columns.IDENTIFIERS)):
        return Columns.IDENTIFIERS, "of a page are one cookie, of 22 or more random letters, digits, - and _."
    return None


def _is_cookie(identifiers: Any) -> bool:
    if not isinstance(identifiers, Mapping) or [*identifiers] != [IdType.COOKIE.value]:
        return False
    cookie = identifiers[IdType.COOKIE.value]
    return isinstance(cookie, str) and _COOKIE.fullmatch(cookie) is not None
