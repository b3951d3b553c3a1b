import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from features.errors import InputError
from features.events.rules import EVENT_COLUMNS, KIND_RULES
from features.events.schema import (
    EVENT_SCHEMA,
    Event,
    events_to_table,
    parse_events,
    parse_table,
    validate_table,
)
from features.events.values import EARLIEST, LATEST, dump_properties
from features.vocabulary import Channel, Columns, EventKind, IdType

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "occurred_at": "2024-05-01T09:30:00+02:00",
    "kind": "view",
    "channel": "web",
    "customer_id": "c1",
    "product_id": "p1",
}


def test_a_good_event_is_typed_and_in_utc() -> None:
    events, rejections = parse_events([GOOD], NOW)
    assert rejections == []
    assert events[0].occurred_at == datetime(2024, 5, 1, 7, 30, tzinfo=UTC)
    assert events[0].occurred_at.utcoffset() == timedelta(0)
    assert (events[0].kind, events[0].channel) == (EventKind.VIEW, Channel.WEB)


@pytest.mark.parametrize("item", [{**GOOD, "occurred_at": None}, {k: v for k, v in GOOD.items() if k != "occurred_at"}])
def test_a_missing_moment_is_now(item: dict[str, Any]) -> None:
    events, _ = parse_events([item], NOW)
    assert events[0].occurred_at == NOW


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"event_id": None}, "event_id", "cannot count it twice"),
        ({"event_id": " "}, "event_id", "is blank"),
        ({"event_id": "a\n"}, "event_id", "strip them"),
        ({"event_id": "\ud800"}, "event_id", "surrogate"),
        ({"event_id": "x" * 257}, "event_id", "at most 256"),
        ({"occurred_at": "2024-05-01T09:30:00"}, "occurred_at", "without a time zone: add Z"),
        ({"occurred_at": datetime(2024, 5, 1)}, "occurred_at", "without a time zone"),  # noqa: DTZ001 - the point
        ({"occurred_at": "yesterday"}, "occurred_at", "ISO 8601"),
        ({"occurred_at": 1714555800}, "occurred_at", "ISO 8601"),
        (
            {"occurred_at": "2024-05-01T12:05:01Z"},
            "occurred_at",
            "ahead of the clock here, which says 2024-05-01T12:00:00",
        ),
        ({"occurred_at": "1969-12-31T23:59:59Z"}, "occurred_at", "outside 1970"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", "outside 1970"),
        ({"kind": "buy"}, "kind", "use one of view"),
        ({"kind": 3}, "kind", "is 3: use one of"),
        ({"channel": None}, "channel", "is missing"),
        ({"customer_id": 17}, "customer_id", "is 17, which is not text"),
        ({"customer_id": None}, "customer_id", "no identifiers"),
        ({"customer_id": None, "identifiers": {}}, "customer_id", "no identifiers"),
        ({"identifiers": {"Cookie": "x"}}, "identifiers", "small letters"),
        ({"identifiers": {"cookie": ""}}, "identifiers", "has cookie, which is blank"),
        ({"identifiers": {"cookie": None}}, "identifiers", "has cookie, which is missing"),
        ({"identifiers": {f"id{i}": "x" for i in range(17)}}, "identifiers", "at most 16"),
        ({"identifiers": ["cookie"]}, "identifiers", "is not an object"),
        ({"quantity": -1}, "quantity", "kind return"),
        ({"quantity": True}, "quantity", "not a number"),
        ({"value": "9.99"}, "value", "without quotes"),
        ({"value": math.nan}, "value", "not a finite number"),
        ({"value": 10**400}, "value", "not a finite number"),
        ({"value": 1e308}, "value", "beyond 1e+14: check its unit"),
        ({"kind": "feedback", "value": -2e14}, "value", "beyond 1e+14"),
        ({"quantity": 10**16}, "quantity", "beyond 1e+09"),
        ({"value": -1.0}, "value", "counted from 0"),
        ({"currency": "eur"}, "currency", "ISO 4217"),
        ({"currency": "EUR\n"}, "currency", "ISO 4217"),
        ({"properties": {"a": math.inf}}, "properties", "finite numbers"),
        ({"properties": {"a": "\udfff"}}, "properties", "surrogate"),
        ({"properties": "{}"}, "properties", "not a JSON object"),
        ({"properties": {"a": "é" * 5000}}, "properties", "8192 bytes"),
        ({"product_id": None}, "product_id", "a view is about one product"),
        ({"kind": "purchase", "product_id": None}, "product_id", "give product_id or value"),
        ({"kind": "outcome"}, "decision_id", "give decision_id or campaign_id"),
        ({"kind": "identify"}, "identifiers", "identify says"),
        *(
            ({"kind": "decision", "decision_id": "d", "properties": {"pscore": pscore}}, "properties", "is no chance")
            for pscore in (7, 0, -0.1, 1.0000001, "0.5", True, 10**400, [0.5])
        ),
        (
            {"kind": "decision", "decision_id": "d", "properties": {"chances": {"a": 0.7, "b": 0.7}}},
            "properties",
            "chances that add up to 1.4, and not to 1",
        ),
        ({"kind": "decision", "decision_id": "d", "properties": {"chances": [1]}}, "properties", "from 0 to 1"),
        (
            {"kind": "decision", "decision_id": "d", "properties": {"products": [{"pscore": 1}, {"pscore": 2}]}},
            "properties",
            "product's pscore that is no chance",
        ),
        ({"kind": "outcome", "decision_id": "d", "properties": {"pscore": 0.5}}, "properties", "an outcome has not"),
        ({"colour": "red"}, "colour", "move it into properties"),
    ],
)
def test_each_rule_names_the_field_and_the_repair(change: dict[str, Any], field: str, words: str) -> None:
    events, rejections = parse_events([{**GOOD, **change}], NOW)
    assert events == []
    assert rejections[0].field == field
    assert words in rejections[0].reason


