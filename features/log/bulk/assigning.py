"""A large table of events and what a connection remembers of customers in; whose each event is out, and new ones kept.

What is remembered needs no look at the log, and customers who are new and known by an id alone are written many at once. What
has to do with identifiers is left to the book (identity.py), a sighting at a time.
"""

from collections.abc import Collection, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.identity.resolution import CUSTOMER, IdentityConfig, Node, pack, unpack
from features.log.bulk.memory import MOST, UNKNOWN, Memory
from features.log.bulk.met import Met, is_plain, met_in, nodes_at, nodes_of, text_of
from features.log.portable_sql import Connection, insert_all, select_in

BULK_ROWS: Final = 1_000
"""Tables of at least so many rows are assigned here."""
_WORTH_IT: Final = 10
"""The log's customers are all read where there are no more than so many times those of the batch."""
_INSERTS: Final = (512, 64, 8, 1)
"""Rows per statement."""
_NEVER_US: Final = 2**62
_LAST_KEY: Final = "SELECT coalesce(max(customer_key), 0) FROM customers"
_LATER: Final = "SELECT nodes, customer_key, first_us, customer_id FROM customers WHERE customer_key > ?"
_NEW: Final = "SELECT customer_id, customer_key FROM customers WHERE customer_key > ?"
_ALONE: Final = pack((Node(CUSTOMER, ""),)).removesuffix('""]')
_ANY_NAMED: Final = f"SELECT 1 FROM identifiers WHERE id_type = '{CUSTOMER}' LIMIT 1"
_NAMED: Final = f"SELECT id_value FROM identifiers WHERE id_type = '{CUSTOMER}' AND id_value"
_EARLIER: Final = "UPDATE customers SET first_us = ? WHERE customer_key = ? AND first_us > ?"

Row = tuple[int, int, str]
"""Of a customer's row in the log: key, first moment (microseconds), whose it is."""


class Book(Protocol):
    """What assigning needs of the book of identity."""

    config: IdentityConfig

    def rows_of(self, sightings: Sequence[tuple[Node, ...]]) -> Mapping[tuple[Node, ...], Row]:
        """Those of the sightings that the log has."""

    def teach(
        self, sightings: Sequence[tuple[Node, ...]], first_us: Sequence[int], seq: int, new_keys: frozenset[int]
    ) -> Mapping[tuple[Node, ...], Row]:
        """Keep sightings and find out who is whom; `new_keys` are of others that are no older than this append."""


