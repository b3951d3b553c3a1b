"""What everybody does, in numbers that are ready to be answered with: sales by place, response rates, the churn rate.

Counts come in (`counting.py`), rates out. Nothing here knows of a single customer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from features.arrays import FloatArray, IntArray
from features.vocabulary import RESPONSE_KINDS, Channel, EventKind
from serving.decision.rules import Arm

PLACE: Final = 1 << 32
"""A place and a product make one number."""
EVERYWHERE: Final = ""
"""The place of all sales together; the others are `channel:…` and `store:…`."""
HORIZON_DAYS: Final = 28.0
"""Who bought nothing for so long has left, as in the churn model's own configuration."""
PRIOR_RATE: Final = 0.02
"""The share of contacts that is answered where a shop has hardly sent any: of the size that campaigns by e-mail see."""
PRIOR_CONTACTS: Final = 50.0
"""How many contacts that guess, and what all channels together say of one of them, count as."""
ALWAYS_WAYS: Final = (Channel.EMAIL, Channel.SMS, Channel.PUSH)
"""Ways that a shop has though it never used them yet: cheap, and open only to who said yes."""
COSTS: Final[Mapping[str, float]] = {Channel.SMS: 0.05, Channel.POST: 0.6, Channel.CALL_CENTER: 2.0}
"""What a contact costs, in money, as long as no model was told: about what providers charge; the others next to nothing."""

Contacts = Mapping[tuple[str, str], int]
"""How often a kind of event happened on a channel."""


@dataclass(frozen=True)
class ChurnRate:
    """How many of the customers there were bought nothing in the latest `horizon_days`."""

    horizon_days: float
    n_customers: int
    """Who had bought before."""
    n_left: int

    @property
    def rate(self) -> float:
        """The share of them."""
        return self.n_left / self.n_customers

    @property
    def words(self) -> str:
        """Where it comes from."""
        return (
            f"everybody's rate: {self.n_left:,} of {self.n_customers:,} customers bought nothing in the latest "
            f"{self.horizon_days:g} days"
        )


@dataclass(frozen=True, eq=False)
class Sales:
    """What was sold where, as sums that fade. Its columns may lie in a file that all workers map."""

    names: pa.StringArray = field(default_factory=lambda: pa.array([], pa.string()))
    """Products (P,)."""
    places: Mapping[str, int] = field(default_factory=dict)
    """The number of each place."""
    pairs: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    """What was sold somewhere (m,), ascending: the place's number times PLACE, and the product's, which is its row."""
    weights: FloatArray = field(default_factory=lambda: np.empty(0))
    """How much of it (m,)."""

    @property
    def product_ids(self) -> list[str]:
        """Products (P,), as texts: made at every call."""
        ids: list[str] = self.names.to_pylist()
        return ids

    def counts(self, place: str) -> FloatArray:
        """How much of each product was sold at a place (P,); nothing where nothing is known of it."""
        counts = np.zeros(len(self.names))
        number = self.places.get(place)
        if number is not None:
            first, last = np.searchsorted(self.pairs, (number * PLACE, (number + 1) * PLACE)).tolist()
            counts[self.pairs[first:last] - number * PLACE] = self.weights[first:last]
        return counts


@dataclass(frozen=True, eq=False)
class Population:
    """Everybody together, as of one look at the timeline and the log."""

    sales: Sales = field(default_factory=Sales)
    contacts: Contacts = field(default_factory=dict)
    """Contacts and responses."""
    churn: ChurnRate | None = None
    """None where the log is too young to tell."""

    @cached_property
    def ways(self) -> tuple[tuple[Arm, float], ...]:
        """Each way of contact and the rate at which it is answered, rounded so that workers who looked apart agree."""
        sent = {key: n for key, n in self.contacts.items() if key[1] in (EventKind.SEND, EventKind.IMPRESSION) and n}
        unused = [(channel.value, EventKind.SEND.value) for channel in ALWAYS_WAYS]
        keys = sorted({*sent, *unused})
        contacts, answers = self._on_channels()
        overall = _rate(sum(answers.values()), sum(contacts.values()), PRIOR_RATE)
        return tuple(
            (_arm(*key), float(f"{_rate(answers.get(key[0], 0), contacts.get(key[0], 0), overall):.2g}"))
            for key in keys
        )

    @cached_property
    def version(self) -> str:
        """Another one whenever a rate is: a decision's chances rest on them."""
        text = json.dumps([(arm.name, rate) for arm, rate in self.ways])
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def _on_channels(self) -> tuple[dict[str, int], dict[str, int]]:
        """Contacts, and how many of them were answered, by channel.

        An answered letter is opened, clicked and bought from: the kind that is most frequent counts, not all together.
        """
        contacts: dict[str, int] = {}
        for (channel, kind), n in self.contacts.items():
            if kind not in RESPONSE_KINDS:
                contacts[channel] = contacts.get(channel, 0) + n
        answers = {
            channel: min(n, max(self.contacts.get((channel, kind.value), 0) for kind in RESPONSE_KINDS))
            for channel, n in contacts.items()
        }
        return contacts, answers


def _rate(n_answers: int, n_contacts: int, prior: float) -> float:
    return (n_answers + prior * PRIOR_CONTACTS) / (n_contacts + PRIOR_CONTACTS)


def _arm(channel: str, kind: str) -> Arm:
    """Named as training names the ways that it finds in a log."""
    name = channel if kind == EventKind.SEND else f"{channel}_{kind}"
    return Arm(name, Channel(channel), COSTS.get(channel, 0.0) if kind == EventKind.SEND else 0.0)
