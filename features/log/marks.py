"""Marks of the log's history: what was computed from a log in, whether the log still is the one that it was computed from out.

Every append leaves a random number at the seq where it ended, in its own transaction. Whoever folds the log keeps the
newest mark: as long as the log has that very mark, it holds everything up to there, and nothing else. A log that was
restored from an older copy lacks it, also once it has grown past that seq with other events. Erasures take events out and
leave the marks, which say nothing of anybody. The log's id changes when a backup is restored by command.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from features.log.portable_sql import Connection, get_meta, last_seq, put_meta

CREATE: Final = ("CREATE TABLE IF NOT EXISTS marks (seq BIGINT PRIMARY KEY, mark BIGINT NOT NULL)",)
CREATE_SQLITE: Final = ("CREATE TABLE IF NOT EXISTS marks (seq INTEGER PRIMARY KEY, mark INTEGER NOT NULL)",)
_LOG_ID: Final = "log_id"
_BITS: Final = 63
"""What a signed integer of both databases holds."""


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


def begin_marks(connection: Connection) -> None:
    """Give a log its id, and a log from before there were marks its first one; the caller is in a write transaction."""
    if not get_meta(connection, _LOG_ID, ""):
        renew_log_id(connection)
    seq = last_seq(connection)
    if seq and connection.execute("SELECT 1 FROM marks LIMIT 1").fetchone() is None:
        put_mark(connection, seq)


def is_marked(connection: Connection) -> bool:
    """Whether the log, whose table of marks is there, has an id."""
    return bool(get_meta(connection, _LOG_ID, ""))


def renew_log_id(connection: Connection) -> str:
    """Make it another log: nothing that was computed from it before counts any more. Returns the new id."""
    log_id = secrets.token_hex(8)
    put_meta(connection, _LOG_ID, log_id)
    return log_id


def put_mark(connection: Connection, seq: int) -> None:
    """Mark the end of an append."""
    connection.execute("INSERT INTO marks VALUES (?, ?)", (seq, secrets.randbits(_BITS)))


def newest(connection: Connection) -> Anchor:
    """The end of the log: whatever was read from it so far lies at or before it."""
    row = connection.execute("SELECT seq, mark FROM marks ORDER BY seq DESC LIMIT 1").fetchone()
    seq, mark = row or (0, 0)
    return Anchor(get_meta(connection, _LOG_ID, ""), int(seq), int(mark))


def holds(connection: Connection, anchor: Anchor) -> bool:
    """Whether this log's history goes through the anchor."""
    if get_meta(connection, _LOG_ID, "") != anchor.log_id:
        return False
    row = connection.execute("SELECT mark FROM marks WHERE seq = ?", (anchor.seq,)).fetchone()
    return anchor.seq == 0 if row is None else int(row[0]) == anchor.mark
