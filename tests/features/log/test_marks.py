"""What was computed from a log knows the log again, through appends, erasures and copies, and no other one."""

import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_visits import execute, many, open_url, read_all, table

from features.errors import StoreError
from features.log import marks
from features.log.marks import Anchor


def test_an_anchor_holds_through_later_appends_and_duplicates(log):
    empty = log.anchor()
    assert empty.seq == 0
    log.append(many(0, 3))
    three = log.anchor()
    log.append(many(0, 5))

    assert log.anchor().seq == log.last_seq() > three.seq == 3
    assert log.holds(empty) and log.holds(three) and log.holds(log.anchor())
    before = log.anchor()
    log.append(many(0, 5))
    assert log.anchor() == before, "nothing was new"


def test_another_log_of_the_same_events_is_another_log(new_url):
    with closing(open_url(new_url())) as first, closing(open_url(new_url())) as second:
        assert not second.holds(first.anchor()), "though both are empty"
        for log in (first, second):
            log.append(many(0, 3))
        assert not second.holds(first.anchor())


def test_erasing_the_newest_event_changes_no_anchor(log):
    log.append(table({"event_id": "a", "customer_id": "ada"}, {"event_id": "b", "customer_id": "bob"}))
    anchor = log.anchor()

    log.erasures().begin("bob", datetime.now(UTC))

    assert log.last_seq() < anchor.seq
    assert log.holds(anchor)
    log.append(table({"event_id": "c", "customer_id": "cyd"}))
    assert log.holds(anchor) and log.anchor().seq > anchor.seq


def test_a_group_that_fails_in_part_is_marked_where_it_ended(log):
    log.append(many(0, 1))
    log.append_many([many(0, 2), many(2, 2)])
    assert log.anchor().seq == log.last_seq()
    assert log.holds(log.anchor())


def test_a_log_from_before_marks_begins_with_one(url):
    with closing(open_url(url)) as log:
        log.append(many(0, 4))
    execute(url, "DROP TABLE marks")
    execute(url, "DELETE FROM meta WHERE name = 'log_id'")

    with closing(open_url(url)) as log:
        anchor = log.anchor()
        assert anchor.seq == 4 and anchor.log_id
        log.append(many(4, 1))
        assert log.holds(anchor)


def test_an_anchor_is_read_as_it_was_written():
    anchor = Anchor("0011aabb", 7, 2**62 + 5)
    assert Anchor.parse(str(anchor)) == anchor
    for text in ("", "7", "a:b:c", "a:1", ":1:2", "a:-1:2"):
        assert Anchor.parse(text) is None


def copy(url: str, to: Path) -> None:
    """What an operator does by hand with a log that nobody has open."""
    execute(url, "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(url.removeprefix("sqlite:///"), to)


@settings(max_examples=25)
@given(
    kept=st.integers(0, 4), lost=st.integers(1, 4), regrown=st.lists(st.integers(1, 3), max_size=4), same=st.booleans()
)
def test_a_restored_copy_is_known_whatever_grew_since(tmp_path_factory, kept, lost, regrown, same):
    """As many other events, the same ones in another order, or none at all: what was lost is never taken for there."""
    folder = tmp_path_factory.mktemp("log")
    url, old = f"sqlite:///{folder / 'events.db'}", folder / "old.db"
    with closing(open_url(url)) as log:
        anchors = []
        for place in range(kept):
            log.append(many(place, 1))
            anchors.append(log.anchor())
    copy(url, old)
    with closing(open_url(url)) as log:
        for place in range(lost):
            log.append(many(100 + place, 1))
        beyond = log.anchor()
        shutil.copy(old, folder / "new.db")
        for name in ("events.db-wal", "events.db-shm"):  # else SQLite puts back what was to be undone
            (folder / name).unlink(missing_ok=True)
        (folder / "new.db").replace(folder / "events.db")  # under the log that is open

        first = 100 if same else 500
        for rows in regrown:
            log.append(many(first, rows))
            first += rows
        assert not log.holds(beyond)
        assert all(log.holds(anchor) for anchor in anchors)
        assert len(read_all(log)) == kept + sum(regrown)


def test_a_log_that_is_gone_is_said_and_not_begun_anew(tmp_path):
    path = tmp_path / "events.db"
    with closing(open_url(f"sqlite:///{path}")) as log:
        log.append(many(0, 1))
        for file in tmp_path.glob("events.db*"):
            file.unlink()
        with pytest.raises(StoreError, match=r"is gone\. .* omni restore"):
            log.append(many(1, 1))
        assert not path.exists()


def test_a_writer_who_is_alone_leaves_one_row_of_marks(log, url, monkeypatch):
    monkeypatch.setattr(marks, "_LASTS_S", 3_600)
    for place in range(5):
        log.append(many(place, 1))
    anchors = [log.anchor()]
    assert len(execute(url, "SELECT * FROM marks")) == 1
    with closing(open_url(url)) as other:
        other.append(many(5, 1))
        anchors.append(other.anchor())
    log.append(many(6, 1))
    anchors.append(log.anchor())

    assert len({anchor.mark for anchor in anchors}) == 3, "after another's append the number is another one"
    assert [seq for seq, _ in sorted(execute(url, "SELECT * FROM marks"))] == [1, 6, 7]
    assert all(log.holds(anchor) for anchor in anchors)
    wrong = [Anchor(anchors[0].log_id, 6, anchors[0].mark), Anchor(anchors[0].log_id, 8, anchors[2].mark)]
    assert not any(log.holds(anchor) for anchor in wrong)
    monkeypatch.setattr(marks, "_LASTS_S", 0.0)
    log.append(many(7, 1))
    assert log.anchor().mark != anchors[2].mark, "its number was drawn too long ago"


def test_what_an_older_version_marked_counts(log, url):
    log.append(many(0, 2))
    execute(url, "DELETE FROM meta WHERE name = 'marked'")
    execute(url, "INSERT INTO marks VALUES (9, 77)")

    assert (log.anchor().seq, log.anchor().mark) == (9, 77)
    log.append(many(2, 1))
    assert log.holds(Anchor(log.anchor().log_id, 9, 77)) and log.anchor().mark != 77
