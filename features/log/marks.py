"""Marks of the log's history: what was computed from a log in, whether the log still is the one that it was computed from out.

Every append leaves the seq where it ended, and a mark, in its own transaction. Whoever folds the log keeps the newest of
them: as long as the log has that very mark at that place, it holds everything up to there, and nothing else. A log that was
restored from an older copy lacks it, also once it has grown past that seq with other events. Erasures take events out and
leave the marks, which say nothing of anybody. The log's id changes when a backup is restored by command.

A mark is a random number. Who appends leaves the same one again for a second, as long as nobody else has appended since and
the log is where they left it: the marks of those appends are one row that is kept, and one note that is written over. Any
other append, and so the first of every process and the first to a log that was put back, draws a number of its own. A
number is given by one writer to appends that follow each other, so it never stands for two histories.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Final

from features.log.portable_sql import Connection, get_meta, last_seq, put_meta

CREATE: Final = ("CREATE TABLE IF NOT EXISTS marks (seq BIGINT PRIMARY KEY, mark BIGINT NOT NULL)",)
CREATE_SQLITE: Final = ("CREATE TABLE IF NOT EXISTS marks (seq INTEGER PRIMARY KEY, mark INTEGER NOT NULL)",)
NEWEST: Final = "marked"
"""Note of the newest append's end and mark; a log from before there was one has them in the last row of `marks`."""
_LOG_ID: Final = "log_id"
_BITS: Final = 63
"""What a signed integer of both databases holds."""
_LASTS_S: Final = 1.0
"""How long a number is drawn for: a machine that is put back with all that runs on it does not know of that."""


@dataclass(frozen=True)
class Anchor:
    """A place in the history of one log: everything up to `seq`, and nothing else. Before the first event `seq` is 0."""

    log_id: str
    seq: int
    mark: int

    def __str__(self) -> str:
        return f"{self.log_id}:{self.seq}:{self.mark}"

    @classmethod
    def parse(cls, text: str) -> "Anchor | None":
        """The anchor that `str` wrote; None for any other text, such as that of another version."""
        log_id, _, rest = text.partition(":")
        seq, _, mark = rest.partition(":")
        return cls(log_id, int(seq), int(mark)) if log_id and seq.isdecimal() and mark.isdecimal() else None


class Marker:
    """Marks the appends of one process; the caller is in a write transaction."""

    def __init__(self) -> None:
        self._left, self._drawn_s = "", 0.0

    def note(self, connection: Connection, before: str, seq: int) -> str:
        """The note (NEWEST) of an append that ended at `seq`; `before` is the one that the log has, "" for none."""
        mark = before.partition(":")[2]
        if before != self._left or not 0 <= time.time() - self._drawn_s < _LASTS_S:
            # from the first seq that has no mark: what was there in a log that this one is a copy of is not taken for it
            mark = _put_row(connection, _newest(connection)[0] + 1)
            self._drawn_s = time.time()
        # kept before it is committed: after an append that was taken back, the log does not have it
        self._left = f"{seq}:{mark}"
        return self._left


def begin_marks(connection: Connection) -> None:
    """Give a log its id, and a log from before there were marks its first one; the caller is in a write transaction."""
    if not get_meta(connection, _LOG_ID, ""):
        renew_log_id(connection)
    seq = last_seq(connection)
    if seq and _last_row(connection) is None:
        put_meta(connection, NEWEST, f"{seq}:{_put_row(connection, seq)}")


def is_marked(connection: Connection) -> bool:
    """Whether the log, whose table of marks is there, has an id."""
    return bool(get_meta(connection, _LOG_ID, ""))


def renew_log_id(connection: Connection) -> str:
    """Make it another log: nothing that was computed from it before counts any more. Returns the new id."""
    log_id = secrets.token_hex(8)
    put_meta(connection, _LOG_ID, log_id)
    return log_id


def newest(connection: Connection) -> Anchor:
    """The end of the log: whatever was read from it so far lies at or before it."""
    seq, mark = _newest(connection)
    return Anchor(get_meta(connection, _LOG_ID, ""), seq, mark)


def holds(connection: Connection, anchor: Anchor) -> bool:
    """Whether this log's history goes through the anchor."""
    if get_meta(connection, _LOG_ID, "") != anchor.log_id:
        return False
    if anchor.seq == 0:
        return True
    query = "SELECT mark FROM marks WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
    row = connection.execute(query, (anchor.seq,)).fetchone()
    return row is not None and int(row[0]) == anchor.mark and anchor.seq <= _newest(connection)[0]


def _newest(connection: Connection) -> tuple[int, int]:
    """Where the newest append ended, and its mark; the row is newer than the note where an older version appended."""
    noted = get_meta(connection, NEWEST, "0:0").partition(":")
    return max((int(noted[0]), int(noted[2])), _last_row(connection) or (0, 0))


def _last_row(connection: Connection) -> tuple[int, int] | None:
    row = connection.execute("SELECT seq, mark FROM marks ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def _put_row(connection: Connection, seq: int) -> str:
    mark = secrets.randbits(_BITS)
    connection.execute("INSERT INTO marks VALUES (?, ?)", (seq, mark))
    return str(mark)