def test_a_basket_of_known_value_needs_no_product() -> None:
    events, rejections = parse_events([{**GOOD, "kind": "purchase", "product_id": None, "value": 12}], NOW)
    assert (len(events), rejections) == (1, [])


def test_a_bad_event_leaves_the_good_ones() -> None:
    events, rejections = parse_events([GOOD, {**GOOD, "kind": "buy"}, "text", {**GOOD, "event_id": "e2"}], NOW)  # type: ignore[list-item]
    assert [event.event_id for event in events] == ["e1", "e2"]
    assert [(one.index, one.field, one.event_id) for one in rejections] == [(1, "kind", "e1"), (2, "event", None)]


def test_an_event_cannot_be_made_against_the_rules() -> None:
    with pytest.raises(ValidationError, match="a view is about one product"):
        Event(event_id="e", occurred_at=NOW, kind=EventKind.VIEW, channel=Channel.APP, customer_id="c")


def test_every_kind_has_a_rule_and_every_column_a_field() -> None:
    assert set(KIND_RULES) == set(EventKind)
    assert tuple(Event.model_fields) == EVENT_COLUMNS == tuple(EVENT_SCHEMA.names)


def test_events_survive_the_way_through_a_table() -> None:
    item = {**GOOD, "identifiers": {"cookie": "k"}, "properties": {"note": "süß", "n": [1, None]}, "value": 3}
    events, _ = parse_events([item], NOW)
    table = events_to_table(events)
    assert table.schema == EVENT_SCHEMA
    good, rejected = validate_table(table, NOW)
    assert (good.to_pylist(), rejected.num_rows) == (table.to_pylist(), 0)
    row = good.to_pylist()[0]
    assert (row["properties"], row["identifiers"], row["value"]) == (
        '{"note":"süß","n":[1,null]}',
        [("cookie", "k")],
        3.0,
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"event_id": ["a"]}, "missing columns ['occurred_at', 'kind', 'channel']"),
        ({"event_id": ["a"], "occurred_at": [NOW], "kind": ["view"], "channel": ["web"], "sku": ["p"]}, "['sku']"),
        (
            {"event_id": ["a"], "occurred_at": [NOW.replace(tzinfo=None)], "kind": ["view"], "channel": ["web"]},
            "without a time",
        ),
        ({"event_id": [1], "occurred_at": [NOW], "kind": ["view"], "channel": ["web"]}, "'event_id' is of type int64"),
    ],
)
def test_what_is_no_event_table_is_refused_as_a_whole(table: dict[str, list[Any]], words: str) -> None:
    with pytest.raises(InputError) as caught:
        validate_table(pa.table(table))
    assert words in str(caught.value)


def test_a_moment_beyond_pythons_years_is_rejected_not_a_crash() -> None:
    row = {**GOOD, "occurred_at": NOW}
    table = pa.table({name: [value] for name, value in row.items()})
    table = table.set_column(1, "occurred_at", pa.array([2**62], pa.timestamp("us", "UTC")))
    _, rejected = validate_table(table)
    assert rejected.column("field").to_pylist() == ["occurred_at"]


def test_properties_of_a_table_must_be_json_objects() -> None:
    texts = ['{"a": 1}', "[1]", "{", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}']
    rows = [
        {**GOOD, "occurred_at": NOW, "event_id": str(place), "properties": text} for place, text in enumerate(texts)
    ]
    good, rejected = validate_table(pa.Table.from_pylist(rows))
    assert good.column("event_id").to_pylist() == ["0"]
    assert rejected.column("index").to_pylist() == [1, 2, 3, 4, 5]


