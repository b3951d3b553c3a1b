"""The offers that a question is answered with, and who may not get which: what a decider holds of offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from features.arrays import Float32Array
from features.online.live import LiveState
from serving.decision.arm_weighing import WeighedArms
from serving.decision.reserved import Used
from serving.decision.rules import Arm, Rules
from serving.limits.offers import offer_refusals
from serving.offers.book import offer_book
from serving.offers.columns import CustomerColumns, CustomerRow, Standing
from serving.offers.customer_products import CustomerProducts
from serving.offers.expression import Row
from serving.offers.response import NOTHING_COUNTED, Counts
from serving.offers.shelf import OfferShelf
from serving.offers.weighing import WeighedOffers, weigh_offers
from serving.products.eligibility import product_table
from serving.schemas import DecideRequest
from serving.scorers.bundle import Bundle

ANYWHERE = Standing()
"""Before anybody was looked at."""
NONE_FULL: Mapping[str, str] = MappingProxyType({})
"""No offer's caps or budget are used up."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One customer and the question about them."""

    live: LiveState
    as_of_s: float
    signals: Float32Array  # (F,)
    churn: float | None
    request: DecideRequest


Full = Callable[[LiveState, float], Mapping[str, str]]
"""Offers, by id, that have no room left for a customer at a moment (seconds), each with the reason in words."""
Refusals = Callable[[Asked], Mapping[str, str]]
"""Offers, by id, that limits forbid for a customer now, each with the reason in words."""


def refuse_none(_: Asked) -> Mapping[str, str]:
    """No limit is reached."""
    return {}


@dataclass(frozen=True, eq=False)
class OffersInForce:
    """What there is to offer, as of one moment."""

    shelf: OfferShelf
    counts: Counts = NOTHING_COUNTED
    """What the log tells of responses to them."""
    standing: Standing = ANYWHERE
    """Where customers stand among all, for conditions that compare them."""
    refusals: Refusals = refuse_none

    def any_on(self, at_s: float) -> bool:
        """Whether any offer is in force at a moment; where none is, a decision is what it is without offers."""
        return bool(self.shelf.current(at_s))

    def full_by(self, rules: Rules, used: Used | None) -> Full:
        """Says which of these offers have no room left for whom, by the ledger's counters."""

        def full(live: LiveState, at_s: float) -> Mapping[str, str]:
            return offer_refusals([each.offer for each in self.shelf.current(at_s)], live.held, at_s, rules, used)

        return full

    def weigh(
        self,
        asked: Asked,
        products: CustomerProducts,
        weighed: WeighedArms,
        arms: tuple[Arm, ...],
        bundle: Bundle,
        full: Mapping[str, str] = NONE_FULL,
    ) -> WeighedOffers:
        """The ways of one customer, who is asked about, with these offers; `bundle` answers about them.

        `full` are offers that have no room left for them, with the reasons.
        """

        def row() -> CustomerRow:
            return CustomerColumns.of_one(asked.live, asked.signals, bundle, self.standing).row()

        return self.weigh_with(asked, products, weighed, arms, row, full)

    def weigh_with(
        self,
        asked: Asked,
        products: CustomerProducts,
        weighed: WeighedArms,
        arms: tuple[Arm, ...],
        row: Callable[[], Row],
        full: Mapping[str, str] = NONE_FULL,
    ) -> WeighedOffers:
        """The same, with the columns that conditions go by."""
        table = product_table(products.scorer.product_ids, products.catalogue)
        book = offer_book(self.shelf, self.shelf.current(asked.as_of_s), table, arms, self.counts)
        eligible = self.shelf.eligible(asked.live.customer_id, row, asked.as_of_s, asked.request.store_id)
        refusals = {**self.refusals(asked), **full, **eligible.refused}
        return weigh_offers(book, products, weighed, asked.churn, refusals)
