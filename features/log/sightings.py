"""Events in; out, the distinct sightings among them (identity/resolution.py), and which one each event is of."""

from collections.abc import Iterable, Sequence
from typing import Final

from features.events.rows import EventRow
from features.identity.resolution import IdentityConfig, Node, named_node, pack, sighting_nodes

NO_SIGHTING: Final = -1
"""The number of an event that is not kept: an earlier one has its id."""


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
        text = pack(nodes)
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            self.nodes.append(tuple(nodes))
        return number


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
