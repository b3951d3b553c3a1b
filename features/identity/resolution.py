"""Identifiers that were seen together come in; who is whom goes out: one name per customer, and what was kept apart.

The rules, as of any moment T, over everything that happened up to T:

- Identifiers of one event belong to one customer. A source's own customer id is an identifier like the others.
- An identifier that was seen with too many customer ids, or too many loyalty cards, e-mail addresses, phone numbers or
  anything else, is shared (a kiosk, a family's address): it joins nobody, and what is known by nothing else is its own.
- Two customers with customer ids of their own are never joined by a chain of identifiers beyond the same limit: the
  event that would have done it, the latest in time, is passed over.
- What names nobody ("undefined", "0", "guest"; see events/placeholders.py) joins nobody either.
- A customer has the name of the customer id that was seen first; without one, of the identifier that was seen first.

The outcome depends on the events alone, not on the order of their arrival.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from json.encoder import encode_basestring
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import Field

from features.config import Config, load_own
from features.events.placeholders import PLACEHOLDERS, Placeholders
from features.settings import IDENTITY_FILE
from features.vocabulary import Channel, IdType

CUSTOMER: Final = "customer_id"
"""The type of a source's own customer id."""
ANONYMOUS: Final = "anon:"
"""Names of customers without a customer id begin so; then comes an identifier, type:value."""
_LISTS: Final = ("placeholders", "more_placeholders", "no_placeholders")
_STRENGTH: Final[Mapping[str, int]] = {
    CUSTOMER: 0,
    **{
        id_type.value: place
        for place, id_type in enumerate(
            (IdType.LOYALTY_CARD, IdType.EMAIL, IdType.PHONE, IdType.DEVICE, IdType.COOKIE), 1
        )
    },
}
"""Who is believed first: what a person carries before what a machine carries; types that are not listed come last."""
PERSONAL: Final = (IdType.LOYALTY_CARD.value, IdType.EMAIL.value, IdType.PHONE.value)
"""What a person is known by, rather than a machine."""
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    Channel.EMAIL.value: (IdType.EMAIL.value,),
    Channel.SMS.value: (IdType.PHONE.value,),
    Channel.CALL_CENTER.value: (IdType.PHONE.value,),
    Channel.PUSH.value: (IdType.DEVICE.value,),
}
"""Where a channel reaches people, as far as identity.toml does not say otherwise."""


class Node(NamedTuple):
    """An identifier."""

    id_type: str
    value: str

    def __str__(self) -> str:
        return f"{self.id_type}:{self.value}"


class Limits(Config):
    """How many customers an identifier may stand for; more, and it is shared."""

    max_customers: int = Field(1, ge=1)
    """Customer ids that it may be seen with, and that it may join into one customer."""
    max_contacts: int = Field(3, ge=1)
    """Loyalty cards, e-mail addresses or phone numbers (of one of these types) that it may be seen with."""
    max_identifiers: int = Field(1_000, ge=1)
    """Identifiers of any other type that it may be seen with; this limit holds for customer ids too (a guest account)."""


