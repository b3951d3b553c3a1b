"""What one connection to the log has read of it comes in and is given again, for as long as nobody has changed it.

A bulk load meets the same customers with every batch: looked up anew they cost more than their events.
"""

from typing import Final, Generic, TypeVar

_MOST: Final = 300_000
"""Entries that are kept, of some 500 bytes each."""
_BULK: Final = 1_000
"""Fewer lookups are made anew."""

T = TypeVar("T")


class Known(Generic[T]):
    """Entries by text, of one connection; whoever changes one there, or takes back what was written, `drop`s it."""

    def __init__(self) -> None:
        self._entries: dict[str, T] = {}
        self._version = ""

    def current(self, version: str, lookups: int) -> dict[str, T]:
        """The entries, to be read and added to; a passing dict for few lookups.

        `version` is what the log says of changes to any of them, whoever made them: another one than before drops all.
        """
        if lookups < _BULK:
            return {}
        if version != self._version or len(self._entries) > _MOST:
            self._entries = {}
            self._version = version
        return self._entries

    def follow(self, version: str) -> None:
        """Keep the entries over a change that was made here, and for which those that it is about were dropped."""
        self._version = version

    def drop(self, text: str | None = None) -> None:
        """Forget an entry, or all of them, as after a transaction that was rolled back."""
        if text is None:
            self._entries = {}
        else:
            self._entries.pop(text, None)
