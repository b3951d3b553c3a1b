"""Scores and a customer's history in, the products to show out, with names and reasons."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from features.online.live import LiveState
from features.state.batch import StateBatch
from features.vocabulary import DAY_S
from serving.decision.contacts import exposure_history
from serving.decision.rests import product_rest, resting_products
from serving.decision.rules import Rules, product_refusal
from serving.products.catalogue import Catalogue
from serving.products.diversity import DEPTH, Place, diversify, explore
from serving.products.eligibility import allowed_products, product_table, rows_among
from serving.products.evidence import evidence_reasons
from serving.products.history import PurchaseHistory, product_reasons, purchase_history
from serving.products.objective import by_objective
from serving.products.product_rows import ProductInfo
from serving.schemas import NextProductsRequest, Product, ProductFilter
from serving.schemas.requests import MAX_PRODUCTS
from serving.scorers.next_product import ProductScorer, Ranked, Scored

CANDIDATES: Final = 64
"""How deep a decision looks for a product that the rules allow."""
FIRST: Final = (4, 16)
"""How deep it looks at first, and then."""
TOLD_PASSED_OVER: Final = 3
"""How many products that ranked higher a decision names with the reason against them."""
NEW: Final = "new in the range: shown to find out who likes it"
NEW_TO_THEM: Final = "new to this customer: "
FITS: Final = "fits what they bought lately and what is popular now"
POPULAR: Final = "popular now"
UNSCORED: Final = "the model does not know it yet: in the order given"


@dataclass(frozen=True)
class Offer:
    """What a decision offers: a product, None where the rules leave none, and the best of those that they forbid, in words."""

    product: Product | None
    passed_over: tuple[str, ...] = ()


def rank_products(
    scorer: ProductScorer,
    scored: Scored,
    live: LiveState,
    as_of_s: float,
    *,
    request: NextProductsRequest,
    seed: str,
    catalogue: Catalogue,
    rules: Rules,
) -> list[Product]:
    """The products to show one customer (`scored` n = 1), best first.

    `seed` decides which places go to new products, where the request asks for that.
    """
    histories = purchase_history(live, as_of_s)
    resting = resting_products(exposure_history(live, as_of_s), rules) if request.exclude_resting else {}
    table = product_table(scorer.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s, resting)
    if request.candidates is not None:
        allowed &= rows_among(table, request.candidates)
    depth = request.n_places * DEPTH if request.diversity > 0 else request.n_places
    ordered = scorer.rank(scored, allowed)
    ordered = replace(ordered, scores=by_objective(ordered.scores, table, request.objective, allowed))
    columns = ordered.best(depth)
    groups = [table.category[column] for column in columns]
    ranked = diversify(columns, ordered.scores, groups, request.n_places, request.diversity)
    ids = [scorer.product_ids[column] for column in ranked]
    ids += _unscored(scorer, request, histories, catalogue, rules, as_of_s, resting)[: request.n_places - len(ids)]
    new = _new_products(request, histories, catalogue, rules, as_of_s, resting) if request.explore_share > 0 else []
    teller = _Teller(scorer, ordered, live.scored, histories, as_of_s, catalogue, rules, request.explain)
    places = explore(ids, new, request.explore_share, seed)
    return [teller.describe(place, tell=number < MAX_PRODUCTS) for number, place in enumerate(places)]


def product_to_offer(
    scorer: ProductScorer,
    scored: Scored,
    live: LiveState,
    as_of_s: float,
    *,
    wanted: ProductFilter,
    catalogue: Catalogue,
    rules: Rules,
) -> Offer:
    """The best product that the rules allow to advertise now, and which better ones they do not."""
    histories = purchase_history(live, as_of_s)
    table = product_table(scorer.product_ids, catalogue)
    ordered = scorer.rank(scored, allowed_products(table, wanted, histories, 0.0, rules, as_of_s))
    return offer_of(scorer, ordered, live, as_of_s, histories, explain=wanted.explain, catalogue=catalogue, rules=rules)


def offer_of(
    scorer: ProductScorer,
    ordered: Ranked,
    live: LiveState,
    as_of_s: float,
    histories: PurchaseHistory,
    *,
    explain: bool,
    catalogue: Catalogue,
    rules: Rules,
) -> Offer:
    """`product_to_offer` of products that are ranked already."""
    exposures = exposure_history(live, as_of_s)
    passed_over: list[str] = []
    for column in _in_order(ordered, lambda: CANDIDATES + len(resting_products(exposures, rules))):
        code, product_id = int(scorer.codes[column]), scorer.product_ids[column]
        refusal = product_rest(exposures, code, rules) or product_refusal(
            histories.lately(code, rules.bought_recently_days), rules
        )
        if refusal is None:
            product = tell_product(
                scorer, ordered, live, as_of_s, histories, product_id, explain=explain, catalogue=catalogue, rules=rules
            )
            return Offer(product, tuple(passed_over))
        if len(passed_over) < TOLD_PASSED_OVER:
            passed_over.append(f"not {catalogue.get(product_id).name or product_id}: {refusal}")
    return Offer(None, tuple(passed_over))


def tell_product(
    scorer: ProductScorer,
    ordered: Ranked,
    live: LiveState,
    as_of_s: float,
    histories: PurchaseHistory,
    product_id: str,
    *,
    explain: bool,
    catalogue: Catalogue,
    rules: Rules,
) -> Product:
    """One product as answers tell of it: with its name and, where it is to `explain`, why it is for this customer."""
    teller = _Teller(scorer, ordered, live.scored, histories, as_of_s, catalogue, rules, explain)
    return teller.describe(Place(product_id, 1.0))


def product_of(info: ProductInfo, score: float, reasons: Sequence[str] = (), pscore: float = 1.0) -> Product:
    """A product as answers tell of it."""
    return Product(
        product_id=info.product_id,
        name=info.name,
        category=info.category,
        price=info.price,
        score=round(score, 6),
        reasons=list(reasons),
        pscore=pscore,
    )


def _in_order(ordered: Ranked, depth: Callable[[], int]) -> Iterator[int]:
    """Columns of one customer's products, best first, down to a depth that is asked for where the first few do not do."""
    begin = 0
    for end in FIRST:
        columns = ordered.best(end)
        yield from columns[begin:].tolist()
        if len(columns) < end:
            return
        begin = end
    yield from ordered.best(depth())[begin:].tolist()


