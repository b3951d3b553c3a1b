"""The document says of an event what the rules say: what it allows is kept, what it forbids is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.placeholders import Placeholders
from features.events.rules import EVENT_COLUMNS
from features.events.schema import parse_events
from features.vocabulary import Channel, EventKind
from serving import schemas
from serving.openapi import POSTS, openapi_document

NOW = datetime(2199, 12, 31, tzinfo=UTC)
GOOD = {"event_id": "e", "kind": "visit", "channel": "web", "customer_id": "ada", "occurred_at": "2024-05-01T10:00:00Z"}


def validator(name: str) -> Any:
    document = openapi_document()
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}, validate_formats=True
    )


EVENT = validator("Event")


def is_kept(item: dict[str, Any]) -> bool:
    return parse_events([item], NOW, Placeholders(()))[1] == []


TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        ["a", "p-1", "", " ", " a", "a ", "a\u00a0", "\u200bx", "a\tb", "ä b", "x" * 256, "x" * 257, "a\n"]
    ),
    st.sampled_from([1, True, ["a"], {}]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
NUMBERS = st.one_of(
    st.none(),
    st.sampled_from([0, -0.0, 1, -1, 1e9, 1.1e9, 1e14, 1.1e14, -1e14, -1.1e14, "1", True, []]),
    st.floats(allow_nan=False, allow_infinity=False),
)
MOMENTS = st.sampled_from(
    [
        *(
            "2024-05-01T10:00:00Z",
            "2024-05-01T10:00:00.123456+02:00",
            "1970-01-02T00:00:00Z",
            "2199-12-30T23:59:59Z",
            None,
        ),
        *("2024-05-01", "2024-05-01T10:00:00", "2024-02-30T10:00:00Z", "2200-01-02T00:00:00Z", "1969-12-30T00:00:00Z"),
        *("2024-05-01T10:00:60Z", "2024-05-01T25:00:00Z", "yesterday", "", 1714555800, True),
    ]
)
CHANCES = st.sampled_from([None, 0.5, 1, 0, 7, -0.1, "0.5", True, [], {"email": 0.5}, {"email": 2}, {"a": 0, "b": 1}])
PAYLOADS = {
    "rating": NUMBERS,
    "consent": st.sampled_from([None, {}, {"email": True}, {"email": 1}, {"tv": True}, {"sms": None}, "yes", []]),
    "profiling": st.sampled_from([None, True, False, "no", 0]),
    "preferred_channel": st.sampled_from([None, "sms", "tv", 1, ["sms"]]),
    "ends_at": st.sampled_from([None, "2025-06-30", "2025-06-30T10:00:00Z", "2025-13-30", "soon", "", []]),
    "pscore": CHANCES,
    "chances": CHANCES,
    "products": st.lists(st.one_of(CHANCES, CHANCES.map(lambda chance: {"pscore": chance})), max_size=2),
    "other": st.sampled_from([None, 1, "x", {"a": [1, {"b": None}]}]),
}
FIELDS = {
    **dict.fromkeys(EVENT_COLUMNS, TEXTS),
    "occurred_at": MOMENTS,
    "kind": st.one_of(st.sampled_from([*(kind.value for kind in EventKind)]), st.sampled_from(["buy", None, 3])),
    "channel": st.one_of(st.sampled_from([channel.value for channel in Channel]), st.sampled_from(["tv", None])),
    "identifiers": st.one_of(
        st.sampled_from([None, {}, [], "x", {"cookie": None}]),
        st.dictionaries(
            st.sampled_from(["cookie", "loyalty_card", "Cookie", "", "a-b", "x" * 64, "x" * 65, "e\n"]), TEXTS
        ),
        st.integers(14, 18).map(lambda n: {f"id{i}": "x" for i in range(n)}),
    ),
    "quantity": NUMBERS,
    "value": NUMBERS,
    "currency": st.sampled_from([None, "EUR", "eur", "EURO", "EUR\n", "", 3]),
    "properties": st.one_of(st.sampled_from([None, {}, [], "{}"]), st.fixed_dictionaries({}, optional=PAYLOADS)),
    "colour": st.just("red"),
}
ITEMS = st.builds(
    lambda kind, changes: {**GOOD, "kind": kind, **changes},
    st.sampled_from([kind.value for kind in EventKind]),
    st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
    ),
)


@given(st.lists(ITEMS, min_size=10, max_size=10))
def test_the_document_says_what_the_rules_of_events_say(items: list[dict[str, Any]]) -> None:
    for item in items:
        assert EVENT.is_valid(item) == is_kept(item), item


@pytest.mark.parametrize("kind", EventKind)
def test_what_a_kind_cannot_do_without_is_in_the_document(kind: EventKind) -> None:
    whole = {**GOOD, "kind": kind.value, "product_id": "p", "decision_id": "d", "identifiers": {"cookie": "k"}}
    assert EVENT.is_valid(whole)
    assert is_kept(whole)
    for name in ("product_id", "decision_id", "identifiers", "customer_id"):
        for less in ({**whole, name: None}, {key: value for key, value in whole.items() if key != name}):
            assert EVENT.is_valid(less) == is_kept(less), (kind, name)


def test_a_body_is_an_object_with_a_list_or_a_bare_list_or_one_event() -> None:
    document = openapi_document()
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    body = jsonschema_rs.Draft202012Validator({**content["schema"], "components": document["components"]})
    for good in ({"events": [GOOD]}, [GOOD], GOOD, content["example"]):
        assert body.is_valid(good)
    for bad in ({}, {"events": []}, [], {"events": [GOOD], "more": 1}, [{}], None, "x", {"events": GOOD}):
        assert not body.is_valid(bad), bad


@pytest.mark.parametrize("path", [path for path, what in POSTS.items() if issubclass(what[2], schemas.CustomerRef)])
@pytest.mark.parametrize(
    "who",
    [
        *({}, {"customer_id": None}, {"identifiers": {}}, {"customer_id": ""}, {"customer_id": "a\x7f"}),
        *({"identifiers": {"": "x"}}, {"identifiers": {"a\nb": "x"}}, {"identifiers": {"x" * 257: "x"}}),
        *({"identifiers": {"email": ""}}, {"identifiers": {f"id{i}": "x" for i in range(17)}}, {"customer_id": 1}),
        *(
            {"customer_id": "ada"},
            {"identifiers": {"email": "a@x"}},
            {"customer_id": None, "identifiers": {"E-Mail": "x"}},
        ),
        *({"customer_id": "ada", "identifiers": {}}, {"customer_id": "ada", "attributes": {"a\x00": "x"}}),
    ],
)
def test_who_is_asked_about_is_in_the_document(path: str, who: dict[str, Any]) -> None:
    request = POSTS[path][2]
    try:
        request.model_validate_json(json.dumps(who))
        taken = True
    except ValueError:
        taken = False
    assert validator(request.__name__).is_valid(who) is taken
