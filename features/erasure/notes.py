"""Notes of an erasure's progress: rows that are about to go, and rows that went, in; counts that survive a kill out.

A count is noted before the rows are removed and confirmed after. Whoever goes on after a process died in between looks at
the place again: what was intended and is not there any more was removed.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from features.log.erasure import ErasureBook
from features.log.receipt import Underway


class Note(Protocol):
    """Is told of every place that rows are removed from."""

    def begin(self, place: str, rows: int) -> None:
        """So many rows are there, and are about to go."""

    def done(self, place: str, rows: int) -> None:
        """So many rows went."""


@dataclass(frozen=True)
class BookNote:
    """Keeps the counts of one erasure in the log."""

    book: ErasureBook
    receipt_id: str

    def begin(self, place: str, rows: int) -> None:
        """Keep what is intended; of an earlier attempt at this place, what is gone counts as removed."""
        if rows or place in self._intended():  # most places hold nothing of a customer: no write for those
            self.book.change(self.receipt_id, lambda underway: underway.intending(place, rows))

    def done(self, place: str, rows: int) -> None:
        """Keep what was removed."""
        self.book.change(self.receipt_id, lambda underway: underway.removing(place, rows))

    def settle(self, prefix: str) -> None:
        """Count what was intended at places that are not there any more as removed."""
        if any(place.startswith(prefix) for place in self._intended()):
            self.book.change(self.receipt_id, lambda underway: underway.settled(prefix))

    def _intended(self) -> dict[str, int]:
        receipt = self.book.receipt(self.receipt_id)
        return receipt.intended if isinstance(receipt, Underway) else {}


class _Nothing:
    def begin(self, place: str, rows: int) -> None:
        """Not kept."""

    def done(self, place: str, rows: int) -> None:
        """Not kept."""


NOTHING: Final[Note] = _Nothing()
"""Keeps nothing: for an erasure that has its receipt already."""
