"""Tombstones: names of erased customers in, kept as keyed hashes only; events without those that come back out.

A hash is keyed with a random number that lies in the log and in the private records beside it (carried.py), so a receipt
names nobody to who lacks both.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from features.identity.identifiers import Identifiers
from features.log.batches import Batch
from features.log.portable_sql import Connection, get_meta, put_meta, select_in

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS tombstones (digest {bytes} PRIMARY KEY, until_us BIGINT NOT NULL, erasure TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS erasures (erasure TEXT PRIMARY KEY, body TEXT NOT NULL)",
)
KEY: Final = "erasure_key"
"""Note of the key; there is none where nobody was ever erased."""
_PUT: Final = (
    "INSERT INTO tombstones VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET erasure = excluded.erasure, until_us ="
    " CASE WHEN tombstones.until_us < excluded.until_us THEN excluded.until_us ELSE tombstones.until_us END"
)


@dataclass(frozen=True)
class Stone:
    """The hash of one name, and the moment (microseconds) before which events that carry it are gone."""

    digest: bytes
    until_us: int


@dataclass(frozen=True)
class Hasher:
    """Keyed hashes (BLAKE2b, 16 bytes) of what a customer is known by; a name of one sort never equals one of another."""

    key: bytes

    def customer(self, customer_id: str) -> bytes:
        """Of a customer id."""
        return self._digest("customer", customer_id)

    def identifier(self, id_type: str, value: str) -> bytes:
        """Of an identifier with its type."""
        return self._digest("identifier", f"{id_type}\x00{value}")

    def value(self, value: str) -> bytes:
        """Of an identifier's bare value, for text of which the type is not known."""
        return self._digest("value", value)

    def event(self, event_id: str) -> bytes:
        """Of an event id."""
        return self._digest("event", event_id)

    def _digest(self, sort: str, text: str) -> bytes:
        """Of any text: what is half a character, and has no UTF-8, counts as the three bytes that it would be."""
        encoded = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(encoded, digest_size=16, key=self.key, person=sort.encode()).digest()


class Tombstones:
    """Reads and (inside a write transaction of the caller) writes the table `tombstones`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hasher(self, make: bool = False) -> Hasher | None:
        """The log's hasher; None where nobody was ever erased, unless it is to be made."""
        key = get_meta(self._connection, KEY, "")
        if not key and not make:
            return None
        if not key:
            key = secrets.token_hex(32)
            put_meta(self._connection, KEY, key)
        return Hasher(bytes.fromhex(key))

    def adopt(self, key: bytes) -> bool:
        """Take another log's key where this one has none; returns whether this log's key is that one now."""
        mine = self.hasher()
        if mine is None:
            put_meta(self._connection, KEY, key.hex())
        return mine is None or mine.key == key

    def of(self, erasure: str) -> tuple[Stone, ...]:
        """Those of one erasure."""
        query = "SELECT digest, until_us FROM tombstones WHERE erasure = ? ORDER BY digest"
        rows = self._connection.execute(query, (erasure,)).fetchall()
        return tuple(Stone(bytes(digest), int(until_us)) for digest, until_us in rows)

    def put(self, digests: Iterable[bytes], until_us: int, erasure: str) -> None:
        """Keep digests; of one that is there already, the later moment and the later erasure hold."""
        for digest in digests:
            self._connection.execute(_PUT, (digest, until_us, erasure))

    def erasure_of(self, digests: Sequence[bytes]) -> str | None:
        """The erasure that one of these digests belongs to."""
        for digest in digests:
            row = self._connection.execute("SELECT erasure FROM tombstones WHERE digest = ?", (digest,)).fetchone()
            if row:
                return str(row[0])
        return None

    def screen(self, batch: Batch, key: str) -> tuple[Batch, int]:
        """A batch without events of erased customers, and how many those were; `key` is the log's note KEY.

        Gone is an event that was erased itself, and one from before the erasure that names an erased customer, or names
        no customer and carries an erased identifier. What an erased customer does later is a new beginning and is kept.
        An event that the log still holds is not gone: it is a duplicate.
        """
        if not key or not len(batch):
            return batch, 0
        hasher, named = Hasher(bytes.fromhex(key)), list(batch.names())
        customers = dict.fromkeys(customer_id for _, _, customer_id, _ in named if customer_id is not None)
        untils = dict(zip(customers, self._untils([hasher.customer(name) for name in customers]), strict=True))
        erased = self._untils([hasher.event(event_id) for event_id, *_ in named])
        gone = set()
        for place, (_, occurred_us, customer_id, pairs) in enumerate(named):
            if customer_id is None:
                until = max(self._untils([hasher.identifier(*pair) for pair in pairs]), default=0)
            else:
                until = untils[customer_id]
            if occurred_us < until or erased[place]:
                gone.add(place)
        ids = [named[place][0] for place in sorted(gone)]
        held = {row[0] for row in select_in(self._connection, "SELECT event_id FROM events WHERE event_id", ids)}
        left = [place for place, (event_id, *_) in enumerate(named) if place not in gone or event_id in held]
        return (batch, 0) if len(left) == len(batch) else (batch.take(left), len(batch) - len(left))

    def _untils(self, digests: Sequence[bytes]) -> list[int]:
        query = "SELECT digest, until_us FROM tombstones WHERE digest"
        untils = {bytes(digest): int(until) for digest, until in select_in(self._connection, query, digests)}
        return [untils.get(digest, 0) for digest in digests]


@dataclass(frozen=True)
class Matcher:
    """Tells whether a name that is read somewhere is one of an erased customer's."""

    hasher: Hasher
    digests: frozenset[bytes]
    identifiers: Identifiers
    returned: frozenset[str] = frozenset()
    """Names under which an erased customer has come back since: they are not of whom was erased."""

    def customers(self, customer_ids: Iterable[str | None]) -> set[str]:
        """Those of the customer ids that were erased."""
        names = {name for name in customer_ids if name is not None} - self.returned
        return {name for name in names if self.hasher.customer(name) in self.digests}

    def has_identifier(self, pairs: Mapping[str, str]) -> bool:
        """Whether one of these identifiers was erased."""
        kept = self.identifiers.kept_pairs(pairs)
        return any(self.hasher.identifier(*pair) in self.digests for pair in kept.items())

    def has_value(self, texts: Iterable[str]) -> bool:
        """Whether one of these texts is a customer id or an identifier, of whatever type, that was erased."""
        return any(self.hasher.value(form) in self.digests for text in texts for form in self.identifiers.forms(text))
