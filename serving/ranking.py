"""Scores and a customer's history in, the products to show out, with names and reasons."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.state import StateBatch
from serving.catalogue import Catalogue
from serving.explain import product_reasons, purchase_history
from serving.models import ProductScorer
from serving.product_rules import allowed_products, product_table
from serving.rules import DAY_S, ProductHistory, Rules, product_refusal
from serving.schemas import NextProductsRequest, Product, ProductFilter
from serving.variety import DEPTH, Place, diversify, explore

CANDIDATES: Final = 64
"""How deep a decision looks for a product that the rules allow."""
NEW: Final = "new in the range: shown to find out who likes it"


def rank_products(
    scorer: ProductScorer,
    scores: NDArray[np.float32],
    state: StateBatch,
    as_of_s: float,
    *,
    request: NextProductsRequest,
    seed: str,
    catalogue: Catalogue,
    rules: Rules,
) -> list[Product]:
    """The products to show for the best of `scores` (V,) for one customer (state n = 1), best first.

    `seed` decides which places go to new products, where the request asks for that.
    """
    histories = purchase_history(state, as_of_s)
    table = product_table(scorer.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s)
    depth = request.k * DEPTH if request.diversity > 0 else request.k
    columns = scorer.top_k(scores, depth, allowed)
    groups = [table.category[column] for column in columns]
    ranked = diversify(columns, scores, groups, request.k, request.diversity)
    ids = [scorer.product_ids[column] for column in ranked]
    new = _new_products(request, histories, catalogue, rules, as_of_s) if request.explore_share > 0 else []
    return [
        _describe(scorer, place, scores, state, histories, as_of_s, catalogue, rules)
        for place in explore(ids, new, request.explore_share, seed)
    ]


def product_to_offer(
    scorer: ProductScorer,
    scores: NDArray[np.float32],
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
    for column in scorer.top_k(scores, CANDIDATES, allowed):
        if product_refusal(histories.get(int(scorer.codes[column])), rules) is None:
            place = Place(scorer.product_ids[column], 1.0)
            return _describe(scorer, place, scores, state, histories, as_of_s, catalogue, rules)
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


def _describe(
    scorer: ProductScorer,
    place: Place,
    scores: NDArray[np.float32],
    state: StateBatch,
    histories: Mapping[int, ProductHistory],
    as_of_s: float,
    catalogue: Catalogue,
    rules: Rules,
) -> Product:
    """One product with what a person wants to know of it; one that the model does not know scores 0."""
    info = catalogue.get(place.product_id)
    row = scorer.row_of.get(place.product_id)
    reasons = [] if row is None else product_reasons(int(scorer.codes[row]), state, histories, rules, as_of_s)
    return Product(
        product_id=info.product_id,
        name=info.name,
        category=info.category,
        price=info.price,
        score=0.0 if row is None else round(float(scores[row]), 6),
        reasons=[NEW] if place.explored else reasons,
        pscore=place.pscore,
    )
