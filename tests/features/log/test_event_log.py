"""Both engines keep the same promises: every test that says nothing else runs on SQLite and on PostgreSQL."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import features
from features.errors import SettingsError, StoreError
from features.events.schema import EVENT_SCHEMA, events_to_table, parse_events
from features.log import sqlite as log_module
from features.log.postgres import BULK_MIN_ROWS
from features.log.sqlite import EventLog, SqliteEventLog, open_log
from features.log.tables import READ_SCHEMA, SEGMENT_MIN_ROWS
from features.settings import Settings

START = datetime(2024, 1, 1, tzinfo=UTC)


ENGINES = ("sqlite", "postgres")


@pytest.fixture(params=ENGINES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that names an empty place for a log, as OMNI_EVENT_LOG takes it."""
    if request.param == "postgres":
        return request.getfixturevalue("new_postgres")
    return lambda: f"sqlite:///{tmp_path / f'{len(list(tmp_path.iterdir()))}.db'}"


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def log(url: str) -> Iterator[EventLog]:
    opened = open_url(url)
    yield opened
    opened.close()


def open_url(url: str) -> EventLog:
    return open_log(Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url}))


def execute(url: str, statement: str) -> list[Any]:
    """What another program does to the same database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement).fetchall()
    import psycopg

    with psycopg.connect(url, options="-c search_path=omni") as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def table(*rows: dict[str, Any]) -> pa.Table:
    """Page views by default; `at` counts seconds from START."""
    items = []
    for row in rows:
        at = START + timedelta(seconds=row.pop("at", 0))
        items.append({"kind": "visit", "channel": "web", "occurred_at": at, **row})
    events, rejections = parse_events(items, datetime.now(UTC))
    assert rejections == []
    return events_to_table(events)


def many(first: int, count: int) -> pa.Table:
    """`count` visits with ids from `first`, of 7 customers."""
    one = table({"event_id": "x", "customer_id": "x"})
    repeated = pa.concat_tables([one]).take(pa.array([0] * count))
    ids = pa.array([f"e{place}" for place in range(first, first + count)])
    customers = pa.array([f"c{place % 7}" for place in range(first, first + count)])
    return repeated.set_column(0, EVENT_SCHEMA.field(0), ids).set_column(4, EVENT_SCHEMA.field(4), customers)


def read_all(log: Any, after_seq: int = 0, batch_rows: int = 200_000) -> list[dict[str, Any]]:
    return [row for batch in log.read(after_seq, batch_rows) for row in batch.to_pylist()]


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


def test_threads_append_and_read_at_once(log: EventLog) -> None:
    def work(worker: int) -> None:
        for step in range(20):
            own, shared = f"{worker}:{step}", str(step)
            log.append(table({"event_id": own, "customer_id": "own"}, {"event_id": shared, "customer_id": "all"}))
            log.customer_events("all")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.count() == 4 * 20 + 20
    seqs = [row["seq"] for row in read_all(log)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 100


def test_a_busy_log_says_who_to_wait_for(log: EventLog, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "BUSY_TIMEOUT_S", 0.1)
    log.close()
    with closing(open_url(url)) as patient, _writing_elsewhere(url), pytest.raises(StoreError, match="other process"):
        patient.append(table({"event_id": "a", "customer_id": "c"}))
    with closing(open_url(url)) as again:
        assert again.count() == 0


@contextmanager
def _writing_elsewhere(url: str) -> Iterator[None]:
    """Another process in the middle of an append."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        import psycopg

        from features.log.postgres import WRITER_LOCK

        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            yield


@pytest.mark.parametrize("url", ["mysql://host/db", "events.db", "sqlite:///", "sqlite:///:memory:"])
def test_an_unknown_address_is_refused_in_words(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:////absolute"):
        open_log(Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_EVENT_LOG": url}))


def test_the_default_log_lies_in_omni_home(tmp_path: Path) -> None:
    log = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path / "new")}))
    assert log.last_seq() == 0
    assert (tmp_path / "new" / "events.db").is_file()
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.count()


