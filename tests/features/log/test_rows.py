"""A few events appended as rows leave exactly what they leave as tables, and are answered the same."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_visits import START, execute, open_url, read_all

from features.events.rows import EventRow, event_rows, rows_table
from features.events.schema import Event, events_to_table, parse_events
from features.log.event_log import EventLog
from features.log.group_commit import GroupCommitter

NOW = datetime(2024, 6, 1, tzinfo=UTC)
CONTENT = ("customers", "identifiers", "seen_in", "regrouped", "events", "consents")
OWN = ("log_id", "marked", "erasure_key")
"""Notes that are random in every log."""

PROPERTIES = st.sampled_from(
    [None, {}, {"é": [1, 0.1]}, {"consent": {"email": False}}, {"consent": {"sms": True}, "profiling": False}]
)
EVENTS = st.fixed_dictionaries(
    {
        "event_id": st.integers(0, 30).map(lambda number: f"e{number}"),
        "kind": st.sampled_from(["visit", "profile", "unsubscribe", "subscribe", "send"]),
        "channel": st.sampled_from(["web", "email", "sms"]),
        "occurred_at": st.integers(0, 40).map(lambda seconds: START + timedelta(seconds=seconds)),
        "customer_id": st.sampled_from([None, "c1", "c2", "c3"]),
        "identifiers": st.dictionaries(
            st.sampled_from(["cookie", "email", "phone"]),
            st.sampled_from(["A@x.org", "a@x.org ", "guest", "00 49 1", "k9"]).map(str.strip),
            min_size=1,
            max_size=2,
        )
        | st.none(),
        "product_id": st.sampled_from([None, "p", "ü"]),
        "quantity": st.sampled_from([None, 1, 2.5]),
        "value": st.sampled_from([None, 0, -1.5, 1e14]),
        "properties": PROPERTIES,
    }
)
STEPS = st.lists(
    st.lists(st.lists(EVENTS, min_size=1, max_size=5), min_size=1, max_size=4) | st.just("erase"), max_size=5
)


def valid(items: list[dict[str, Any]]) -> list[Event]:
    return parse_events(items, NOW)[0]


def contents(url: str) -> dict[str, list[Any]]:
    tables = {name: sorted(execute(url, f"SELECT * FROM {name}"), key=repr) for name in CONTENT}
    return tables | {"meta": sorted(row for row in execute(url, "SELECT * FROM meta") if row[0] not in OWN)}


def run(log: EventLog, steps: list[Any], convert: Callable[[list[Event]], Any]) -> list[Any]:
    results: list[Any] = []
    for step in steps:
        if step == "erase":
            results.append(log.erasures().begin("c1", NOW) is None)
            continue
        batches = [events for events in map(valid, step) if events]
        results.append(log.append_many([convert(events) for events in batches]))
    return results


def compare(new_url: Callable[[], str], steps: list[Any]) -> None:
    outcomes = []
    for convert in (events_to_table, event_rows):
        url = new_url()
        with closing(open_url(url)) as log:
            outcomes.append(
                (run(log, steps, convert), log.fingerprint(), log.last_seq(), log.anchor().seq, contents(url))
            )
    assert outcomes[0] == outcomes[1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_rows_leave_what_tables_leave_in_sqlite(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("logs")
    numbers = iter(range(2))
    compare(lambda: f"sqlite:///{folder / f'{next(numbers)}.db'}", steps)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_rows_leave_what_tables_leave_on_a_server(new_postgres: Callable[[], str], steps: list[Any]) -> None:
    compare(new_postgres, steps)


@given(items=st.lists(EVENTS, max_size=6))
def test_rows_are_the_events(items: list[dict[str, Any]]) -> None:
    events = valid(items)
    table = rows_table(event_rows(events))
    wanted = events_to_table(events).to_pylist()
    for row in wanted:  # an empty object of identifiers names nobody, as none does
        row["identifiers"] = row["identifiers"] or None
    assert table.to_pylist() == wanted


def test_rows_and_tables_share_a_group(log: EventLog) -> None:
    visits = [
        Event(event_id=f"e{number}", occurred_at=START, kind="visit", channel="web", customer_id=f"c{number}")
        for number in range(4)
    ]
    results = log.append_many([event_rows(visits[:1]), events_to_table(visits[1:3]), event_rows(visits[2:])])
    assert [(one.appended, one.duplicates) for one in results] == [(1, 0), (2, 0), (1, 1)]
    assert log.append_events(visits).duplicates == 4
    assert [row["event_id"] for row in read_all(log)] == ["e0", "e1", "e2", "e3"]


def test_the_committer_takes_both(log: EventLog) -> None:
    row = EventRow("a", 5, "visit", "web", "c", quantity=1.0)
    committer = GroupCommitter(log)
    done = [committer.submit([row]), committer.submit(rows_table([row._replace(event_id="b")]))]
    assert [one.result(10).appended for one in done] == [1, 1]
    committer.close()
    batch = pa.concat_tables(log.read())
    assert batch["occurred_at"].cast(pa.int64()).to_pylist() == [5, 5]
    assert batch["quantity"].to_pylist() == [1.0, 1.0]
