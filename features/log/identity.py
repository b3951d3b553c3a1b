"""The log's book of identity: events with what their senders knew in, whose each row is out, and what they teach kept.

A `customers` row is one sighting (see identity/resolution.py): the identifiers that came together, and whose they are now.
Events point to their sighting, so that a merge changes a few rows of `customers` and not one of `events`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from features.events.placeholders import Placeholders
from features.identity.history import History, trace
from features.identity.identifiers import Identifiers
from features.identity.resolution import (
    ANONYMOUS,
    CUSTOMER,
    IdentityConfig,
    Node,
    Sighting,
    load_identity_config,
    named_node,
    pack,
    resolve,
    sighting_nodes,
    unpack,
)
from features.log import log_key
from features.log.batches import Batch, TableBatch
from features.log.bulk.assigning import BULK_ROWS, Row, TableAssigner
from features.log.bulk.memory import Memory
from features.log.consents import ConsentBook
from features.log.ledger import book
from features.log.owners import Owners
from features.log.portable_sql import (
    Connection,
    get_meta,
    insert_all,
    note_regrouped,
    put_metas,
    select_in,
)
from features.log.sightings import Sightings
from features.settings import Settings

_LIMITS: Final = "identity_limits"
_PLACEHOLDERS: Final = "identity_placeholders"
_CHANGES: Final = "identity_changes"
"""How often sightings that were kept were given another customer, or taken out."""
NOTES: Final = (_LIMITS, _PLACEHOLDERS, _CHANGES)
"""Notes that `IdentityBook.assign` goes by."""
_SEEN_IN: Final = "seen_in (id_type, id_value, customer_key)"
_IF_NEW: Final = " ON CONFLICT DO NOTHING"


@dataclass(frozen=True)
class IdentityRules:
    """How a log tells customers apart, and in which form it keeps identifiers."""

    config: IdentityConfig
    identifiers: Identifiers
    makes_key: bool = False
    """Whether a new log gets a key of its own where `identifiers` has none."""

    def book(self, connection: Connection) -> "IdentityBook":
        """The book of the log behind a connection."""
        return IdentityBook(connection, self.config, self.identifiers)

    def consents(self, connection: Connection) -> ConsentBook:
        """What addresses consented to and refused in the log behind a connection."""
        return ConsentBook(connection, self.config)

    def is_settled(self, connection: Connection) -> bool:
        """Whether the log was begun with the key that it would be opened with, and so `of_log` writes nothing."""
        return log_key.is_settled(connection, self.identifiers)

    def of_log(self, connection: Connection, place: str) -> "IdentityRules":
        """These rules with the key that the log was begun with: see log_key.py."""
        identifiers = log_key.settle(connection, self.identifiers, place, makes_key=self.makes_key)
        return replace(self, identifiers=identifiers)


DEFAULT_RULES: Final = IdentityRules(IdentityConfig(), Identifiers())
"""Addresses are kept as they are: for logs that live no longer than what they are asked."""


def identity_rules(settings: Settings) -> IdentityRules:
    """The rules that the environment and OMNI_HOME/identity.toml name. Raises InputError for a bad file."""
    config = load_identity_config(settings.files_home)
    is_own = settings.identifier_key == log_key.OWN
    key = "" if is_own else settings.identifier_key
    return IdentityRules(config, Identifiers(key, config.hashed, config.nobody), makes_key=is_own)


@dataclass(frozen=True)
class Stored:
    """A row of `customers`: a sighting, and the customer's name now."""

    sighting: Sighting
    customer_id: str


