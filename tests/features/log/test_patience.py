"""A log whose server hangs or whose file is busy says so in time, and is the same log again afterwards."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from local_servers import paused
from made_visits import table

from features.errors import UnavailableError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.group_commit import GroupCommitter
from features.servers.patience import waiting_at_most
from features.settings import Settings


def settings_of(url: str) -> Settings:
    return Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url})


@pytest.fixture
def place(new_postgres: Callable[[], str]) -> str:
    return new_postgres()


@pytest.fixture
def patient_log(place: str) -> Iterator[EventLog]:
    log = open_log(settings_of(place), wait_s=1.0)
    log.append(table({"event_id": "e1", "customer_id": "ada"}))
    yield log
    log.close()


def test_a_question_waits_no_longer_than_it_may(patient_log: EventLog, place: str) -> None:
    with paused(place):
        for limit_s in (0.05, 0.2):
            started = time.monotonic()
            with pytest.raises(UnavailableError, match="does not answer"), waiting_at_most(limit_s):
                patient_log.resolve("ada", {})
            assert time.monotonic() - started < 1.0
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="does not answer"):  # with the log's own limit
            patient_log.customer_events("ada")
        assert time.monotonic() - started < 4.0
    assert patient_log.resolve("ada", {}) == "ada"


def test_questions_share_their_budget(patient_log: EventLog, place: str) -> None:
    with paused(place), waiting_at_most(0.3):
        with pytest.raises(UnavailableError):
            patient_log.last_seq()
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            patient_log.regrouped_seq("ada")
        assert time.monotonic() - started < 0.9  # nothing is left but for a connection's own time
    assert patient_log.last_seq() == 1


def test_an_answer_that_comes_late_is_not_taken_for_that_to_the_next_question(
    patient_log: EventLog, place: str
) -> None:
    with paused(place), pytest.raises(UnavailableError), waiting_at_most(0.1):
        patient_log.last_seq()
    time.sleep(0.2)  # now the old answer is there
    assert patient_log.count() == 1
    assert patient_log.resolve(None, {"email": "nobody@example.org"}) is None


def test_an_append_that_was_given_up_counts_once(patient_log: EventLog, place: str) -> None:
    rows = table({"event_id": "e2", "customer_id": "ada"}, {"event_id": "e3", "customer_id": "ada"})
    with paused(place), pytest.raises(UnavailableError):
        patient_log.append(rows)
    result = patient_log.append(rows)
    assert result.appended + result.duplicates == 2
    assert patient_log.count() == 3 == patient_log.customer_events("ada").num_rows


def test_who_sets_no_limit_waits(place: str) -> None:
    log = open_log(settings_of(place))
    seqs: list[int] = []
    asking = threading.Thread(target=lambda: seqs.append(log.last_seq()))
    log.last_seq()
    with paused(place):
        asking.start()
        asking.join(1.5)
        assert asking.is_alive()
    asking.join(10)
    assert seqs == [0]
    log.close()


def test_the_commit_that_failed_is_seen_and_the_one_after_it(patient_log: EventLog, place: str) -> None:
    committer = GroupCommitter(patient_log)
    with paused(place):
        with pytest.raises(UnavailableError):
            committer.submit(table({"event_id": "e4", "customer_id": "ada"})).result(10)
        assert isinstance(committer.last_commit.error, UnavailableError)
    committer.submit(table({"event_id": "e4", "customer_id": "ada"})).result(10)
    assert committer.last_commit.error is None and time.monotonic() - committer.last_commit.at_s < 5
    committer.close()


def test_a_write_is_tried_while_another_writer_is_busy(patient_log: EventLog, place: str) -> None:
    import psycopg

    with psycopg.connect(place) as other:
        other.execute("SELECT pg_advisory_lock(0x6F6D6E69)")
        with waiting_at_most(0.5):
            patient_log.try_write()
    before = patient_log.fingerprint()
    patient_log.try_write()
    assert (patient_log.fingerprint(), patient_log.count()) == (before, 1)


def test_a_file_that_another_program_writes_to_is_waited_for_as_long_as_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    log = open_log(settings_of(url), wait_s=0.2)
    log.append(table({"event_id": "e1", "customer_id": "ada"}))
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=r"has been busy for 0\.2 s"):
            log.try_write()
        assert time.monotonic() - started < 2.0
        assert log.customer_events("ada").num_rows == 1  # whoever reads waits for nobody
        other.execute("ROLLBACK")
    before = log.fingerprint()
    log.try_write()
    assert (log.fingerprint(), log.count()) == (before, 1)
    log.close()
