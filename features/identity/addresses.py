"""A consent or refusal comes in; for which addresses it speaks, and so for everybody who has one of them, goes out.

Mail goes to an address and not to a name, so what an address refuses holds for every customer who has it, now or later:

- Who says `unsubscribe` or `subscribe` (of a channel, not of a contract) or answers in a `profile` event, and carries the
  channel's own kind of address, speaks for that address.
- Who names no customer and carries no such address speaks for what a person is known by (loyalty card, e-mail address,
  phone number), or else for one machine's identifier: the cookie rather than the device, which may be a kiosk.
- Who names a customer consents for that customer alone, but refuses for the channel's address too: nobody opts another
  one in, and nobody is written to at an address that refused.

What was consented to or refused counts by the moment at which it was said, whenever a customer turned out to have the address.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from features.events.payload import OTHERS_ID
from features.identity.resolution import CUSTOMER, PERSONAL, IdentityConfig, Node
from features.vocabulary import EventKind, IdType

CONSENT_KINDS: Final = (EventKind.UNSUBSCRIBE.value, EventKind.SUBSCRIBE.value, EventKind.PROFILE.value)
"""Kinds of event that can consent or refuse."""
_MACHINES: Final = (IdType.COOKIE.value, IdType.DEVICE.value)
"""From the one that fewest share."""
_CONSENT: Final = "consent"
_PROFILING: Final = "profiling"


class Consent(NamedTuple):
    """What an address consented to or refused; `key` is the sighting (identity/resolution.py) whose event said so."""

    node: Node
    seq: int
    event_id: str
    at_us: int
    key: int
    kind: str
    channel: str
    properties: str | None
    """Of a profile, the answers that are the address's, as JSON."""


def spoken_for(
    kind: str,
    channel: str,
    product_id: str | None,
    nodes: Sequence[Node],
    properties: str | None,
    config: IdentityConfig,
) -> dict[Node, str | None]:
    """The addresses among `nodes` that an event speaks for, each with the properties that count for whoever has it."""
    pairs = [node for node in nodes if node.id_type != CUSTOMER and node.value not in config.nobody]
    is_named = any(node.id_type == CUSTOMER for node in nodes)
    if not pairs or kind not in CONSENT_KINDS:
        return {}
    if kind == EventKind.PROFILE:
        return _answers(pairs, is_named, json.loads(properties or "{}"), config)
    if product_id or (is_named and kind == EventKind.SUBSCRIBE):
        return {}
    return dict.fromkeys(_addresses(pairs, is_named, config.address_types(channel)))


def event_id_for_others(event_id: str, seq: int) -> str:
    """The id under which others have an event: it gives away nothing of its own, and sorts the same in every log."""
    digest = hashlib.blake2b(event_id.encode(), digest_size=8, person=b"consent").hexdigest()
    return f"{OTHERS_ID}{digest}:{seq}"


def by_node(consents: Iterable[Consent]) -> dict[Node, list[Consent]]:
    """Consents by the address that they are of."""
    listed: dict[Node, list[Consent]] = defaultdict(list)
    for consent in consents:
        listed[consent.node].append(consent)
    return dict(listed)


def _addresses(pairs: Sequence[Node], is_named: bool, id_types: Sequence[str]) -> list[Node]:
    own = [node for node in pairs if node.id_type in id_types]
    if own or is_named:
        return own
    personal = [node for node in pairs if node.id_type in PERSONAL]
    return personal or [next((node for id_type in _MACHINES for node in pairs if node.id_type == id_type), pairs[0])]


def _answers(
    pairs: Sequence[Node], is_named: bool, properties: Mapping[str, Any], config: IdentityConfig
) -> dict[Node, str | None]:
    """Of a profile: which channels' answers, and whether that about profiling, are which address's."""
    answers: dict[Node, dict[str, Any]] = defaultdict(dict)
    for channel, says_yes in (properties.get(_CONSENT) or {}).items():
        if not (is_named and says_yes):
            for node in _addresses(pairs, is_named, config.address_types(channel)):
                answers[node].setdefault(_CONSENT, {})[channel] = says_yes
    if properties.get(_PROFILING) is not None:
        for node in _addresses(pairs, is_named, ()):
            answers[node][_PROFILING] = properties[_PROFILING]
    return {node: json.dumps(said, sort_keys=True) for node, said in answers.items()}
