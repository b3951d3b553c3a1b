"""The key that addresses are hashed with: the one that the settings name, a log's own, or none; a log in, its identifiers out.

A log's own key (`OMNI_IDENTIFIER_KEY=own`) is made with it and kept in its notes: so every worker, build and backup has the
same. It keeps addresses out of answers, tables and receipts; who has the log can try whether an address is in it, unless the
settings name the key.
"""

import secrets
from dataclasses import replace
from typing import Final

from features.errors import SettingsError
from features.identity.identifiers import Identifiers
from features.log.portable_sql import Connection, count, get_meta, put_meta

OWN: Final = "own"
"""The setting's word for a key that the log makes for itself."""
_MARK: Final = "identifier_key"
"""Note of the mark of the key that the log was begun with."""
_OWN_KEY: Final = "own_identifier_key"
"""Note of the log's own key."""
_PLAIN: Final = Identifiers().mark()


def is_settled(connection: Connection, identifiers: Identifiers) -> bool:
    """Whether `settle` writes nothing: the log has events, and was begun with the key that it would be opened with."""
    return count(connection) > 0 and get_meta(connection, _MARK, "") == _with_key(connection, identifiers).mark()


def settle(connection: Connection, identifiers: Identifiers, place: str, *, makes_key: bool) -> Identifiers:
    """`identifiers` with the key that the log was begun with; the caller is in a write transaction or `is_settled`.

    A log without events gets a key, if `makes_key`, and the key's mark. One that was begun with addresses as they are goes on
    so. Raises SettingsError where the log was written with another key than the one that is set.
    """
    has_events = count(connection) > 0
    known = get_meta(connection, _MARK, "")
    is_wanted = makes_key and not identifiers.key and not (has_events and known == _PLAIN)
    if is_wanted and not get_meta(connection, _OWN_KEY, ""):
        put_meta(connection, _OWN_KEY, secrets.token_hex(32))
    identifiers = _with_key(connection, identifiers)
    mark = identifiers.mark()
    if known and known != mark and has_events:
        raise SettingsError(
            f"The event log {place} keeps identifiers by another OMNI_IDENTIFIER_KEY, or hashes other types of them.",
            repair="Set the key and the types it was made with, or begin a new log.",
        )
    if known != mark:
        put_meta(connection, _MARK, mark)
    return identifiers


def _with_key(connection: Connection, identifiers: Identifiers) -> Identifiers:
    own = "" if identifiers.key else get_meta(connection, _OWN_KEY, "")
    return replace(identifiers, key=own) if own else identifiers
