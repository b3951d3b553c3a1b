"""What a reader asks of an online store, whichever it is: the rows that Feast wrote for an entity, decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from features.clock import Clock
from features.settings import Settings
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

    def read_field(self, view: View, field: str, values: Sequence[str]) -> dict[str, Any]:
        """One field of those entities that have it."""
        ...

    def read_all(self, view: View) -> Iterator[tuple[str, StoredRow]]:
        """Every entity of a view with its row."""
        ...

    def close(self) -> None:
        """Let go of connections; the next read makes new ones."""
        ...


def open_source(settings: Settings, clock: Clock) -> OnlineSource:
    """The online store that `settings` name."""
    if settings.online_store == "redis":
        from features.online.redis import RedisSource

        return RedisSource(settings, clock)
    from features.online.sqlite import SqliteSource

    return SqliteSource(settings)