class IdentityConfig(Limits):
    """Limits of identifiers; write those that should differ into OMNI_HOME/identity.toml."""

    types: dict[str, Limits] = Field(default_factory=dict)
    """Limits of one type of identifier, for example [types.email]; they replace both of the general ones."""
    hashed: tuple[str, ...] = (IdType.EMAIL.value, IdType.PHONE.value)
    """Types that are kept as keyed hashes."""
    placeholders: tuple[str, ...] = PLACEHOLDERS
    """Values that name nobody: as a customer id they are refused, as an identifier they join nobody. This replaces the list."""
    more_placeholders: tuple[str, ...] = ()
    """Values that name nobody beside those."""
    no_placeholders: tuple[str, ...] = ()
    """Values of the list that are ids here: somebody's customer may be number 0."""
    addresses: dict[Channel, tuple[str, ...]] = Field(default_factory=dict)
    """Types of identifier at which a channel reaches people; they replace those that the channel has by default."""

    def address_types(self, channel: str) -> tuple[str, ...]:
        """Types of identifier that are a channel's addresses: who refuses the channel refuses for those."""
        own = {name.value: id_types for name, id_types in self.addresses.items()}
        return own.get(channel, _ADDRESSES.get(channel, ()))

    def limits(self, id_type: str) -> Limits:
        """The limits of one type."""
        return self.types.get(id_type, self)

    @cached_property
    def nobody(self) -> Placeholders:
        """What names nobody."""
        return Placeholders((*self.placeholders, *self.more_placeholders)).without(self.no_placeholders)

    @cached_property
    def limits_text(self) -> str:
        """The limits as text, the same for the same limits."""
        return self.model_dump_json(exclude={"hashed", "addresses", *_LISTS})

    @cached_property
    def words_text(self) -> str:
        """What names nobody as text."""
        return json.dumps(self.nobody.words)

    def telling(self, nodes: Sequence["Node"]) -> Sequence["Node"]:
        """The identifiers that name somebody; all of them where none does."""
        return [node for node in nodes if node.value not in self.nobody] or nodes


def load_identity_config(home: Path) -> IdentityConfig:
    """The limits in OMNI_HOME/identity.toml, else the defaults. Raises InputError for a bad file."""
    return load_own(IdentityConfig, home / IDENTITY_FILE)


@dataclass(frozen=True)
class Sighting:
    """Identifiers that came together in events: strongest first, with the first moment (microseconds since 1970)."""

    key: int
    nodes: tuple[Node, ...]
    first_us: int


def sighting_nodes(customer_id: str | None, identifiers: Iterable[tuple[str, str]]) -> tuple[Node, ...]:
    """What an event says of who it is about, strongest first."""
    nodes = {Node(*pair) for pair in identifiers}
    if customer_id:
        nodes.add(named_node(customer_id))
    return tuple(sorted(nodes, key=strength))


def named_node(name: str) -> Node:
    """The identifier that a customer's name stands for."""
    if name.startswith(ANONYMOUS):
        id_type, separator, value = name.removeprefix(ANONYMOUS).partition(":")
        if separator:
            return Node(id_type, value)
    return Node(CUSTOMER, name)


def strength(node: Node) -> tuple[int, Node]:
    """Sorts identifiers, the strongest first."""
    return _STRENGTH.get(node.id_type, len(_STRENGTH)), node


def pack(nodes: Sequence[Node]) -> str:
    """Identifiers as one text, the same for the same identifiers."""
    return (
        f"[{','.join(encode_basestring(part) for node in nodes for part in node)}]"  # JSON, in a third of dumps' time
    )


def unpack(text: str) -> tuple[Node, ...]:
    """The identifiers that `pack` made a text of."""
    parts = json.loads(text)
    return tuple(Node(*pair) for pair in zip(parts[::2], parts[1::2], strict=True))


class Refusal(NamedTuple):
    """A sighting that did not join an identifier to a customer, because both have customer ids of their own."""

    sighting: int
    node: Node


@dataclass
class Group:
    """One customer: the first moments of their identifiers, and the sightings that are theirs."""

    first_us: dict[Node, int] = field(default_factory=dict)
    keys: set[int] = field(default_factory=set)

    @property
    def customers(self) -> set[Node]:
        return {node for node in self.first_us if node.id_type == CUSTOMER}

    @property
    def name(self) -> str:
        def age(node: Node) -> tuple[int, tuple[int, Node]]:
            return self.first_us[node], strength(node)

        first = min(self.customers or self.first_us, key=age)
        return first.value if first.id_type == CUSTOMER else f"{ANONYMOUS}{first}"


