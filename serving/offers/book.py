"""The offers of a shelf in, all that decisions need of them and that is the same for every customer out, as arrays.

It is made once for many questions, of offers, a range of products, ways of contact and what the log tells of responses.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.offers.offer import Offer
from serving.decision.rules import Arm
from serving.offers.choice import Draws
from serving.offers.promoted import Promoted
from serving.offers.response import Counts, lifts_of
from serving.offers.shelf import OfferShelf, ShelfOffer
from serving.products.eligibility import ProductTable

SEED: Final = "omni"
"""Draws of lifts are made with it: the same on every worker."""


@dataclass(frozen=True, eq=False)
class OfferBook:
    """O offers, in the order of their ids, for A ways of contact and the V products of a table."""

    offers: tuple[Offer, ...]
    table: ProductTable
    arms: tuple[Arm, ...]
    promoted: Promoted
    may_go: BoolArray
    """Which offer may be made on which way, as far as the offer says (A, O)."""
    place: IntArray
    """At which place of the draws a way stands (A,)."""
    lift: FloatArray
    """What the lift of an offer on a way is expected to be (A, O)."""
    draws: Draws
    basis: str
    """Which offers these are, and which responses to them were known."""
    numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shelf: OfferShelf,
        current: Sequence[ShelfOffer],
        table: ProductTable,
        arms: tuple[Arm, ...],
        counts: Counts,
    ) -> "OfferBook":
        """Of the `current` offers of a shelf; what is known of its others tells of those like them."""
        ready = sorted(current, key=lambda each: each.offer_id)
        offers = tuple(each.offer for each in ready)
        channels = list(dict.fromkeys(arm.channel for arm in arms if arm.channel is not None))
        keys = {each.offer_id: (*each.offer.categories, *each.offer.tags) for each in shelf.offers}
        lifts = lifts_of(counts, [offer.offer_id for offer in offers], keys, channels)
        place = np.array([-1 if arm.channel is None else channels.index(arm.channel) for arm in arms], np.int64)
        may_go = np.array(
            [
                [arm.channel is not None and (not o.channels or arm.channel in o.channels) for o in offers]
                for arm in arms
            ],
            np.bool_,
        ).reshape(len(arms), len(offers))
        return cls(
            offers,
            table,
            arms,
            Promoted.of(ready, table),
            may_go,
            place,
            lifts.mean[place] if channels else np.ones(may_go.shape),
            lifts.draws(SEED),
            f"{shelf.version} {counts.version}",
            {offer.offer_id: number for number, offer in enumerate(offers)},
        )

    @cached_property
    def offer_ids(self) -> tuple[str, ...]:
        """Their ids (O,)."""
        return tuple(offer.offer_id for offer in self.offers)

    @cached_property
    def arm_names(self) -> tuple[str, ...]:
        """The ways' names (A,)."""
        return tuple(arm.name for arm in self.arms)

    @cached_property
    def arm_cost(self) -> FloatArray:
        """What each way costs (A,)."""
        return np.array([arm.cost for arm in self.arms], np.float64)

    @cached_property
    def cost(self) -> FloatArray:
        """What each offer costs on top (O,)."""
        return self._numbers([offer.cost for offer in self.offers])

    @cached_property
    def boost(self) -> FloatArray:
        """The factor of each offer (O,)."""
        return self._numbers([offer.boost for offer in self.offers])

    @cached_property
    def is_reminder(self) -> BoolArray:
        """Which offers are for what is due on purpose, so that nothing is taken off for what is bought anyway (O,)."""
        return np.array([offer.rebuys == "due" for offer in self.offers], np.bool_)

    @cached_property
    def ends_s(self) -> FloatArray:
        """Until when (O,)."""
        return self._numbers([np.inf if o.ends_at is None else o.ends_at.timestamp() for o in self.offers])

    def money(self, columns: IntArray, response_value: float) -> FloatArray:
        """What a response to each offer is worth (O,) with the product in its column; NaN where that is not known."""
        with_product = np.where(columns < 0, len(self.table), columns)
        of_product = self._of_product[self._sort, with_product]
        return np.where(self._sort == _FIXED, np.where(np.isnan(self._fixed), response_value, self._fixed), of_product)

    @cached_property
    def _fixed(self) -> FloatArray:
        return self._numbers([o.value if isinstance(o.value, int | float) else np.nan for o in self.offers])

    @cached_property
    def _sort(self) -> IntArray:
        return np.array([_SORTS.get(str(offer.value), _FIXED) for offer in self.offers], np.int64)

    @cached_property
    def _of_product(self) -> FloatArray:
        """Nothing, the margin and the price of every product in money (3, V + 1), NaN in the last column."""
        price = self.table.price
        rows = np.stack([np.full(len(price), np.nan), price * self.table.margin, price])
        return np.column_stack([rows, np.full(3, np.nan)])

    @staticmethod
    def _numbers(values: Sequence[float]) -> FloatArray:
        return np.array(values, np.float64)


_FIXED: Final = 0
_SORTS: Final[Mapping[str, int]] = {"margin": 1, "price": 2}
_BOOKS: Final[deque[tuple[tuple[Any, ...], tuple[ShelfOffer, ...], OfferBook]]] = deque(maxlen=4)


def offer_book(
    shelf: OfferShelf,
    current: tuple[ShelfOffer, ...],
    table: ProductTable,
    arms: tuple[Arm, ...],
    counts: Counts,
) -> OfferBook:
    """The book of what is current on a shelf, made once for a table, ways and counts."""
    key = (shelf.version, arms, counts.version)
    for known, of_offers, book in tuple(_BOOKS):
        if known == key and of_offers is current and book.table is table:
            return book
    book = OfferBook.of(shelf, current, table, arms, counts)
    _BOOKS.appendleft((key, current, book))
    return book
