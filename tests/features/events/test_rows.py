"""Rows are the events that tables are, and what is refused is refused with the same words."""

import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from features.events import rules
from features.events.rows import EventRow, fields_row, parse_rows, rows_table, table_rows
from features.events.schema import parse_events, parse_table
from features.events.values import (
    MAX_TEXT_LENGTH,
    UNCLEAN_TEXT,
    _check_properties,
    _check_text,
    dump_properties,
    parse_properties,
)

NOW = datetime(2024, 6, 1, tzinfo=UTC)
TEXTS = st.sampled_from(["a", "", " ", " a", "a ", "é", "\ud800", "a\tb", "x" * 256, "x" * 257, "\u200b", "0", "guest"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
VALUES = {
    "event_id": TEXTS | st.just("e-1"),
    "occurred_at": st.sampled_from(
        ["2024-05-01T09:30:00+02:00", "2024-05-01", "1969-01-01T00:00:00Z", "never", 5, None]
    ),
    "kind": st.sampled_from(
        ["view", "visit", "purchase", "profile", "decision", "outcome", "identify", "dance", None, 3]
    ),
    "channel": st.sampled_from(["web", "email", "smoke", None]),
    "customer_id": st.sampled_from(["c1", "guest", "", None, 7]) | TEXTS,
    "identifiers": st.dictionaries(st.sampled_from(["cookie", "email", "E"]), TEXTS, max_size=2) | JSON,
    "product_id": st.sampled_from(["p", None, 5]),
    "quantity": st.sampled_from([1, 2.5, -1, 1e10, float("nan"), True, "1", None]),
    "value": st.sampled_from([0, -2, 1e15, 10**400, None]),
    "currency": st.sampled_from(["EUR", "eur", None]),
    "decision_id": st.sampled_from(["d", None]),
    "properties": JSON | st.just({"pscore": 0.5}) | st.just({"consent": {"email": True}}),
    "colour": st.just("red"),
}
GOOD = {"event_id": "e-1", "occurred_at": "2024-05-01T09:30:00Z", "kind": "visit", "channel": "web", "customer_id": "c"}
ITEMS = st.fixed_dictionaries({}, optional=VALUES).map(lambda fields: {**GOOD, **fields}) | st.fixed_dictionaries(
    {}, optional=VALUES
)


@given(items=st.lists(ITEMS | st.just("no object"), max_size=4))
def test_rows_tables_and_models_are_the_same_events(items: list[Any]) -> None:
    rows, rejections = parse_rows(items, NOW)
    table, table_rejections = parse_table(items, NOW)
    events, event_rejections = parse_events(items, NOW)
    assert rejections == table_rejections == event_rejections
    assert rows == table_rows(table) == [fields_row(vars(event)) for event in events]
    assert rows_table(rows).equals(rows_table(table_rows(table)))


@given(fields=ITEMS)
def test_the_quick_look_at_values_passes_what_the_rules_pass(fields: dict[str, Any]) -> None:
    assert rules._are_values_good(fields, NOW) is (rules._find_value_problem(fields, NOW) is None)


@given(value=TEXTS | st.text(st.characters(max_codepoint=200), max_size=4) | st.text(max_size=4))
def test_a_text_is_refused_for_what_the_rule_says_and_nothing_else(value: str) -> None:
    is_whole = not any("\ud800" <= char <= "\udfff" for char in value)
    good = bool(value.strip(" ")) and len(value) <= MAX_TEXT_LENGTH and not re.search(UNCLEAN_TEXT, value) and is_whole
    assert (_check_text(value) is None) is good


@given(value=st.dictionaries(TEXTS, JSON, max_size=3))
def test_properties_are_refused_as_their_text_is(value: dict[str, Any]) -> None:
    text = dump_properties(value)
    wanted = parse_properties(text) if text is not None else _check_properties(value, None)
    assert _check_properties(value, None) == (wanted if isinstance(wanted, str) else None)


def test_properties_that_nest_too_deep_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(3_000):
        deep = {"a": deep}
    assert _check_properties(deep, None) == _check_properties({"a": float("nan")}, None)
    assert EventRow("e", 0, "visit", "web").properties is None
