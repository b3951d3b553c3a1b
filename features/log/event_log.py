"""The interface of the durable event log: valid tables in, kept once and for good; the same events out, in their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from features.events.schema import Event
from features.log.batches import Events
from features.log.conflicts import Conflict
from features.log.erasure import ErasureBook
from features.log.identity import IdentityBook
from features.log.lists.experiment_table import ExperimentTable
from features.log.lists.offer_table import OfferTable
from features.log.lists.suppression_table import SuppressionTable
from features.log.marks import Anchor
from features.log.reservations import Decided, Ledger
from features.state.event_arrays import Contact


@dataclass(frozen=True)
class AppendResult:
    """What one append did: rows that are new, rows whose event_id was there already, and the log's last seq after it.

    `erased` rows belong to customers who were erased, and were left out. `conflicts` are the duplicates that are not the event
    sent again, but another one with its id: what the log held stays.
    """

    appended: int
    duplicates: int
    last_seq: int
    erased: int = 0
    conflicts: tuple[Conflict, ...] = ()


class Arrival(NamedTuple):
    """An event that came in: its place in the log, whose it is, what it is and of when (microseconds since the epoch)."""

    seq: int
    customer_id: str
    kind: str
    occurred_us: int


class EventLog(Protocol):
    """A durable list of events: appended once by event_id, read in the order of arrival.

    Whatever is read has the values that count (features/money/counted.py), but for `kept_under`: those are as they are kept.
    An event's `seq` is greater than that of every event before it; duplicates leave gaps.
    """

    def append(self, events: Events, decided: Sequence[Decided] = ()) -> AppendResult:
        """Keep valid events (a table of EVENT_SCHEMA, or a few rows) in one transaction; on disk when this returns.

        What is `decided` by them is settled in the same transaction; raises OvertakenError or FullError, with nothing kept,
        where one of it has to be decided again.
        """
        ...

    def append_events(self, events: Sequence[Event]) -> AppendResult:
        """`append` of a few events as rows."""
        ...

    def append_many(
        self, batches: Sequence[Events], decided: Sequence[Decided | None] = ()
    ) -> list[AppendResult | Exception]:
        """`append` of each batch, one after the other, but in one transaction; what one of them raises is its result.

        With `decided`, one for each batch, what is not None is settled with it.
        """
        ...

    def append_decided(self, events: pa.Table, decided: Sequence[Decided]) -> Sequence[Exception | None]:
        """`append` of decisions (n,) without those that are refused, in one transaction: why each is, or None."""
        ...

    def settle(self, decided: Sequence[Decided]) -> Sequence[Exception | None]:
        """Reserve what decisions claim, in their order: why each is refused, or None. A part of the caller's transaction."""
        ...

    def ledger(self) -> Ledger:
        """What decisions have reserved, to read; of the calling thread."""
        ...

    def read(self, after_seq: int = 0, batch_rows: int = 200_000) -> Iterator[pa.Table]:
        """Events with seq > `after_seq` in seq order: EVENT_SCHEMA + seq + resolved_customer_id."""
        ...

    def customer_events(self, customer_id: str, after_seq: int = 0, decided_before_us: int | None = None) -> pa.Table:
        """One customer's events (by resolved id) in timeline order, (occurred_at, event_id); columns as `read`.

        With `decided_before_us` (microseconds since the epoch) decisions of that moment and later are left out.
        """
        ...

    def contacts(self, customer_id: str) -> list[Contact]:
        """What of one customer's events tells what they were contacted about, in the order of `customer_events`."""
        ...

    def purchases(self, customer_id: str) -> pa.Table:
        """One customer's purchases and returns in the order of `customer_events`; tables.PURCHASE_SCHEMA."""
        ...

    def arrivals(self, after_seq: int, limit: int) -> list[Arrival]:
        """The first events with seq > `after_seq`, in seq order: what tells whose state may have changed."""
        ...

    def events_of(self, after_seqs: Mapping[str, int]) -> pa.Table:
        """`customer_events` of several customers, each after a seq of their own; one customer after the other."""
        ...

    def whose_is_newer(self, folded: Sequence[tuple[str, int, int]]) -> set[str]:
        """Those of several customers of whom there are events after a seq of their own, as `customer_events` has them.

        Each is a name, a seq and a moment (microseconds): decisions of that moment and later do not count. Nor does what
        others said of a common address: whom that governs was regrouped.
        """
        ...

    def names_of(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        """`resolve` of several customer ids."""
        ...

    def resolve(self, customer_id: str | None, identifiers: Mapping[str, str]) -> str | None:
        """Who this is: the customer with that id (any id of theirs) where given, else with these identifiers, else None."""
        ...

    def kept_under(self, beginning: str) -> dict[str, float | None]:
        """The values of the events whose event_id begins so, by their ids."""
        ...

    def known_ids(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids of which the log holds an event."""
        ...

    def undecided(self, outcomes: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the (decision_id, resolved customer) pairs of which the log holds no decision."""
        ...

    def regrouped_seq(self, customer_id: str) -> int:
        """The seq at which events were last given to this customer or taken away by what is known of identifiers; or 0.

        A state from before that seq is of other events, and has to be folded anew.
        """
        ...

    def regrouped_seqs(self, customer_ids: Sequence[str]) -> dict[str, int]:
        """`regrouped_seq` of those of several customers who were regrouped."""
        ...

    def regrouped_since(self, seq: int) -> dict[str, int]:
        """Customers who were regrouped after `seq`, and at which seq."""
        ...

    def identity(self) -> IdentityBook:
        """What is known of identifiers, to read."""
        ...

    def erasures(self) -> ErasureBook:
        """What was erased from this log, and the means to erase."""
        ...

    def offers(self) -> OfferTable:
        """The offers that are kept beside the events."""
        ...

    def experiments(self) -> ExperimentTable:
        """What is tried on whom."""
        ...

    def suppressions(self) -> SuppressionTable:
        """Whom nothing is sent to and nothing is learnt from."""
        ...

    def currency(self) -> str | None:
        """The currency in which values are counted; None as long as no value named one."""
        ...

    def settle_currency(self, code: str) -> str:
        """Count in this currency from now on, unless there is one already; returns the one that it is."""
        ...

    def anchor(self) -> Anchor:
        """The end of the log as it is now, to be kept with what is computed from it; see marks.py."""
        ...

    def holds(self, anchor: Anchor) -> bool:
        """Whether this still is the log with that end in it, and not one restored from an older copy."""
        ...

    def renew_id(self) -> str:
        """Make it another log, as after a backup was restored: no anchor from before holds. Returns the new id."""
        ...

    def last_seq(self) -> int:
        """The seq of the newest event, 0 for an empty log."""
        ...

    def count(self) -> int:
        """How many events there are."""
        ...

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the content: equal for logs of the same events, and cheap to ask for."""
        ...

    def try_write(self) -> None:
        """Write a note and wait until it is on disk, as an append would be; raises StoreError where that cannot be done."""
        ...

    def close(self) -> None:
        """Let go of the files. A closed log cannot be used again."""
        ...
