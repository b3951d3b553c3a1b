"""What somebody's code made of each raw row comes in, as plain Python values; a batch of typed events goes out.

For sources that a mapping cannot describe: a function turns one row into drafts of events and knows nothing of tables, so it
serves files and what arrives live alike.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from features.events.rules import Problem
from features.events.schema import EVENT_SCHEMA
from features.ids import INEXACT, id_text, is_inexact
from features.sources.amounts import parse_money, parse_numbers
from features.sources.batch import ID_COLUMNS, SourceBatch, to_batch, to_event_table
from features.sources.nested import to_array
from features.sources.parsing import Problems, parse_moments
from features.sources.readers.rows import RawRows
from features.vocabulary import Columns

Draft: TypeAlias = dict[str, Any]
"""An event by the names of its columns: ids of any type, a moment as ISO 8601 text or as a datetime, `identifiers` and
`properties` as objects."""
_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=id_text).encode


@dataclass(frozen=True)
class Skipped:
    """The row is not wanted; `word` is what in it says so."""

    word: str


@dataclass(frozen=True)
class Refused:
    """The row cannot become an event: `reason` reads on from the name of the `field`."""

    field: str
    reason: str


Outcome: TypeAlias = Sequence[Draft] | Skipped | Refused
"""What came of one row; no drafts at all, where it says nothing."""


def drafted(raw: RawRows, outcomes: Sequence[Outcome]) -> SourceBatch:
    """The events of a batch's rows (n), of which each has one of `outcomes` (n)."""
    skipped: Counter[str] = Counter()
    drafts: list[Draft] = []
    parents: list[int] = []
    problems: Problems = {}
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Skipped):
            skipped[outcome.word] += 1
        elif isinstance(outcome, Refused):
            problems[len(drafts)] = Problem(outcome.field, outcome.reason)
            drafts.append({})
            parents.append(place)
        else:
            drafts += outcome
            parents += [place] * len(outcome)
    total = len(raw) + raw.rejected.num_rows
    columns: dict[str, Any] = {}
    for field in EVENT_SCHEMA:
        values = [draft.get(field.name) for draft in drafts]
        if values.count(None) < len(values):
            columns[field.name] = _typed(field.name, values, problems)
    if Columns.VALUE in columns:
        money = parse_money(
            Columns.VALUE, pa.chunked_array([columns[Columns.VALUE]]), columns.get(Columns.CURRENCY), problems
        )
        columns[Columns.VALUE], columns[Columns.CURRENCY] = money
    events = to_event_table(columns, len(drafts))
    batch = to_batch(events, raw, problems, np.array(parents, np.int64))
    return replace(batch, rows_total=total, skipped=dict(skipped))


def _typed(name: str, values: list[Any], problems: Problems) -> pa.Array | pa.ChunkedArray:
    """A column (n,) in its type of EVENT_SCHEMA, or in one that becomes it."""
    target = EVENT_SCHEMA.field(name).type
    if name == Columns.OCCURRED_AT:
        return parse_moments(name, pa.chunked_array([to_array(values)]), problems)
    if name == Columns.IDENTIFIERS:
        return pa.array([_pairs(place, value, problems) for place, value in enumerate(values)], target)
    if name == Columns.PROPERTIES:
        return pa.array([_dump(value) if value else None for value in values], target)
    if name == Columns.VALUE:
        return to_array(values)
    if name == Columns.QUANTITY:
        return parse_numbers(name, pa.chunked_array([to_array(values)]), problems)
    if name in ID_COLUMNS:
        return pa.array([_id(name, place, value, problems) for place, value in enumerate(values)], pa.string())
    return pa.array([id_text(value) for value in values], pa.string())


def _pairs(place: int, value: dict[str, Any] | None, problems: Problems) -> list[tuple[str, str]] | None:
    if not value:
        return None
    pairs = [(key, _id(f"identifiers.{key}", place, item, problems)) for key, item in value.items()]
    return [(key, item) for key, item in pairs if item] or None


def _id(name: str, place: int, value: Any, problems: Problems) -> str | None:
    """One id as text, blank ones as None; an object, a list and a number of which digits were lost are problems."""
    if isinstance(value, dict | list):
        problems.setdefault(place, Problem(name, f"is {_dump(value)[:60]}, which cannot be an id."))
        return None
    if is_inexact(value):
        problems.setdefault(place, Problem(name, INEXACT.format(value=value)))
    text = id_text(value)
    return None if text is None else text.strip() or None