class TableAssigner:
    """Assigns the events of one append; the caller is in a write transaction."""

    def __init__(self, connection: Connection, book: Book, memory: Memory, seq: int) -> None:
        """`seq` is the first that a new event can get."""
        self._connection, self._book, self._memory, self._seq = connection, book, memory, seq
        self._new_keys: set[int] = set()

    def assign(self, table: pa.Table, known: set[str]) -> tuple[IntArray, list[str], IntArray]:
        """Keys (k,) and names (k,) of the customers that a table is about, and each event's number among them, (n,).

        `known` are the ids of its events with identifiers that the log has.
        """
        memory, met = self._memory, met_in(table, known)
        is_complete = self._fill(len(met.texts))
        places = memory.find(met.texts)
        unknown = np.flatnonzero(places == UNKNOWN)
        if len(unknown):
            self._meet(table, met, unknown, is_complete)
            places[unknown] = memory.find([met.texts[number] for number in unknown.tolist()])
        self._note_earlier(places, met.first_us)
        if is_complete:
            memory.complete_to = self._last_key()
        return memory.keys[places], [memory.names[place] for place in places.tolist()], met.codes

    def _fill(self, n_wanted: int) -> bool:
        """Remember what others have written, where that is worth it; returns whether there is nothing else now."""
        memory, last = self._memory, self._last_key()
        if not memory.complete_to:
            if last > min(MOST, _WORTH_IT * n_wanted):
                return False
            memory.drop()
        if memory.complete_to < last:
            rows = self._connection.execute(_LATER, (memory.complete_to,)).fetchall()
            nodes, keys, first_us, names = zip(*rows, strict=True)
            memory.add([text_of(unpack(text)) for text in nodes], keys, first_us, names)
        return True

    def _last_key(self) -> int:
        return int(self._connection.execute(_LAST_KEY).fetchone()[0])

    def _meet(self, table: pa.Table, met: Met, unknown: IntArray, is_complete: bool) -> None:
        """See to it that what texts stand for, which are not remembered so far, is."""
        plain = met.plain[unknown]
        if plain.any():
            places = unknown[plain]
            self._meet_named([met.texts[place] for place in places.tolist()], met.first_us[places], is_complete)
        if not plain.all():
            self._meet_others(table, met, unknown[~plain], is_complete)

    def _meet_named(self, names: list[str], first_us: IntArray, is_complete: bool) -> None:
        """The same for customer ids (k), whose first moments are `first_us` (k,)."""
        firsts = dict(zip(names, first_us.tolist(), strict=True))
        if not is_complete:
            self._remember(self._book.rows_of([(Node(CUSTOMER, name),) for name in names]))
            places = self._memory.find(names).tolist()
            names = [name for name, place in zip(names, places, strict=True) if place == UNKNOWN]
        told = self._seen_with_others(names)
        alone = sorted(name for name in names if name not in told) if told else sorted(names)  # as the index has them
        if alone:
            last = self._last_key()
            made = ((f"{_ALONE}{encode_basestring(name)}]", name, firsts[name]) for name in alone)
            insert_all(self._connection, "customers (nodes, customer_id, first_us)", made, sizes=_INSERTS)
            rows = self._connection.execute(_NEW, (last,)).fetchall()
            written, keys = (list(column) for column in zip(*rows, strict=True))
            self._memory.add(written, keys, [firsts[name] for name in written], written)
            self._new_keys.update(keys)
        if told:
            seen = [(Node(CUSTOMER, name),) for name in sorted(told)]
            self._remember(self._teach(seen, [firsts[nodes[0].value] for nodes in seen]), new=True)

    def _meet_others(self, table: pa.Table, met: Met, unknown: IntArray, is_complete: bool) -> None:
        """The same for texts that are of more than a customer id."""
        memory, telling = self._memory, self._book.config.telling
        nodes = [tuple(telling(sighting)) for sighting in nodes_at(table, met.rows[unknown])]
        texts = [text_of(sighting) for sighting in nodes]
        wanted: dict[str, tuple[Node, ...]] = {}
        first_us: dict[str, int] = {}
        for text, sighting, at_us in zip(texts, nodes, met.first_us[unknown].tolist(), strict=True):
            wanted[text] = sighting
            first_us[text] = min(at_us, first_us.get(text, at_us))
        new = self._unknown(wanted)
        if new and not is_complete:
            self._remember(self._book.rows_of([wanted[text] for text in new]))
            new = self._unknown(new)
        if new:
            learnt = self._teach([wanted[text] for text in new], [first_us[text] for text in new])
            self._remember(learnt, new=True)
        for number, place in zip(unknown.tolist(), memory.find(texts).tolist(), strict=True):
            memory.add_text(met.texts[number], place)

    def _unknown(self, texts: Collection[str]) -> list[str]:
        return [text for text, place in zip(texts, self._memory.find(texts).tolist(), strict=True) if place == UNKNOWN]

    def _note_earlier(self, places: IntArray, first_us: IntArray) -> None:
        """Note for customers at `places` (k,) that they were met before they were known to have been."""
        memory = self._memory
        firsts = np.full(len(memory), _NEVER_US)
        np.minimum.at(firsts, places, first_us)
        earlier = np.flatnonzero(firsts < memory.first_us)
        memory.first_us[earlier] = firsts[earlier]
        texts = [memory.texts[place] for place in earlier.tolist()]
        told = self._seen_with_others([text for text in texts if is_plain(text)])
        sightings: list[tuple[Node, ...]] = []
        moments: list[int] = []
        for place, text in zip(earlier.tolist(), texts, strict=True):
            at_us = int(firsts[place])
            if is_plain(text) and text not in told:
                self._connection.execute(_EARLIER, (at_us, int(memory.keys[place]), at_us))
            else:
                sightings.append(nodes_of(text))
                moments.append(at_us)
        if sightings:
            self._teach(sightings, moments)

    def _seen_with_others(self, names: Sequence[str]) -> set[str]:
        """Those of the customer ids that came with other identifiers, or whose sightings did."""
        if not names or self._connection.execute(_ANY_NAMED).fetchone() is None:
            return set()
        return {str(name) for (name,) in select_in(self._connection, _NAMED, names)}

    def _teach(self, sightings: Sequence[tuple[Node, ...]], first_us: Sequence[int]) -> Mapping[tuple[Node, ...], Row]:
        return self._book.teach(sightings, first_us, self._seq, frozenset(self._new_keys))

    def _remember(self, rows: Mapping[tuple[Node, ...], Row], *, new: bool = False) -> None:
        if rows:
            keys, first_us, names = zip(*rows.values(), strict=True)
            self._memory.add([text_of(nodes) for nodes in rows], keys, first_us, names)
            self._new_keys.update(keys if new else ())