def test_an_empty_list_is_no_object_but_an_empty_map_is() -> None:
    item = {"event_id": "1", "kind": "visit", "channel": "web", "customer_id": "a", "identifiers": []}
    table, rejected = parse_table([item], NOW)
    assert (table.num_rows, [row.field for row in rejected]) == (0, ["identifiers"])
    empty = parse_table([item | {"identifiers": {}}], NOW)[0]
    assert (empty.num_rows, validate_table(empty)[0].num_rows) == (1, 1)


def test_one_id_type_twice_in_a_map_is_rejected() -> None:
    table = pa.table(
        {
            **{name: [value] for name, value in {**GOOD, "occurred_at": NOW}.items()},
            "identifiers": pa.array([[("email", "a"), ("email", "b")]], pa.map_(pa.string(), pa.string())),
        }
    )
    _, rejected = validate_table(table)
    assert "names one id type twice" in rejected.column("reason")[0].as_py()


# --- both paths agree -------------------------------------------------------------------------------------------------

_texts = st.one_of(
    st.sampled_from(
        ["a", "p-1", "", " ", " a", "a ", "a\u00a0", "\u200bx", "a\tb", "ä", "x" * 256, "x" * 257, "é" * 200]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
_numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e9, 2e9, 1e14, 2e14, -2e14, math.inf, math.nan]), st.floats()
)
_moments = st.one_of(
    st.sampled_from([NOW, NOW + timedelta(minutes=5), NOW + timedelta(minutes=5, microseconds=1), EARLIEST, LATEST]),
    st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants it naive
)
_identifiers = st.dictionaries(
    st.sampled_from([*IdType, "Cookie", "", "a-b", "x" * 64, "x" * 65, "cookie\n"]),
    st.one_of(st.none(), _texts),
    max_size=3,
)
_chances = st.one_of(st.none(), st.sampled_from([0, 1, 7, 0.5, -1e-9, 1.5, "0.5", True, 10**400]), st.floats(-0.5, 1.5))
_properties = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "pscore": _chances,
            "chances": st.dictionaries(st.sampled_from(["email", "nothing"]), _chances),
            "products": st.lists(st.fixed_dictionaries({}, optional={"pscore": _chances}), max_size=2),
        },
    ),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(-3, 3), max_size=2),
    st.just({"a": "x" * 8184}),  # 8192 bytes of JSON
    st.just({"a": "x" * 8185}),
)
_optional_texts = {name: st.one_of(st.none(), _texts) for name in EVENT_COLUMNS}
_items = st.fixed_dictionaries(
    _optional_texts
    | {
        Columns.OCCURRED_AT: _moments,
        Columns.KIND: st.one_of(st.sampled_from([*(kind.value for kind in EventKind), "buy"]), st.none()),
        Columns.CHANNEL: st.one_of(st.sampled_from([*(channel.value for channel in Channel), "tv"]), st.none()),
        Columns.IDENTIFIERS: st.one_of(st.none(), _identifiers),
        Columns.QUANTITY: st.one_of(st.none(), _numbers),
        Columns.VALUE: st.one_of(st.none(), _numbers),
        Columns.CURRENCY: st.one_of(st.none(), st.sampled_from(["EUR", "eur", "EURO", "EUR\n", ""])),
        Columns.PROPERTIES: st.one_of(st.none(), _properties),
    }
)
_near_good = st.builds(
    lambda item, keep: (
        {name: GOOD.get(name) if name in keep else value for name, value in item.items()}
        | {Columns.OCCURRED_AT: item[Columns.OCCURRED_AT]}
    ),
    _items,
    st.sets(st.sampled_from(EVENT_COLUMNS), min_size=11),
)


@given(st.lists(st.one_of(_items, _near_good), max_size=6))
def test_http_and_bulk_apply_the_same_rules(items: list[dict[str, Any]]) -> None:
    events, rejections = parse_events(items, NOW)
    columns = []
    for field in EVENT_SCHEMA:
        values = [item[field.name] for item in items]
        if field.name == Columns.IDENTIFIERS:
            values = [None if value is None else list(value.items()) for value in values]
        elif field.name == Columns.PROPERTIES:
            values = [None if value is None else dump_properties(value) for value in values]
        columns.append(pa.array(values, field.type))
    good, rejected = validate_table(pa.Table.from_arrays(columns, schema=EVENT_SCHEMA), NOW)
    assert good.column("event_id").to_pylist() == [event.event_id for event in events]
    assert [(row["index"], row["field"], row["reason"]) for row in rejected.to_pylist()] == [
        (one.index, one.field, one.reason) for one in rejections
    ]


@given(st.lists(st.one_of(_items, _near_good, st.just(7)), max_size=6))
def test_a_table_without_models_is_the_same_table(items: list[Any]) -> None:
    events, rejections = parse_events(items, NOW)
    table, told = parse_table(items, NOW)
    assert told == rejections
    assert table.equals(events_to_table(events))
