"""Both engines keep the same promises: every test that says nothing else runs on SQLite and on PostgreSQL."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from made_visits import execute, many, open_url, read_all, table

from features.events.schema import EVENT_SCHEMA
from features.log.event_log import EventLog
from features.log.postgres import BULK_MIN_ROWS
from features.log.tables import READ_SCHEMA, SEGMENT_MIN_ROWS


def test_what_goes_in_comes_out_in_order(log: EventLog) -> None:
    rows = table(
        {"event_id": "b", "customer_id": "c1", "at": 5, "properties": {"é": [1]}, "value": 1.25},
        {"event_id": "a", "customer_id": "c2", "identifiers": {"cookie": "k"}},
    )
    assert log.append(rows).last_seq == 2
    batch = next(iter(log.read()))
    assert batch.schema == READ_SCHEMA
    assert batch.select(EVENT_SCHEMA.names).to_pylist() == rows.to_pylist()
    assert batch.column("seq").to_pylist() == [1, 2]
    assert batch.column("resolved_customer_id").to_pylist() == ["c1", "c2"]
    assert [row["event_id"] for row in read_all(log, after_seq=1)] == ["a"]


def test_an_event_id_is_kept_once_and_the_first_one_counts(log: EventLog) -> None:
    log.append(table({"event_id": "a", "customer_id": "c1"}))
    result = log.append(
        table(
            {"event_id": "a", "customer_id": "other"},
            {"event_id": "b", "customer_id": "c1"},
            {"event_id": "b", "customer_id": "c1"},
        )
    )
    assert (result.appended, result.duplicates, log.count()) == (1, 2, 2)
    assert [row["customer_id"] for row in read_all(log)] == ["c1", "c1"]


def test_one_customers_timeline_is_in_time_order_with_ties_by_id(log: EventLog) -> None:
    log.append(
        table(
            {"event_id": "z", "customer_id": "c1", "at": 10},
            {"event_id": "b", "customer_id": "c1", "at": 20},
            {"event_id": "x", "customer_id": "c2", "at": 1},
            {"event_id": "a", "customer_id": "c1", "at": 20},
            {"event_id": "late", "customer_id": "c1", "at": 0},
        )
    )
    assert log.customer_events("c1").column("event_id").to_pylist() == ["late", "z", "a", "b"]
    assert log.customer_events("c1", after_seq=2).column("event_id").to_pylist() == ["late", "a"]
    assert log.customer_events("nobody").schema == READ_SCHEMA


@pytest.mark.parametrize("batch_rows", [1_000, 7_777, 200_000])
def test_bulk_segments_and_single_rows_read_as_one_list(log: EventLog, url: str, batch_rows: int) -> None:
    log.append(many(0, 3))
    log.append(many(3, SEGMENT_MIN_ROWS))
    log.append(many(SEGMENT_MIN_ROWS, 5))  # the first three are duplicates
    log.append(many(SEGMENT_MIN_ROWS + 5, SEGMENT_MIN_ROWS + 1))
    total = 2 * SEGMENT_MIN_ROWS + 6
    assert log.count() == total
    seqs = [seq for (seq,) in execute(url, "SELECT seq FROM events ORDER BY seq")]
    for after in (0, 2, 3, 5_000, SEGMENT_MIN_ROWS + 3, seqs[-1] - 1, seqs[-1]):
        rows = read_all(log, after, batch_rows)
        assert [row["event_id"] for row in rows] == [f"e{place}" for place in range(total) if seqs[place] > after]
        assert [row["seq"] for row in rows] == [seq for seq in seqs if seq > after]
        assert {row["resolved_customer_id"] for row in rows} <= {f"c{place}" for place in range(7)}


def test_without_sqlites_segments_the_same_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with closing(open_url(url)) as log:
        log.append(many(0, SEGMENT_MIN_ROWS))
        log.append(many(SEGMENT_MIN_ROWS, 5))
        log.append(many(SEGMENT_MIN_ROWS + 5, SEGMENT_MIN_ROWS + 1))
        before = read_all(log)
        assert execute(url, "SELECT count(*) FROM segments") == [(2,)]
        execute(url, "DELETE FROM segments")
        assert read_all(log) == before


def test_who_was_anonymous_becomes_the_customer_who_logs_in(log: EventLog) -> None:
    log.append(
        table(
            {"event_id": "1", "identifiers": {"cookie": "k1"}},
            {"event_id": "2", "identifiers": {"cookie": "k1", "device": "d1"}, "at": 1},
            {"event_id": "3", "identifiers": {"device": "d1"}, "at": 2},
            {"event_id": "4", "identifiers": {"cookie": "k9"}, "at": 3},
        )
    )
    anonymous = ["anon:cookie:k1"] * 3  # the device was seen with the cookie
    assert [row["resolved_customer_id"] for row in read_all(log)] == [*anonymous, "anon:cookie:k9"]
    assert log.resolve(None, {"device": "d1"}) == "anon:cookie:k1"
    login = {"event_id": "5", "customer_id": "ana", "identifiers": {"cookie": "k1", "email": "a@x"}, "at": 4}
    log.append(table(login, {"event_id": "6", "customer_id": "bob", "at": 5}))
    assert [row["resolved_customer_id"] for row in read_all(log)] == [*["ana"] * 3, "anon:cookie:k9", "ana", "bob"]
    assert log.customer_events("ana").column("event_id").to_pylist() == ["1", "2", "3", "5"]
    assert log.customer_events("anon:cookie:k1").num_rows == 0
    assert log.resolve(None, {"email": "A@x "}) == "ana"
    assert log.resolve("anon:cookie:k1", {}) == "ana"
    assert log.resolve(None, {"email": "nobody@x"}) is None
    assert log.resolve("bob", {"email": "a@x"}) == "bob"
    assert log.resolve(None, {}) is None
    assert log.regrouped_since(4) == {"ana": 5, "anon:cookie:k1": 5}
    assert (log.regrouped_seq("ana"), log.regrouped_seq("bob")) == (5, 0)


def test_a_segment_is_read_with_todays_names(log: EventLog) -> None:
    rows = many(0, SEGMENT_MIN_ROWS)
    pairs = pa.array([[("cookie", f"k{row % 7}")] for row in range(rows.num_rows)], EVENT_SCHEMA.field(5).type)
    nobody = pa.nulls(rows.num_rows, pa.string())
    log.append(rows.set_column(4, EVENT_SCHEMA.field(4), nobody).set_column(5, EVENT_SCHEMA.field(5), pairs))
    log.append(table({"event_id": "login", "customer_id": "ana", "identifiers": {"cookie": "k3"}}))
    names = [row["resolved_customer_id"] for row in read_all(log)]
    wanted = ["ana" if row % 7 == 3 else f"anon:cookie:k{row % 7}" for row in range(SEGMENT_MIN_ROWS)]
    assert names == [*wanted, "ana"]


def test_a_duplicate_teaches_nothing(log: EventLog) -> None:
    log.append(table({"event_id": "1", "customer_id": "ana", "identifiers": {"cookie": "k1"}}))
    log.append(table({"event_id": "1", "customer_id": "bob", "identifiers": {"cookie": "k1"}}))
    assert log.resolve(None, {"cookie": "k1"}) == "ana"


def test_the_fingerprint_is_of_the_content(new_url: Callable[[], str]) -> None:
    rows = table({"event_id": "a", "customer_id": "c"}, {"event_id": "b", "customer_id": "c", "at": 9})
    prints = []
    for parts in ([rows], [rows.slice(1), rows.slice(0, 1)], [rows.slice(0, 1)]):
        with closing(open_url(new_url())) as log:
            for part in parts:
                log.append(part)
                log.append(part)
            prints.append(log.fingerprint())
    assert prints[0] == prints[1] != prints[2]
    assert len(prints[0]) == 16


def test_a_seq_is_never_given_out_twice(log: EventLog, url: str) -> None:
    log.append(table({"event_id": "a", "customer_id": "c"}, {"event_id": "b", "customer_id": "c"}))
    execute(url, "DELETE FROM events WHERE event_id = 'b'")
    assert log.append(table({"event_id": "new", "customer_id": "c"})).last_seq == 3


def test_both_engines_give_the_same_back_bit_for_bit(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    rows = table(
        {"event_id": "1", "customer_id": 'a"b,c', "identifiers": {"cookie": 'k,"1"', "crm_id": "é@日本"}, "value": 0.1},
        {
            "event_id": "2",
            "identifiers": {"cookie": 'k,"1"'},
            "properties": {"text": "two\nlines\r, \\. and \\N", "n": 0},
        },
        {"event_id": "é", "customer_id": "\\N", "value": 1e-300, "quantity": 3.0000000000000004},
        {"event_id": "Z", "customer_id": "\\N", "store_id": "0"},
        {"event_id": "a", "customer_id": "\\N"},
    )
    bulk = many(0, BULK_MIN_ROWS)
    results = []
    for url in (f"sqlite:///{tmp_path / 'events.db'}", new_postgres()):
        with closing(open_url(url)) as log:
            for part in (rows, bulk, rows, pa.concat_tables([bulk, table({"event_id": "new", "customer_id": "c1"})])):
                log.append(part)
            everything = pa.concat_tables(log.read()).drop(["seq"])  # duplicates leave other gaps
            timeline = log.customer_events("\\N").drop(["seq"])
            found = log.resolve(None, {"crm_id": "é@日本"})
            results.append((everything.to_pylist(), timeline.to_pylist(), found, log.count(), log.fingerprint()))
    assert results[0] == results[1]
    assert [row["event_id"] for row in results[0][1]] == ["Z", "a", "é"]
    assert results[0][2] == 'a"b,c'
    assert results[0][3] == len(rows) + BULK_MIN_ROWS + 1


def test_events_are_found_by_how_their_ids_begin(log: EventLog) -> None:
    names = ("a:1", "a:2:return", "a", "a;", "b:1")
    log.append(table(*({"event_id": name, "customer_id": "c", "value": 2.5} for name in names)))
    assert log.kept_under("a:") == {"a:1": 2.5, "a:2:return": 2.5}
    assert log.kept_under("%") == {}
