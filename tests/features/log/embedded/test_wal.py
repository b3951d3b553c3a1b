"""The write-ahead log of a SQLite log is cut while others write and read, and again after a long read held it up."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from made_visits import execute, many, open_url

from features.log.embedded.wal import LIMIT_BYTES

ROWS = 25_000
"""More than enough for the limit, in a few appends."""


def wal(path: Path) -> int:
    return path.with_name("events.db-wal").stat().st_size


def wait_until_small(path: Path, timeout_s: float = 20.0) -> None:
    ends = time.monotonic() + timeout_s
    while wal(path) > LIMIT_BYTES:
        assert time.monotonic() < ends, f"{wal(path):,} bytes"
        time.sleep(0.02)


def fill(log, first: int) -> int:
    """Appends until the limit is passed; returns the next free number."""
    for _ in range(8):
        log.append(many(first, ROWS))
        first += ROWS
    return first


def test_it_is_cut_and_nothing_is_lost(tmp_path):
    path = tmp_path / "events.db"
    with closing(open_url(f"sqlite:///{path}")) as log:
        largest, first = 0, 0
        for _ in range(3):
            first = fill(log, first)
            largest = max(largest, wal(path))
            wait_until_small(path)
        assert largest > LIMIT_BYTES
        assert log.count() == log.last_seq() == first
    assert execute(f"sqlite:///{path}", "PRAGMA integrity_check") == [("ok",)]


def test_a_long_read_holds_it_up_only_as_long_as_it_lasts(tmp_path):
    path = tmp_path / "events.db"
    with closing(open_url(f"sqlite:///{path}")) as log, closing(sqlite3.connect(path)) as reader:
        log.append(many(0, 1))
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        first = fill(log, 1)
        time.sleep(0.5)
        assert wal(path) > LIMIT_BYTES, "the reader still needs it"
        log.append(many(first, 1))  # nobody waits for the reader
        reader.rollback()
        wait_until_small(path)
        assert log.count() == first + 1


def test_a_closed_log_ends_its_thread(tmp_path):
    path = tmp_path / "events.db"
    log = open_url(f"sqlite:///{path}")
    fill(log, 0)
    log.close()
    assert "omni-wal" not in {thread.name for thread in threading.enumerate()}
