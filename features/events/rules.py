"""One event's fields come in; the first thing that is wrong with it goes out: every rule of an event, stated once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, assert_never

from features.events.chances import CHANCE_KINDS, chance_problem
from features.events.payload import TELLING_KINDS, read_detail
from features.events.placeholders import Placeholders
from features.events.values import VALUE_CHECKS, printable, shorten
from features.vocabulary import Columns, EventKind

TEXT_COLUMNS: Final[tuple[str, ...]] = (
    Columns.CUSTOMER_ID,
    Columns.PRODUCT_ID,
    Columns.CAMPAIGN_ID,
    Columns.DECISION_ID,
    Columns.STORE_ID,
    Columns.SESSION_ID,
)
"""Optional columns that hold an id."""
NUMBER_COLUMNS: Final[tuple[str, ...]] = (Columns.QUANTITY, Columns.VALUE)
EVENT_COLUMNS: Final[tuple[str, ...]] = (
    Columns.EVENT_ID,
    Columns.OCCURRED_AT,
    Columns.KIND,
    Columns.CHANNEL,
    Columns.CUSTOMER_ID,
    Columns.IDENTIFIERS,
    Columns.PRODUCT_ID,
    Columns.QUANTITY,
    Columns.VALUE,
    Columns.CURRENCY,
    Columns.CAMPAIGN_ID,
    Columns.DECISION_ID,
    Columns.STORE_ID,
    Columns.SESSION_ID,
    Columns.PROPERTIES,
)
"""Every column of an event, in the order in which they are stored and checked."""
REQUIRED_COLUMNS: Final = (Columns.EVENT_ID, Columns.OCCURRED_AT, Columns.KIND, Columns.CHANNEL)
"""Columns that no event can do without."""


class Problem(NamedTuple):
    """The first thing that is wrong with an event: `field` is the column, `reason` reads on from its name."""

    field: str
    reason: str


@dataclass(frozen=True)
class KindRule:
    """What a kind cannot do without: at least one of `needs_one_of`; with `money`, no negative value."""

    needs_one_of: tuple[str, ...] = ()
    why: str = ""
    money: bool = False


def rule_of(kind: EventKind) -> KindRule:
    """The rule of a kind. A new kind is a new case here; the type checker names this line until it has one."""
    match kind:
        case EventKind.VIEW | EventKind.ADD_TO_CART | EventKind.REMOVE_FROM_CART:
            return KindRule((Columns.PRODUCT_ID,), f"a {kind} is about one product", money=True)
        case EventKind.RETURN:
            # Some shops only know what was paid back: then the value stands for whatever it was of.
            return KindRule(
                (Columns.PRODUCT_ID, Columns.VALUE), "a return gives one product back, or some money", money=True
            )
        case EventKind.PURCHASE:
            # Some shops only know what the basket cost: then the value stands for the basket.
            return KindRule(
                (Columns.PRODUCT_ID, Columns.VALUE),
                "a purchase is of one product or of a basket of some value",
                money=True,
            )
        case EventKind.DECISION:
            return KindRule((Columns.DECISION_ID,), "a decision is found again by its id")
        case EventKind.OUTCOME:
            return KindRule(
                (Columns.DECISION_ID, Columns.CAMPAIGN_ID), "an outcome is of one decision or of one campaign"
            )
        case EventKind.IDENTIFY:
            return KindRule((Columns.IDENTIFIERS,), "identify says which identifiers belong to a customer")
        case (
            EventKind.SEARCH
            | EventKind.SEND
            | EventKind.DELIVER
            | EventKind.OPEN
            | EventKind.CLICK
            | EventKind.IGNORE
            | EventKind.UNSUBSCRIBE
            | EventKind.SUBSCRIBE
            | EventKind.VISIT
            | EventKind.CALL
            | EventKind.CHAT
            | EventKind.FEEDBACK
            | EventKind.IMPRESSION
            | EventKind.PROFILE
            | EventKind.ERASE
        ):
            return KindRule()
        case _:  # pragma: no cover - mypy proves that this is never reached
            assert_never(kind)


KIND_RULES: Final[dict[EventKind, KindRule]] = {kind: rule_of(kind) for kind in EventKind}
"""By kind; its text finds the rule as well."""


NOBODY: Final = Placeholders()
"""What names nobody where no identity.toml is read."""


def find_problem(
    fields: Mapping[str, Any], now: datetime | None = None, nobody: Placeholders = NOBODY
) -> Problem | None:
    """The first problem of one event in column order, or None.

    `fields` holds Python values: text, numbers, aware datetimes or ISO 8601 text, dicts (from a table: `JsonText` for
    `properties`, pairs for `identifiers`). With `now` (aware), moments more than MAX_AHEAD after it are refused.
    `nobody` lists what is no customer id, and what alone tells of nobody as an identifier.
    """
    if not _are_values_good(fields, now):
        problem = _find_value_problem(fields, now)
        if problem:
            return problem
    return _find_nobody(fields, nobody) or _find_kind_problem(fields)


def _are_values_good(fields: Mapping[str, Any], now: datetime | None) -> bool:
    """Whether each value keeps its rule: in whichever order, for only what does not is asked in the order of the columns."""
    if not all(name in fields for name in REQUIRED_COLUMNS):
        return False
    for name, value in fields.items():
        check = VALUE_CHECKS.get(name)
        if check is None or (value is None and name in REQUIRED_COLUMNS) or (value is not None and check(value, now)):
            return False
    return True


def _find_value_problem(fields: Mapping[str, Any], now: datetime | None) -> Problem | None:
    for name in fields:
        if name not in VALUE_CHECKS:
            return Problem(printable(str(name)), "is not a field of an event: move it into properties.")
    for name, check in VALUE_CHECKS.items():
        value = fields.get(name)
        if value is None and name not in REQUIRED_COLUMNS:
            continue
        reason = check(value, now)
        if reason:
            return Problem(name, reason)
    return None


def placeholder_reason(value: str) -> str:
    """Why a customer id that names nobody is refused."""
    return (
        f"is {shorten(value)}, which names nobody: leave it out where the customer is not known (the list of such words is"
        " in identity.toml)."
    )


def _find_nobody(fields: Mapping[str, Any], nobody: Placeholders) -> Problem | None:
    """Why an event belongs to nobody."""
    customer_id, identifiers = fields.get(Columns.CUSTOMER_ID), fields.get(Columns.IDENTIFIERS)
    if customer_id:
        return Problem(Columns.CUSTOMER_ID, placeholder_reason(customer_id)) if customer_id in nobody else None
    if not identifiers:
        return Problem(
            Columns.CUSTOMER_ID,
            "is missing, and there are no identifiers: give one of them, so that the event belongs to somebody.",
        )
    pairs = identifiers.items() if isinstance(identifiers, Mapping) else identifiers
    if all(value in nobody for _, value in pairs):
        given = ", ".join(f"{id_type} {shorten(value)}" for id_type, value in pairs)
        return Problem(
            Columns.IDENTIFIERS,
            f"tell of nobody ({given}), and there is no customer_id: give one of them, so that the event belongs to"
            " somebody (the list of such words is in identity.toml).",
        )
    return None


def _find_kind_problem(fields: Mapping[str, Any]) -> Problem | None:
    rule = KIND_RULES[fields[Columns.KIND]]
    if rule.needs_one_of and not any(fields.get(name) not in (None, {}, []) for name in rule.needs_one_of):
        return Problem(rule.needs_one_of[0], f"is missing: {rule.why}, so give {' or '.join(rule.needs_one_of)}.")
    reason = _find_payload_problem(fields[Columns.KIND], fields.get(Columns.PROPERTIES))
    if reason is not None:
        return Problem(Columns.PROPERTIES, reason)
    value = fields.get(Columns.VALUE)
    if rule.money and value is not None and value < 0:
        return Problem(
            Columns.VALUE, f"is {value}: money is counted from 0; what was paid back is an event of kind return."
        )
    return None


def _find_payload_problem(kind: str, properties: Any) -> str | None:
    """Why the properties of a kind that is looked into cannot be read."""
    if properties is None or (kind not in TELLING_KINDS and kind not in CHANCE_KINDS):
        return None
    said = json.loads(properties) if isinstance(properties, str) else properties
    if kind in CHANCE_KINDS:
        return chance_problem(kind, said)
    detail = read_detail(kind, said)
    return detail if isinstance(detail, str) else None
