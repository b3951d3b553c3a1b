"""Sightings come in; for every customer whose past was put together from several goes out what was theirs, and when.

A training row of some moment must see the customer as they were known by then: the visitor who logs in on Friday was
two customers on Thursday. So their states are folded epoch by epoch: within one, events only come; between two, a past is
joined or taken away, and the state is that of other events.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from features.identity.addresses import Consent, by_node
from features.identity.resolution import Groups, IdentityConfig, Node, Sighting, in_order, shared_since
from features.vocabulary import Columns

if TYPE_CHECKING:
    import pandas as pd

_SPAN: Final = ("regrouped", "from_us", "until_us")
_EVER: Final = 2**62


@dataclass(eq=False)
class Epoch:
    """A time in which a customer was made up of certain sightings; `keys` and `names` are those by its end."""

    from_us: int
    regrouped: bool
    """Whether events from before its beginning count in it."""
    keys: set[int] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    until_us: int = _EVER
    nodes: set[Node] = field(default_factory=set)
    """Identifiers of those sightings by its end, where addresses have consented or refused."""
    consents: list[Consent] = field(default_factory=list)
    """What those addresses consented to or refused by way of others before its end."""


@dataclass(frozen=True)
class History:
    """Whose each sighting is now; the epochs, oldest first, of those customers who were put together; and of every
    customer what their addresses consented to or refused by way of others (identity/addresses.py).
    """

    names: dict[int, str]
    epochs: dict[str, list[Epoch]]
    consents: dict[str, list[Consent]]

    def frame(self) -> "pd.DataFrame":
        """One row per epoch and sighting, whose events count until the epoch ends; moments in microseconds since 1970."""
        import pandas as pd

        rows = [
            (name, number, key, epoch.regrouped, epoch.from_us, epoch.until_us)
            for name, epochs in self.epochs.items()
            for number, epoch in enumerate(epochs)
            for key in sorted(epoch.keys)
        ]
        return pd.DataFrame(rows, columns=[Columns.CUSTOMER_ID, Columns.EPOCH, Columns.CUSTOMER_KEY, *_SPAN])


def trace(sightings: Iterable[Sighting], config: IdentityConfig, consents: Iterable[Consent] = ()) -> History:
    """How customers came about. What is true at a moment follows from what had happened by then, and nothing later."""
    history, said = History({}, {}, {}), by_node(consents)
    for part in connected(sightings):
        said_here = {node: said[node] for sighting in part for node in sighting.nodes if node in said}
        epochs = _replay(part, config, said_here)
        for epoch in epochs:
            epoch.consents = _governing(epoch, said_here)
            if epoch.until_us == _EVER:
                name = epoch.names[-1]
                history.names.update(dict.fromkeys(epoch.keys, name))
                chain = _chain(epoch, epochs)
                if len(chain) > 1 or epoch.regrouped:
                    history.epochs[name] = chain
                if epoch.consents:
                    history.consents[name] = epoch.consents
    return history


def connected(sightings: Iterable[Sighting]) -> list[list[Sighting]]:
    """Sightings in parts that have no identifier in common."""
    listed = list(sightings)
    by_node: dict[Node, list[int]] = defaultdict(list)
    for place, sighting in enumerate(listed):
        for node in sighting.nodes:
            by_node[node].append(place)
    parts, done = [], [False] * len(listed)
    for start in range(len(listed)):
        if done[start]:
            continue
        done[start], part, waiting = True, [], [start]
        while waiting:
            place = waiting.pop()
            part.append(listed[place])
            for node in listed[place].nodes:
                for other in by_node.pop(node, ()):
                    if not done[other]:
                        done[other] = True
                        waiting.append(other)
        parts.append(part)
    return parts


def _replay(part: list[Sighting], config: IdentityConfig, consents: Mapping[Node, Sequence[Consent]]) -> list[Epoch]:
    """Every epoch of every customer in a connected part; those without an end are of today."""
    listed = in_order(part)
    nodes_of = {sighting.key: sighting.nodes for sighting in part} if consents else {}
    becomes_shared: dict[int, list[Node]] = defaultdict(list)
    for node, since_us in shared_since(listed, config).items():
        becomes_shared[since_us].append(node)
    epochs: list[Epoch] = []
    current: dict[int, Epoch] = {}
    shared: list[Node] = []
    groups, n_seen = Groups(config), 0
    for at_us, arriving in groupby(listed, key=lambda sighting: sighting.first_us):
        batch = list(arriving)
        n_seen += len(batch)
        if at_us in becomes_shared:  # links fall apart: everything up to now is joined anew without the shared ones
            shared += becomes_shared[at_us]
            groups, batch = Groups(config, shared), listed[:n_seen]
        for sighting in batch:
            groups.add(sighting)
        for group in {id(group): group for group in map(groups.whose, batch)}.values():
            before = {current[key] for key in group.keys if key in current}
            went_on = len(before) == 1 and next(iter(before)).keys <= group.keys
            epoch = next(iter(before)) if went_on else Epoch(at_us, regrouped=bool(before))
            nodes = {node for key in group.keys - epoch.keys for node in nodes_of.get(key, ())}
            if _takes_over(nodes - epoch.nodes, group.keys, consents, at_us):
                went_on, epoch = False, Epoch(at_us, regrouped=True)
                nodes = {node for key in group.keys for node in nodes_of[key]}
            if not went_on:
                epochs.append(epoch)
                for ended in before:
                    ended.until_us = at_us
            epoch.keys |= group.keys
            epoch.nodes |= nodes
            current |= dict.fromkeys(group.keys, epoch)
            if epoch.names[-1:] != [group.name]:
                epoch.names.append(group.name)
    return epochs


def _takes_over(nodes: set[Node], keys: set[int], consents: Mapping[Node, Sequence[Consent]], at_us: int) -> bool:
    """Whether an address that becomes a customer's at a moment had consented or refused by way of others before."""
    return any(
        consent.at_us < at_us and consent.key not in keys
        for node in nodes & consents.keys()
        for consent in consents[node]
    )


def _governing(epoch: Epoch, consents: Mapping[Node, Sequence[Consent]]) -> list[Consent]:
    """What addresses of an epoch consented to or refused by way of others, in order, each thing once."""
    foreign = {
        (consent.seq, consent.properties): consent
        for node in sorted(epoch.nodes & consents.keys())
        for consent in consents[node]
        if consent.at_us < epoch.until_us and consent.key not in epoch.keys
    }
    return sorted(foreign.values(), key=lambda consent: (consent.at_us, consent.seq, consent.node))


def _chain(last: Epoch, epochs: list[Epoch]) -> list[Epoch]:
    """The epochs that led to `last`, oldest first: where several pasts were joined, the one of the customer's name.

    A customer whom another one had taken in, and who came apart from it again, goes on from before that: there may be a
    time between two epochs in which nobody was known by the name.
    """
    name, chain = last.names[-1], [last]
    while True:
        related = [epoch for epoch in epochs if epoch.keys & chain[0].keys]
        joined = [
            epoch
            for epoch in related
            if epoch.until_us == chain[0].from_us and (name in epoch.names or epoch.keys <= last.keys)
        ]
        apart = [epoch for epoch in related if epoch.until_us < chain[0].from_us and name in epoch.names]
        if joined:
            chain.insert(0, min(joined, key=lambda epoch: (name not in epoch.names, epoch.from_us, min(epoch.keys))))
        elif apart:
            chain.insert(0, max(apart, key=lambda epoch: (epoch.until_us, -min(epoch.keys))))
        else:
            return chain
