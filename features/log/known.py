"""What one connection to the log has read of it comes in and is given again, for as long as nothing else has written there.

A bulk load meets the same customers with every batch: looked up anew they cost more than their events.
"""

from typing import Final, Generic, TypeVar

from features.log.portable_sql import Connection

_MOST: Final = 300_000
"""Entries that are kept, of some 500 bytes each."""
_BULK: Final = 1_000
"""From so many lookups on it pays to ask whether others have written."""

T = TypeVar("T")


class Known(Generic[T]):
    """Entries by text, of one connection; whoever changes or takes back one on that connection `drop`s it."""

    def __init__(self) -> None:
        self._entries: dict[str, T] = {}
        self._version = -1

    def current(self, connection: Connection, lookups: int) -> dict[str, T]:
        """The entries that hold in this transaction, to be read and added to; a passing dict for few lookups."""
        if lookups < _BULK:
            return {}
        # changes whenever another connection, of this process or another, has committed
        version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version or len(self._entries) > _MOST:
            self._entries = {}
            self._version = version
        return self._entries

    def drop(self, text: str | None = None) -> None:
        """Forget an entry, or all of them, as after a transaction that was rolled back."""
        if text is None:
            self._entries = {}
        else:
            self._entries.pop(text, None)
