"""The words every part shares: channels, event kinds, tasks, id types and column names; standard library only."""

from enum import StrEnum
from typing import Final


class Channel(StrEnum):
    """Where something happened. The order is part of the stored state: append, never reorder."""

    WEB = "web"
    APP = "app"
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    SOCIAL = "social"
    ADS = "ads"
    CHAT = "chat"
    CALL_CENTER = "call_center"
    POST = "post"
    STORE = "store"


NOTHING: Final = "nothing"
"""The arm that sends nothing: always allowed, and what effects are against."""


class EventKind(StrEnum):
    """What happened. The order is part of the stored state: append, never reorder."""

    VIEW = "view"
    SEARCH = "search"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"
    RETURN = "return"
    SEND = "send"
    DELIVER = "deliver"
    OPEN = "open"
    CLICK = "click"
    IGNORE = "ignore"
    UNSUBSCRIBE = "unsubscribe"
    SUBSCRIBE = "subscribe"
    VISIT = "visit"
    CALL = "call"
    CHAT = "chat"
    FEEDBACK = "feedback"
    IMPRESSION = "impression"
    DECISION = "decision"
    OUTCOME = "outcome"
    IDENTIFY = "identify"
    PROFILE = "profile"
    ERASE = "erase"


class Task(StrEnum):
    """The models, by the names they have on the command line and in the registry."""

    NEXT_PRODUCT = "next-product"
    CHURN = "churn"
    BEST_CHANNEL = "best-channel"
    WIN_BACK = "win-back"


CORE_TASKS: Final[tuple[Task, ...]] = (Task.NEXT_PRODUCT, Task.CHURN, Task.BEST_CHANNEL)
"""The models that every shop has unless it says otherwise; the others need more of a log than most have."""


class TableName(StrEnum):
    """Tables of a home beside its events."""

    PRODUCTS = "products"
    STOCK = "stock"


class IdType(StrEnum):
    """Kinds of identifier that a source may know a customer by; other names are allowed in data."""

    COOKIE = "cookie"
    DEVICE = "device"
    EMAIL = "email"
    PHONE = "phone"
    LOYALTY_CARD = "loyalty_card"


DAY_S: Final = 86_400.0
"""Seconds of a day; every day is as long in UTC."""
DAY_US: Final = 86_400_000_000
"""Microseconds of a day, in which events count time."""


class Columns:
    """Names of the columns that cross module borders."""

    EVENT_ID: Final = "event_id"
    OCCURRED_AT: Final = "occurred_at"
    KIND: Final = "kind"
    CHANNEL: Final = "channel"
    CUSTOMER_ID: Final = "customer_id"
    IDENTIFIERS: Final = "identifiers"
    PRODUCT_ID: Final = "product_id"
    QUANTITY: Final = "quantity"
    VALUE: Final = "value"
    CURRENCY: Final = "currency"
    CAMPAIGN_ID: Final = "campaign_id"
    DECISION_ID: Final = "decision_id"
    STORE_ID: Final = "store_id"
    SESSION_ID: Final = "session_id"
    PROPERTIES: Final = "properties"
    # added on the way
    SEQ: Final = "seq"
    RESOLVED_CUSTOMER_ID: Final = "resolved_customer_id"
    CUSTOMER_KEY: Final = "customer_key"
    PRODUCT_CODE: Final = "product_code"
    DETAIL: Final = "detail"
    ORDER_CODE: Final = "order_code"
    IDENTIFIED: Final = "identified"
    PROFILE: Final = "profile"
    EPOCH: Final = "epoch"
    WRITTEN: Final = "written"
    AS_OF: Final = "as_of"
    LABEL: Final = "label"
    EVENT_TIMESTAMP: Final = "event_timestamp"
    # products
    NAME: Final = "name"
    CATEGORY: Final = "category"
    BRAND: Final = "brand"
    PRICE: Final = "price"
    ATTRIBUTES: Final = "attributes"
    AVAILABLE_FROM: Final = "available_from"


CHANNELS: Final[tuple[Channel, ...]] = tuple(Channel)
KINDS: Final[tuple[EventKind, ...]] = tuple(EventKind)
CHANNEL_CODES: Final[dict[str, int]] = {channel.value: code for code, channel in enumerate(CHANNELS)}
KIND_CODES: Final[dict[str, int]] = {kind.value: code for code, kind in enumerate(KINDS)}

HALF_LIVES_DAYS: Final[tuple[float, ...]] = (1.0, 7.0, 30.0, 90.0, 365.0)
"""Half-lives of every decayed sum, in days."""

PRODUCT_KINDS: Final[tuple[EventKind, ...]] = (
    EventKind.VIEW,
    EventKind.ADD_TO_CART,
    EventKind.REMOVE_FROM_CART,
    EventKind.PURCHASE,
    EventKind.RETURN,
)
"""Kinds that are about one product and cannot do without its id."""

CUSTOMER_KINDS: Final[tuple[EventKind, ...]] = (
    *PRODUCT_KINDS,
    EventKind.SEARCH,
    EventKind.OPEN,
    EventKind.CLICK,
    EventKind.UNSUBSCRIBE,
    EventKind.SUBSCRIBE,
    EventKind.VISIT,
    EventKind.CALL,
    EventKind.CHAT,
    EventKind.FEEDBACK,
    EventKind.OUTCOME,
)
"""Kinds that the customer set off, as opposed to what was done to them (a send, an impression, a decision)."""

CONTACT_KINDS: Final[tuple[EventKind, ...]] = (EventKind.SEND, EventKind.IMPRESSION)
"""Kinds by which the retailer reaches the customer."""

REACTION_KINDS: Final[tuple[EventKind, ...]] = (
    EventKind.VIEW,
    EventKind.SEARCH,
    EventKind.ADD_TO_CART,
    EventKind.PURCHASE,
    EventKind.CLICK,
    EventKind.OUTCOME,
    EventKind.VISIT,
    EventKind.CALL,
    EventKind.CHAT,
    EventKind.SUBSCRIBE,
)
"""Kinds by which a customer takes up what a contact was about, a product or a campaign; to open a message is not enough."""

RESPONSE_KINDS: Final[tuple[EventKind, ...]] = (EventKind.OPEN, EventKind.CLICK, EventKind.OUTCOME)
"""Kinds that answer a contact on the same channel."""

KIND_WORDS: Final[dict[EventKind, str]] = {
    EventKind.VIEW: "product views",
    EventKind.SEARCH: "searches",
    EventKind.ADD_TO_CART: "additions to the cart",
    EventKind.REMOVE_FROM_CART: "removals from the cart",
    EventKind.PURCHASE: "purchased lines",
    EventKind.RETURN: "returns",
    EventKind.SEND: "messages sent",
    EventKind.OPEN: "messages opened",
    EventKind.CLICK: "clicks",
    EventKind.OUTCOME: "conversions of a contact",
    EventKind.VISIT: "visits",
    EventKind.CALL: "calls",
    EventKind.FEEDBACK: "ratings and survey answers",
    EventKind.IMPRESSION: "promotions seen",
}
"""What is counted of a customer, in a marketer's words."""
CHANNEL_WORDS: Final[dict[Channel, str]] = {
    Channel.CALL_CENTER: "call centre",
    Channel.EMAIL: "e-mail",
    Channel.SMS: "SMS",
    Channel.POST: "post",
}
"""Channels whose words are not their names."""
