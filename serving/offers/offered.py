"""What questions are answered by of offers and of the suppression list; it never changes, and is swapped in whole."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from serving.offers.columns import UNKNOWN_STANDING, Standing
from serving.offers.in_force import OffersInForce
from serving.offers.response import NOTHING_COUNTED, Counts
from serving.offers.shelf import EMPTY, OfferShelf


def no_offers() -> OffersInForce | None:
    """A decision is about the customer's best product."""
    return None


def nobody_suppressed(customer_id: str) -> str | None:
    """Nobody is on the suppression list."""
    return None


@dataclass(frozen=True, eq=False)
class Offered:
    """As of one look."""

    shelf: OfferShelf = EMPTY
    """The offers that can be made."""
    standing: Standing = UNKNOWN_STANDING
    """What their conditions compare a customer with."""
    counts: Counts = NOTHING_COUNTED
    """What the log tells of responses to them."""
    suppressed: Callable[[str], str | None] = nobody_suppressed
    """Why a customer, by the log's name of them, is sent nothing; where nobody is on the list, it is not asked."""

    @cached_property
    def in_force(self) -> OffersInForce | None:
        """What decisions are made with; None where there is no offer at all."""
        return OffersInForce(self.shelf, self.counts, self.standing) if self.shelf.offers else None


NOTHING_OFFERED: Final = Offered()
"""No offers, and nobody on the list."""
