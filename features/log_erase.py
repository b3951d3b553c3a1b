"""A customer's name comes in; their rows leave the SQLite log in one transaction, which also notes what is left to do."""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.erase_receipt import Receipt, Step
from features.errors import InputError
from features.log_identity import ANONYMOUS
from features.log_rows import COLUMNS, dump_table, hash_rows, load_segment, rows_to_table
from features.tombstones import Hasher, Matcher, Tombstones
from features.vocabulary import Columns, EventKind

_SEQS: Final = "SELECT seq FROM events JOIN customers USING (customer_key) WHERE customers.customer_id IN ({})"
_OWN_TABLES: Final = ("events", "segments", "meta", "tombstones", "erasures")


@dataclass(frozen=True)
class Begun:
    """An erasure that has left the log, now or earlier; `customer_ids` are known only to the call that began it."""

    receipt: Receipt
    customer_ids: tuple[str, ...] = ()


class ErasureBook(Protocol):
    """The erasures of a log, kept in it."""

    def begin(self, name: str, now: datetime) -> Begun | None:
        """Erase a customer, by id or identifier, from the log; the earlier erasure if there was one; None if unknown."""
        ...

    def receipts(self) -> list[Receipt]:
        """All erasures, whatever their state."""
        ...

    def save(self, receipt: Receipt) -> None:
        """Keep how far an erasure is."""
        ...

    def matcher(self, receipt_id: str) -> Matcher:
        """Recognises the names that one erasure erased."""
        ...


@runtime_checkable
class ErasableLog(Protocol):
    """An event log that customers can be erased from."""

    def erasures(self) -> ErasureBook:
        """Its erasures."""
        ...


class SqliteErasureBook:
    """Erasures of a SQLite log; `writing` opens one write transaction, `reading` is a connection to read with."""

    def __init__(
        self, writing: Callable[[], AbstractContextManager[sqlite3.Connection]], reading: sqlite3.Connection
    ) -> None:
        self._writing = writing
        self._reading = reading

    def begin(self, name: str, now: datetime) -> Begun | None:
        cutter = _Cutter()
        ahead = _find(self._reading, name)
        cutter.run(self._reading, [seq for (seq,) in _rows(self._reading, _SEQS, ahead)])  # nobody waits for this
        with self._writing() as connection:
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, not only unlinked
            customer_ids = _find(connection, name)
            if not customer_ids:
                return _begun_before(connection, name)
            begun = _erase(connection, customer_ids, now, cutter)
        self._reading.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nor does it stay in the write-ahead log
        return begun

    def receipts(self) -> list[Receipt]:
        rows = self._reading.execute("SELECT body FROM erasures ORDER BY erasure").fetchall()
        return [Receipt.model_validate_json(body) for (body,) in rows]

    def save(self, receipt: Receipt) -> None:
        with self._writing() as connection:
            _save(connection, receipt)

    def matcher(self, receipt_id: str) -> Matcher:
        hasher = Tombstones(self._reading).hasher() or Hasher(b"")
        rows = self._reading.execute("SELECT digest FROM tombstones WHERE erasure = ?", (receipt_id,)).fetchall()
        return Matcher(hasher, frozenset(digest for (digest,) in rows))


def _find(connection: sqlite3.Connection, name: str) -> list[str]:
    """The ids under which the customer of this name has rows: their own, and those of their anonymous past."""
    query = "SELECT customer_id FROM customers WHERE customer_id = ?"
    found = {str(row[0]) for row in connection.execute(query, (name,))}
    if not found:
        id_type, _, value = name.partition(":")
        query = (
            "SELECT DISTINCT customer_id FROM identifiers WHERE id_value = ?1"
            " UNION SELECT customer_id FROM identifiers WHERE id_type = ?2 AND id_value = ?3"
        )
        found = {str(row[0]) for row in connection.execute(query, (name, id_type, value))}
    if len(found) > 1:
        raise InputError(
            f"The identifier that was given belongs to {len(found)} customers.",
            repair="Name the customer by id, or write the identifier as type:value, for example email:ada@example.org.",
        )
    for owner in tuple(found):
        for id_type, value in _owned(connection, [owner]):
            anonymous = (f"{ANONYMOUS}{id_type}:{value}",)
            found |= {
                str(row[0])
                for row in connection.execute("SELECT customer_id FROM customers WHERE customer_id = ?", anonymous)
            }
    return sorted(found, key=lambda customer_id: (customer_id.startswith(ANONYMOUS), customer_id))


def _begun_before(connection: sqlite3.Connection, name: str) -> Begun | None:
    stones = Tombstones(connection)
    hasher = stones.hasher()
    if hasher is None:
        return None
    id_type, _, value = name.partition(":")
    erasure = stones.erasure_of([hasher.customer(name), hasher.identifier(id_type, value), hasher.value(name)])
    row = connection.execute("SELECT body FROM erasures WHERE erasure = ?", (erasure,)).fetchone()
    return Begun(Receipt.model_validate_json(row[0])) if row else None


