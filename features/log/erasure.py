"""Erases customers from the log: a name in, their rows gone in one transaction, and a receipt of what is left to do out."""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.errors import MissingError, RequestError
from features.identity.resolution import ANONYMOUS, CUSTOMER, Node
from features.log.erasure_proof import LOG_COPIES, LogLeft, copies_left, look_again
from features.log.identity import IdentityRules
from features.log.ledger import book
from features.log.lists import suppression_table
from features.log.portable_sql import Connection, count, get_meta, last_seq, put_meta, select_in
from features.log.receipt import Receipt, Step, Underway, read_erasure
from features.log.tables import COLUMNS, dump_table, hash_table, load_segment, rows_to_table
from features.log.tombstones import Hasher, Matcher, Stone, Tombstones
from features.vocabulary import Columns, EventKind

SUPPRESSIONS: Final = "log: suppressions"
"""What a receipt calls the entries of the suppression list that went with the customer."""
_DONE: Final = '%"pending":[]%'
"""What the text of a complete one looks like."""
_EVENTS: Final = f"SELECT {COLUMNS} FROM events e JOIN customers c USING (customer_key) WHERE customer_key"


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

    def pending(self) -> list[Receipt]:
        """Those with steps left to do, the oldest first."""
        ...

    def count(self) -> int:
        """How many there are, whatever their state."""
        ...

    def receipt(self, receipt_id: str) -> Receipt:
        """One of them."""
        ...

    def change(self, receipt_id: str, change: Callable[[Underway], Receipt]) -> Receipt:
        """Keep how far an erasure is, in one transaction with reading it; one that is complete is not changed any more."""
        ...

    def look_again(self, receipt_id: str) -> LogLeft:
        """What the log, read again, still holds of those whom one erasure erased."""
        ...

    def matcher(self, receipt_id: str) -> Matcher:
        """Recognises the names that one erasure erased."""
        ...

    def stones(self, receipt_id: str) -> tuple[bytes, tuple[Stone, ...]]:
        """The key, and what it made of the names that one erasure erased."""
        ...

    def carry(self, receipt: Receipt, key: bytes, stones: Sequence[Stone]) -> bool:
        """Keep an erasure of another copy of this log; False where its key is another one, and its hashes are no use."""
        ...

    def erase_again(self, key: bytes, digests: frozenset[bytes], now: datetime) -> list[Receipt]:
        """Erase the customers whose ids, hashed with `key`, are among `digests`; a receipt for each who is there."""
        ...


