"""The vocabulary comes in, the page of kinds, channels and columns goes out."""

from features.events.rules import EVENT_COLUMNS
from features.vocabulary import (
    CHANNELS,
    CONTACT_KINDS,
    CUSTOMER_KINDS,
    KINDS,
    PRODUCT_KINDS,
    RESPONSE_KINDS,
    EventKind,
)
from serving.openapi import openapi_document
from site_builder.markdown import code, table, text

_YES = "yes"


def body() -> str:
    """Kinds with what they count as, channels, and the columns of an event."""
    event = openapi_document()["components"]["schemas"]["Event"]
    words = {name: field.get("description", "") for name, field in event["properties"].items()}
    return "\n\n".join(
        [
            "What each means, with examples: [An event](../your-data.md#an-event).",
            "## Kinds",
            "About a product: `product_id` names it; only a purchase or return may leave it out. By the customer: counts as "
            "activity. A contact: the retailer reaches the customer by it. An answer: answers a contact on the same channel.",
            table(("kind", "about a product", "by the customer", "a contact", "an answer"), map(_kind, KINDS)),
            "## Channels",
            ", ".join(code(channel.value) for channel in CHANNELS),
            "## Columns",
            table(("column", "what it holds"), [(code(name), text(words.get(name, ""))) for name in EVENT_COLUMNS]),
        ]
    )


def _kind(kind: EventKind) -> tuple[str, ...]:
    groups = (PRODUCT_KINDS, CUSTOMER_KINDS, CONTACT_KINDS, RESPONSE_KINDS)
    return (code(kind.value), *(_YES if kind in group else "" for group in groups))
