"""What is asked of an online store, whichever it is: an entity in, the rows that Feast wrote of it out, or gone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from features.views import View


@dataclass(frozen=True)
class StoredRow:
    """One row of a view."""

    fields: dict[str, Any]
    event_at: datetime
    """When it was true, aware UTC."""
    written_at: datetime
    """When it was written, aware UTC."""


class OnlineSource(Protocol):
    """Reads rows; safe to use from several threads."""

    def read(self, views: Sequence[View], value: str) -> list[StoredRow | None]:
        """The rows of one entity in `views`, which have the same join key; None for a view without (all of) its row."""
        ...

    def read_many(self, views: Sequence[View], values: Sequence[str]) -> dict[str, list[StoredRow | None]]:
        """`read` of several entities; those of which there is nothing may be left out."""
        ...

    def read_field(self, view: View, field: str, values: Sequence[str]) -> dict[str, tuple[Any, datetime]]:
        """One field of those entities that have it, and when it was true."""
        ...

    def read_all(self, view: View) -> Iterator[tuple[str, StoredRow]]:
        """Every entity of a view with its row."""
        ...

    def close(self) -> None:
        """Let go of connections; the next read makes new ones."""
        ...


class OnlineEntities(Protocol):
    """The entities of an online store that have one join key, to be taken out of it with the rows of all their views."""

    def names(self) -> set[str]:
        """Every entity that has a row; each one's key is looked at."""
        ...

    def remove(self, names: Sequence[str]) -> int:
        """Delete what is stored of those entities; returns how many rows (Redis: hashes) that were."""
        ...

    def count(self, names: Sequence[str]) -> int:
        """How many rows (Redis: hashes) those entities have, read from the store."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
