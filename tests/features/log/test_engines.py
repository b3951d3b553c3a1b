"""How an event log is opened, and what it says of a database that is missing, refuses, dies, is full or damaged."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from made_visits import execute, open_url, read_all, table

import features
from features.errors import SettingsError, StoreError
from features.log.engines import open_log
from features.log.sqlite import SqliteEventLog
from features.settings import Settings


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
from features.log.engines import open_log
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
    with pytest.raises(StoreError, match=r"events\.db cannot be used: file is not a database\. .* omni restore BACKUP"):
        SqliteEventLog(path)
