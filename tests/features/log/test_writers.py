"""Several writers and readers of one event log, on both engines: who waits for whom, and what each hears of their own."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from made_visits import many, open_url, read_all, table, writing_elsewhere

from features import databases
from features.errors import StoreError
from features.events.schema import EVENT_SCHEMA
from features.log import sqlite
from features.log.event_log import EventLog


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
    monkeypatch.setattr(databases, "_wait_s", 0.1)
    log.close()
    with closing(open_url(url)) as patient, writing_elsewhere(url), pytest.raises(StoreError, match="other process"):
        patient.append(table({"event_id": "a", "customer_id": "c"}))
    with closing(open_url(url)) as again:
        assert again.count() == 0


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
        with writing_elsewhere(url):
            writer.start()
            writer.join(timeout=0.3)
            assert writer.is_alive()
            assert log.count() == 0
        writer.join(timeout=30)
        assert log.count() == 1


def test_a_writer_looks_soon_whether_another_process_has_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, pauses_s, holds = [0.0], [], [True]

    def sleep(seconds: float) -> None:
        pauses_s.append(seconds)
        now_s[0] += seconds
        if now_s[0] > 0.3 and holds:
            other.execute("ROLLBACK")
            holds.clear()

    with closing(open_url(f"sqlite:///{tmp_path / 'events.db'}")) as log:
        connection = sqlite.SqliteEventLog._connection(log)
        patience_ms = connection.execute("PRAGMA busy_timeout").fetchone()
        with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr(sqlite, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now_s[0]))
            assert log.append(table({"event_id": "a", "customer_id": "c"})).appended == 1
        assert pauses_s[0] == 0.0002 and pauses_s[-1] == max(pauses_s) == 0.005
        assert 0.3 < sum(pauses_s) <= 0.305
        assert all(pause <= max(0.0002, sum(pauses_s[:i]) / 4) for i, pause in enumerate(pauses_s))
        assert patience_ms > (0,)  # what else waits, waits as before
        assert connection.execute("PRAGMA busy_timeout").fetchone() == patience_ms
