"""The log's book of consents by address: events that were appended in; out, what counts for others who have the address.

Each row of `consents` is what one address consented to or refused in one event (identity/addresses.py). It counts for
everybody who was seen with the address, but for the event's own customer: they have the event itself. Nobody is written
down as governed by it, so that whoever gets the address later is governed, too.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from features.events.schema import EVENT_SCHEMA
from features.identity.addresses import CONSENT_KINDS, Consent, event_id_for_others, spoken_for
from features.identity.resolution import CUSTOMER, IdentityConfig, Node, unpack
from features.log.batches import Batch
from features.log.portable_sql import Connection, get_meta, insert_all, last_seq, note_regrouped, put_meta, select_in
from features.vocabulary import Channel, Columns

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS consents (id_type {text} NOT NULL, id_value {text} NOT NULL, seq BIGINT NOT NULL,"
    " event_id {text} NOT NULL, occurred_us BIGINT NOT NULL, customer_key BIGINT NOT NULL, kind TEXT NOT NULL,"
    " channel TEXT NOT NULL, properties TEXT, PRIMARY KEY (id_type, id_value, seq))",
    "CREATE INDEX IF NOT EXISTS consents_by_key ON consents (customer_key)",
)
_COLUMNS: Final = "id_type, id_value, seq, event_id, occurred_us, customer_key, kind, channel, properties"
_ADDRESSES: Final = "consent_addresses"
_KINDS: Final = ", ".join(f"'{kind}'" for kind in CONSENT_KINDS)
_SAID: Final = (
    "SELECT seq, event_id, occurred_us, e.customer_key, kind, channel, product_id, properties, nodes"
    " FROM events e CROSS JOIN customers c WHERE c.customer_key = e.customer_key AND seq > ?"
    f" AND identifiers IS NOT NULL AND kind IN ({_KINDS})"
)
# CROSS JOIN: SQLite goes through the tables in this order, PostgreSQL in whichever it finds best
_BY_WHOM: Final = "consents k CROSS JOIN customers o"
_GOVERNED: Final = (
    f"SELECT DISTINCT c.customer_id FROM {_BY_WHOM} CROSS JOIN seen_in s CROSS JOIN customers c"
    " WHERE o.customer_key = k.customer_key AND s.id_type = k.id_type AND s.id_value = k.id_value"
    " AND c.customer_key = s.customer_key AND c.customer_id <> o.customer_id"
)
_HOLDERS: Final = (
    "SELECT DISTINCT customer_id FROM seen_in s CROSS JOIN customers c WHERE c.customer_key = s.customer_key"
    " AND (s.id_type, s.id_value)"
)


def _column(name: str) -> str:
    """A column of events, as what an address said has it: who said it, where and in which session is nobody else's."""
    kept = {
        Columns.EVENT_ID: "k.event_id",
        Columns.OCCURRED_AT: "k.occurred_us",
        Columns.KIND: "k.kind",
        Columns.CHANNEL: "k.channel",
        Columns.PROPERTIES: "k.properties",
    }
    is_text = pa.types.is_string(EVENT_SCHEMA.field(name).type) or name == Columns.IDENTIFIERS
    return kept.get(name, f"CAST(NULL AS {'TEXT' if is_text else 'DOUBLE PRECISION'})")


def _of_others(before: str, customer_id: str, after_seq: str) -> str:
    return (
        f"SELECT DISTINCT k.seq, c.customer_id, k.customer_key, {', '.join(map(_column, EVENT_SCHEMA.names))}"
        f" FROM {before}regrouped g CROSS JOIN customers c CROSS JOIN seen_in s CROSS JOIN {_BY_WHOM}"
        f" WHERE g.customer_id = {customer_id} AND c.customer_id = g.customer_id AND s.customer_key = c.customer_key"
        f" AND k.id_type = s.id_type AND k.id_value = s.id_value AND k.seq > {after_seq}"
        " AND o.customer_key = k.customer_key AND o.customer_id <> c.customer_id"
    )


