"""Rows that were asked to be appended come in; out, which of those that the log holds already say something else there.

A second event of the same id is ignored, and that is right where it is the same event sent again. Where it is another one,
an event is lost unless somebody is told. Only duplicates are compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from features.events.payload import CONVERTED_FROM
from features.log.batches import Batch
from features.log.portable_sql import Connection, select_in
from features.log.tables import STORED
from features.vocabulary import Columns

_PART: Final = 5_000
"""Duplicates that are compared at a time: as many rows are in memory twice."""
_OCCURRED: Final = "occurred_us"
_SELECT: Final = f"SELECT {', '.join(STORED)} FROM events WHERE event_id"
_ID, _OWNER = (STORED.index(name) for name in (Columns.EVENT_ID, "customer_key"))
_JSON: Final = (Columns.IDENTIFIERS, Columns.PROPERTIES)


@dataclass(frozen=True)
class Conflict:
    """An event that was ignored because the log holds another one of its id; `fields` are those that differ."""

    event_id: str
    fields: tuple[str, ...]


def find_conflicts(connection: Connection, batch: Batch, before: int, appended: int) -> tuple[Conflict, ...]:
    """Events of a batch, of which so many were just `appended` after seq `before`, that differ from what the log holds."""
    ids = batch.event_ids()
    duplicates = _duplicates(connection, ids, before) if appended else list(range(len(ids)))
    conflicts: list[Conflict] = []
    for start in range(0, len(duplicates), _PART):
        places = duplicates[start : start + _PART]
        stored = {
            row[_ID]: row for row in select_in(connection, _SELECT, dict.fromkeys(ids[place] for place in places))
        }
        owners = [stored[ids[place]][_OWNER] for place in places]  # whose it is follows from what it says
        for row in batch.take(places).stored(owners):
            if row != stored[row[_ID]]:
                fields = _differing(row, stored[row[_ID]])
                conflicts += [Conflict(row[_ID], fields)] if fields else []
    return tuple(conflicts)


def _duplicates(connection: Connection, ids: Sequence[str], before: int) -> list[int]:
    """The places of the rows that were not written: of an id that is new, all but the first."""
    new = {
        event_id
        for (event_id,) in connection.execute("SELECT event_id FROM events WHERE seq > ?", (before,)).fetchall()
    }
    places = []
    for place, event_id in enumerate(ids):
        if event_id in new:
            new.remove(event_id)
        else:
            places.append(place)
    return places


def _differing(given: tuple[Any, ...], stored: tuple[Any, ...]) -> tuple[str, ...]:
    """The fields whose content differs, however it is written; by another rate of the day, an amount is the same amount."""
    ours, theirs = (_as_it_came(dict(zip(STORED, row, strict=True))) for row in (given, stored))
    names = [name for name in STORED if ours[name] != theirs[name]]
    return tuple(Columns.OCCURRED_AT if name == _OCCURRED else name for name in names)


def _as_it_came(row: dict[str, Any]) -> dict[str, Any]:
    for name in _JSON:
        row[name] = json.loads(row[name]) if row[name] else {}
    came = row[Columns.PROPERTIES].pop(CONVERTED_FROM, None)
    if isinstance(came, dict):
        row |= {Columns.VALUE: came.get("value"), Columns.CURRENCY: came.get("currency")}
    return row
