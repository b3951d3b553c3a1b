"""Of which log the online store is: a log in, whether the store's rows are folds of it and of nothing else out.

Before rows are written, the end of the log is noted as an anchor (log/marks.py): no row holds more than the log up to there.
A log that lacks the anchor was restored from an older copy, or is another one. Then no row counts: whoever answers folds
the log, and whoever writes empties the store first (`make_of`). The note lies beside SQLite's store, and in Redis itself,
where several machines look at it; a machine with checkpoints keeps a second one, of those.
"""

import logging
from typing import Any, Final, Protocol

from features import atomic
from features.errors import StoreError
from features.log.event_log import EventLog
from features.log.marks import Anchor
from features.online.checkpoint import Checkpoint, StreamFile
from features.online.sqlite import SqliteEntities
from features.settings import Settings
from features.views import VIEWS

logger = logging.getLogger(__name__)

REDIS_KEY: Final = "omni:reach"
"""Where the note lies in Redis."""
REPAIR: Final = "`omni serve` writes it anew by itself; without its stream, run: omni features build"


class _Note(Protocol):
    def read(self) -> str: ...

    def write(self, text: str) -> None: ...


class Reach:
    """The note of how far the online store's rows may reach, and in which log."""

    def __init__(self, settings: Settings, wait_s: float | None = None) -> None:
        """`wait_s` is how long a read waits for Redis; None: as long as its address or its client says."""
        self._settings = settings
        self._here: _Note = _FileNote(settings)
        self._shared: _Note = _RedisNote(settings, wait_s) if settings.online_store == "redis" else self._here

    def is_of(self, log: EventLog) -> bool:
        """Whether every row of the store is a fold of events that this log holds, and of all of them up to a place."""
        return _holds(log, self._shared)

    def is_noted(self) -> bool:
        """False for a store that nothing was ever written to, and for one of an Omni from before there were anchors."""
        return bool(self._shared.read())

    def noted_seq(self) -> int:
        """The seq up to which the store's rows may reach, in whichever log; 0 where none is noted."""
        anchor = Anchor.parse(self._shared.read())
        return 0 if anchor is None else anchor.seq

    def make_of(self, log: EventLog) -> bool:
        """Empty a store that is of another log and set its checkpoints back; returns whether there was anything to do."""
        if self.is_of(log) and _holds(log, self._here):
            return False
        with atomic.locked(self._settings.feast_dir / "stream"):
            anchor = log.anchor()
            if not self.is_of(log):
                if self.is_noted():
                    logger.warning(
                        "The online store is not of this event log: it holds what the log does not, as after a backup was"
                        " restored. It is emptied and written anew; answers come from the log meanwhile."
                    )
                _clear(self._settings)
            elif _holds(log, self._here):
                return False  # somebody else did it meanwhile
            for checkpoint in (Checkpoint(self._settings), Checkpoint(self._settings, of="products")):
                checkpoint.write(0)
            self._write(anchor)
        return True

    def extend(self, log: EventLog) -> None:
        """To be called after the log was read, and before rows with what was read are written.

        Raises StoreError where the log is another one by now: the rows may be of both.
        """
        anchor, noted = log.anchor(), self._shared.read()
        if not _holds(log, self._shared):
            raise StoreError(
                "The event log was replaced while the online store was written.", repair="It is begun again by itself."
            )
        if str(anchor) != noted or self._here.read() != noted:
            self._write(anchor)

    def _write(self, anchor: Anchor) -> None:
        self._shared.write(str(anchor))
        if self._here is not self._shared:
            self._here.write(str(anchor))


def _holds(log: EventLog, note: _Note) -> bool:
    anchor = Anchor.parse(note.read())
    return anchor is not None and log.holds(anchor)


def _clear(settings: Settings) -> None:
    """Take every row out of the online store."""
    if settings.online_store == "redis":
        from features.online.redis import RedisEntities

        for join_key in sorted({view.join_key for view in VIEWS}):
            entities: Any = RedisEntities(settings, join_key)
            entities.clear()
            entities.close()
    elif settings.online_db_path.exists():
        stored = SqliteEntities(settings, VIEWS)
        stored.clear()
        stored.close()


class _FileNote:
    """The note beside SQLite's online store, and beside the checkpoints."""

    def __init__(self, settings: Settings) -> None:
        self._file = StreamFile(settings)

    def read(self) -> str:
        row = self._file.select("SELECT anchor FROM reach WHERE id = 1")
        return str(row[0]) if row else ""

    def write(self, text: str) -> None:
        self._file.execute("INSERT OR REPLACE INTO reach (id, anchor) VALUES (1, ?)", (text,))


class _RedisNote:
    """The note in Redis, which lives and dies with the rows."""

    def __init__(self, settings: Settings, wait_s: float | None = None) -> None:
        from features.online.redis import connect

        self._settings = settings
        self._client: Any = connect(settings, wait_s)

    def read(self) -> str:
        from features.online.redis import saying_where

        with saying_where(self._settings):
            return (self._client.get(REDIS_KEY) or b"").decode()

    def write(self, text: str) -> None:
        from features.online.redis import saying_where

        with saying_where(self._settings):
            self._client.set(REDIS_KEY, text)
