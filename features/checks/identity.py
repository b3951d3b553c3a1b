"""What the log knows of identifiers comes in; words on why a customer is who they are, and on what joins nobody, go out."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from features.errors import InputError
from features.identity.identifiers import Identifiers
from features.identity.resolution import ANONYMOUS, CUSTOMER, Node, Sighting, in_order, named_node, resolve
from features.log.event_log import EventLog

MAX_LISTED: Final = 50
"""Shared identifiers and refusals that a report lists, those with most sightings first."""


@dataclass(frozen=True)
class Link:
    """Identifiers that came together in an event, and when that was first."""

    identifiers: tuple[str, ...]
    since: datetime


@dataclass(frozen=True)
class Explanation:
    """Who somebody is. `because` leads from what was asked to the customer's name, one common event after the other."""

    asked: str
    customer_id: str
    identifiers: tuple[str, ...]
    because: tuple[Link, ...]
    seen: tuple[Link, ...]
    kept_apart: tuple[str, ...]

    def __rich__(self) -> Any:
        """The same in words."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("[bold]customer[/]", escape(self.customer_id))
        table.add_row("[bold]known by[/]", escape(", ".join(self.identifiers)) or "their id alone")
        for link in self.because:
            table.add_row(
                "[bold]because[/]", escape(f"{' and '.join(link.identifiers)} came together at {_when(link)}")
            )
        for link in self.seen:
            table.add_row("seen", escape(f"{' + '.join(link.identifiers)}, first at {_when(link)}"))
        for words in self.kept_apart:
            table.add_row("[bold]kept apart[/]", escape(words))
        return table


@dataclass(frozen=True)
class IdentityReport:
    """How far identifiers tell customers apart, and which of them join nobody."""

    customers_with_identifiers: int
    put_together: int
    anonymous: int
    shared: dict[str, int]
    """Shared identifiers, and in how many combinations they were seen."""
    refused: tuple[str, ...]

    def __rich__(self) -> Any:
        """The same in words."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("[bold]customers with identifiers[/]", f"{self.customers_with_identifiers:,}")
        table.add_row("  known by more than one", f"{self.put_together:,}")
        table.add_row("  without a customer id", f"{self.anonymous:,}")
        table.add_row("[bold]shared identifiers[/]", f"{len(self.shared):,}" if self.shared else "none")
        for name, seen in self.shared.items():
            table.add_row(f"  {escape(name)}", f"seen in {seen:,} combinations")
        for words in self.refused:
            table.add_row("[bold]not joined[/]", escape(words))
        return table


def explain(log: EventLog, name: str) -> Explanation:
    """Why somebody, named by customer id, by an identifier (type:value) or by its bare value, is who they are.

    Raises InputError where nobody is known by that, or several are.
    """
    book = log.identity()
    owners = book.owners(name)
    nodes: list[Node] = []
    if len(owners) == 1:
        (owner,) = owners
        keys, nodes = book.possessions(owner)
        if not keys:
            owners = set()
    if len(owners) != 1:
        raise InputError(
            f"{name!r} is the name of {len(owners) or 'no'} customer{'s' if len(owners) > 1 else ''}.",
            repair="Give a customer id, or an identifier as type:value, for example email:ada@example.org.",
        )
    sightings_around, stops = book.around(nodes)
    sightings = [stored.sighting for stored in sightings_around.values()]
    groups, shared = resolve(sightings, book.config, stops)
    owned = in_order(stored.sighting for stored in sightings_around.values() if stored.customer_id == owner)
    asked = _asked(name, nodes, owner, book.identifiers)
    apart = [
        f"{node} is shared by many and joins nobody" for node in sorted({n for s in owned for n in s.nodes} & shared)
    ]
    by_key = {sighting.key: sighting for sighting in sightings}
    apart += [_refusal(by_key[key], node) for key, node in groups.refused if key in {stored.key for stored in owned}]
    return Explanation(
        asked=name,
        customer_id=owner,
        identifiers=tuple(str(node) for node in nodes),
        because=tuple(map(_link, _path(asked, named_node(owner), owned, shared))),
        seen=tuple(map(_link, owned[:MAX_LISTED])),
        kept_apart=tuple(apart),
    )


def report(log: EventLog) -> IdentityReport:
    """What identifiers have come to, over the whole log."""
    book = log.identity()
    sightings = [stored.sighting for stored in book.sightings()]
    groups, shared = resolve(sightings, book.config)
    customers = groups.all()
    seen = Counter(node for sighting in sightings for node in sighting.nodes if node in shared)
    by_key = {sighting.key: sighting for sighting in sightings}
    return IdentityReport(
        customers_with_identifiers=len(customers),
        put_together=sum(len(customer.first_us) > 1 for customer in customers),
        anonymous=sum(customer.name.startswith(ANONYMOUS) for customer in customers),
        shared={str(node): times for node, times in seen.most_common(MAX_LISTED)},
        refused=tuple(_refusal(by_key[key], node) for key, node in groups.refused[:MAX_LISTED]),
    )


def _asked(name: str, nodes: list[Node], owner: str, identifiers: Identifiers) -> Node:
    """The identifier that was asked for."""
    id_type, _, value = name.removeprefix(ANONYMOUS).partition(":")
    typed, bare = Node(id_type, identifiers.kept(id_type, value)), identifiers.forms(name)
    meant = [node for node in nodes if node == typed or node.value in bare]
    return next(iter(meant), named_node(owner))


def _path(start: Node, end: Node, sightings: list[Sighting], shared: frozenset[Node]) -> list[Sighting]:
    """The fewest sightings that lead from one identifier to another."""
    reached: dict[Node, list[Sighting]] = {start: []}
    waiting = [start]
    for node in waiting:
        for sighting in sightings:
            if node in sighting.nodes:
                new = [other for other in sighting.nodes if other not in reached and other not in shared]
                reached |= {other: [*reached[node], sighting] for other in new}
                waiting += new
    return reached.get(end, [])


def _refusal(sighting: Sighting, node: Node) -> str:
    others = ", ".join(str(other) for other in sighting.nodes if other != node)
    when = f"{_moment(sighting.first_us):%Y-%m-%d %H:%M}"
    return f"{node} was not joined to {others} at {when}: both have customer ids of their own"


def _link(sighting: Sighting) -> Link:
    names = tuple(node.value if node.id_type == CUSTOMER else str(node) for node in sighting.nodes)
    return Link(names, _moment(sighting.first_us))


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def _when(link: Link) -> str:
    return f"{link.since:%Y-%m-%d %H:%M}"
