"""The log's messages and responses, folded: exactly once, and the same wherever the log is cut."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import EVENT_SCHEMA
from features.vocabulary import Columns
from serving.offers.response import Counts, Tally
from serving.offers.response_fold import ResponseFold

T0 = datetime(2030, 1, 1, tzinfo=UTC)
A_WEEK_LATER = 8 * 24.0
Row = tuple[str, str, float, str | None]
"""Kind, decision, hours after T0, offer."""


def table(*rows: Row) -> pa.Table:
    items: list[dict[str, Any]] = []
    for number, (kind, decision_id, hours, offer_id) in enumerate(rows):
        properties = (
            {"arm": "email", "offer_id": offer_id, "terms": {"response_probability": 0.25}} if offer_id else None
        )
        items.append(
            {
                Columns.EVENT_ID: str(number),
                Columns.OCCURRED_AT: T0 + timedelta(hours=hours),
                Columns.KIND: kind,
                Columns.CHANNEL: "email",
                Columns.DECISION_ID: decision_id or None,
                Columns.PROPERTIES: json.dumps(properties) if properties else None,
            }
        )
    return pa.Table.from_pylist(items, EVENT_SCHEMA)


def counts(*rows: Row) -> Counts:
    fold = ResponseFold()
    fold.add(table(*rows))
    return fold.counts


LATER: Row = ("view", "", A_WEEK_LATER + 30, None)


def test_a_message_that_was_sent_counts_once_and_so_does_its_response() -> None:
    found = counts(
        ("decision", "d1", 0, "tea"),
        ("send", "d1", 1, None),
        ("send", "d1", 2, None),
        ("click", "d1", 3, None),
        ("outcome", "d1", 4, None),
        LATER,
    )
    assert found.tallies == {("tea", "email"): Tally(0.25, 1)}


def test_what_was_only_decided_or_names_no_decision_of_an_offer_does_not_count() -> None:
    assert counts(("decision", "d1", 0, "tea"), ("click", "d1", 1, None), LATER).tallies == {}
    assert counts(("decision", "d1", 0, None), ("send", "d1", 1, None), ("send", "", 1, None), LATER).tallies == {}


def test_a_response_that_comes_before_its_send_counts_once_that_is_there() -> None:
    found = counts(("decision", "d1", 0, "tea"), ("click", "d1", 1, None), ("send", "d1", 1, None), LATER)
    assert found.tallies == {("tea", "email"): Tally(0.25, 1)}


def test_a_response_after_a_week_is_none() -> None:
    found = counts(("decision", "d1", 0, "tea"), ("send", "d1", 0, None), ("click", "d1", 24 * 7 + 1, None), LATER)
    assert found.tallies == {("tea", "email"): Tally(0.25, 0)}


def test_of_a_young_message_only_so_many_responses_are_expected_as_come_in_its_time() -> None:
    found = counts(("decision", "d1", 0, "tea"), ("send", "d1", 0, None), ("view", "", 12, None))
    expected = found.tallies["tea", "email"].expected
    assert expected == pytest.approx(0.25 * (1 - 0.3679), rel=0.02)  # the usual delay is exponential, of 12 hours


def test_what_came_since_the_last_step_counts_with_the_next() -> None:
    rows: list[Row] = [("decision", "d1", 0, "tea"), ("send", "d1", 0.01, None)]
    assert counts(*rows).tallies == {}
    assert counts(*rows, ("view", "", 0.2, None)).tallies != {}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["decision", "send", "impression", "click", "purchase", "outcome", "view", "open"]),
        st.sampled_from(["d1", "d2", "d3", "d4"]),
        st.integers(0, 24 * 20).map(float),
        st.sampled_from(["tea", "soap"]),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(EVENTS, st.lists(st.integers(0, 30), max_size=4), st.booleans())
def test_it_is_the_same_wherever_the_log_is_cut(rows: list[Row], cuts: list[int], in_order: bool) -> None:
    known = [(kind, one, hours, offer if kind == "decision" else None) for kind, one, hours, offer in rows]
    events = table(*(sorted(known, key=lambda row: row[2]) if in_order else known))
    whole, parts = ResponseFold(), ResponseFold()
    whole.add(events)
    ends = [0, *sorted(min(cut, len(known)) for cut in cuts), len(known)]
    for begin, end in pairwise(ends):
        parts.add(events.slice(begin, end - begin))
    assert parts.counts.tallies == whole.counts.tallies
    assert parts.counts.version == whole.counts.version
    assert all(tally.responses <= 4 for tally in whole.counts.tallies.values())
