"""The same event again is a duplicate; another event of the same id is a conflict, and somebody is told."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_visits import many, open_url, table

from features.log.conflicts import Conflict
from features.log.event_log import EventLog
from features.log.postgres import BULK_MIN_ROWS
from features.log.sqlite import SqliteEventLog
from features.log.tables import SEGMENT_MIN_ROWS

FULL: dict[str, Any] = {
    "event_id": "a",
    "kind": "purchase",
    "channel": "web",
    "customer_id": "c1",
    "identifiers": {"email": "a@x", "cookie": "k"},
    "product_id": "p",
    "quantity": 2,
    "value": 0.1,
    "currency": "EUR",
    "campaign_id": "k1",
    "decision_id": "d1",
    "store_id": "s1",
    "session_id": "s",
    "properties": {"note": "x", "n": [1, 2.5]},
}


def test_the_same_event_again_is_no_conflict_however_it_is_written(log: EventLog) -> None:
    log.append(table(dict(FULL)))
    turned = {
        **FULL,
        "identifiers": {"cookie": "k", "email": "a@x"},
        "properties": {"n": [1, 2.5], "note": "x"},
        "quantity": 2.0,
    }
    for again in (FULL, turned):
        result = log.append(table(dict(again)))
        assert (result.appended, result.duplicates, result.conflicts) == (0, 1, ())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", 1),
        ("kind", "view"),
        ("channel", "app"),
        ("customer_id", "c2"),
        ("customer_id", None),
        ("identifiers", {"email": "b@x"}),
        ("identifiers", None),
        ("product_id", "q"),
        ("quantity", None),
        ("value", 0.2),
        ("currency", "USD"),
        ("campaign_id", "k2"),
        ("decision_id", None),
        ("store_id", "s2"),
        ("session_id", "t"),
        ("properties", {"note": "x", "n": [1, 2.6]}),
        ("properties", None),
    ],
)
def test_every_field_that_differs_is_told_and_the_stored_event_stays(log: EventLog, field: str, value: Any) -> None:
    first = table(dict(FULL))
    log.append(first)
    result = log.append(table({**FULL, field: value}, {"event_id": "new", "customer_id": "c1"}))
    name = "occurred_at" if field == "at" else field
    assert (result.appended, result.duplicates, result.conflicts) == (1, 1, (Conflict("a", (name,)),))
    assert next(iter(log.read())).select(first.column_names).slice(0, 1).to_pylist() == first.to_pylist()


def test_within_one_batch_the_first_one_counts(log: EventLog) -> None:
    rows = [{"event_id": "x", "customer_id": "c1", "store_id": store} for store in ("1", "1", "2", "1", "3")]
    result = log.append(table(*rows))
    assert (result.appended, result.duplicates) == (1, 4)
    assert result.conflicts == (Conflict("x", ("store_id",)),) * 2


def test_each_table_of_a_group_hears_of_its_own(log: EventLog) -> None:
    log.append(table({"event_id": "old", "customer_id": "c1"}))
    fine, differs, again = log.append_many(
        [
            table({"event_id": "n1", "customer_id": "c1"}),
            table({"event_id": "old", "customer_id": "c2"}, {"event_id": "n1", "customer_id": "c1", "at": 9}),
            table({"event_id": "old", "customer_id": "c1"}),
        ]
    )
    assert [getattr(result, "conflicts") for result in (fine, differs, again)] == [  # noqa: B009 - results or errors
        (),
        (Conflict("old", ("customer_id",)), Conflict("n1", ("occurred_at",))),
        (),
    ]


@pytest.mark.parametrize("rows", [BULK_MIN_ROWS + 1, SEGMENT_MIN_ROWS + 7])
def test_a_bulk_that_comes_again_differs_where_it_was_changed(log: EventLog, rows: int) -> None:
    log.append(many(0, rows))
    assert log.append(many(0, rows)).conflicts == ()
    changed = pa.concat_tables(
        [many(0, rows - 1), table({"event_id": f"e{rows - 1}", "customer_id": "else"}), many(rows, 3)]
    )
    result = log.append(changed)
    assert (result.appended, result.duplicates) == (3, rows)
    assert [conflict.event_id for conflict in result.conflicts] == [f"e{rows - 1}"]


def test_an_amount_converted_by_another_rate_is_the_same_amount(log: EventLog) -> None:
    def converted(value: float, rate: float, came: float = 10.0) -> pa.Table:
        said = {"converted_from": {"value": came, "currency": "USD", "rate": rate}}
        return table({"event_id": "u", "customer_id": "c", "value": value, "currency": "EUR", "properties": said})

    log.append(converted(9.0, 0.9))
    assert log.append(converted(8.0, 0.8)).conflicts == ()
    assert log.append(converted(9.0, 0.9, came=11.0)).conflicts == (Conflict("u", ("value",)),)


_VALUES = {
    "customer_id": st.sampled_from(["c1", "c2"]),
    "product_id": st.sampled_from([None, "p", "q"]),
    "value": st.sampled_from([None, 0.0, 1.0, 0.1]),
    "properties": st.sampled_from([None, {"a": 1}, {"a": 2}, {"a": [1]}]),
}
_ROWS = st.lists(st.fixed_dictionaries({"event_id": st.sampled_from(["x", "y", "z"]), **_VALUES}), max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(_ROWS, max_size=4), number=st.integers(0, 2**60))
def test_conflicts_are_exactly_the_ignored_rows_that_differ(tmp_path: Path, batches: list[Any], number: int) -> None:
    kept: dict[str, dict[str, Any]] = {}
    with closing(SqliteEventLog(tmp_path / f"{number}-{len(list(tmp_path.iterdir()))}.db")) as log:
        for batch in batches:
            wanted = []
            for row in batch:
                first = kept.setdefault(row["event_id"], row)
                wanted += [row["event_id"]] if first != row else []
            if batch:
                result = log.append(table(*map(dict, batch)))
                assert [conflict.event_id for conflict in result.conflicts] == wanted


def test_outcomes_are_of_decisions_that_the_log_holds_for_the_same_customer(log: EventLog, url: str) -> None:
    made = {"kind": "decision", "channel": "web"}
    log.append(
        table(
            {**made, "event_id": "d-1", "decision_id": "d-1", "customer_id": "ann"},
            {**made, "event_id": "other", "decision_id": "d-2", "identifiers": {"email": "b@x"}},
            {"event_id": "d-3", "decision_id": "d-3", "customer_id": "ann"},  # a visit
        )
    )
    pairs = [("d-1", "ann"), ("d-1", "bob"), ("d-2", "anon:email:b@x"), ("d-2", "ann"), ("d-3", "ann"), ("d-4", "ann")]
    assert log.undecided(pairs) == {pairs[1], pairs[3], pairs[4], pairs[5]}
    log.append(table({"event_id": "login", "customer_id": "bob", "identifiers": {"email": "b@x"}}))
    with closing(open_url(url)) as other:
        assert other.undecided([("d-2", "bob"), ("d-2", "anon:email:b@x")]) == {("d-2", "anon:email:b@x")}
        assert other.undecided([]) == set()
