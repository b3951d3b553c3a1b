"""The event log over SQL that SQLite and PostgreSQL both understand; each engine adds how it connects, writes and reads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa

from features.identity.resolution import ANONYMOUS, named_node
from features.log import marks, portable_sql
from features.log.conflicts import find_conflicts
from features.log.consents import OF_ADDRESS, OF_OTHERS
from features.log.event_log import AppendResult
from features.log.group_commit import append_together
from features.log.identity import IdentityBook, IdentityRules, Owners
from features.log.marks import Anchor
from features.log.portable_sql import Connection
from features.log.tables import COLUMNS, rows_to_table
from features.log.tombstones import Tombstones
from features.vocabulary import EventKind

_OF_CUSTOMER: Final = (
    f"SELECT * FROM (SELECT {COLUMNS} FROM customers c JOIN events e USING (customer_key)"
    f" WHERE c.customer_id = ? AND seq > ? UNION ALL {OF_OTHERS}) AS counting ORDER BY occurred_us, event_id"
)
_DECISIONS: Final = (
    "SELECT e.decision_id, c.customer_id FROM customers c JOIN events e USING (customer_key)"
    f" WHERE e.kind = '{EventKind.DECISION}'"
)
_DECISION_BY_ID: Final = f"{_DECISIONS} AND e.event_id"
_DECISION_OF: Final = f"{_DECISIONS} AND e.decision_id = ? AND c.customer_id = ? LIMIT 1"

C = TypeVar("C", bound=Connection)


class SqlEventLog(ABC, Generic[C]):
    """What an engine's event log inherits; `C` is the engine's connection, on which a parameter is written `?`."""

    _rules: IdentityRules

    @abstractmethod
    def _connection(self) -> C:
        """This thread's own connection."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[C]:
        """One write transaction, or within one a part of it: all of it, or after an error nothing."""

    @abstractmethod
    def _in_words(self) -> AbstractContextManager[None]:
        """Turns the database's errors into ours."""

    @abstractmethod
    def _insert(self, connection: C, table: pa.Table, owners: Owners) -> int:
        """Write the rows whose event_id is new, in row order; returns how many."""

    def append(self, table: pa.Table) -> AppendResult:
        table = self._rules.identifiers.kept_table(table)
        with self._writing() as connection:
            before = portable_sql.last_seq(connection)
            table, erased = Tombstones(connection).screen(table)
            if table.num_rows == 0:
                return AppendResult(0, 0, before, erased)
            owners = self._rules.book(connection).assign(table, before + 1)  # whose each row is; identifiers are learnt
            appended = self._insert(connection, table, owners)
            conflicts = find_conflicts(connection, table, before, appended) if appended < table.num_rows else ()
            if appended:
                portable_sql.note_appended(connection, table, before, appended)
                self._rules.consents(connection).learn(table, before)
            last = portable_sql.last_seq(connection)
            if appended:
                marks.put_mark(connection, last)
        return AppendResult(appended, table.num_rows - appended, last, erased, conflicts)

    def append_many(self, tables: Sequence[pa.Table]) -> list[AppendResult | Exception]:
        return append_together(self, self._writing, tables)

    def customer_events(self, customer_id: str, after_seq: int = 0) -> pa.Table:
        rows = self._query(_OF_CUSTOMER, (customer_id, after_seq) * 2)
        if not rows and not after_seq and customer_id.startswith(ANONYMOUS):
            rows = self._query(OF_ADDRESS, (customer_id, *named_node(customer_id)))
        return rows_to_table(rows)

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        with self._in_words():
            return self.identity().find(customer_id, identifiers)

    def undecided(self, outcomes: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        left = set(outcomes)
        with self._in_words():  # the service's decisions are found at once; others, among the customer's events
            ids = sorted({decision_id for decision_id, _ in left})
            left -= {(str(d), str(c)) for d, c in portable_sql.select_in(self._connection(), _DECISION_BY_ID, ids)}
            return {pair for pair in left if not self._query(_DECISION_OF, pair)}

    def regrouped_seq(self, customer_id: str) -> int:
        with self._in_words():
            return self.identity().regrouped_seq(customer_id)

    def regrouped_since(self, seq: int) -> dict[str, int]:
        with self._in_words():
            return self.identity().regrouped_since(seq)

    def identity(self) -> IdentityBook:
        return self._rules.book(self._connection())

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
