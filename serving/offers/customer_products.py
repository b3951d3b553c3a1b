"""One customer's ranked products in, the best of what offers promote and what is told of it out."""

from collections.abc import Sequence
from dataclasses import dataclass

from features.arrays import BoolArray
from features.online.live import LiveState
from serving.decision.contacts import exposure_history
from serving.decision.rests import product_rest
from serving.decision.rules import Rules, product_refusal
from serving.offers.book import OfferBook
from serving.offers.promoted import BestProducts
from serving.offers.response_fold import RESPONSE_DAYS
from serving.offers.value import anyway_probability
from serving.products.catalogue import Catalogue
from serving.products.eligibility import allowed_products, product_table
from serving.products.history import PurchaseHistory, purchase_history
from serving.products.ranking import TOLD_PASSED_OVER, Offer, tell_product
from serving.schemas import ProductFilter
from serving.scorers.next_product import ProductScorer, Ranked, Scored


def customer_products(
    scorer: ProductScorer,
    scored: Scored,
    live: LiveState,
    as_of_s: float,
    *,
    wanted: ProductFilter,
    catalogue: Catalogue,
    rules: Rules,
) -> "CustomerProducts":
    """The products that a question allows (`scored` n = 1), ranked for one customer."""
    histories = purchase_history(live, as_of_s)
    table = product_table(scorer.product_ids, catalogue)
    allowed = allowed_products(table, wanted, histories, 0.0, rules, as_of_s)
    return CustomerProducts(scorer, scorer.rank(scored, allowed), live, as_of_s, histories, allowed, catalogue, rules)


@dataclass(frozen=True, eq=False)
class CustomerProducts:
    """One customer's products, ranked, and what is known of what they bought."""

    scorer: ProductScorer
    ordered: Ranked
    live: LiveState
    as_of_s: float
    histories: PurchaseHistory
    allowed: BoolArray  # (V,)
    catalogue: Catalogue
    rules: Rules

    def best(self, book: OfferBook) -> BestProducts:
        """The best product that may be offered now of each set that offers promote."""
        exposures = exposure_history(self.live, self.as_of_s)

        def refusal(column: int) -> str | None:
            code = int(self.scorer.codes[column])
            return product_rest(exposures, code, self.rules) or product_refusal(
                self.histories.lately(code, self.rules.bought_recently_days), self.rules
            )

        scores = self.ordered.scores
        return book.promoted.best(scores, self.allowed, self.histories, book.table, self.rules, refusal)

    def anyway(self, column: int) -> float:
        """The chance that the product in a column is bought within the time of a response without any message."""
        own = self.histories.remembered.get(int(self.scorer.codes[column]))
        return 0.0 if own is None else anyway_probability(own.count, own.gap_days, own.last_days, RESPONSE_DAYS)

    def told(self, column: int, passed: Sequence[tuple[int, str]], *, explain: bool) -> Offer:
        """The product in a column as answers tell of it, with the better ones that must not be offered."""
        product = tell_product(
            self.scorer,
            self.ordered,
            self.live,
            self.as_of_s,
            self.histories,
            self.scorer.product_ids[column],
            explain=explain,
            catalogue=self.catalogue,
            rules=self.rules,
        )
        words = (
            f"not {self.catalogue.get(self.scorer.product_ids[other]).name or self.scorer.product_ids[other]}: {reason}"
            for other, reason in passed[:TOLD_PASSED_OVER]
        )
        return Offer(product, tuple(words))