class LogErasureBook:
    """Erasures of a log; `writing` opens one write transaction, `reading` is a connection to read with."""

    def __init__(
        self, writing: Callable[[], AbstractContextManager[Connection]], reading: Connection, rules: IdentityRules
    ) -> None:
        self._writing = writing
        self._reading = reading
        self._rules = rules

    def begin(self, name: str, now: datetime) -> Begun | None:
        if not _is_text(name):
            return None
        with self._writing() as connection:
            whom = self._find(connection, name)
            return _begun_before(connection, name, self._rules) if whom is None else self._erase(connection, whom, now)

    def receipts(self) -> list[Receipt]:
        rows = self._reading.execute("SELECT body FROM erasures ORDER BY erasure").fetchall()
        return [read_erasure(body) for (body,) in rows]

    def pending(self) -> list[Receipt]:
        query = "SELECT body FROM erasures WHERE body NOT LIKE ? ORDER BY erasure"
        rows = self._reading.execute(query, (_DONE,)).fetchall()  # so that a long list of those done costs nothing
        return [receipt for (body,) in rows if not (receipt := read_erasure(body)).complete]

    def count(self) -> int:
        return int(self._reading.execute("SELECT count(*) FROM erasures").fetchone()[0])

    def receipt(self, receipt_id: str) -> Receipt:
        return _load(self._reading, receipt_id)

    def change(self, receipt_id: str, change: Callable[[Underway], Receipt]) -> Receipt:
        with self._writing() as connection:
            before = _load(connection, receipt_id)
            if not isinstance(before, Underway):
                return before
            after = change(before)
            if after != before:
                _save(connection, after)
            return after

    def look_again(self, receipt_id: str) -> LogLeft:
        return look_again(self._reading, self.matcher(receipt_id), receipt_id)

    def matcher(self, receipt_id: str) -> Matcher:
        hasher = Tombstones(self._reading).hasher() or Hasher(b"")
        rows = self._reading.execute("SELECT digest FROM tombstones WHERE erasure = ?", (receipt_id,)).fetchall()
        return Matcher(hasher, frozenset(bytes(digest) for (digest,) in rows), self._rules.identifiers)

    def stones(self, receipt_id: str) -> tuple[bytes, tuple[Stone, ...]]:
        book = Tombstones(self._reading)
        hasher = book.hasher() or Hasher(b"")
        return hasher.key, book.of(receipt_id)

    def carry(self, receipt: Receipt, key: bytes, stones: Sequence[Stone]) -> bool:
        with self._writing() as connection:
            book = Tombstones(connection)
            is_mine = book.adopt(key)
            for stone in stones if is_mine else ():
                book.put([stone.digest], stone.until_us, receipt.receipt_id)
            # what was restored beside the log may hold rows of theirs again
            underway = Underway.model_validate({**receipt.model_dump(), "places": (), "completed_at": None})
            done = receipt.model_copy(update={"pending": ()})
            _save(connection, underway.reopened([Step.FILES]) if is_mine else done)
        return is_mine

    def erase_again(self, key: bytes, digests: frozenset[bytes], now: datetime) -> list[Receipt]:
        names = self._reading.execute("SELECT DISTINCT customer_id FROM customers").fetchall()
        hasher, receipts = Hasher(key), []
        for name in sorted(name for (name,) in names if hasher.customer(name) in digests):
            with self._writing() as connection:
                keys, nodes = self._rules.book(connection).possessions(name)
                receipts.append(self._erase(connection, _Whom(name, tuple(keys), tuple(nodes)), now).receipt)
        return receipts

    def _find(self, connection: Connection, name: str) -> "_Whom | None":
        book = self._rules.book(connection)
        owners = book.owners(name)
        if len(owners) > 1:
            raise RequestError(
                f"The identifier that was given belongs to {len(owners)} customers.",
                repair="Name the customer by id, or write the identifier as type:value, for example"
                " email:ada@example.org.",
            )
        for owner in owners:
            keys, nodes = book.possessions(owner)
            if keys:
                return _Whom(owner, tuple(keys), tuple(nodes))
        return None

    def _cut_copies(self, connection: Connection, seqs: Sequence[int]) -> int:
        """Take events out of what the log keeps a second time; returns how many copies were written anew."""
        return 0

    def _erase(self, connection: Connection, whom: "_Whom", now: datetime) -> Begun:
        receipt_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        until_us = int(now.timestamp() * 1e6)
        pairs = [node for node in whom.nodes if node.id_type != CUSTOMER]
        removed = {
            "log: events": 0,
            "log: decisions": 0,
            "log: segments rewritten": 0,
            "log: identifiers": len(pairs),
        }
        known_since = None
        event_ids: list[str] = []
        rows = select_in(connection, _EVENTS, whom.keys)
        if rows:
            events = rows_to_table(rows)
            event_ids = events.column(Columns.EVENT_ID).to_pylist()
            moments = events.column(Columns.OCCURRED_AT)
            known_since = pc.min(moments).as_py()
            until_us = max(until_us, pc.max(moments.cast(pa.int64())).as_py() + 1)
            kinds = events.column(Columns.KIND).cast(pa.string())
            removed["log: events"] = len(rows)
            removed["log: decisions"] = pc.sum(pc.equal(kinds, EventKind.DECISION.value)).as_py()
            removed["log: segments rewritten"] = self._cut_copies(connection, events.column(Columns.SEQ).to_pylist())
            _rewrite_content(connection, events)
        select_in(connection, "DELETE FROM events WHERE customer_key", whom.keys)
        select_in(connection, "DELETE FROM regrouped WHERE customer_id", whom.names)
        suppressed = suppression_table.forget(connection, [*(Node(CUSTOMER, name) for name in whom.names), *whom.nodes])
        removed |= {SUPPRESSIONS: suppressed} if suppressed else {}
        removed |= {place: rows for place, rows in book.forget(connection, whom.names).items() if rows}
        self._rules.book(connection).forget(whom.keys, last_seq(connection) + 1)
        stones = Tombstones(connection)
        hasher = stones.hasher(make=True)
        assert hasher is not None
        stones.put(_digests(hasher, whom.names, pairs, event_ids), until_us, receipt_id)
        receipt = Underway(
            receipt_id=receipt_id,
            customer=hasher.customer(whom.name).hex(),
            erased_at=now.replace(microsecond=0),
            removed=removed,
            pending=(Step.ONLINE, Step.FILES, Step.MODELS),
            known_since=known_since,
        )
        _save(connection, receipt)
        return Begun(receipt, whom.names)