def test_both_engines_give_the_same_back_bit_for_bit(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    rows = table(
        {"event_id": "1", "customer_id": 'a"b,c', "identifiers": {"cookie": 'k,"1"', "email": "é@日本"}, "value": 0.1},
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
            found = log.resolve(None, {"email": "é@日本"})
            results.append((everything.to_pylist(), timeline.to_pylist(), found, log.count(), log.fingerprint()))
    assert results[0] == results[1]
    assert [row["event_id"] for row in results[0][1]] == ["Z", "a", "é"]
    assert results[0][2] == 'a"b,c'
    assert results[0][3] == len(rows) + BULK_MIN_ROWS + 1


def test_a_reader_never_passes_over_a_slower_writers_event(new_postgres: Callable[[], str]) -> None:
    """An event that got the smaller seq and is committed later would be lost to whoever follows the log."""
    url = new_postgres()
    with closing(open_url(url)) as log:
        stop, followed = threading.Event(), []

        def follow() -> None:
            after = 0
            while not (stop.is_set() and after == log.last_seq()):
                for batch in log.read(after, 7):
                    followed.extend(batch.column("event_id").to_pylist())
                    after = batch.column("seq")[-1].as_py()

        def write(worker: int) -> None:
            for step in range(15):
                log.append(
                    table(*({"event_id": f"{worker}:{step}:{n}", "customer_id": "c"} for n in range(worker * 9 + 1)))
                )

        reader = threading.Thread(target=follow)
        writers = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        reader.join(timeout=30)
        assert len(followed) == len(set(followed)) == log.count() == 15 * (1 + 10 + 19)


def test_tables_appended_together_answer_as_one_after_the_other(new_url: Callable[[], str]) -> None:
    tables = [
        table({"event_id": "a", "customer_id": "c1"}, {"event_id": "b", "identifiers": {"cookie": "k"}}),
        table({"event_id": "b", "customer_id": "c2"}, {"event_id": "c", "customer_id": "c2"}),
        EVENT_SCHEMA.empty_table(),
        table({"event_id": "c", "customer_id": "c3"}),
        table({"event_id": "d", "customer_id": "c3", "identifiers": {"cookie": "k"}}),
    ]
    with closing(open_url(new_url())) as together, closing(open_url(new_url())) as apart:
        results = together.append_many(tables)
        assert [(one.appended, one.duplicates) for one in results] == [(2, 0), (1, 1), (0, 0), (0, 1), (1, 0)]
        for one, theirs in zip(results, [apart.append(one) for one in tables], strict=True):
            assert (one.appended, one.duplicates) == (theirs.appended, theirs.duplicates)
        assert [one.last_seq for one in results][-1] == together.last_seq()
        mine, theirs = ([{**row, "seq": 0, "customer_key": 0} for row in read_all(log)] for log in (together, apart))
        assert mine == theirs and together.fingerprint() == apart.fingerprint()


def test_new_rows_appended_together_know_their_own_place(log: EventLog) -> None:
    log.append(many(0, 3))
    results = log.append_many([many(3, 2), EVENT_SCHEMA.empty_table(), many(5, 70)])
    assert [(one.appended, one.last_seq) for one in results] == [(2, 5), (0, 5), (70, 75)]
    assert [row["seq"] for row in read_all(log)] == list(range(1, 76))
    assert log.append(many(0, 80)).appended == 5  # 64 and 8 rows at a time, with duplicates among them
    assert [row["event_id"] for row in read_all(log)] == [f"e{place}" for place in range(80)]


def test_an_error_in_one_table_leaves_those_beside_it(log: EventLog) -> None:
    bad = many(7, 2).set_column(0, EVENT_SCHEMA.field(0), pa.array(["x", None], pa.string()))
    before, failed, after = log.append_many([many(0, 2), bad, many(2, 2)])
    assert isinstance(failed, Exception)
    assert (before.appended, after.appended, after.last_seq) == (2, 2, log.last_seq())
    assert [row["event_id"] for row in read_all(log)] == ["e0", "e1", "e2", "e3"]
    assert log.count() == 4


def test_a_writer_waits_for_the_one_before_and_its_seqs_are_the_later_ones(new_postgres: Callable[[], str]) -> None:
    url = new_postgres()
    with closing(open_url(url)) as log:
        writer = threading.Thread(target=log.append, args=(table({"event_id": "second", "customer_id": "c"}),))
        with _writing_elsewhere(url):
            writer.start()
            writer.join(timeout=0.3)
            assert writer.is_alive()
            assert log.count() == 0
        writer.join(timeout=30)
        assert log.count() == 1


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"postgresql://127\.0\.0\.1:1/omni does not answer") as caught:
        open_url("postgresql://ana:secret@127.0.0.1:1/omni")
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingsError, match="no PostgreSQL URL"):
        open_url("postgresql://host/db?colour=red")
    for password in ("se%cret", "se cret"):
        with pytest.raises(
            SettingsError, match=r"'postgresql://127\.0\.0\.1:1/omni', which is no .* %25 for %"
        ) as refused:
            open_url(f"postgresql://ana:{password}@127.0.0.1:1/omni")
        assert "cret" not in str(refused.value) and refused.value.__suppress_context__


