"""Questions for lists in, lists of products out: the rules, stock and withdrawals hold on each as on every way to a product."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray
from features.online.live import LiveState
from features.vocabulary import Task
from serving.answers import Answers, Knowledge
from serving.fallback.popularity import TopFrequency
from serving.lists.popular import RISING, rise
from serving.lists.similar import likeness
from serving.lists.together import companionship
from serving.products.eligibility import narrowed_products
from serving.products.history import purchase_history
from serving.products.product_range import ProductRange, product_range
from serving.products.ranking import product_of
from serving.schemas import CustomerRef
from serving.schemas.lists import BoughtTogetherRequest, ListAnswer, ListRequest, PopularRequest, SimilarRequest, Source

ALIKE: Final = 0.15
"""What is less like a product than this serves another need, and is not called similar."""
_IN_RANGE: Final = 1e-9
"""The score of what is listed and never sold."""


@dataclass(frozen=True)
class _Ordered:
    """Scores (V,) of a range; what scores nothing is no part of the list."""

    scores: FloatArray
    served_by: Source
    reason: Callable[[int], str]
    """Why a row is in the list, in words."""
    note: str | None = None


@dataclass(frozen=True)
class ProductLists:
    """Answers questions that need no customer as `answers` answers those about one."""

    answers: Answers

    @property
    def is_prepared(self) -> bool:
        """Whether all that takes long was looked up already."""
        return self._range(self.answers.knowledge()).is_prepared

    def similar(self, request: SimilarRequest) -> ListAnswer:
        """What serves the same need as a product."""
        known = self.answers.knowledge()
        products, live = self._range(known), self._live(request, known)
        row = products.row_of.get(request.product_id)
        if row is None:
            return self._list(request, known, products, self._unlisted(known, products, request), (), live)
        scores, learned = likeness(products, row)
        table = products.table
        name = table.catalogue.get(request.product_id).name or request.product_id

        def reason(other: int) -> str:
            if table.category[row] and table.category[other] == table.category[row]:
                return f"the same category as {name}"
            return f"bought as {name} is" if learned[other] else f"described as {name} is"

        scores[scores < ALIKE] = 0.0
        served_by: Source = "model" if learned.any() else "content"
        note = None if learned.any() else "no model knows it: what the product table says of it is compared"
        return self._list(request, known, products, _Ordered(scores, served_by, reason, note), [row], live)

    def bought_together(self, request: BoughtTogetherRequest) -> ListAnswer:
        """What goes with a product, or with all of a cart."""
        known = self.answers.knowledge()
        products, live = self._range(known), self._live(request, known)
        cart = [products.row_of[name] for name in request.product_ids if name in products.row_of]
        if not request.product_ids and live is not None:
            codes = live.state.cart_product.values.tolist()
            cart = [products.table.row_of_code[code] for code in codes if code in products.table.row_of_code]
        scores, pointer = companionship(products, cart)
        if not scores.any():
            what = "of what is bought with these products nothing is known" if cart else "the cart is empty"
            return self._list(request, known, products, self._unlisted(known, products, request, what), cart, live)

        def reason(row: int) -> str:
            name = products.table.product_ids[pointer[row]]
            return f"bought together with {products.table.catalogue.get(name).name or name}"

        return self._list(request, known, products, _Ordered(scores, "model", reason), cart, live)

    def in_haste(self, request: ListRequest) -> ListAnswer:
        """What is popular, where there was no time for anything else."""
        known = self.answers.knowledge()
        products = self._range(known)
        ordered = self._unlisted(known, products, request, "the answer was not there in time")
        return self._list(request, known, products, ordered, (), None)

    def popular(self, request: PopularRequest) -> ListAnswer:
        """What sells most, or more than it did."""
        known = self.answers.knowledge()
        products, live = self._range(known), self._live(request, known)
        ordered = self._popular(known, products, request.store_id, request.channel)
        if request.by == "trending":
            ordered = self._rising(products, ordered, somewhere=request.store_id or request.channel)
        return self._list(request, known, products, ordered, (), live)

    def _rising(self, products: ProductRange, popular: _Ordered, *, somewhere: str | None) -> _Ordered:
        week, month = products.sales_of(7.0), products.sales_of(28.0)
        if week is None or month is None:
            note = (
                "no model keeps what sold in which week: what sells most of late is answered (omni train next-product)"
            )
            return _Ordered(popular.scores, popular.served_by, popular.reason, note)
        scores = rise(week, month)
        scores[scores < RISING] = 0.0
        if somewhere is not None:
            scores[popular.scores <= 0] = 0.0
        return _Ordered(scores, "popularity", lambda row: "selling more these days than in the weeks before")

    def _popular(self, known: Knowledge, products: ProductRange, store_id: str | None, channel: str | None) -> _Ordered:
        """What sells most somewhere; what never sold comes last, in the order of the table."""
        scorer = known.fallback.popularity.at(store_id, channel)
        sold = scorer.files.session
        assert isinstance(sold, TopFrequency) and scorer.says is not None
        scores = np.zeros(len(products))
        listed = slice(0, len(scorer))  # the range begins with them
        scores[listed] = np.maximum(sold.popularity[1:], _IN_RANGE)
        return _Ordered(scores, "popularity", scorer.says)

    def _unlisted(
        self, known: Knowledge, products: ProductRange, request: ListRequest, what: str = "the product is not listed"
    ) -> _Ordered:
        """What is popular, where there is nothing to go by."""
        popular = self._popular(known, products, request.store_id, None)
        return _Ordered(popular.scores, "popularity", popular.reason, f"{what}: what is popular is answered")

    def _range(self, known: Knowledge) -> ProductRange:
        return product_range(known.fallback.popularity.product_ids, known.bundle.product, known.catalogue)

    def _live(self, request: ListRequest, known: Knowledge) -> LiveState | None:
        if not request.names_somebody or self.answers.hurried:
            return None
        who = CustomerRef(customer_id=request.customer_id, identifiers=request.identifiers)
        return self.answers.find(who, known, allow_unknown=True)

    def _list(
        self,
        request: ListRequest,
        known: Knowledge,
        products: ProductRange,
        ordered: _Ordered,
        shown: Sequence[int],
        live: LiveState | None,
    ) -> ListAnswer:
        """The best k that may be answered; `shown` are on the page already."""
        now = self.answers.clock.now()
        known.catalogue.check_store(request.store_id)
        allowed = narrowed_products(products.table, request, self.answers.rules, now.timestamp())
        allowed[list(shown)] = False
        if live is not None:
            _leave_out_bought(allowed, products, live, self.answers.rules.bought_recently_days, now.timestamp())
        scores = np.where(allowed, ordered.scores, 0.0)
        best = np.argsort(-scores, kind="stable")[: request.k]
        table, card = products.table, known.bundle.card(Task.NEXT_PRODUCT)
        return ListAnswer(
            as_of=now,
            served_by=ordered.served_by,
            note=ordered.note,
            models={Task.NEXT_PRODUCT.value: card.version} if card is not None and ordered.served_by == "model" else {},
            rules_version=self.answers.rules.version,
            products=[
                product_of(
                    table.catalogue.get(table.product_ids[row]),
                    float(scores[row]),
                    [ordered.reason(row)] if request.explain else [],
                )
                for row in best.tolist()
                if scores[row] > 0
            ],
        )


def _leave_out_bought(allowed: BoolArray, products: ProductRange, live: LiveState, days: float, as_of_s: float) -> None:
    for code, history in purchase_history(live, as_of_s).within(days).items():
        if history.last_days < days and code in products.table.row_of_code:
            allowed[products.table.row_of_code[code]] = False
