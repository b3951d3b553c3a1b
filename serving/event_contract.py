"""What `POST /v1/events` takes as an event, as JSON Schema: the rules of events in, the same rules out in OpenAPI's words.

What a schema cannot say is said in words: the longest `properties`, the sum of chances, moments ahead of the clock, values that
name nobody, the limits of a currency, and which decisions the log holds.
"""

from typing import Any, Final

from features.events.chances import CHANCES, PSCORE
from features.events.rules import KIND_RULES, TEXT_COLUMNS, KindRule
from features.events.values import (
    CURRENCY,
    ID_TYPE,
    MAX_IDENTIFIERS,
    MAX_NUMBER,
    MAX_QUANTITY,
    MAX_TEXT_LENGTH,
    SPACE,
)
from features.vocabulary import CHANNEL_CODES, Columns, EventKind

_CONTROL: Final = r"\u0000-\u001f\u007f-\u009f"
_SPACES: Final = "".join(char if char == "-" else f"\\u{ord(char):04x}" for char in SPACE)
_TEXT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TEXT_LENGTH,
    "pattern": f"^[^{_CONTROL}{_SPACES}]([^{_CONTROL}]*[^{_CONTROL}{_SPACES}])?$",
}
_MOMENT: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^(19[7-9]|2[01][0-9])[0-9]-[0-9]{2}-[0-9]{2}"
    r"T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
}
_CHANCE: Final = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_ANY_VALUE: Final = {"not": {"type": "null"}}


def event_schema(described: dict[str, Any]) -> dict[str, Any]:
    """The schema of an event over HTTP; `described` is the model's own, of which titles and words are kept."""
    fields = {name: {**_words(described["properties"][name]), **rule} for name, rule in _fields().items()}
    fields[Columns.OCCURRED_AT]["description"] = "When it happened. Left out: now, by the service's clock."
    fields[Columns.PROPERTIES]["description"] = "Anything else: a JSON object of at most 8 KiB."
    fields[Columns.VALUE]["description"] = (
        "Money, in `currency`; of each currency a home takes at most a sane amount (limits.toml)."
    )
    return {
        **{key: value for key, value in described.items() if key not in ("properties", "required")},
        "description": "One thing that happened to one customer. A `customer_id` that names nobody (undefined, guest, 0) "
        "is refused; so are moments ahead of the clock here, decisions without the bookkeeping key, and outcomes of a "
        "decision that was not made for this customer.",
        "properties": fields,
        "required": [Columns.EVENT_ID, Columns.KIND, Columns.CHANNEL],
        "anyOf": [_has(Columns.CUSTOMER_ID), _has(Columns.IDENTIFIERS)],
        "allOf": [_if_kind(kind, rule) for kind, rule in KIND_RULES.items() if _then(kind, rule)],
    }


def bodies(event: dict[str, Any], events: dict[str, Any], most: int) -> dict[str, Any]:
    """What a body may be: an object with a list, a bare list, or one event."""
    return {"anyOf": [events, {"type": "array", "items": event, "minItems": 1, "maxItems": most}, event]}


def _fields() -> dict[str, dict[str, Any]]:
    optional = {name: _nullable(_TEXT) for name in TEXT_COLUMNS}
    return {
        Columns.EVENT_ID: dict(_TEXT),
        Columns.OCCURRED_AT: _nullable(_MOMENT),
        Columns.KIND: {"type": "string", "enum": [kind.value for kind in EventKind]},
        Columns.CHANNEL: {"type": "string", "enum": list(CHANNEL_CODES)},
        Columns.CUSTOMER_ID: optional.pop(Columns.CUSTOMER_ID),
        Columns.IDENTIFIERS: _nullable(
            {
                "type": "object",
                "propertyNames": {"pattern": ID_TYPE},
                "additionalProperties": _TEXT,
                "maxProperties": MAX_IDENTIFIERS,
            }
        ),
        Columns.QUANTITY: _nullable({"type": "number", "minimum": 0, "maximum": MAX_QUANTITY}),
        Columns.VALUE: _nullable({"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}),
        Columns.CURRENCY: _nullable({"type": "string", "pattern": CURRENCY}),
        **optional,
        Columns.PROPERTIES: _nullable({"type": "object"}),
    }


def _if_kind(kind: EventKind, rule: KindRule) -> dict[str, Any]:
    condition = {"properties": {Columns.KIND: {"const": kind.value}}, "required": [Columns.KIND]}
    return {"if": condition, "then": _then(kind, rule)}


def _then(kind: EventKind, rule: KindRule) -> dict[str, Any]:
    """What else holds for a kind; empty where nothing does."""
    then: dict[str, Any] = {}
    if rule.needs_one_of:
        then["anyOf"] = [_has(name) for name in rule.needs_one_of]
    properties: dict[str, Any] = {Columns.VALUE: _nullable({"type": "number", "minimum": 0})} if rule.money else {}
    payload = _PAYLOADS.get(kind)
    if payload:
        properties[Columns.PROPERTIES] = _nullable({"type": "object", **payload})
    return {**then, **({"properties": properties} if properties else {})}


def _has(name: str) -> dict[str, Any]:
    """The field is there and says something."""
    said = {"type": "object", "minProperties": 1} if name == Columns.IDENTIFIERS else _ANY_VALUE
    return {"required": [name], "properties": {name: said}}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _words(described: dict[str, Any]) -> dict[str, Any]:
    return {key: described[key] for key in ("title", "description") if key in described}


_PAYLOADS: Final[dict[EventKind, dict[str, Any]]] = {
    EventKind.PROFILE: {
        "properties": {
            "consent": _nullable(
                {
                    "type": "object",
                    "propertyNames": {"enum": list(CHANNEL_CODES)},
                    "additionalProperties": {"type": "boolean"},
                }
            ),
            "profiling": {"type": ["boolean", "null"]},
            "preferred_channel": {"enum": [*CHANNEL_CODES, None]},
        }
    },
    EventKind.FEEDBACK: {
        "properties": {"rating": _nullable({"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER})}
    },
    EventKind.SUBSCRIBE: {
        "properties": {"ends_at": _nullable({"anyOf": [{"type": "string", "format": "date"}, _MOMENT]})}
    },
    EventKind.DECISION: {
        "properties": {
            PSCORE: _nullable(_CHANCE),
            CHANCES: _nullable(
                {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
            ),
            "products": {"items": {"properties": {PSCORE: _nullable(_CHANCE)}}},
        }
    },
    EventKind.OUTCOME: {"not": {"anyOf": [{"required": [PSCORE]}, {"required": [CHANCES]}]}},
}
"""What the properties of a kind may hold."""
