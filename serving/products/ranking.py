"""Scores and a customer's history in, the products to show out, with names and reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.state.batch import StateBatch
from features.vocabulary import DAY_S
from serving.decision.rules import ProductHistory, Rules, product_refusal
from serving.products.catalogue import Catalogue, ProductInfo
from serving.products.diversity import DEPTH, Place, diversify, explore
from serving.products.eligibility import allowed_products, product_table
from serving.products.evidence import evidence_reasons
from serving.products.history import product_reasons, purchase_history
from serving.schemas import NextProductsRequest, Product, ProductFilter
from serving.scorers.next_product import ProductScorer, Ranked, Scored

CANDIDATES: Final = 64
"""How deep a decision looks for a product that the rules allow."""
NEW: Final = "new in the range: shown to find out who likes it"
FITS: Final = "new to this customer: fits what they bought lately and what is popular now"
POPULAR: Final = "popular now"


def rank_products(
    scorer: ProductScorer,
    scored: Scored,
    state: StateBatch,
    as_of_s: float,
    *,
    request: NextProductsRequest,
    seed: str,
    catalogue: Catalogue,
    rules: Rules,
) -> list[Product]:
    """The products to show one customer (state and `scored` n = 1), best first.

    `seed` decides which places go to new products, where the request asks for that.
    """
    histories = purchase_history(state, as_of_s)
    table = product_table(scorer.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s)
    depth = request.k * DEPTH if request.diversity > 0 else request.k
    ordered = scorer.rank(scored, allowed)
    columns = ordered.best(depth)
    groups = [table.category[column] for column in columns]
    ranked = diversify(columns, ordered.scores, groups, request.k, request.diversity)
    ids = [scorer.product_ids[column] for column in ranked]
    new = _new_products(request, histories, catalogue, rules, as_of_s) if request.explore_share > 0 else []
    teller = _Teller(scorer, ordered, state, histories, as_of_s, catalogue, rules)
    return [teller.describe(place) for place in explore(ids, new, request.explore_share, seed)]


def product_to_offer(
    scorer: ProductScorer,
    scored: Scored,
    state: StateBatch,
    as_of_s: float,
    *,
    wanted: ProductFilter,
    catalogue: Catalogue,
    rules: Rules,
) -> Product | None:
    """The best product that the rules allow to advertise now, or None."""
    histories = purchase_history(state, as_of_s)
    table = product_table(scorer.product_ids, catalogue)
    allowed = allowed_products(table, wanted, histories, 0.0, rules, as_of_s)
    ordered = scorer.rank(scored, allowed)
    for column in ordered.best(CANDIDATES):
        if product_refusal(histories.get(int(scorer.codes[column])), rules) is None:
            teller = _Teller(scorer, ordered, state, histories, as_of_s, catalogue, rules)
            return teller.describe(Place(scorer.product_ids[column], 1.0))
    return None


def _new_products(
    request: NextProductsRequest,
    histories: Mapping[int, ProductHistory],
    catalogue: Catalogue,
    rules: Rules,
    as_of_s: float,
) -> list[str]:
    """Allowed products that became available lately, whether the model knows them or not."""
    table = product_table(catalogue.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s)
    allowed &= table.available_from_s > as_of_s - request.new_days * DAY_S
    return [catalogue.product_ids[row] for row in np.flatnonzero(allowed)]


@dataclass(frozen=True)
class _Teller:
    """What the description of one customer's products needs."""

    scorer: ProductScorer
    ordered: Ranked
    state: StateBatch  # n = 1
    histories: Mapping[int, ProductHistory]
    as_of_s: float
    catalogue: Catalogue
    rules: Rules

    def describe(self, place: Place) -> Product:
        """One product with what a person wants to know of it; one that the model does not know scores 0."""
        info = self.catalogue.get(place.product_id)
        row = self.scorer.row_of.get(place.product_id)
        return Product(
            product_id=info.product_id,
            name=info.name,
            category=info.category,
            price=info.price,
            score=0.0 if row is None else round(float(self.ordered.scores[row]), 6),
            reasons=[NEW] if place.explored or row is None else self._reasons(row, info),
            pscore=place.pscore,
        )

    def _reasons(self, row: int, info: ProductInfo) -> list[str]:
        """What the customer did with the product; for one that they never had, what speaks for it."""
        code = int(self.scorer.codes[row])
        own = product_reasons(code, self.state, self.histories, self.rules, self.as_of_s)
        if own:
            return own
        found = evidence_reasons(
            self.scorer, self.ordered, row, name_of=self._name, category=info.category, brand=info.brand
        )
        return found or [FITS if len(self.state.seq_product.values) else POPULAR]

    def _name(self, product_id: str) -> str:
        return self.catalogue.get(product_id).name or product_id