class SqliteErasureBook(LogErasureBook):
    """Erasures of a SQLite log: what is deleted is overwritten, and bulk copies are cut before anybody has to wait."""

    def __init__(
        self,
        writing: Callable[[], AbstractContextManager[sqlite3.Connection]],
        reading: sqlite3.Connection,
        rules: IdentityRules,
    ) -> None:
        super().__init__(writing, reading, rules)
        self._cutter = _Cutter()

    def begin(self, name: str, now: datetime) -> Begun | None:
        ahead = self._find(self._reading, name) if _is_text(name) else None
        if ahead is not None:
            seqs = select_in(self._reading, "SELECT seq FROM events WHERE customer_key", ahead.keys)
            self._cutter.run(self._reading, [seq for (seq,) in seqs])
        self._reading.execute("PRAGMA secure_delete = ON")  # overwritten, not only unlinked
        begun = super().begin(name, now)
        self._reading.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nor does it stay in the write-ahead log
        return begun

    def erase_again(self, key: bytes, digests: frozenset[bytes], now: datetime) -> list[Receipt]:
        self._reading.execute("PRAGMA secure_delete = ON")
        receipts = super().erase_again(key, digests, now)
        self._reading.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return receipts

    def look_again(self, receipt_id: str) -> LogLeft:
        self._reading.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where the process that erased died before it did
        found = super().look_again(receipt_id)
        n_copies = copies_left(self._reading, self.matcher(receipt_id), found.returned)
        return LogLeft({**found.rows, LOG_COPIES: n_copies}, found.returned)

    def _cut_copies(self, connection: Connection, seqs: Sequence[int]) -> int:
        bodies = self._cutter.run(connection, seqs)
        for first_seq, body in bodies.items():
            connection.execute("UPDATE segments SET body = ? WHERE first_seq = ?", (body, first_seq))
        return len(bodies)


@dataclass(frozen=True)
class _Whom:
    """The customer to erase: name, sightings and identifiers as the log has them now."""

    name: str
    keys: tuple[int, ...]
    nodes: tuple[Node, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their name first, then all that they ever had, or had when they were several."""
        former = {node.value if node.id_type == CUSTOMER else f"{ANONYMOUS}{node}" for node in self.nodes}
        return (self.name, *sorted(former - {self.name}))


def _is_text(name: str) -> bool:
    """Whether a database can be asked about a name; the log keeps none that has half a character or a NUL."""
    return "\x00" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _begun_before(connection: Connection, name: str, rules: IdentityRules) -> Begun | None:
    stones = Tombstones(connection)
    hasher = stones.hasher()
    if hasher is None:
        return None
    id_type, _, value = name.partition(":")
    values = map(hasher.value, rules.identifiers.forms(name))
    typed = hasher.identifier(id_type, rules.identifiers.kept(id_type, value))
    named = hasher.customer(rules.identifiers.kept_name(name))
    erasure = stones.erasure_of([named, typed, *values])
    return Begun(_load(connection, erasure)) if erasure else None


def _digests(hasher: Hasher, names: Sequence[str], pairs: Sequence[Node], event_ids: Sequence[str]) -> Iterable[bytes]:
    yield from map(hasher.customer, names)
    yield from map(hasher.value, names)
    yield from (hasher.identifier(*pair) for pair in pairs)
    yield from (hasher.value(pair.value) for pair in pairs)
    yield from map(hasher.event, event_ids)


class _Cutter:
    """Cuts rows out of bulk copies. What was cut ahead of the write transaction is not cut again inside it."""

    def __init__(self) -> None:
        self._done: dict[tuple[bytes, bytes], bytes] = {}

    def run(self, connection: Connection, seqs: Sequence[int]) -> dict[int, bytes]:
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

    def _cut(self, body: bytes, gone: IntArray) -> bytes:
        key = (hashlib.blake2b(body).digest(), gone.tobytes())
        if key not in self._done:
            table = load_segment(body)
            kept = pc.invert(pc.is_in(table.column(Columns.SEQ), value_set=pa.array(gone)))
            self._done[key] = dump_table(table.filter(kept))
        return self._done[key]


def _rewrite_content(connection: Connection, events: pa.Table) -> None:
    """The log's count and content hash are those of a log that never held the events."""
    put_meta(connection, "content", (int(get_meta(connection, "content", "0")) - hash_table(events)) % 2**64)
    put_meta(connection, "count", count(connection) - events.num_rows)


def _load(connection: Connection, receipt_id: str) -> Receipt:
    row = connection.execute("SELECT body FROM erasures WHERE erasure = ?", (receipt_id,)).fetchone()
    if row is None:
        raise MissingError(f"The log knows no erasure {receipt_id}.", repair="Was another event log put in its place?")
    return read_erasure(row[0])


def _save(connection: Connection, receipt: Receipt) -> None:
    statement = "INSERT INTO erasures VALUES (?, ?) ON CONFLICT (erasure) DO UPDATE SET body = excluded.body"
    connection.execute(statement, (receipt.receipt_id, receipt.model_dump_json()))
