"""The event log over SQL that SQLite and PostgreSQL both understand; each engine adds how it connects, writes and reads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa

from features.events.rows import event_rows
from features.events.schema import Event
from features.identity.resolution import ANONYMOUS, named_node
from features.log import identity, marks, portable_sql, tombstones
from features.log.batches import Batch, Events, are_decisions, batch_of
from features.log.conflicts import find_conflicts
from features.log.consents import OF_ADDRESS, OF_OTHERS, OF_OTHERS_MANY
from features.log.event_log import AppendResult, Arrival
from features.log.group_commit import append_together
from features.log.identity import IdentityBook, IdentityRules
from features.log.ledger import book
from features.log.ledger.book import SqlLedger
from features.log.lists.experiment_table import ExperimentTable
from features.log.lists.offer_table import OfferTable
from features.log.lists.suppression_table import SuppressionTable
from features.log.marks import Anchor
from features.log.owners import Owners
from features.log.portable_sql import Connection
from features.log.reservations import Decided
from features.log.tables import COLUMNS, PURCHASE_SCHEMA, rows_to_table
from features.log.tombstones import Tombstones
from features.money.counted import count_values
from features.money.rates import NO_RATES, RatesFile
from features.state.event_arrays import Contact
from features.vocabulary import CONTACT_KINDS, REACTION_KINDS, Columns, EventKind

_OF_CUSTOMER: Final = (
    f"SELECT * FROM (SELECT {COLUMNS} FROM customers c JOIN events e USING (customer_key) WHERE c.customer_id = ?"
    f" AND seq > ? AND (kind <> '{EventKind.DECISION}' OR occurred_us < ?) UNION ALL {OF_OTHERS}) AS counting"
    " ORDER BY occurred_us, event_id"
)
_NEVER_US: Final = 2**62
_STORED_AS: Final = {Columns.OCCURRED_AT: "occurred_us"}
_PURCHASES: Final = (
    f"SELECT {', '.join(_STORED_AS.get(name, name) for name in PURCHASE_SCHEMA.names)}"
    " FROM customers c JOIN events e USING (customer_key) WHERE c.customer_id = ?"
    f" AND kind IN ('{EventKind.PURCHASE}', '{EventKind.RETURN}') ORDER BY occurred_us, event_id"
)
_CONTACTS: Final = (
    f"SELECT {', '.join(Contact._fields)} FROM customers c JOIN events e USING (customer_key) WHERE c.customer_id = ?"
    f" AND kind IN ({', '.join(repr(str(kind)) for kind in (*CONTACT_KINDS, *REACTION_KINDS, EventKind.DECISION))})"
    " ORDER BY occurred_us, event_id"
)
_OF_MANY: Final = (
    "WITH wanted(customer_id, after_seq) AS (VALUES {wanted}) SELECT * FROM (SELECT {columns} FROM wanted w"
    " CROSS JOIN customers c JOIN events e USING (customer_key) WHERE c.customer_id = w.customer_id AND seq > w.after_seq"
    " UNION ALL {others}) AS counting ORDER BY 2, occurred_us, event_id"
)
_MANY: Final = (64, 8, 1)
"""Customers per statement: few sizes, so that each is prepared once."""
_NEWER: Final = (
    "WITH wanted(customer_id, after_seq, until_us) AS (VALUES {wanted}) SELECT w.customer_id FROM wanted w WHERE EXISTS"
    " (SELECT 1 FROM customers c JOIN events e USING (customer_key) WHERE c.customer_id = w.customer_id"
    f" AND e.seq > w.after_seq AND (e.kind <> '{EventKind.DECISION}' OR e.occurred_us < w.until_us))"
)
_ONE_FOLDED: Final = "(CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT))"
_LOOKED_AT: Final = (256, 32, 4, 1)
_ONE_OF_MANY: Final = "(CAST(? AS TEXT), CAST(? AS BIGINT))"
_ARRIVALS: Final = (
    "SELECT seq, c.customer_id, kind, occurred_us FROM"
    " (SELECT seq, customer_key, kind, occurred_us FROM events WHERE seq > ? ORDER BY seq LIMIT ?) e"
    " JOIN customers c USING (customer_key) ORDER BY seq"
)
_PLACES: Final = COLUMNS.split(", ")
_VALUE, _CURRENCY = (_PLACES.index(f"e.{name}") for name in (Columns.VALUE, Columns.CURRENCY))
_UNDER: Final = "SELECT event_id, value FROM events WHERE event_id >= ? AND event_id < ?"
_BY_ID: Final = "SELECT event_id FROM events WHERE event_id"
_DECISIONS: Final = (
    "SELECT e.decision_id, c.customer_id FROM customers c JOIN events e USING (customer_key)"
    f" WHERE e.kind = '{EventKind.DECISION}'"
)
_DECISION_BY_ID: Final = f"{_DECISIONS} AND e.event_id"
_DECISION_OF: Final = f"{_DECISIONS} AND e.decision_id = ? AND c.customer_id = ? LIMIT 1"

_NOTES: Final = (portable_sql.COUNT, portable_sql.CONTENT, marks.NEWEST, tombstones.KEY, *identity.NOTES)
"""Notes that an append goes by."""

C = TypeVar("C", bound=Connection)


class SqlEventLog(ABC, Generic[C]):
    """What an engine's event log inherits; `C` is the engine's connection, on which a parameter is written `?`."""

    def __init__(self, rules: IdentityRules, sync_decisions: bool = True, rates: RatesFile = NO_RATES) -> None:
        self._rules_given = self._rules = rules
        self._rates = rates
        self._home: str | None = None  # the currency that counts, once some event has to be looked at for its own
        self._sync_decisions = sync_decisions
        self._marker = marks.Marker()

    @abstractmethod
    def _connection(self) -> C:
        """This thread's own connection."""

    @abstractmethod
    def _writing(self, synced: bool = True) -> AbstractContextManager[C]:
        """One write transaction, or within one a part of it: all of it, or after an error nothing.

        What is not `synced` survives the end of this process at once, and a power cut only a moment later.
        """

    @abstractmethod
    def _in_words(self) -> AbstractContextManager[None]:
        """Turns the database's errors into ours."""

    @abstractmethod
    def _insert(self, connection: C, batch: Batch, owners: Owners) -> int:
        """Write the events whose id is new, in their order; returns how many."""

    def append(self, events: Events, decided: Sequence[Decided] = ()) -> AppendResult:
        batch = batch_of(events).kept(self._rules.identifiers)
        with self._writing(self._must_sync([events])) as connection:
            for refusal in filter(None, book.settle(connection, decided)):
                raise refusal
            before = portable_sql.last_seq(connection)
            notes = portable_sql.get_metas(connection, _NOTES)
            batch, erased = Tombstones(connection).screen(batch, notes.get(tombstones.KEY, ""))
            if not len(batch):
                return AppendResult(0, 0, before, erased)
            # whose each event is; identifiers are learnt
            owners = self._rules.book(connection).assign(batch, before + 1, notes)
            appended = self._insert(connection, batch, owners)
            conflicts = find_conflicts(connection, batch, before, appended) if appended < len(batch) else ()
            last = portable_sql.last_seq(connection)
            if appended:
                ended = batch.about_decisions(book.SETTLING_KINDS)
                if ended:
                    book.note_events(connection, ended)
                self._rules.consents(connection).learn(batch, before)
                content = portable_sql.added_content(connection, batch, before, appended)
                changed: dict[str, object] = {
                    portable_sql.COUNT: int(notes.get(portable_sql.COUNT, "0")) + appended,
                    portable_sql.CONTENT: (int(notes.get(portable_sql.CONTENT, "0")) + content) % 2**64,
                    marks.NEWEST: self._marker.note(connection, notes.get(marks.NEWEST, ""), last),
                }
                portable_sql.put_metas(connection, changed)
        return AppendResult(appended, len(batch) - appended, last, erased, conflicts)

    def append_events(self, events: Sequence[Event]) -> AppendResult:
        return self.append(event_rows(events))

    def append_many(
        self, batches: Sequence[Events], decided: Sequence[Decided | None] = ()
    ) -> list[AppendResult | Exception]:
        return append_together(self, lambda: self._writing(self._must_sync(batches)), batches, decided)

    def append_decided(self, events: pa.Table, decided: Sequence[Decided]) -> Sequence[Exception | None]:
        with self._writing(self._sync_decisions) as connection:
            refusals = book.settle(connection, decided)
            kept = [row for row, refusal in enumerate(refusals) if refusal is None]
            if kept:
                self.append(events.take(pa.array(kept, pa.int64())))
        return refusals

    def settle(self, decided: Sequence[Decided]) -> Sequence[Exception | None]:
        with self._writing() as connection:
            return book.settle(connection, decided)

    def ledger(self) -> SqlLedger:
        return SqlLedger(self._connection(), self._in_words)

    def _must_sync(self, batches: Sequence[Events]) -> bool:
        return self._sync_decisions or not all(map(are_decisions, batches))

    def customer_events(self, customer_id: str, after_seq: int = 0, decided_before_us: int | None = None) -> pa.Table:
        until_us = _NEVER_US if decided_before_us is None else decided_before_us
        rows = self._query(_OF_CUSTOMER, (customer_id, after_seq, until_us, customer_id, after_seq))
        if not rows and not after_seq and customer_id.startswith(ANONYMOUS):
            rows = self._query(OF_ADDRESS, (customer_id, *named_node(customer_id)))
        return self._as_table(rows)

    def contacts(self, customer_id: str) -> list[Contact]:
        return list(map(Contact._make, self._query(_CONTACTS, (customer_id,))))

    def purchases(self, customer_id: str) -> pa.Table:
        columns = [*zip(*self._query(_PURCHASES, (customer_id,)), strict=True)]
        if not columns:
            return PURCHASE_SCHEMA.empty_table()
        arrays = [pa.array(values, field.type) for field, values in zip(PURCHASE_SCHEMA, columns, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=PURCHASE_SCHEMA)
        named = columns[PURCHASE_SCHEMA.get_field_index(Columns.CURRENCY)]
        return table if set(named) <= {None, self._home} else self._counted(table)

    def arrivals(self, after_seq: int, limit: int) -> list[Arrival]:
        return list(map(Arrival._make, self._query(_ARRIVALS, (after_seq, limit))))

    def events_of(self, after_seqs: Mapping[str, int]) -> pa.Table:
        rows: list[tuple[Any, ...]] = []
        for part in portable_sql.in_parts(after_seqs.items(), _MANY):
            wanted = ", ".join([_ONE_OF_MANY] * len(part))
            query = _OF_MANY.format(wanted=wanted, columns=COLUMNS, others=OF_OTHERS_MANY)
            rows += self._query(query, tuple(value for pair in part for value in pair))
        known = {row[1] for row in rows}
        for name, after_seq in after_seqs.items():
            if name not in known and not after_seq and name.startswith(ANONYMOUS):
                rows += self._query(OF_ADDRESS, (name, *named_node(name)))
        return self._as_table(rows)

    def whose_is_newer(self, folded: Sequence[tuple[str, int, int]]) -> set[str]:
        newer: set[str] = set()
        for part in portable_sql.in_parts(folded, _LOOKED_AT):
            query = _NEWER.format(wanted=", ".join([_ONE_FOLDED] * len(part)))
            newer.update(str(name) for (name,) in self._query(query, tuple(value for row in part for value in row)))
        return newer

    def names_of(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        with self._in_words():
            return self.identity().find_many(customer_ids)

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        with self._in_words():
            return self.identity().find(customer_id, identifiers)

    def kept_under(self, beginning: str) -> dict[str, float | None]:
        # the next text after all that begin so: in the order of bytes, in which both engines keep ids
        after = beginning[:-1] + chr(ord(beginning[-1]) + 1)
        with self._in_words():
            return {str(event_id): value for event_id, value in self._query(_UNDER, (beginning, after))}

    def known_ids(self, event_ids: Sequence[str]) -> set[str]:
        with self._in_words():
            return {str(row[0]) for row in portable_sql.select_in(self._connection(), _BY_ID, event_ids)}

    def undecided(self, outcomes: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        left = set(outcomes)
        with self._in_words():  # the service's decisions are found at once; others, among the customer's events
            ids = sorted({decision_id for decision_id, _ in left})
            left -= {(str(d), str(c)) for d, c in portable_sql.select_in(self._connection(), _DECISION_BY_ID, ids)}
            return {pair for pair in left if not self._query(_DECISION_OF, pair)}

    def regrouped_seq(self, customer_id: str) -> int:
        with self._in_words():
            return self.identity().regrouped_seq(customer_id)

    def regrouped_seqs(self, customer_ids: Sequence[str]) -> dict[str, int]:
        query = "SELECT customer_id, seq FROM regrouped WHERE customer_id"
        with self._in_words():
            return dict(portable_sql.select_in(self._connection(), query, customer_ids))

    def regrouped_since(self, seq: int) -> dict[str, int]:
        with self._in_words():
            return self.identity().regrouped_since(seq)

    def identity(self) -> IdentityBook:
        return self._rules.book(self._connection())

    def offers(self) -> OfferTable:
        return OfferTable(self._writing, self._query)

    def experiments(self) -> ExperimentTable:
        return ExperimentTable(self._writing, self._query)

    def suppressions(self) -> SuppressionTable:
        return SuppressionTable(self._writing, self._query, self._rules.identifiers)

    def currency(self) -> str | None:
        with self._in_words():
            noted = portable_sql.get_meta(self._connection(), portable_sql.CURRENCY, portable_sql.NOT_LOOKED)
        if noted == portable_sql.NOT_LOOKED:  # a log from before currencies were noted
            with self._writing() as connection:
                noted = portable_sql.note_currency(connection)
        return noted or None

    def settle_currency(self, code: str) -> str:
        with self._writing() as connection:
            noted = portable_sql.note_currency(connection)
            if not noted:
                portable_sql.put_meta(connection, portable_sql.CURRENCY, code)
        return noted or code

    def _as_table(self, rows: list[tuple[Any, ...]]) -> pa.Table:
        """Rows of COLUMNS as they count; nearly always nothing is to be done, which is seen before Arrow is asked."""
        table = rows_to_table(rows)
        if all(row[_VALUE] is None or row[_CURRENCY] in (None, self._home) for row in rows):
            return table
        return self._counted(table)

    def _counted(self, events: pa.Table) -> pa.Table:
        """Events with the values that count: the one door by which what is in the log comes out as money."""
        if set(events[Columns.CURRENCY].unique().to_pylist()) <= {None, self._home}:
            return events
        if self._home is None:
            with self._in_words():
                self._home = portable_sql.get_meta(self._connection(), portable_sql.CURRENCY, "") or None
        return events if self._home is None else count_values(events, self._home, self._rates)

    def anchor(self) -> Anchor:
        with self._in_words():
            return marks.newest(self._connection())

    def holds(self, anchor: Anchor) -> bool:
        with self._in_words():
            return marks.holds(self._connection(), anchor)

    def renew_id(self) -> str:
        with self._writing() as connection:
            return marks.renew_log_id(connection)

    def last_seq(self) -> int:
        with self._in_words():
            return portable_sql.last_seq(self._connection())

    def count(self) -> int:
        with self._in_words():
            return portable_sql.count(self._connection())

    def fingerprint(self) -> str:
        with self._in_words():
            return portable_sql.fingerprint(self._connection())

    def _query(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._in_words():
            return self._connection().execute(query, parameters).fetchall()
