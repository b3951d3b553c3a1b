"""Many customers' ways of contact and what there is to offer in, each one's ways with offers out: as for each asked alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.online.many import LiveBatch
from serving.decision.arm_weighing import WeighedArms
from serving.decision.rules import Arm, Rules
from serving.offers.columns import CustomerColumns
from serving.offers.customer_products import CustomerProducts
from serving.offers.in_force import Asked, Full, OffersInForce
from serving.offers.weighing import WeighedOffers
from serving.products.catalogue import Catalogue
from serving.products.eligibility import allowed_to_all, product_table
from serving.products.history import purchase_history
from serving.schemas import DecideRequest
from serving.scorers.bundle import Bundle


@dataclass(frozen=True, eq=False)
class ManyCustomers:
    """n customers who are asked about together."""

    batch: LiveBatch
    as_of_s: FloatArray  # (n,)
    signals: Float32Array  # (n, F)
    churn: Sequence[float | None]
    request: DecideRequest
    bundle: Bundle
    catalogue: Catalogue
    rules: Rules

    def weigh(
        self, offers: OffersInForce, weighed: Sequence[WeighedArms], arms: tuple[Arm, ...], full: Full
    ) -> Iterator[tuple[int, WeighedOffers, Mapping[str, str]]]:
        """The ways of each with offers, in whatever order, with the customer's row; who is left out has no offer in force.

        With them comes what `full` says of the customer: offers that have no room left.
        """
        on = np.array([offers.any_on(at_s) for at_s in self.as_of_s.tolist()], np.bool_)
        asked_about = np.flatnonzero(on)
        columns = CustomerColumns(self.batch, self.signals, self.bundle, offers.standing)
        for place, products in self._products(self.batch.take(asked_about), self.as_of_s[asked_about]):
            row = int(asked_about[place])
            asked = Asked(products.live, products.as_of_s, self.signals[row], self.churn[row], self.request)
            without_room = full(asked.live, asked.as_of_s)
            columns_of = partial(columns.row, row)
            yield row, offers.weigh_with(asked, products, weighed[row], arms, columns_of, without_room), without_room

    def _products(self, batch: LiveBatch, as_of_s: FloatArray) -> Iterator[tuple[int, CustomerProducts]]:
        """Each one's products, ranked in blocks."""
        scorer = self.bundle.need_product()
        table = product_table(scorer.product_ids, self.catalogue)
        for rows, allowed in allowed_to_all(table, self.request, self.rules, as_of_s):
            part, places = batch.take(rows), iter(rows.tolist())
            for block in scorer.rank_blocks(part.scored, as_of_s[rows], allowed):
                for within in range(len(block)):
                    place = next(places)
                    live, at_s = batch.live(place), float(as_of_s[place])
                    yield (
                        place,
                        CustomerProducts(
                            scorer,
                            block.one(within),
                            live,
                            at_s,
                            purchase_history(live, at_s),
                            allowed,
                            self.catalogue,
                            self.rules,
                        ),
                    )