def _new_products(
    request: NextProductsRequest,
    histories: PurchaseHistory,
    catalogue: Catalogue,
    rules: Rules,
    as_of_s: float,
    resting: Collection[int],
) -> list[str]:
    """Allowed products that became available lately, whether the model knows them or not."""
    table = product_table(catalogue.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s, resting)
    allowed &= table.available_from_s > as_of_s - request.new_days * DAY_S
    return [catalogue.product_ids[row] for row in np.flatnonzero(allowed)]


def _unscored(
    scorer: ProductScorer,
    request: NextProductsRequest,
    histories: PurchaseHistory,
    catalogue: Catalogue,
    rules: Rules,
    as_of_s: float,
    resting: Collection[int],
) -> list[str]:
    """Allowed candidates that the model does not know, in the order given.

    What no table lists is allowed unless the question narrows to what a table says.
    """
    left = [name for name in dict.fromkeys(request.candidates or ()) if name not in scorer.row_of]
    if not left:
        return []
    table = product_table(catalogue.product_ids, catalogue)
    allowed = allowed_products(table, request, histories, request.exclude_recent_days, rules, as_of_s, resting)
    narrowed = any((request.categories, request.brands, request.attributes))
    narrowed |= request.min_price is not None or request.max_price is not None
    excluded = set(left) if narrowed else {*request.exclude, *rules.never.products}
    return [
        name for name in left if (allowed[table.row_of_id[name]] if name in table.row_of_id else name not in excluded)
    ]


@dataclass(frozen=True)
class _Teller:
    """What the description of one customer's products needs."""

    scorer: ProductScorer
    ordered: Ranked
    state: StateBatch  # n = 1
    histories: PurchaseHistory
    as_of_s: float
    catalogue: Catalogue
    rules: Rules
    explain: bool = True
    """Whether reasons are told; that a product is new in the range always is."""

    def describe(self, place: Place, *, tell: bool = True) -> Product:
        """One product with what a person wants to know of it; one that the model does not know scores 0."""
        info = self.catalogue.get(place.product_id)
        row = self.scorer.row_of.get(place.product_id)
        if place.explored:
            reasons = [NEW]
        elif row is None:
            reasons = [UNSCORED]
        else:
            reasons = self._reasons(row, info) if self.explain and tell else []
        return product_of(info, 0.0 if row is None else float(self.ordered.scores[row]), reasons, place.pscore)

    def _reasons(self, row: int, info: ProductInfo) -> list[str]:
        """What the customer did with the product; for one that they never had, what speaks for it."""
        code = int(self.scorer.codes[row])
        own = product_reasons(code, self.state, self.histories, self.rules, self.as_of_s)
        if own:
            return own
        if self.scorer.says is not None:
            return [self.scorer.says(row)]
        found = evidence_reasons(
            self.scorer, self.ordered, row, name_of=self._name, category=info.category, brand=info.brand
        )
        if found or not len(self.state.seq_product.values):
            return found or [POPULAR]
        return [f"{NEW_TO_THEM}{FITS}" if self.histories.is_new(code) else FITS]

    def _name(self, product_id: str) -> str:
        return self.catalogue.get(product_id).name or product_id
