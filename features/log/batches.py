"""Events that are to be appended, as the steps of an append read them: a table for bulk, plain rows for a few.

Both are appended by the same steps (sql_log.py). A table takes each in a tenth of the time where there are thousands of
events; rows do without Arrow's calls, which cost more than all the rest where there are few.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from features.events.rows import EventRow, rows_table, table_rows
from features.identity.addresses import CONSENT_KINDS
from features.identity.identifiers import Identifiers
from features.identity.resolution import ANONYMOUS, IdentityConfig
from features.log.sightings import Sightings, sightings_of
from features.log.tables import hash_rows, hash_table, row_to_stored, table_to_rows
from features.vocabulary import Columns, EventKind

Events: TypeAlias = pa.Table | Sequence[EventRow]
"""What may be appended: a valid table (EVENT_SCHEMA), or rows."""


class Batch(Protocol):
    """Valid events in their order; n of them."""

    def __len__(self) -> int: ...

    def kept(self, identifiers: Identifiers) -> "Batch":
        """With identifiers as they are kept."""

    def take(self, places: Sequence[int]) -> "Batch":
        """Some of the events."""

    def event_ids(self) -> list[str]:
        """Their ids, (n,)."""

    def identified_ids(self) -> list[str]:
        """The ids of those that carry identifiers."""

    def names(self) -> Iterable[tuple[str, int, str | None, Iterable[tuple[str, str]]]]:
        """Event id, moment (microseconds), customer id and identifiers of each."""

    def sightings(self, known: set[str], config: IdentityConfig) -> Sightings:
        """Who they are about; `known` are ids of events that the log has."""

    def stored(self, customer_keys: Sequence[int]) -> Iterable[tuple[Any, ...]]:
        """Rows for INSERT (tables.STORED); `customer_keys` (n,) are of the same events."""

    def content(self) -> int:
        """The sum modulo 2^64 of one hash per event, over what makes up its meaning; the same on every machine."""

    def has_consents(self) -> bool:
        """Whether some may consent or refuse for an address."""

    def about_decisions(self, kinds: Collection[str]) -> Sequence[EventRow]:
        """Those of some kinds that name a decision."""


@dataclass(frozen=True)
class TableBatch:
    """A valid table of EVENT_SCHEMA."""

    table: pa.Table

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def kept(self, identifiers: Identifiers) -> "TableBatch":
        return TableBatch(identifiers.kept_table(self.table))

    def take(self, places: Sequence[int]) -> "TableBatch":
        return TableBatch(self.table.take(pa.array(places, pa.int64())))

    def event_ids(self) -> list[str]:
        ids: list[str] = self.table.column(Columns.EVENT_ID).to_pylist()
        return ids

    def identified_ids(self) -> list[str]:
        identifiers = self.table.column(Columns.IDENTIFIERS)
        if identifiers.null_count == len(identifiers):
            return []
        ids: list[str] = self.table.column(Columns.EVENT_ID).filter(pc.is_valid(identifiers)).to_pylist()
        return ids

    def names(self) -> Iterable[tuple[str, int, str | None, Iterable[tuple[str, str]]]]:
        moments = self.table.column(Columns.OCCURRED_AT).cast(pa.int64())
        columns = [self.table.column(name) for name in (Columns.EVENT_ID, Columns.CUSTOMER_ID, Columns.IDENTIFIERS)]
        ids, customers, identifiers = (column.to_pylist() for column in columns)
        return zip(ids, moments.to_pylist(), customers, (pairs or () for pairs in identifiers), strict=True)

    def sightings(self, known: set[str], config: IdentityConfig) -> Sightings:
        return sightings_of(table_rows(self.table), known, config)

    def stored(self, customer_keys: Sequence[int]) -> Iterable[tuple[Any, ...]]:
        return table_to_rows(self.table, customer_keys)

    def content(self) -> int:
        return hash_table(self.table)

    def has_consents(self) -> bool:
        identifiers, kinds = self.table.column(Columns.IDENTIFIERS), self.table.column(Columns.KIND)
        if identifiers.null_count == len(identifiers):
            return False
        of_kind = pc.is_in(kinds.cast(pa.string()), value_set=pa.array(CONSENT_KINDS))
        return bool(pc.any(pc.and_(of_kind, pc.is_valid(identifiers))).as_py())

    def about_decisions(self, kinds: Collection[str]) -> Sequence[EventRow]:
        decisions = self.table.column(Columns.DECISION_ID)
        if decisions.null_count == len(decisions):
            return ()
        of_kind = pc.is_in(self.table.column(Columns.KIND).cast(pa.string()), value_set=pa.array(sorted(kinds)))
        return table_rows(self.table.filter(pc.and_(of_kind, pc.is_valid(decisions))))


@dataclass(frozen=True)
class RowBatch:
    """Rows."""

    rows: Sequence[EventRow]

    def __len__(self) -> int:
        return len(self.rows)

    def kept(self, identifiers: Identifiers) -> "RowBatch":
        return RowBatch([_kept(row, identifiers) for row in self.rows])

    def take(self, places: Sequence[int]) -> "RowBatch":
        return RowBatch([self.rows[place] for place in places])

    def event_ids(self) -> list[str]:
        return [row.event_id for row in self.rows]

    def identified_ids(self) -> list[str]:
        return [row.event_id for row in self.rows if row.identifiers]

    def names(self) -> Iterable[tuple[str, int, str | None, Iterable[tuple[str, str]]]]:
        for row in self.rows:
            yield row.event_id, row.occurred_us, row.customer_id, (row.identifiers or {}).items()

    def sightings(self, known: set[str], config: IdentityConfig) -> Sightings:
        return sightings_of(self.rows, known, config)

    def stored(self, customer_keys: Sequence[int]) -> Iterable[tuple[Any, ...]]:
        return map(row_to_stored, self.rows, customer_keys)

    def content(self) -> int:
        return hash_rows(self.rows)

    def has_consents(self) -> bool:
        return any(row.identifiers and row.kind in CONSENT_KINDS for row in self.rows)

    def about_decisions(self, kinds: Collection[str]) -> Sequence[EventRow]:
        return [row for row in self.rows if row.decision_id is not None and row.kind in kinds]


def batch_of(events: Events) -> Batch:
    """What is to be appended, as a batch."""
    return TableBatch(events) if isinstance(events, pa.Table) else RowBatch(events)


def are_decisions(events: Events) -> bool:
    """Whether they are rows, and decisions only."""
    return not isinstance(events, pa.Table) and all(row.kind == EventKind.DECISION for row in events)


def joined(batches: Sequence[Events]) -> Events:
    """All of them as one, in their order: rows where all are rows, and else a table."""
    if all(not isinstance(events, pa.Table) for events in batches):
        return [row for rows in batches for row in rows]
    tables = [events if isinstance(events, pa.Table) else rows_table(events) for events in batches]
    return pa.concat_tables(tables).combine_chunks()


def _kept(row: EventRow, identifiers: Identifiers) -> EventRow:
    if row.identifiers:
        row = row._replace(identifiers=identifiers.kept_pairs(row.identifiers))
    if row.customer_id is not None and row.customer_id.startswith(ANONYMOUS):
        row = row._replace(customer_id=identifiers.kept_name(row.customer_id))
    return row
