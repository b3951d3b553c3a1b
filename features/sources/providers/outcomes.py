"""What each row of a file means comes in; a batch for the log goes out: events, rejected rows, and what was skipped by word."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from features.events.rules import EVENT_COLUMNS, Problem
from features.events.schema import EVENT_SCHEMA, rejected_table
from features.formats import Meaning, UnreadableError
from features.formats.reading import Fields
from features.ids import id_text
from features.sources.batch import SourceBatch, sampled
from features.sources.readers.rows import RawRows
from features.vocabulary import Columns

_PAIRS: Final = Columns.IDENTIFIERS
_AS_TEXT: Final = Columns.PROPERTIES


@dataclass
class Outcome:
    """What came of one row: events, words of what is none of ours, and what is wrong with it."""

    events: list[Fields] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, records: Iterable[Any], read: Callable[[Mapping[str, Any]], Meaning]) -> "Outcome":
        """What the records of one row mean; what is wrong with one of them takes no other with it."""
        outcome = cls()
        for record in records:
            if not isinstance(record, Mapping):
                outcome.problems.append(Problem("record", "is not a JSON object."))
                continue
            try:
                meaning = read(record)
            except UnreadableError as error:
                outcome.problems.append(error.problem)
                continue
            outcome.events += meaning.events
            outcome.skipped += [] if meaning.skipped is None else [meaning.skipped]
        return outcome


def to_batch(raw: RawRows, outcomes: Sequence[Outcome], share: float | None = None) -> SourceBatch:
    """The batch of rows, of which `outcomes` (n,) says what each one means; `share` keeps that part of the customers."""
    numbers = raw.numbers.tolist()
    events = [event for outcome in outcomes for event in outcome.events]
    origins = [number for number, outcome in zip(numbers, outcomes, strict=True) for _ in outcome.events]
    table, row_numbers = event_table(events), np.array(origins, np.int64)
    if share is not None:
        keep = sampled(pa.array([_name(event) for event in events], pa.string()), share)
        table, row_numbers = table.filter(keep), row_numbers[keep.to_numpy(zero_copy_only=False)]
    wrong = [(place, problem) for place, outcome in enumerate(outcomes) for problem in outcome.problems]
    rejected = raw.rejected
    if wrong:
        rows = raw.select(np.array([place for place, _ in wrong], np.int64)).objects()
        texts = [json.dumps(row, default=str, ensure_ascii=False) for row in rows]
        empty = event_table([{} for _ in wrong])
        problems = [problem for _, problem in wrong]
        more = rejected_table(empty, [numbers[place] for place, _ in wrong], problems, texts)
        rejected = pa.concat_tables([rejected, more])
    return SourceBatch(
        table,
        rejected=rejected,
        rows_total=len(raw) + raw.rejected.num_rows,
        row_numbers=row_numbers,
        skipped=Counter(word for outcome in outcomes for word in outcome.skipped),
    )


def event_table(events: Sequence[Fields]) -> pa.Table:
    """A table of EVENT_SCHEMA from fields whose values have the types of an event already."""
    columns: dict[str, list[Any]] = {name: [event.get(name) for event in events] for name in EVENT_COLUMNS}
    columns[_PAIRS] = [None if pairs is None else list(pairs.items()) for pairs in columns[_PAIRS]]
    columns[_AS_TEXT] = [
        None if said is None else json.dumps(said, ensure_ascii=False, default=id_text) for said in columns[_AS_TEXT]
    ]
    return pa.Table.from_arrays(
        [pa.array(columns[field.name], field.type) for field in EVENT_SCHEMA], schema=EVENT_SCHEMA
    )


def _name(event: Fields) -> str | None:
    """By what a sample knows somebody."""
    return event.get(Columns.CUSTOMER_ID) or next(iter((event.get(Columns.IDENTIFIERS) or {}).values()), None)
