"""Events in; out, the distinct sightings among them (identity/resolution.py), and which one each event is of."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.events.rows import EventRow
from features.identity.resolution import IdentityConfig, Node, named_node, pack, sighting_nodes
from features.vocabulary import Columns

NO_SIGHTING: Final = -1
"""The number of an event that is not kept: an earlier one has its id."""
_UNKNOWN: Final = 2**62
_FEW: Final = 32


class Sightings:
    """Distinct sightings by number: their texts, identifiers and first moments; and each event's number, `codes` (n,)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.nodes: list[tuple[Node, ...]] = []
        self.first_us: list[int] = []
        self.codes: list[int] = []
        self._numbers: dict[str, int] = {}

    def number(self, nodes: Sequence[Node]) -> int:
        """The number of a sighting; a new one where these identifiers have not come together yet."""
        return self.number_packed(pack(nodes), tuple(nodes))

    def number_packed(self, text: str, nodes: tuple[Node, ...]) -> int:
        """The number of a sighting of which the text is known."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            self.nodes.append(nodes)
        return number


@lru_cache(maxsize=300_000)
def _alone(name: str) -> tuple[str, tuple[Node, ...]]:
    """The sighting of a customer id and nothing else, as text and as nodes: a bulk load meets most of them many times."""
    nodes = (named_node(name),)
    return pack(nodes), nodes


def sightings_of(rows: Iterable[EventRow], known: set[str], config: IdentityConfig) -> Sightings:
    """The sightings of rows; `known` are ids of events that the log has."""
    sightings, met = Sightings(), set(known)
    for row in rows:
        if row.event_id in met:
            sightings.codes.append(NO_SIGHTING)
            continue
        met.add(row.event_id)
        if row.identifiers or not row.customer_id:
            pairs = (row.identifiers or {}).items()
            number = sightings.number(config.telling(sighting_nodes(row.customer_id, pairs)))
        else:
            number = sightings.number((named_node(row.customer_id),))
        sightings.codes.append(number)
        if number == len(sightings.first_us):
            sightings.first_us.append(row.occurred_us)
        elif row.occurred_us < sightings.first_us[number]:
            sightings.first_us[number] = row.occurred_us
    return sightings


def sightings_in(table: pa.Table, known: set[str], config: IdentityConfig) -> Sightings:
    """The sightings of a table of EVENT_SCHEMA."""
    sightings = Sightings()
    if table.num_rows <= _FEW:  # Python values are faster than Arrow's functions
        codes, one_by_one = np.full(table.num_rows, NO_SIGHTING), np.arange(table.num_rows)
    else:
        ids = pc.dictionary_encode(table.column(Columns.CUSTOMER_ID)).combine_chunks()
        named = [sightings.number_packed(*_alone(name)) for name in ids.dictionary.to_pylist()]
        codes = np.append(np.array(named, np.int64), NO_SIGHTING)[pc.fill_null(ids.indices, len(named)).to_numpy()]
        one_by_one = np.flatnonzero(pc.is_valid(table.column(Columns.IDENTIFIERS)).to_numpy())
    part = table.select([Columns.EVENT_ID, Columns.CUSTOMER_ID, Columns.IDENTIFIERS])
    if len(one_by_one) < table.num_rows:
        part = part.take(pa.array(one_by_one))
    met = set(known)
    for row, (event_id, customer_id, pairs) in zip(
        one_by_one, zip(*(column.to_pylist() for column in part.columns), strict=True), strict=True
    ):
        nodes = config.telling(sighting_nodes(customer_id, pairs or ()))
        codes[row] = NO_SIGHTING if event_id in met else sightings.number(nodes)
        met.add(event_id)
    occurred_us = table.column(Columns.OCCURRED_AT).cast(pa.int64()).to_numpy()
    first_us = np.full(len(sightings.texts) + 1, _UNKNOWN)
    np.minimum.at(first_us, codes, occurred_us)
    sightings.first_us = first_us.tolist()
    used = np.unique(codes[codes >= 0])
    if len(used) < len(sightings.texts):  # customer ids that only came with identifiers, or with duplicates
        renumbered = np.full(len(sightings.texts) + 1, NO_SIGHTING)
        renumbered[used] = np.arange(len(used))
        codes = renumbered[codes]
        sightings.texts, sightings.nodes, sightings.first_us = (
            [values[place] for place in used] for values in (sightings.texts, sightings.nodes, sightings.first_us)
        )
    sightings.codes = codes.tolist()
    return sightings
