"""Whom nothing is sent to and nothing is learnt from, whatever they consent to: staff, test accounts, who asked for it.

Names come in (a customer's id, or an identifier as type:value), customers go out: whoever was ever seen with one of them, as
who is who is known at the moment of asking. So an address may be put on the list before anybody is known by it.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from features.errors import InputError
from features.identity.identifiers import Identifiers
from features.identity.resolution import ANONYMOUS, CUSTOMER, Node, named_node
from features.log.lists.offer_table import Reading, Writing
from features.log.portable_sql import Connection, get_meta, insert_all, put_meta, select_in
from features.vocabulary import IdType

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS suppressions (id_type {text}, id_value {text}, reason TEXT NOT NULL,"
    " added_us BIGINT NOT NULL, PRIMARY KEY (id_type, id_value))",
)
MAX_REASON: Final = 256
_VERSION: Final = "suppressions"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEEN: Final = (
    "SELECT c.customer_id, s.reason FROM {tables} WHERE s.id_type = x.id_type AND s.id_value = x.id_value"
    " AND x.customer_key = c.customer_key"
)
_EVERYBODY: Final = f"SELECT id_value, reason FROM suppressions WHERE id_type = '{CUSTOMER}' UNION " + _SEEN.format(
    tables="suppressions s, seen_in x, customers c"
)
_ONE: Final = (
    f"SELECT reason FROM suppressions WHERE id_type = '{CUSTOMER}' AND id_value = ? UNION ALL SELECT s.reason"
    " FROM customers c JOIN seen_in x ON x.customer_key = c.customer_key"
    " JOIN suppressions s ON s.id_type = x.id_type AND s.id_value = x.id_value WHERE c.customer_id = ? LIMIT 1"
)
_PUT: Final = " ON CONFLICT (id_type, id_value) DO UPDATE SET reason = excluded.reason"


@dataclass(frozen=True)
class Suppression:
    """One name on the list, as the log keeps it: an address may be a hash."""

    name: str
    reason: str
    added_at: datetime


class SuppressionTable:
    """The list of one log; safe to use from several threads and processes."""

    def __init__(self, writing: Writing, reading: Reading, identifiers: Identifiers) -> None:
        """`writing` opens a write transaction of the log, `reading` answers one query."""
        self._writing, self._reading, self._identifiers = writing, reading, identifiers

    def version(self) -> int:
        """Another number whenever the list is; 0 before its first name."""
        rows = self._reading("SELECT value FROM meta WHERE name = ?", (_VERSION,))
        return int(rows[0][0]) if rows else 0

    def all(self) -> list[Suppression]:
        """Every name, in the order in which they were added."""
        query = "SELECT id_type, id_value, reason, added_us FROM suppressions ORDER BY added_us, id_type, id_value"
        return [_suppression(*row) for row in self._reading(query, ())]

    def get(self, name: str) -> Suppression | None:
        """The entry of a name; None where it is not on the list, whatever else its customer is known by."""
        query = "SELECT id_type, id_value, reason, added_us FROM suppressions WHERE id_type = ? AND id_value = ?"
        rows = self._reading(query, tuple(self._node(name)))
        return _suppression(*rows[0]) if rows else None

    def add(self, names: Iterable[str], reason: str) -> int:
        """Put names on the list, or give them another reason; returns how many were not on it.

        Raises InputError for a name that names nobody.
        """
        nodes = [self._checked(name) for name in names]
        if not 0 < len(reason.strip()) <= MAX_REASON:
            raise InputError("A suppression needs a reason.", repair=f"Say why, in 1 to {MAX_REASON} letters.")
        with self._writing() as connection:
            before = len(_known(connection, nodes))
            now_us = time.time_ns() // 1000
            rows = ((*node, reason.strip(), now_us) for node in dict.fromkeys(nodes))
            insert_all(connection, "suppressions (id_type, id_value, reason, added_us)", rows, _PUT)
            _bump(connection)
            return len(set(nodes)) - before

    def remove(self, names: Iterable[str]) -> int:
        """Take names off the list; returns how many were on it."""
        nodes = [self._node(name) for name in names]
        with self._writing() as connection:
            return forget(connection, nodes)

    def customers(self) -> dict[str, str]:
        """Every customer who is suppressed, with the reason: in one query, for whoever looks at many."""
        return {str(name): str(reason) for name, reason in self._reading(_EVERYBODY, ())}

    def reason(self, customer_id: str) -> str | None:
        """Why one customer, by the name that the log gives them, is suppressed; None where they are not."""
        rows = self._reading(_ONE, (customer_id, customer_id))
        return str(rows[0][0]) if rows else None

    def _checked(self, name: str) -> Node:
        node = self._node(name)
        if not node.value.strip() or "\x00" in name or node.value in self._identifiers.nobody:
            raise InputError(
                f"{name!r} names nobody.", repair="Give a customer's id, or type:value, such as email:ada@example.org."
            )
        return node

    def _node(self, name: str) -> Node:
        """The identifier that a name stands for, as it is kept."""
        if name.startswith(ANONYMOUS):
            return named_node(self._identifiers.kept_name(name))
        id_type, separator, value = name.partition(":")
        if separator and id_type == CUSTOMER:
            return Node(CUSTOMER, value)
        if separator and (id_type in set(IdType) or self._is_type(id_type)):
            return Node(id_type, self._identifiers.kept(id_type, value))
        return Node(CUSTOMER, name)

    def _is_type(self, id_type: str) -> bool:
        return bool(self._reading("SELECT 1 FROM identifiers WHERE id_type = ? LIMIT 1", (id_type,)))


def forget(connection: Connection, nodes: Sequence[Node]) -> int:
    """Take identifiers off the list, within a write transaction; returns how many were on it."""
    known = _known(connection, nodes)
    select_in(connection, "DELETE FROM suppressions WHERE (id_type, id_value)", known)
    if known:
        _bump(connection)
    return len(known)


def _known(connection: Connection, nodes: Sequence[Node]) -> list[Node]:
    query = "SELECT id_type, id_value FROM suppressions WHERE (id_type, id_value)"
    return [Node(*row) for row in select_in(connection, query, dict.fromkeys(nodes))]


def _bump(connection: Connection) -> None:
    put_meta(connection, _VERSION, int(get_meta(connection, _VERSION, "0")) + 1)


def _suppression(id_type: str, id_value: str, reason: str, added_us: int) -> Suppression:
    name = id_value if id_type == CUSTOMER else f"{id_type}:{id_value}"
    return Suppression(name, reason, _EPOCH + timedelta(microseconds=added_us))
