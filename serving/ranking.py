"""Scores and a customer's history in, the products to show out, with names and reasons."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features.state import StateBatch
from serving.catalogue import Catalogue
from serving.explain import product_reasons, purchase_history
from serving.models import ProductScorer
from serving.rules import ProductHistory, Rules, product_refusal
from serving.schemas import Product, ProductFilter

CANDIDATES = 64
"""How deep a decision looks for a product that the rules allow."""


def rank_products(
    scorer: ProductScorer,
    scores: NDArray[np.float32],
    state: StateBatch,
    as_of_s: float,
    *,
    k: int,
    wanted: ProductFilter,
    exclude_recent_days: float,
    catalogue: Catalogue,
    rules: Rules,
) -> list[Product]:
    """The k best products of `scores` (V,) for one customer (state n = 1), best first."""
    histories = purchase_history(state, as_of_s)
    recent = [code for code, history in histories.items() if history.last_days < exclude_recent_days]
    allowed = _allowed(scorer, wanted, recent, catalogue)
    return [
        _describe(scorer, int(column), scores, state, histories, as_of_s, catalogue, rules)
        for column in scorer.top_k(scores, k, allowed)
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
    for column in scorer.top_k(scores, CANDIDATES, _allowed(scorer, wanted, (), catalogue)):
        code = int(scorer.codes[column])
        if product_refusal(histories.get(code), rules) is None:
            return _describe(scorer, int(column), scores, state, histories, as_of_s, catalogue, rules)
    return None


def _describe(
    scorer: ProductScorer,
    column: int,
    scores: NDArray[np.float32],
    state: StateBatch,
    histories: Mapping[int, ProductHistory],
    as_of_s: float,
    catalogue: Catalogue,
    rules: Rules,
) -> Product:
    """One product of the vocabulary with what a person wants to know of it."""
    info = catalogue.get(scorer.product_ids[column])
    return Product(
        product_id=info.product_id,
        name=info.name,
        category=info.category,
        price=info.price,
        score=round(float(scores[column]), 6),
        reasons=product_reasons(int(scorer.codes[column]), state, histories, rules, as_of_s),
    )


def _allowed(
    scorer: ProductScorer, wanted: ProductFilter, recent_codes: Sequence[int], catalogue: Catalogue
) -> NDArray[np.bool_] | None:
    """Which columns may be shown, shape (V,); None where all may."""
    if not (wanted.exclude or wanted.categories or recent_codes):
        return None
    allowed = np.ones(len(scorer), dtype=np.bool_)
    if wanted.categories:
        allowed = np.isin(scorer.codes, catalogue.codes_in(wanted.categories))
    if wanted.exclude:
        allowed[[scorer.row_of[name] for name in wanted.exclude if name in scorer.row_of]] = False
    if recent_codes:
        rows = scorer.rows(np.array(recent_codes, dtype=np.int64))
        allowed[rows[rows > 0] - 1] = False
    return allowed
