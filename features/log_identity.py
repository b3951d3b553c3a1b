"""Customer ids and identifiers of new events come in; one customer per event goes out, and what they teach is kept.

First form of identity: the last customer seen with an identifier owns it. Events whose sender did not know the
customer belong to whoever owns their identifiers by then, else to a stable anonymous customer of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from features.log_bulk import known_keys
from features.log_sql import Connection
from features.vocabulary import Columns, IdType

ANONYMOUS: Final = "anon:"
_STRENGTH: Final[dict[str, int]] = {
    id_type.value: place
    for place, id_type in enumerate((IdType.LOYALTY_CARD, IdType.EMAIL, IdType.PHONE, IdType.DEVICE, IdType.COOKIE))
}
"""Who is believed first when two identifiers disagree: what a person carries before what a machine carries."""
_LEARN: Final = (
    "INSERT INTO identifiers (id_type, id_value, customer_id) VALUES (?, ?, ?)"
    " ON CONFLICT (id_type, id_value) DO UPDATE SET customer_id = excluded.customer_id"
)


@dataclass(frozen=True)
class Owners:
    """Whose each row is: customer keys of the log, and resolved customer ids, both (n,)."""

    keys: list[int]
    ids: pa.Array | pa.ChunkedArray


class IdentityBook:
    """Reads and (inside a write transaction of the caller) writes the tables `customers` and `identifiers`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys: dict[str, int] = {}

    def find(self, identifiers: Mapping[str, str]) -> str | None:
        """The customer that the strongest known identifier belongs to; a named customer comes before an anonymous one."""
        owners = [owner for owner in map(self._owner, _by_strength(identifiers)) if owner is not None]
        named = [owner for owner in owners if not owner.startswith(ANONYMOUS)]
        return next(iter(named or owners), None)

    def assign(self, table: pa.Table) -> Owners:
        """Whose each row is, in row order; learns the identifiers of rows that are new to the log."""
        ids = table.column(Columns.CUSTOMER_ID)
        encoded = pc.dictionary_encode(ids).combine_chunks()
        self._keys.update(known_keys(self._connection, encoded.dictionary.to_pylist()))
        given_keys = [self._key(customer_id) for customer_id in encoded.dictionary.to_pylist()]
        keys = [-1 if code is None else given_keys[code] for code in encoded.indices.to_pylist()]
        identified = pc.indices_nonzero(pc.is_valid(table.column(Columns.IDENTIFIERS))).to_pylist()
        if identified:
            found = ids.to_pylist()
            self._learn(table.take(pa.array(identified)), identified, found)
            keys = [self._key(customer_id) for customer_id in found]
            ids = pa.array(found, pa.string())
        return Owners(keys, ids)

    def _learn(self, rows: pa.Table, places: list[int], found: list[str]) -> None:
        seen: set[str] = set()
        columns = (
            rows.column(name).to_pylist() for name in (Columns.EVENT_ID, Columns.CUSTOMER_ID, Columns.IDENTIFIERS)
        )
        for place, event_id, customer_id, pairs in zip(places, *columns, strict=True):
            identifiers = dict(pairs)
            if not identifiers:
                continue
            owner = customer_id or self.find(identifiers) or _anonymous(identifiers)
            found[place] = owner
            if event_id in seen or self._is_known(event_id):
                continue  # a duplicate teaches nothing
            seen.add(event_id)
            for pair in identifiers.items():
                if self._owner(pair) != owner:
                    self._connection.execute(_LEARN, (*pair, owner))

    def _owner(self, pair: tuple[str, str]) -> str | None:
        query = "SELECT customer_id FROM identifiers WHERE id_type = ? AND id_value = ?"
        row = self._connection.execute(query, pair).fetchone()
        return None if row is None else str(row[0])

    def _is_known(self, event_id: str) -> bool:
        return self._connection.execute("SELECT 1 FROM events WHERE event_id = ?", (event_id,)).fetchone() is not None

    def _key(self, customer_id: str) -> int:
        if customer_id not in self._keys:
            new = "INSERT INTO customers (customer_id) VALUES (?) ON CONFLICT DO NOTHING"
            self._connection.execute(new, (customer_id,))
            query = "SELECT customer_key FROM customers WHERE customer_id = ?"
            self._keys[customer_id] = int(self._connection.execute(query, (customer_id,)).fetchone()[0])
        return self._keys[customer_id]


def _by_strength(identifiers: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(identifiers.items(), key=lambda pair: (_STRENGTH.get(pair[0], len(_STRENGTH)), pair))


def _anonymous(identifiers: Mapping[str, str]) -> str:
    """The strongest identifier names the anonymous customer."""
    id_type, value = _by_strength(identifiers)[0]
    return f"{ANONYMOUS}{id_type}:{value}"
