"""Looks again at a log from which a customer was erased: their hashed names in, what is there of them still out.

Whoever comes back after their erasure begins anew: what they did since then is not left of what was erased.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from features.identity.resolution import CUSTOMER, Node, unpack
from features.log.ledger.book import KEPT
from features.log.portable_sql import Connection, select_in
from features.log.tables import load_segment
from features.log.tombstones import Hasher, Matcher
from features.vocabulary import Columns

LOG_COPIES: Final = "log: segments"


@dataclass(frozen=True)
class LogLeft:
    """Rows by place that are an erased customer's still, and the names under which they have come back since."""

    rows: dict[str, int]
    returned: frozenset[str]


def look_again(connection: Connection, matcher: Matcher, receipt_id: str) -> LogLeft:
    """Read what a log holds now of those whom an erasure erased."""
    stones = connection.execute("SELECT digest, until_us FROM tombstones WHERE erasure = ?", (receipt_id,)).fetchall()
    until_us = {bytes(digest): int(until) for digest, until in stones}
    latest_us = max(until_us.values(), default=0)
    left: set[int] = set()
    returned: set[str] = set()
    for key, text, name, first_us in connection.execute(
        "SELECT customer_key, nodes, customer_id, first_us FROM customers"
    ).fetchall():
        nodes = unpack(text)
        if not _is_theirs(matcher.hasher, until_us, str(name), nodes):
            continue
        if int(first_us) < latest_us:
            left.add(int(key))
        else:
            returned |= {str(name), *(node.value for node in nodes if node.id_type == CUSTOMER)}
    rows = {
        "log: events": _count(connection, "events", left, f" AND occurred_us < {latest_us:d}"),
        "log: customers": len(left),
        "log: identifiers": _identifiers(connection, matcher.hasher, until_us, left),
        "log: consents": _count(connection, "consents", left),
        "log: regrouped": _named(connection, "regrouped", matcher, returned),
        **{place: _named(connection, table, matcher, returned) for place, table in KEPT.items()},
    }
    return LogLeft(rows, frozenset(returned))


def copies_left(connection: Connection, matcher: Matcher, returned: Iterable[str]) -> int:
    """Rows of erased customers in the bulk copies of a SQLite log."""
    there = set(returned)
    n_left = 0
    for (first,) in connection.execute("SELECT first_seq FROM segments ORDER BY first_seq").fetchall():
        row = connection.execute("SELECT body FROM segments WHERE first_seq = ?", (first,)).fetchone()
        table = load_segment(row[0]) if row else pa.table({Columns.RESOLVED_CUSTOMER_ID: pa.array([], pa.string())})
        column = table.column(Columns.RESOLVED_CUSTOMER_ID)
        names = matcher.customers(column.unique().to_pylist()) - there
        if names:
            n_left += sum(name in names for name in column.to_pylist())
    return n_left


def _is_theirs(hasher: Hasher, digests: Mapping[bytes, int], name: str, nodes: tuple[Node, ...]) -> bool:
    """Whether a sighting is of an erased customer: by name, or where it names nobody by an identifier."""
    if hasher.customer(name) in digests:
        return True
    named = [node for node in nodes if node.id_type == CUSTOMER]
    if named:
        return any(hasher.customer(node.value) in digests for node in named)
    return any(hasher.identifier(*node) in digests for node in nodes)


def _identifiers(connection: Connection, hasher: Hasher, digests: Mapping[bytes, int], left: set[int]) -> int:
    """Identifiers that were erased and that nobody else was seen with since."""
    there = [
        Node(*row)
        for row in connection.execute("SELECT id_type, id_value FROM identifiers").fetchall()
        if (hasher.customer(row[1]) if row[0] == CUSTOMER else hasher.identifier(*row)) in digests
    ]
    query = "SELECT id_type, id_value, customer_key FROM seen_in WHERE (id_type, id_value)"
    others = {Node(*row[:2]) for row in select_in(connection, query, there) if int(row[2]) not in left}
    return len(set(there) - others)


def _named(connection: Connection, table: str, matcher: Matcher, returned: Iterable[str]) -> int:
    """Rows of a table that name erased customers, but for those who came back."""
    names = [str(name) for (name,) in connection.execute(f"SELECT customer_id FROM {table}").fetchall()]
    return len(matcher.customers(names) - set(returned))


def _count(connection: Connection, table: str, keys: Iterable[int], also: str = "") -> int:
    query = f"SELECT customer_key FROM {table} WHERE TRUE{also} AND customer_key"
    return len(select_in(connection, query, keys))
