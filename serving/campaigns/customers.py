"""Everybody there is: the timeline of the last build and the log's newer events in, customers' ids out, and who is new."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import MissingError
from features.log.event_log import EventLog
from features.offline.build_note import read_note
from features.settings import Settings
from features.vocabulary import Columns, EventKind

BATCH: Final = 256
"""Customers that are scored together."""


@dataclass(frozen=True)
class Everybody:
    """All customers, in order, and those of whom the log knows more than the last build did."""

    ids: Sequence[str] = ()
    newer: frozenset[str] = field(default_factory=frozenset)
    """Who is not in the timeline: they came, or were told apart, since it was built."""
    changed: frozenset[str] = field(default_factory=frozenset)
    """Who is in it and has events, or other ones, since then."""

    def count(self, customer_ids: Iterable[str]) -> tuple[int, int]:
        """How many of these are newer, and how many changed."""
        listed = set(customer_ids)
        return len(listed & self.newer), len(listed & self.changed)


def everybody(timeline_ids: Sequence[str], settings: Settings, log: EventLog) -> Everybody:
    """The customers of the timeline and those of the log's newer events.

    Decisions are no behaviour: somebody of whom only they are new has not changed. Where the build is of another log or
    layout, all of the log counts as newer than it, and who is not in the log is nobody: an Omni from before builds were
    marked may have built from a log that was restored since.
    """
    built = set(timeline_ids)
    note = read_note(settings)
    since = 0 if note is None else note.last_seq
    seen = set(log.regrouped_since(since))
    for batch in log.read(after_seq=since):
        behaviour = pc.not_equal(batch[Columns.KIND].cast(pa.string()), EventKind.DECISION.value)
        named = pc.unique(batch[Columns.RESOLVED_CUSTOMER_ID].cast(pa.string()).filter(behaviour))
        seen.update(customer_id for customer_id in named.to_pylist() if customer_id is not None)
    ids = seen if note is None else built | seen
    return Everybody(sorted(ids), frozenset(seen - built), frozenset(seen & built))


def customer_ids(settings: Settings) -> list[str]:
    """Every customer of the timeline, in order. Raises MissingError where it is not built."""
    if not settings.timeline_path.exists():
        raise MissingError(f"There is no timeline at {settings.timeline_path}.", repair="Run `omni features build`.")
    found: set[str] = set()
    for batch in pq.ParquetFile(settings.timeline_path).iter_batches(columns=[Columns.CUSTOMER_ID]):
        found.update(pc.unique(batch[0]).to_pylist())
    return sorted(found)


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Customers in groups that are scored together."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