def _erase(connection: sqlite3.Connection, customer_ids: Sequence[str], now: datetime, cutter: "_Cutter") -> Begun:
    found = _rows(connection, "SELECT customer_key FROM customers WHERE customer_id IN ({})", customer_ids)
    keys = [key for (key,) in found]
    query = f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key) WHERE customer_key IN ({{}})"
    rows = _rows(connection, query, keys)
    pairs = _owned(connection, customer_ids)
    receipt_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    until_us = int(now.timestamp() * 1e6)
    removed = {
        "log: events": len(rows),
        "log: decisions": 0,
        "log: segments rewritten": 0,
        "log: identifiers": len(pairs),
    }
    known_since = None
    event_ids: list[str] = []
    if rows:
        events = rows_to_table(rows)
        event_ids = events.column(Columns.EVENT_ID).to_pylist()
        moments = events.column(Columns.OCCURRED_AT)
        known_since = pc.min(moments).as_py()
        until_us = max(until_us, pc.max(moments.cast(pa.int64())).as_py() + 1)
        kinds = events.column(Columns.KIND).cast(pa.string())
        removed["log: decisions"] = pc.sum(pc.equal(kinds, EventKind.DECISION.value)).as_py()
        bodies = cutter.run(connection, events.column(Columns.SEQ).to_pylist())
        connection.executemany("UPDATE segments SET body = ?2 WHERE first_seq = ?1", bodies.items())
        removed["log: segments rewritten"] = len(bodies)
        _rewrite_content(connection, events)
    _delete(connection, customer_ids, keys)
    stones = Tombstones(connection)
    hasher = stones.hasher(make=True)
    assert hasher is not None
    stones.put(_digests(hasher, customer_ids, pairs, event_ids), until_us, receipt_id)
    receipt = Receipt(
        receipt_id=receipt_id,
        customer=hasher.customer(customer_ids[0]).hex(),
        erased_at=datetime.now(UTC).replace(microsecond=0),
        removed=removed,
        pending=(Step.ONLINE, Step.FILES, Step.MODELS),
        known_since=known_since,
    )
    _save(connection, receipt)
    return Begun(receipt, tuple(customer_ids))


def _digests(
    hasher: Hasher, customer_ids: Sequence[str], pairs: Sequence[tuple[str, str]], event_ids: Sequence[str]
) -> Iterable[bytes]:
    yield from map(hasher.customer, customer_ids)
    yield from map(hasher.value, customer_ids)
    yield from (hasher.identifier(*pair) for pair in pairs)
    yield from (hasher.value(value) for _, value in pairs)
    yield from map(hasher.event, event_ids)


class _Cutter:
    """Cuts rows out of bulk copies. What was cut ahead of the write transaction is not cut again inside it."""

    def __init__(self) -> None:
        self._done: dict[tuple[bytes, bytes], bytes] = {}

    def run(self, connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, bytes]:
        """By first seq the new body of every segment that holds one of the events; it keeps its place and range."""
        gone = np.sort(np.array(seqs, dtype=np.int64))
        bodies: dict[int, bytes] = {}
        for first, last in connection.execute("SELECT first_seq, last_seq FROM segments").fetchall():
            within = gone[np.searchsorted(gone, first) : np.searchsorted(gone, last, "right")]
            if len(within):
                query = "SELECT body FROM segments WHERE first_seq = ?"
                for (body,) in connection.execute(query, (first,)).fetchall():
                    bodies[first] = self._cut(body, within)
        return bodies

    def _cut(self, body: bytes, gone: NDArray[np.int64]) -> bytes:
        key = (hashlib.blake2b(body).digest(), gone.tobytes())
        if key not in self._done:
            table = load_segment(body)
            kept = pc.invert(pc.is_in(table.column(Columns.SEQ), value_set=pa.array(gone)))
            self._done[key] = dump_table(table.filter(kept))
        return self._done[key]


def _rewrite_content(connection: sqlite3.Connection, events: pa.Table) -> None:
    """The log's count and content hash are those of a log that never held the events."""
    meta = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('content', 'count')").fetchall())
    content = (int(meta["content"]) - hash_rows(events)) % 2**64
    count = int(meta["count"]) - events.num_rows
    connection.executemany(
        "UPDATE meta SET value = ? WHERE name = ?", [(str(content), "content"), (str(count), "count")]
    )


def _delete(connection: sqlite3.Connection, customer_ids: Sequence[str], keys: Sequence[int]) -> None:
    """Delete the rows of the customers in every table of the log that names customers."""
    _rows(connection, "DELETE FROM events WHERE customer_key IN ({})", keys)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if table not in _OWN_TABLES and Columns.CUSTOMER_ID in columns:
            _rows(connection, f"DELETE FROM {table} WHERE customer_id IN ({{}})", customer_ids)


def _owned(connection: sqlite3.Connection, customer_ids: Sequence[str]) -> list[tuple[str, str]]:
    """The identifiers that belong to the customers."""
    query = "SELECT id_type, id_value FROM identifiers WHERE customer_id IN ({})"
    return [(str(id_type), str(value)) for id_type, value in _rows(connection, query, customer_ids)]


def _rows(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """What a query answers whose `{}` stands for a list of values."""
    return connection.execute(query.format(",".join("?" * len(values))), tuple(values)).fetchall()


def _save(connection: sqlite3.Connection, receipt: Receipt) -> None:
    connection.execute("INSERT OR REPLACE INTO erasures VALUES (?, ?)", (receipt.receipt_id, receipt.model_dump_json()))
