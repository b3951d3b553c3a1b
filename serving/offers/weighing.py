"""A customer's ways and ranked products, and the book of offers, in; what each offer is worth to them and its chance out.

Product, channel, hour and offer are decided together: a way is as good as the best offer on it, and each offer is made with
the best product that it may be made with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.offers.offer import Offer as DataOffer
from features.vocabulary import Channel
from serving.decision.arm_weighing import WeighedArms
from serving.decision.options import Options
from serving.decision.policy import Choice
from serving.offers.book import OfferBook
from serving.offers.choice import option_chances
from serving.offers.customer_products import CustomerProducts
from serving.offers.promoted import BestProducts
from serving.offers.value import Terms, Worth, retention_weight
from serving.products.ranking import Offer
from serving.schemas import OfferMade, OptionScore

NO_PRODUCT: Final = "no product of it may be offered now"
CHANCES_KEPT: Final = 40
"""Options whose chances an event holds, the likeliest: it has room for 8 KiB."""
OPTIONS_TOLD: Final = 12
"""Offers that an answer tells of, the best, and as many of those that may not be made."""
REFUSALS_TOLD: Final = 3
"""Of how many the reason is told as a sentence."""
NO_MONEY: Final = "what a response is worth is not known: its product has no {}"


@dataclass(frozen=True, eq=False)
class WeighedOffers:
    """The options of one customer, weighed."""

    book: OfferBook
    products: CustomerProducts
    best: BestProducts
    worth: Worth
    anyway: FloatArray  # (O,) told, whether or not it is taken off
    weighed: WeighedArms

    @property
    def options(self) -> Options:
        """Their values and chances."""
        assert self.weighed.options is not None
        return self.weighed.options

    def column(self, number: int) -> int:
        """The product that an offer is made with, as a column of the table; -1 for none."""
        of_set = int(self.book.promoted.set_of[number])
        return -1 if of_set < 0 else int(self.best.columns[of_set])

    def product(self, number: int | None, *, explain: bool) -> Offer:
        """The same as answers tell of it."""
        column = -1 if number is None else self.column(number)
        if number is None or column < 0:
            return Offer(None)
        passed = self.best.passed[int(self.book.promoted.set_of[number])]
        return self.products.told(column, passed, explain=explain)

    def terms(self, arm: int, number: int) -> Terms:
        """What the value of an option is made of."""
        return self.worth.terms(arm, number, float(self.book.lift[arm, number]))

    def offer_of(self, choice: Choice, arm: int | None) -> DataOffer | None:
        """The offer that was drawn; None with nothing."""
        return None if choice.offer is None or arm is None else self.book.offers[choice.offer]

    def told(self, choice: Choice, arm: int | None, language: str | None, *, explain: bool) -> dict[str, Any]:
        """What the answer says of offers: fields of `DecisionAnswer`."""
        fields: dict[str, Any] = {"options": self._rows() if explain else None}
        if choice.offer is None or arm is None:
            return fields
        offer, channel = self.book.offers[choice.offer], self.book.arms[arm].channel
        assert channel is not None
        return fields | {
            "offer_id": offer.offer_id,
            "offer": made(self.book, choice.offer, channel, language),
            "terms": self.terms(arm, choice.offer).plain(),
            "anyway_probability": float(self.anyway[choice.offer]),
        }

    def kept(self, choice: Choice, arm: int | None) -> dict[str, Any]:
        """What the event of the decision holds of offers."""
        said: dict[str, Any] = {"arm_pscore": choice.arm_pscore, "option_chances": self.options.likeliest(CHANCES_KEPT)}
        if choice.offer is None or arm is None:
            return said
        terms = self.terms(arm, choice.offer).plain()
        return {"offer_id": self.book.offer_ids[choice.offer], **said, "terms": terms}

    def reasons(self, choice: Choice, arm: int | None) -> list[str]:
        """Why this offer and not another, in sentences."""
        options, names = self.options, self._name
        best = options.values.max(axis=0, initial=-np.inf)
        n_allowed = int(np.isfinite(best).sum())
        words = []
        if choice.offer is not None and arm is not None:
            value = options.values[arm, choice.offer]
            words.append(
                f"{names(choice.offer)}: expected to bring {value:.2f} on {self.book.arms[arm].name}, of "
                f"{n_allowed} offers that may be made (the best of them: {best.max():.2f})"
            )
        refused = list(options.refusals.items())
        words += [f"not {names(self.book.numbers[name])}: {why}" for name, why in refused[:REFUSALS_TOLD]]
        if len(refused) > REFUSALS_TOLD:
            words.append(f"{len(refused) - REFUSALS_TOLD} more offers may not be made to them now")
        return words

    def _name(self, number: int) -> str:
        offer = self.book.offers[number]
        return f"offer {offer.name or offer.offer_id}"

    def _rows(self) -> list[OptionScore]:
        """The best offers, each on its best way, and the first of those that may not be made."""
        options, book = self.options, self.book
        best, chances = options.values.max(axis=0, initial=-np.inf), options.chances.sum(axis=0)
        rows = []
        for number in np.argsort(-best, kind="stable")[:OPTIONS_TOLD].tolist():
            if best[number] > -np.inf:
                column, way = self.column(number), int(options.values[:, number].argmax())
                rows.append(
                    OptionScore(
                        offer_id=book.offer_ids[number],
                        arm=book.arm_names[way],
                        product_id=None if column < 0 else self.products.scorer.product_ids[column],
                        value=float(best[number]),
                        chance=min(1.0, float(chances[number])),
                        eligible=True,
                    )
                )
        refused = list(options.refusals.items())[:OPTIONS_TOLD]
        return rows + [
            OptionScore(offer_id=name, arm=None, value=None, eligible=False, reasons=[why]) for name, why in refused
        ]


def made(book: OfferBook, number: int, channel: Channel, language: str | None) -> OfferMade:
    """An offer as its sender needs it."""
    offer = book.offers[number]
    creative = offer.creative(channel, language or "")
    return OfferMade(
        name=offer.name,
        text=None if creative is None else creative.text,
        language="" if creative is None else creative.language,
        group=offer.group,
        tags=list(offer.tags),
    )


def weigh_offers(
    book: OfferBook,
    products: CustomerProducts,
    weighed: WeighedArms,
    churn: float | None,
    refusals: Mapping[str, str],
) -> WeighedOffers:
    """Every way of `weighed` with every offer: what `refusals` (offer id -> reason) leaves, and has a product."""
    rules, best = products.rules, products.best(book)
    columns = _columns(book, best)
    money = book.money(columns, rules.response_value)
    said = {
        **_refused(book, columns, money),
        **{name: why for name, why in refusals.items() if name in book.numbers},
    }
    anyway = np.zeros(len(book.offers))
    chances = {column: products.anyway(column) for column in set(columns.tolist()) if column >= 0}
    if any(chances.values()):
        anyway = np.array([chances.get(column, 0.0) for column in columns.tolist()])
    worth = Worth(
        response=weighed.probabilities,
        gain=weighed.gains,
        cost=book.arm_cost,
        response_value=rules.response_value,
        money=np.nan_to_num(money),
        anyway=np.where(book.is_reminder, 0.0, anyway),
        boost=book.boost if rules.levers else np.ones(len(book.offers)),
        offer_cost=book.cost,
        retention_weight=retention_weight(churn, rules.value.retention),
        fatigue=rules.value.fatigue,
    )
    eligible = np.array([item.eligible and item.arm.channel is not None for item in weighed.checked], np.bool_)
    moments = np.array([np.nan if at is None else at for at in weighed.moments], np.float64)
    allowed = book.may_go & eligible[:, None] & ~(moments[:, None] >= book.ends_s)
    allowed[:, [book.numbers[name] for name in said]] = False
    gross, costs = worth.gross(), worth.costs()
    found = option_chances(
        gross, costs, book.draws, book.place, allowed, exploration=rules.exploration, temperature=rules.temperature
    )
    values = np.where(allowed, gross * book.lift - costs, -np.inf)
    options = Options(book.arm_names, book.offer_ids, found.options, found.nothing, values, said, book.basis)
    return WeighedOffers(book, products, best, worth, anyway, weighed.with_options(options))


def _columns(book: OfferBook, best: BestProducts) -> IntArray:
    """The product of each offer (O,), as a column of the table; -1 for none."""
    of_sets = np.append(best.columns, -1)
    columns: IntArray = of_sets[book.promoted.set_of]
    return columns


def _refused(book: OfferBook, columns: IntArray, money: FloatArray) -> dict[str, str]:
    """Offers that there is nothing to make with for this customer."""
    said = {
        book.offer_ids[number]: NO_MONEY.format(book.offers[number].value) for number in np.flatnonzero(np.isnan(money))
    }
    for number in np.flatnonzero((columns < 0) & (book.promoted.set_of >= 0)).tolist():
        said[book.offer_ids[number]] = NO_PRODUCT
    return said