class IdentityBook:
    """Reads and (inside a write transaction of the caller) writes customers, identifiers, seen_in and regrouped."""

    def __init__(self, connection: Connection, config: IdentityConfig, identifiers: Identifiers) -> None:
        self.config = config
        self._consents = ConsentBook(connection, config)
        self._connection = connection
        self.identifiers = identifiers
        memory: Memory | None = getattr(connection, "memory", None)
        self._memory = Memory() if memory is None else memory
        self._version = "0"

    @property
    def rules(self) -> IdentityRules:
        """The rules that the log is kept by."""
        return IdentityRules(self.config, self.identifiers)

    def find(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        """Whose name or identifiers these are; None for identifiers that nobody is known by.

        A customer id is believed before identifiers, and stands for itself where nothing is known of it. Of identifiers
        the strongest known one counts, and a named customer before an anonymous one. Placeholders are nobody's.
        """
        if customer_id:
            if customer_id in self.config.nobody:
                return None
            customer_id = self.identifiers.kept_name(customer_id)
            name, _ = self._owner(named_node(customer_id))
            return name or customer_id
        candidates: list[tuple[bool, bool, int, str]] = []
        for node in sighting_nodes(None, self.identifiers.kept_pairs(identifiers).items()):
            name, shared = self._owner(node)
            if name is not None and node.value not in self.config.nobody:
                candidates.append((shared, name.startswith(ANONYMOUS), len(candidates), name))
        return min(candidates)[-1] if candidates else None

    def find_many(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        """`find` of several customer ids."""
        kept = {name: self.identifiers.kept_name(name) for name in customer_ids if name not in self.config.nobody}
        node_of = {name: named_node(kept_name) for name, kept_name in kept.items()}
        query = "SELECT id_type, id_value, customer_id FROM identifiers WHERE (id_type, id_value)"
        owners = {Node(*row[:2]): str(row[2]) for row in select_in(self._connection, query, set(node_of.values()))}
        return {name: owners.get(node_of[name], kept[name]) if name in node_of else None for name in customer_ids}

    def owners(self, name: str) -> set[str]:
        """Customers whom a name may mean: a customer id, an identifier as type:value, or the bare value of identifiers."""
        node = named_node(self.identifiers.kept_name(name))
        if node.id_type != CUSTOMER or self._read({pack((node,)): (node,)}) or self._owner(node)[0]:
            return {self.find(name, {}) or name}
        id_type, _, value = name.partition(":")
        typed = self._owner(Node(id_type, self.identifiers.kept(id_type, value)))[0]
        bare = select_in(
            self._connection, "SELECT customer_id FROM identifiers WHERE id_value", self.identifiers.forms(name)
        )
        return {str(owner) for (owner,) in bare} | ({typed} if typed else set())

    def possessions(self, customer_id: str) -> tuple[list[int], list[Node]]:
        """The sightings and the identifiers that are a customer's, as they are now."""
        keys = self._connection.execute("SELECT customer_key FROM customers WHERE customer_id = ?", (customer_id,))
        query = "SELECT id_type, id_value FROM identifiers WHERE customer_id = ? ORDER BY id_type, id_value"
        nodes = self._connection.execute(query, (customer_id,)).fetchall()
        return [int(key) for (key,) in keys.fetchall()], [Node(*row) for row in nodes]

    def assign(self, batch: Batch, seq: int, notes: Mapping[str, str]) -> Owners:
        """Whose each event is, in order, after what the events teach; `seq` is the first that a new one can get.

        `notes` are those of NOTES that the log has.
        """
        self._version = notes.get(_CHANGES, "0")
        self._memory.begin(self._version)
        self._follow_limits(seq, notes)
        known = self._known_events(batch) if seq > 1 else set()
        if isinstance(batch, TableBatch) and len(batch) >= BULK_ROWS:
            assigner = TableAssigner(self._connection, self, self._memory, seq)
            return Owners(*assigner.assign(batch.table, known))
        sightings = batch.sightings(known, self.config)
        stored = self._learn(sightings, seq)
        rows = [stored[text] for text in sightings.texts]
        return Owners([row.sighting.key for row in rows], [row.customer_id for row in rows], sightings.codes)

    def rows_of(self, sightings: Sequence[tuple[Node, ...]]) -> dict[tuple[Node, ...], Row]:
        """Those of the sightings that the log has."""
        stored = self._read({pack(nodes): nodes for nodes in sightings})
        return {
            row.sighting.nodes: (row.sighting.key, row.sighting.first_us, row.customer_id) for row in stored.values()
        }

    def teach(
        self, sightings: Sequence[tuple[Node, ...]], first_us: Sequence[int], seq: int, new_keys: frozenset[int]
    ) -> dict[tuple[Node, ...], Row]:
        """Keep sightings and find out who is whom; `new_keys` are of others that are no older than this append."""
        rows = Sightings()
        for nodes, at_us in zip(sightings, first_us, strict=True):
            rows.number(nodes)
            rows.first_us.append(at_us)
        stored = self._learn(rows, seq, new_keys)
        return {
            row.sighting.nodes: (row.sighting.key, row.sighting.first_us, row.customer_id) for row in stored.values()
        }

    def regrouped_seq(self, customer_id: str) -> int:
        """The log row at which events were last given to this customer or taken away; 0 for never.

        A state of the customer from before that row is of other events.
        """
        row = self._connection.execute("SELECT seq FROM regrouped WHERE customer_id = ?", (customer_id,)).fetchone()
        return int(row[0]) if row else 0

    def regrouped_since(self, seq: int) -> dict[str, int]:
        """Customers whose events were regrouped after a log row, and at which."""
        rows = self._connection.execute("SELECT customer_id, seq FROM regrouped WHERE seq > ?", (seq,)).fetchall()
        return {str(name): int(at) for name, at in rows}

    def sightings(self) -> list[Stored]:
        """Every sighting that has to do with identifiers; customers who are only known by their id are left out."""
        query = f"{_STORED} WHERE customer_key IN (SELECT customer_key FROM seen_in)"
        return [_stored(row) for row in self._connection.execute(query).fetchall()]

    def history(self) -> History:
        """How customers came about, and who is whom now."""
        return trace((stored.sighting for stored in self.sightings()), self.config, self._consents.all())

    def around(self, nodes: Iterable[Node]) -> tuple[dict[int, Stored], set[Node]]:
        """Sightings by key that are connected to `nodes`, and the shared identifiers at which the search stopped."""
        reached: dict[int, Stored] = {}
        shared: set[Node] = set()
        waiting, known = set(nodes), set(nodes)
        while waiting:
            flags = select_in(
                self._connection, "SELECT id_type, id_value, shared FROM identifiers WHERE (id_type, id_value)", waiting
            )
            stops = {Node(*row[:2]) for row in flags if row[2]}
            shared |= stops
            rows = select_in(
                self._connection,
                f"{_STORED} JOIN seen_in USING (customer_key) WHERE (id_type, id_value)",
                waiting - stops,
            )
            waiting = set()
            for row in rows:
                stored = _stored(row)
                reached[stored.sighting.key] = stored
                waiting |= set(stored.sighting.nodes) - known
            known |= waiting
        return reached, shared

    def forget(self, keys: Sequence[int], seq: int) -> None:
        """Take sightings out, as if they had never been; shared identifiers of theirs may join others again."""
        rows = select_in(
            self._connection, "SELECT id_type, id_value, customer_key FROM seen_in WHERE customer_key", keys
        )
        nodes = {Node(*row[:2]) for row in rows}
        spoken_for = self._consents.take_out(keys)
        self._memory.drop()
        self._note_change()
        for table in ("seen_in", "customers"):
            select_in(self._connection, f"DELETE FROM {table} WHERE customer_key", keys)
        left = select_in(self._connection, "SELECT id_type, id_value FROM seen_in WHERE (id_type, id_value)", nodes)
        still_seen = {Node(*row) for row in left}
        select_in(self._connection, "DELETE FROM identifiers WHERE (id_type, id_value)", nodes - still_seen)
        select_in(self._connection, "UPDATE identifiers SET shared = 0 WHERE (id_type, id_value)", still_seen)
        self._regroup(still_seen, seq, frozenset())
        note_regrouped(self._connection, self._consents.holders(spoken_for), seq)

    def _owner(self, node: Node) -> tuple[str | None, bool]:
        query = "SELECT customer_id, shared FROM identifiers WHERE id_type = ? AND id_value = ?"
        row = self._connection.execute(query, node).fetchone()
        return (None, False) if row is None else (str(row[0]), bool(row[1]))

    def _known_events(self, batch: Batch) -> set[str]:
        """Ids of events with identifiers that the log holds already."""
        ids = batch.identified_ids()
        return {row[0] for row in select_in(self._connection, "SELECT event_id FROM events WHERE event_id", ids)}

    def _learn(self, rows: Sightings, seq: int, others: frozenset[int] = frozenset()) -> dict[str, Stored]:
        """The sightings of a batch by text; new ones are kept, and customers whom they join are joined.

        `others` are keys of further ones that are new.
        """
        nodes = dict(zip(rows.texts, rows.nodes, strict=True))
        stored = self._read(nodes)
        new = [place for place, text in enumerate(rows.texts) if text not in stored]
        earlier = [
            place
            for place, text in enumerate(rows.texts)
            if text in stored and rows.first_us[place] < stored[text].sighting.first_us
        ]
        made = ((rows.texts[place], _own_name(rows.nodes[place]), rows.first_us[place]) for place in new)
        insert_all(self._connection, "customers (nodes, customer_id, first_us)", made)
        for place in earlier:
            update = "UPDATE customers SET first_us = ? WHERE nodes = ? AND first_us > ?"
            self._connection.execute(update, (rows.first_us[place], rows.texts[place], rows.first_us[place]))
        if new:
            stored |= self._read({rows.texts[place]: rows.nodes[place] for place in new})
        changed = [stored[rows.texts[place]] for place in (*new, *earlier)]
        linked = self._link([row.sighting for row in changed])
        if linked:
            new_keys = others | {stored[rows.texts[place]].sighting.key for place in new}
            self._regroup({node for sighting in linked for node in sighting.nodes}, seq, new_keys)
            stored = self._read(nodes)
            seen = (stored[rows.texts[place]] for place in new)
            self._consents.meet(((row.sighting.nodes, row.customer_id) for row in seen), seq)
        return stored

    def _link(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Note which identifiers were seen where. Returns the sightings that say more than one customer's id."""
        alone = {sighting.nodes[0] for sighting in sightings if _is_plain(sighting.nodes)}
        query = "SELECT id_type, id_value FROM identifiers WHERE (id_type, id_value)"
        known = {Node(*row) for row in select_in(self._connection, query, alone)}
        linked = [sighting for sighting in sightings if not _is_plain(sighting.nodes) or sighting.nodes[0] in known]
        seen = [(node, sighting.key) for sighting in linked for node in sighting.nodes]
        made = ((*node, _own_name((node,))) for node in dict.fromkeys(node for node, _ in seen))
        insert_all(self._connection, "identifiers (id_type, id_value, customer_id)", made, _IF_NEW)
        insert_all(self._connection, _SEEN_IN, ((*node, key) for node, key in seen), _IF_NEW)
        # a customer who was known by their id alone until now
        named = {node for sighting in linked for node in sighting.nodes if node.id_type == CUSTOMER} - known
        before = self._read({pack((node,)): (node,) for node in named}).values()
        insert_all(self._connection, _SEEN_IN, ((*row.sighting.nodes[0], row.sighting.key) for row in before), _IF_NEW)
        return linked

    def _regroup(self, nodes: Iterable[Node], seq: int, new_keys: frozenset[int]) -> None:
        """Find out anew who is whom around `nodes`, and note it where it has changed."""
        stored, known_shared = self.around(nodes)
        groups, shared = resolve((row.sighting for row in stored.values()), self.config, known_shared)
        regrouped: set[str] = set()
        for key, row in stored.items():
            name = groups.whose(row.sighting).name
            if name != row.customer_id:
                moved = key not in new_keys
                update = "UPDATE customers SET customer_id = ?, moved = ? WHERE customer_key = ?"
                self._connection.execute(update, (name, int(moved), key))
                self._memory.rename(key, name)
                if moved:
                    regrouped |= {name, row.customer_id}
        seen = {node for row in stored.values() for node in row.sighting.nodes}
        query = "SELECT id_type, id_value, customer_id, shared FROM identifiers WHERE (id_type, id_value)"
        for id_type, id_value, *known in select_in(self._connection, query, seen):
            node = Node(id_type, id_value)
            owner = None if node in shared else groups.owner(node)
            now = [_own_name((node,)) if owner is None else owner.name, int(node in shared)]
            if now != known:
                update = "UPDATE identifiers SET customer_id = ?, shared = ? WHERE id_type = ? AND id_value = ?"
                self._connection.execute(update, (*now, *node))
        note_regrouped(self._connection, regrouped, seq)
        if regrouped:
            book.follow(self._connection, regrouped)
            self._note_change()

    def _note_change(self) -> None:
        """Tell other connections that what they remember of sightings no longer holds."""
        self._version = str(int(get_meta(self._connection, _CHANGES, "0")) + 1)
        put_metas(self._connection, {_CHANGES: self._version})
        self._memory.follow(self._version)

    def _follow_limits(self, seq: int, notes: Mapping[str, str]) -> None:
        """Where the limits or lists are not those that the log was written with, everybody is found out anew."""
        known, known_words = notes.get(_LIMITS, ""), notes.get(_PLACEHOLDERS, "[]")
        if (known, known_words) == (self.config.limits_text, self.config.words_text):
            return
        put_metas(self._connection, {_LIMITS: self.config.limits_text, _PLACEHOLDERS: self.config.words_text})
        if known and (
            known != self.config.limits_text or self._told_anew(Placeholders(tuple(json.loads(known_words))))
        ):
            self._connection.execute("UPDATE identifiers SET shared = 0")
            nodes = {node for stored in self.sightings() for node in stored.sighting.nodes}
            self._regroup(nodes, seq, frozenset())

    def _told_anew(self, before: Placeholders) -> bool:
        """Whether an identifier that was somebody's names nobody now, or the other way round."""
        values = self._connection.execute("SELECT DISTINCT id_value FROM identifiers").fetchall()
        return any((value in self.config.nobody) != (value in before) for (value,) in values)

    def _read(self, wanted: Mapping[str, tuple[Node, ...]]) -> dict[str, Stored]:
        """Those of the sightings, given as texts with their identifiers, that the log has."""
        stored = {}
        for key, text, first_us, name in select_in(self._connection, f"{_STORED} WHERE nodes", wanted):
            stored[text] = Stored(Sighting(key, wanted[text], first_us), name)
        return stored


_STORED: Final = "SELECT customer_key, nodes, first_us, customers.customer_id FROM customers"


def _stored(row: Sequence[Any]) -> Stored:
    key, nodes, first_us, customer_id = row
    return Stored(Sighting(int(key), unpack(nodes), int(first_us)), str(customer_id))


def _own_name(nodes: Sequence[Node]) -> str:
    """The name of a customer of whom nothing else is known."""
    return nodes[0].value if nodes[0].id_type == CUSTOMER else f"{ANONYMOUS}{nodes[0]}"


def _is_plain(nodes: Sequence[Node]) -> bool:
    """A customer id and nothing else."""
    return len(nodes) == 1 and nodes[0].id_type == CUSTOMER
