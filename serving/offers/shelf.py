"""The offers in force, as one worker has them ready: a customer's columns and a moment in, which may be made to them out.

A shelf never changes: another version of the offers is another shelf. Where there is no offer, it costs nothing.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np

from features.arrays import BoolArray, IntArray
from features.errors import InputError
from features.log.lists.offer_table import KeptOffers
from features.offers.offer import Offer
from serving.offers.columns import CustomerColumns
from serving.offers.condition import LiveCondition, compile_condition
from serving.offers.expression import Row
from serving.products.eligibility import ProductTable


@dataclass(frozen=True, eq=False)
class ShelfOffer:
    """One offer, ready to be made."""

    offer: Offer
    condition: LiveCondition | None = None
    """Whom it is for; None: everybody."""

    @property
    def offer_id(self) -> str:
        """What it is called."""
        return self.offer.offer_id

    def refusal(self, customer_id: str, row: Row, store_id: str | None) -> str | None:
        """Why it may not be made to a customer whose question names a store or none; None where it may."""
        offer = self.offer
        if store_id is not None and offer.store_ids and store_id not in offer.store_ids:
            return f"not in the store {store_id}"
        if self.condition is not None and not self.condition.holds(row):
            return f"not for this customer: {self.condition.text}"
        if offer.control_share and is_control(customer_id, offer):
            return control_reason(offer)
        return None

    def promoted(self, table: ProductTable) -> IntArray | None:
        """Which of a table's products (k,) it promotes, in their order; None: whichever is the customer's own best."""
        offer = self.offer
        if not offer.names_products:
            return None
        mask = np.zeros(len(table), np.bool_)
        if offer.categories or offer.brands:
            mask[:] = True
            if offer.categories:
                mask &= np.isin(table.category, [name.casefold() for name in offer.categories])
            if offer.brands:
                mask &= np.isin(table.brand, [name.casefold() for name in offer.brands])
        mask[[table.row_of_id[name] for name in offer.products if name in table.row_of_id]] = True
        return np.flatnonzero(mask)


@dataclass(frozen=True)
class Eligible:
    """What may be made to one customer at one moment, and of every other offer in force why it may not."""

    offers: tuple[ShelfOffer, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


NOTHING_OFFERED: Final = Eligible()


@dataclass(frozen=True, eq=False)
class OfferShelf:
    """All offers of one version that are not paused, in the order of their ids."""

    version: int = 0
    offers: tuple[ShelfOffer, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    """Offers that cannot be made, by id, and why."""

    @classmethod
    def of(cls, kept: KeptOffers) -> "OfferShelf":
        """Made of what the log keeps; an offer whose condition cannot be compiled (any more) is a problem, and not made."""
        offers, problems = [], dict(kept.unreadable)
        for offer in kept.offers.values():
            if offer.paused:
                continue
            try:
                condition = None if offer.where is None else compile_condition(offer.where)
            except InputError as error:
                problems[offer.offer_id] = str(error)
                continue
            offers.append(ShelfOffer(offer, condition))
        return cls(kept.version, tuple(offers), problems)

    def current(self, at_s: float) -> tuple[ShelfOffer, ...]:
        """Those in force at a moment, seconds since the epoch."""
        return self._stretches[1][bisect_right(self._stretches[0], at_s)] if self.offers else ()

    def eligible(self, customer_id: str, row: Callable[[], Row], at_s: float, store_id: str | None = None) -> Eligible:
        """What may be made to a customer; their columns are asked for only where an offer in force has a condition."""
        current = self.current(at_s)
        if not current:
            return NOTHING_OFFERED
        columns: Row = _Lazy(row)
        allowed, refused = [], {}
        for offer in current:
            reason = offer.refusal(customer_id, columns, store_id)
            if reason is None:
                allowed.append(offer)
            else:
                refused[offer.offer_id] = reason
        return Eligible(tuple(allowed), refused)

    def eligible_many(
        self, names: Sequence[str], columns: CustomerColumns, at_s: float, store_id: str | None = None
    ) -> BoolArray:
        """Which of `current(at_s)` may be made to each of n customers (n, offers); the same as `eligible` says of each."""
        current = self.current(at_s)
        allowed = np.ones((len(names), len(current)), np.bool_)
        for place, ready in enumerate(current):
            offer = ready.offer
            if store_id is not None and offer.store_ids and store_id not in offer.store_ids:
                allowed[:, place] = False
                continue
            if ready.condition is not None:
                allowed[:, place] = ready.condition.which(columns)
            if offer.control_share:
                allowed[:, place] &= [not is_control(name, offer) for name in names]
        return allowed

    def promoted(self, table: ProductTable) -> Mapping[str, IntArray | None]:
        """Which of a table's products each offer promotes, by its id; made once for a shelf and a table."""
        return _promoted(self, table)

    @cached_property
    def _stretches(self) -> tuple[list[float], list[tuple[ShelfOffer, ...]]]:
        """The moments at which another set of offers is in force, and the sets: one more than moments."""
        begins = [-np.inf if o.offer.starts_at is None else o.offer.starts_at.timestamp() for o in self.offers]
        ends = [np.inf if o.offer.ends_at is None else o.offer.ends_at.timestamp() for o in self.offers]
        borders = sorted({moment for moment in (*begins, *ends) if np.isfinite(moment)})
        spans = list(zip(self.offers, begins, ends, strict=True))
        sets = [tuple(o for o, begin, end in spans if begin <= at_s < end) for at_s in (-np.inf, *borders)]
        return borders, sets


EMPTY: Final = OfferShelf()
"""No offer at all."""


class _Lazy:
    """A row that is made when the first value is asked for."""

    def __init__(self, make: Callable[[], Row]) -> None:
        self._make = make
        self._row: Row | None = None

    def __getitem__(self, name: str) -> object:
        if self._row is None:
            self._row = self._make()
        return self._row[name]


def is_control(customer_id: str, offer: Offer) -> bool:
    """Whether a customer is one of those who never get an offer, so that it can be measured against them.

    By a hash of both, keyed with the offer's id: the same everywhere, and independent of every other draw. A larger share
    keeps everybody who was in it before.
    """
    digest = hashlib.blake2b(
        customer_id.encode(), digest_size=8, key=_key(offer.offer_id), person=b"omni-offer"
    ).digest()
    return int.from_bytes(digest, "big") < offer.control_share * 2**64


def control_reason(offer: Offer) -> str:
    """Why such a customer does not get it, in words."""
    return f"one of the {offer.control_share * 100:.3g} % who never get it, so that it can be measured"


@lru_cache(maxsize=4_096)
def _key(offer_id: str) -> bytes:
    return hashlib.blake2b(offer_id.encode(), digest_size=32).digest()


@lru_cache(maxsize=4)
def _promoted(shelf: OfferShelf, table: ProductTable) -> Mapping[str, IntArray | None]:
    return {offer.offer_id: offer.promoted(table) for offer in shelf.offers}
