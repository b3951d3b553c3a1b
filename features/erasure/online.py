"""Removes erased customers from Feast's online store: names in, rows removed out, once the store has none of theirs left."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from features.erasure.notes import NOTHING, Note
from features.errors import SettingsError, StoreError
from features.log.tombstones import Matcher
from features.online.source import OnlineEntities
from features.online.sqlite import SqliteEntities
from features.settings import Settings
from features.views import CUSTOMER_VIEWS

ONLINE_ROWS: Final = "online store: rows"
"""The place of the online store in a receipt."""
_ATTEMPTS: Final = 3
"""A stream that had read a customer's events before the erasure may write their row once more meanwhile."""


def erase_online(
    settings: Settings, matcher: Matcher, customer_ids: Sequence[str] = (), note: Note = NOTHING
) -> dict[str, int]:
    """Remove customers' rows of every view, and read the store again; without `customer_ids` by a look at all its keys.

    `note` is told of the rows that are about to go and of those that went. Returns the rows removed by place. Raises
    StoreError where the store does not answer, refuses, or still has a row.
    """
    with _saying_how_to_go_on(), _opened(settings) as entities:
        if entities is None:
            note.begin(ONLINE_ROWS, 0)
            note.done(ONLINE_ROWS, 0)
            return {ONLINE_ROWS: 0}
        names = list(customer_ids) or sorted(matcher.customers(entities.names()))
        n_removed = 0
        for _ in range(_ATTEMPTS):
            note.begin(ONLINE_ROWS, entities.count(names))
            n_gone = entities.remove(names)
            note.done(ONLINE_ROWS, n_gone)
            n_removed += n_gone
            n_left = entities.count(names)
            if not n_left:
                return {ONLINE_ROWS: n_removed}
        place = settings.redis_place if settings.online_store == "redis" else settings.online_db_path
        raise StoreError(
            f"The online store {place} still has {n_left} rows of an erased customer after they were deleted.",
            repair="Stop what writes them again.",
        )


def online_left(settings: Settings, matcher: Matcher) -> int:
    """Read every key of the store again, and count the rows of erased customers. Raises StoreError as `erase_online`."""
    with _saying_how_to_go_on(), _opened(settings) as entities:
        return 0 if entities is None else entities.count(sorted(matcher.customers(entities.names())))


@contextmanager
def _opened(settings: Settings) -> Iterator[OnlineEntities | None]:
    """The customers of the online store that `settings` name; None where there is no such store yet."""
    if settings.online_store == "redis":
        from features.online.redis import RedisEntities

        with closing(RedisEntities(settings, CUSTOMER_VIEWS[0].join_key)) as entities:
            yield entities
    elif settings.online_db_path.exists():
        with closing(SqliteEntities(settings, CUSTOMER_VIEWS)) as entities:
            yield entities
    else:
        yield None


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    """By now the log has forgotten the customer: only the online store and what comes after it is left to do."""
    try:
        yield
    except (StoreError, SettingsError) as error:
        raise type(error)(error.message, repair=f"{error.repair} Then run: omni erase --finish") from error