class Groups:
    """Customers as they come about, sighting by sighting in time order, while nothing becomes shared."""

    def __init__(self, config: IdentityConfig, shared: Iterable[Node] = ()) -> None:
        self._config = config
        self._shared = frozenset(shared)
        self._group_of: dict[Node, Group] = {}
        self.refused: list[Refusal] = []

    def add(self, sighting: Sighting) -> Group:
        """Take a sighting in; returns whose it is now."""
        nodes = self._joining(sighting)
        group = self._find(nodes[0], sighting.first_us)
        for node in nodes[1:]:
            other = self._find(node, sighting.first_us)
            if other is group:
                continue
            n_customers = len(group.customers | other.customers)
            if n_customers > 1 and n_customers > self._config.limits(node.id_type).max_customers:
                self.refused.append(Refusal(sighting.key, node))
                continue
            group = self._join(group, other)
        group.keys.add(sighting.key)
        return group

    def all(self) -> list[Group]:
        """Every customer that has sightings."""
        groups = {id(group): group for group in self._group_of.values() if group.keys}
        return list(groups.values())

    def whose(self, sighting: Sighting) -> Group:
        """Whose a sighting is that was taken in."""
        return self._group_of[self._joining(sighting)[0]]

    def owner(self, node: Node) -> Group | None:
        """Whose an identifier is; None for a shared one that nothing is known by alone."""
        return self._group_of.get(node)

    def _joining(self, sighting: Sighting) -> Sequence[Node]:
        """The identifiers that say whose it is: those that are not shared, or if all are, the strongest."""
        nodes = self._config.telling(sighting.nodes)
        return [node for node in nodes if node not in self._shared] or nodes[:1]

    def _find(self, node: Node, at_us: int) -> Group:
        if node not in self._group_of:
            self._group_of[node] = Group({node: at_us})
        return self._group_of[node]

    def _join(self, group: Group, other: Group) -> Group:
        if len(group.first_us) + len(group.keys) < len(other.first_us) + len(other.keys):
            group, other = other, group
        group.first_us.update(other.first_us)
        group.keys |= other.keys
        for node in other.first_us:
            self._group_of[node] = group
        return group


def in_order(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Sightings in the order in which they count."""
    return sorted(sightings, key=lambda sighting: (sighting.first_us, sighting.nodes))


def shared_since(sightings: Iterable[Sighting], config: IdentityConfig) -> dict[Node, int]:
    """The identifiers that were seen with more than they may stand for, and from which moment on."""
    met: dict[Node, dict[Node, int]] = defaultdict(dict)
    for sighting in sightings:
        nodes = config.telling(sighting.nodes)
        for node in nodes:
            known = met[node]
            for other in nodes:
                if other.id_type != node.id_type:
                    known[other] = min(known.get(other, sighting.first_us), sighting.first_us)
    shared = {}
    for node, others in met.items():
        since = _exceeds(node, others, config.limits(node.id_type))
        if since is not None:
            shared[node] = since
    return shared


def _exceeds(node: Node, others: Mapping[Node, int], limits: Limits) -> int | None:
    """The moment at which the identifiers that another one was seen with became too many."""
    firsts: dict[str, list[int]] = defaultdict(list)
    for other, first_us in others.items():
        firsts[other.id_type].append(first_us)
    moments: list[int] = []
    for id_type, times in firsts.items():
        limit = limits.max_identifiers
        if node.id_type != CUSTOMER and id_type == CUSTOMER:
            limit = limits.max_customers
        elif node.id_type != CUSTOMER and id_type in PERSONAL:
            limit = limits.max_contacts
        if len(times) > limit:
            moments.append(sorted(times)[limit])
    return min(moments, default=None)


def resolve(
    sightings: Iterable[Sighting], config: IdentityConfig, known_shared: Iterable[Node] = ()
) -> tuple[Groups, frozenset[Node]]:
    """Customers after all of the sightings, and the shared identifiers among them.

    `known_shared` are shared for reasons that lie outside of these sightings.
    """
    listed = in_order(sightings)
    shared = frozenset(known_shared) | shared_since(listed, config).keys()
    groups = Groups(config, shared)
    for sighting in listed:
        groups.add(sighting)
    return groups, shared
