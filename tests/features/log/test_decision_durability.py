"""Decisions wait for the disk unless the settings say otherwise, events always do; neither is lost to kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_visits import execute, open_url

import features
from features.events.rows import EventRow, rows_table
from features.log.engines import open_log
from features.log.sql_log import SqlEventLog
from features.settings import Settings

DECISION = EventRow("d", 1, "decision", "web", "c", decision_id="d")
VISIT = EventRow("v", 2, "visit", "web", "c")
SYNCED = ("2", "on", "local")
"""What SQLite and PostgreSQL call a commit that waits for the disk."""


def open_hurried(url: str) -> SqlEventLog[Any]:
    env = {"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url, "OMNI_DECISION_DURABILITY": "process"}
    log = open_log(Settings.from_env(env))
    assert isinstance(log, SqlEventLog)
    return log


@contextmanager
def watched(log: SqlEventLog[Any], monkeypatch: pytest.MonkeyPatch, seen: list[bool]) -> Iterator[None]:
    """Notes of each commit whether it waits for the disk, as the connection says where the rows are written."""
    insert, question = (
        type(log)._insert,
        "PRAGMA synchronous" if "Sqlite" in type(log).__name__ else "SHOW synchronous_commit",
    )

    def look(self: Any, connection: Any, *given: Any) -> int:
        seen.append(str(connection.execute(question).fetchone()[0]) in SYNCED)
        return insert(self, connection, *given)

    with monkeypatch.context() as patch:
        patch.setattr(type(log), "_insert", look)
        yield


def test_only_what_holds_nothing_but_decisions_does_not_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    with closing(open_hurried(url)) as log, watched(log, monkeypatch, seen):
        log.append([DECISION])
        log.append([VISIT])
        log.append_many([[DECISION._replace(event_id="d2")], [DECISION._replace(event_id="d3")]])
        log.append(rows_table([DECISION._replace(event_id="d4")]))
        assert seen == [False, True, False, True]
        seen.clear()
        # of events that the log has, each batch is looked at by itself, in the same commit
        log.append_many([[VISIT], [DECISION]])
        assert seen == [True, True, True]
        log.append([DECISION._replace(event_id="d5")])
        assert seen[-1] is False
    with closing(open_url(url)) as log:
        assert isinstance(log, SqlEventLog)
        seen.clear()
        with watched(log, monkeypatch, seen):
            log.append([DECISION._replace(event_id="d6")])
        assert seen == [True], "where nothing is set, decisions wait"
        assert log.count() == 7


_WRITER = """
import os
from features.events.rows import EventRow
from features.log.engines import open_log
from features.settings import Settings

log = open_log(Settings.from_env(os.environ))
for step in range(100_000):
    log.append([EventRow(f"d{step}", step, "decision", "web", "c", decision_id=f"d{step}")])
    os.write(1, b"%d\\n" % step)
"""


def test_killed_while_deciding_no_answered_decision_is_lost(url: str) -> None:
    root = str(Path(features.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root, "OMNI_EVENT_LOG": url, "OMNI_DECISION_DURABILITY": "process"}
    writer = subprocess.Popen([sys.executable, "-c", _WRITER], stdout=subprocess.PIPE, text=True, env=env)
    assert writer.stdout is not None
    answered = [int(writer.stdout.readline()) for _ in range(40)]
    writer.send_signal(signal.SIGKILL)
    answered += [int(line) for line in writer.stdout.read().split("\n") if line]
    writer.wait()
    writer.stdout.close()

    with closing(open_url(url)) as log:
        kept = {event_id for (event_id,) in execute(url, "SELECT event_id FROM events")}
        assert {f"d{step}" for step in answered} <= kept
        assert len(kept) == log.count()