def test_a_connection_that_the_server_closed_is_made_anew(new_postgres: Callable[[], str]) -> None:
    url = new_postgres()
    with closing(open_url(url)) as log:
        log.append(table({"event_id": "a", "customer_id": "c"}))
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(StoreError, match="does not answer"):
            log.count()
        assert log.count() == 1


def test_without_the_client_of_postgresql_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "features.log.postgres", raising=False)
    with pytest.raises(SettingsError, match=r"pip install -e '\.\[postgres\]'"):
        open_url("postgresql://host/db")


_WRITER = """
import os
from datetime import UTC, datetime
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import open_log
from features.settings import Settings

log = open_log(Settings.from_env(os.environ))
for step in range(100_000):
    items = [{"event_id": f"{step}:{part}", "kind": "visit", "channel": "web", "customer_id": "c"} for part in range(3)]
    log.append(events_to_table(parse_events(items, datetime.now(UTC))[0]))
    print(step, flush=True)
"""


def test_killed_while_writing_nothing_acknowledged_is_lost_and_nothing_is_there_twice(url: str) -> None:
    root = str(Path(features.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMNI_EVENT_LOG": url}
    writer = subprocess.Popen([sys.executable, "-c", _WRITER], stdout=subprocess.PIPE, text=True, env=environment)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(25)]
    time.sleep(0.003)
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n") if line]
    writer.wait()
    writer.stdout.close()

    with closing(open_url(url)) as log:
        log.append(table({"event_id": "after", "customer_id": "c"}))  # waits for what the killed one began
        ids = [row["event_id"] for row in read_all(log)]
        assert len(ids) == len(set(ids)) == log.count()
        assert {f"{step}:{part}" for step in acknowledged for part in range(3)} <= set(ids)
        assert len(ids) % 3 == 1  # a transaction is there whole or not at all
        assert log.append(table({"event_id": ids[0], "customer_id": "c"})).duplicates == 1


def test_a_full_disk_refuses_in_words_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "events.db")
    log.append(table({"event_id": "before", "customer_id": "c"}))
    connection = log._connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")  # as if the disk had no more room
    large = [table(*({"event_id": f"{part}-{i}", "customer_id": f"c{i}"} for i in range(400))) for part in "ab"]
    with pytest.raises(StoreError, match=r"disk is full\. Make room on the disk"):
        log.append(large[0])
    with pytest.raises(StoreError, match="Make room on the disk"):
        log.append_many(large)
    assert [row["event_id"] for row in read_all(log)] == ["before"]
    connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    assert [one.appended for one in log.append_many(large)] == [400, 400]  # type: ignore[union-attr]
    assert log.count() == 801
    log.close()


def test_a_damaged_file_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StoreError, match=r"events\.db cannot be used: file is not a database\. .* restore a backup"):
        SqliteEventLog(path)
