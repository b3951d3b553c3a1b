"""Group commit: each request hears of its own events, once they are durable, whatever becomes of those beside it."""

import threading
from collections.abc import Sequence

import pyarrow as pa
import pytest

from features.errors import StoreError
from features.events.schema import EVENT_SCHEMA
from features.log.event_log import AppendResult
from features.log.group_commit import MAX_GROUP_ROWS, GroupCommitter


def rows(*event_ids: str | None) -> pa.Table:
    columns = {"event_id": list(event_ids)}
    nothing = [None] * len(event_ids)
    return pa.table([pa.array(columns.get(field.name, nothing), field.type) for field in EVENT_SCHEMA], EVENT_SCHEMA)


class SlowLog:
    """Keeps groups of event ids; each commit waits until it is let go."""

    def __init__(self, gate_open: bool = True) -> None:
        self.groups: list[list[list[str]]] = []
        self.entered, self.gate = threading.Semaphore(0), threading.Event()
        self.broken = False
        if gate_open:
            self.gate.set()

    def append_many(self, tables: Sequence[pa.Table]) -> list[AppendResult | Exception]:
        self.entered.release()
        assert self.gate.wait(10)
        if self.broken:
            raise StoreError("the disk is full")
        group = [table.column("event_id").to_pylist() for table in tables]
        self.groups.append(group)
        return [
            ValueError(ids[0]) if ids[0].startswith("bad") else AppendResult(len(ids), 0, len(self.groups))
            for ids in group
        ]


@pytest.fixture
def waiting():
    """A log that is in the middle of its first commit, and its committer."""
    log = SlowLog(gate_open=False)
    committer = GroupCommitter(log, max_waiting_rows=5)
    first = committer.submit(rows("first"))
    assert log.entered.acquire(timeout=10)
    yield log, committer, first
    log.gate.set()
    committer.close()


def test_what_gathers_during_a_commit_shares_the_next_one(waiting):
    log, committer, first = waiting
    later = [committer.submit(rows("a", "b")), committer.submit(rows("c"))]
    assert not first.done()

    log.gate.set()

    assert [one.result(10) for one in (first, *later)] == [
        AppendResult(1, 0, 1),
        AppendResult(2, 0, 2),
        AppendResult(1, 0, 2),
    ]
    assert log.groups == [[["first"]], [["a", "b"], ["c"]]]


def test_an_error_is_told_to_whom_it_belongs(waiting):
    log, committer, _ = waiting
    good, bad = committer.submit(rows("good")), committer.submit(rows("bad"))
    log.gate.set()
    assert good.result(10).appended == 1
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)


def test_a_commit_that_fails_is_told_to_all_and_the_next_one_goes_on(waiting):
    log, committer, first = waiting
    second = committer.submit(rows("second"))
    log.broken = True
    log.gate.set()
    for one in (first, second):
        with pytest.raises(StoreError, match="full"):
            one.result(10)
    log.broken = False
    assert committer.submit(rows("third")).result(10).appended == 1


def test_who_brings_too_much_is_sent_away_and_who_gave_up_is_not_written(waiting):
    log, committer, _ = waiting
    kept, given_up = committer.submit(rows("a", "b", "c")), committer.submit(rows("d", "e"))
    with pytest.raises(StoreError, match="5 events wait"):
        committer.submit(rows("f"))
    assert given_up.cancel()
    log.gate.set()
    assert kept.result(10).appended == 3
    assert ["d", "e"] not in log.groups[-1]


def test_closing_finishes_what_waits_and_takes_nothing_more():
    log = SlowLog(gate_open=False)
    committer = GroupCommitter(log)
    waiting = [committer.submit(rows(str(number))) for number in range(9)]
    closer = threading.Thread(target=committer.close)
    closer.start()
    log.gate.set()
    closer.join(10)
    assert all(one.done() and one.result().appended == 1 for one in waiting)
    with pytest.raises(StoreError, match="stopping"):
        committer.submit(rows("late"))


def test_groups_are_bounded_in_rows(waiting):
    log, _, _ = waiting
    committer = GroupCommitter(log)
    half = rows(*map(str, range(MAX_GROUP_ROWS // 2 + 1)))
    done = [committer.submit(half) for _ in range(3)]
    log.gate.set()
    for one in done:
        one.result(10)
    committer.close()
    assert all(len(group) == 1 for group in log.groups)