OF_OTHERS: Final = _of_others("", "?", "?")
"""A customer's events, as `tables.COLUMNS` selects them, that are others' and count for them by a common address.

Whom an address governs was noted as regrouped when that came about: for everybody else it ends after one look there.
"""
OF_OTHERS_MANY: Final = _of_others("wanted w CROSS JOIN ", "w.customer_id", "w.after_seq")
"""The same of all customers in a table `wanted` of (customer_id, after_seq)."""
OF_ADDRESS: Final = (
    f"SELECT k.seq, CAST(? AS TEXT), k.customer_key, {', '.join(map(_column, EVENT_SCHEMA.names))}"
    " FROM identifiers i CROSS JOIN consents k WHERE i.id_type = ? AND i.id_value = ? AND i.shared = 1"
    " AND k.id_type = i.id_type AND k.id_value = i.id_value ORDER BY occurred_us, event_id"
)
"""What a shared address itself consented to or refused, under a name: for who is asked about by nothing else."""


class ConsentBook:
    """Reads and (inside a write transaction of the caller) writes the table `consents`."""

    def __init__(self, connection: Connection, config: IdentityConfig) -> None:
        self._connection = connection
        self._config = config

    def follow_addresses(self) -> None:
        """Where identity.toml names other addresses than the book was written with, or there was none yet, write it anew."""
        if self.is_level():
            return
        before = self._connection.execute(_GOVERNED).fetchall()
        self._connection.execute("DELETE FROM consents")
        self._put(0)
        after = self._connection.execute(_GOVERNED).fetchall()
        names = {str(name) for (name,) in (*before, *after)}
        note_regrouped(self._connection, names, last_seq(self._connection) + 1)
        put_meta(self._connection, _ADDRESSES, self._addresses())

    def is_level(self) -> bool:
        """Whether the book was written with the addresses that the configuration names."""
        return get_meta(self._connection, _ADDRESSES, "") == self._addresses()

    def all(self) -> list[Consent]:
        """Everything that addresses consented to or refused."""
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM consents").fetchall()
        return [Consent(Node(*row[:2]), *row[2:]) for row in rows]

    def learn(self, batch: Batch, after_seq: int) -> None:
        """Keep what addresses said in the events of a batch, which were appended after a log row; note whom it governs."""
        if batch.has_consents():
            governed = select_in(self._connection, f"{_GOVERNED} AND (k.id_type, k.id_value)", self._put(after_seq))
            note_regrouped(self._connection, {str(name) for (name,) in governed}, after_seq + 1)

    def meet(self, seen: Iterable[tuple[Sequence[Node], str]], seq: int) -> None:
        """Note at `seq` those customers of new sightings (identifiers and name) whom an address of theirs governs."""
        listed = list(seen)
        if not listed or self._connection.execute("SELECT 1 FROM consents LIMIT 1").fetchone() is None:
            return
        query = (
            f"SELECT DISTINCT k.id_type, k.id_value, o.customer_id FROM {_BY_WHOM}"
            " WHERE o.customer_key = k.customer_key AND (k.id_type, k.id_value)"
        )
        speakers: dict[Node, set[str]] = defaultdict(set)
        nodes = {node for those, _ in listed for node in those if node.id_type != CUSTOMER}
        for id_type, id_value, name in select_in(self._connection, query, nodes):
            speakers[Node(id_type, id_value)].add(str(name))
        governed = {name for those, name in listed if any(speakers.get(node, set()) - {name} for node in those)}
        note_regrouped(self._connection, governed, seq)

    def take_out(self, keys: Sequence[int]) -> set[Node]:
        """Delete what sightings said; returns the addresses that it was of."""
        rows = select_in(self._connection, "SELECT DISTINCT id_type, id_value FROM consents WHERE customer_key", keys)
        select_in(self._connection, "DELETE FROM consents WHERE customer_key", keys)
        return {Node(*row) for row in rows}

    def holders(self, nodes: Iterable[Node]) -> set[str]:
        """Customers who were seen with one of these addresses."""
        return {str(name) for (name,) in select_in(self._connection, _HOLDERS, nodes)}

    def _put(self, after_seq: int) -> set[Node]:
        """Keep what the log's events after a row say; returns the addresses that they speak for."""
        consents = [
            Consent(node, seq, event_id_for_others(event_id, seq), at_us, key, kind, channel, answers)
            for seq, event_id, at_us, key, kind, channel, product_id, properties, nodes in self._connection.execute(
                _SAID, (after_seq,)
            ).fetchall()
            for node, answers in spoken_for(kind, channel, product_id, unpack(nodes), properties, self._config).items()
        ]
        insert_all(self._connection, f"consents ({_COLUMNS})", ((*node, *rest) for node, *rest in consents))
        return {consent.node for consent in consents}

    def _addresses(self) -> str:
        return json.dumps({channel.value: self._config.address_types(channel) for channel in Channel})
