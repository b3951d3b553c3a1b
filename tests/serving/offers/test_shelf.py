"""The shelf: offers in force by their dates, whom each may be made to, and what it promotes; one customer as many."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from features.log.lists.offer_table import KeptOffers
from features.offers.offer import Offer
from serving.offers.shelf import EMPTY, NOTHING_OFFERED, OfferShelf, is_control
from serving.products.catalogue import Catalogue
from serving.products.eligibility import product_table
from serving.products.product_rows import ProductInfo

NOON = datetime(2030, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def shelf(*offers: Offer) -> OfferShelf:
    return OfferShelf.of(KeptOffers(1, {offer.offer_id: offer for offer in offers}))


def no_row() -> dict[str, object]:
    raise AssertionError("nobody asks for the customer's columns")


def test_each_moment_has_the_offers_whose_time_it_is() -> None:
    always, early = Offer(offer_id="a"), Offer(offer_id="b", ends_at=NOON)
    late = Offer(offer_id="c", starts_at=NOON, ends_at=NOON + HOUR)
    ready = shelf(always, early, late, Offer(offer_id="d", paused=True))
    moments = [NOON - HOUR, NOON, NOON + HOUR / 2, NOON + HOUR]
    found = [[offer.offer_id for offer in ready.current(at.timestamp())] for at in moments]
    assert found == [["a", "b"], ["a", "c"], ["a", "c"], ["a"]]


def test_without_offers_nothing_is_asked_of_anybody() -> None:
    assert EMPTY.eligible("ada", no_row, NOON.timestamp()) is NOTHING_OFFERED
    assert shelf(Offer(offer_id="a")).eligible("ada", no_row, 0.0).refused == {}


def test_every_refusal_has_its_reason() -> None:
    ready = shelf(
        Offer(offer_id="best", where="value_decile >= 8"),
        Offer(offer_id="here", store_ids=("north",)),
        Offer(offer_id="measured", control_share=0.999999),
        Offer(offer_id="all"),
    )
    answer = ready.eligible("ada", lambda: {"value_decile": None}, 0.0, store_id="south")
    assert [offer.offer_id for offer in answer.offers] == ["all"]
    assert answer.refused == {
        "best": "not for this customer: value_decile >= 8",
        "here": "not in the store south",
        "measured": "one of the 100 % who never get it, so that it can be measured",
    }
    assert [offer.offer_id for offer in ready.eligible("ada", lambda: {"value_decile": 8}, 0.0).offers] == [
        "best",
        "here",
        "all",
    ]


def test_an_offer_that_cannot_be_compiled_is_a_problem_and_the_others_are_made() -> None:
    ready = shelf(Offer(offer_id="a", where="no_such_column > 1"), Offer(offer_id="b"))
    assert [offer.offer_id for offer in ready.offers] == ["b"]
    assert "no column 'no_such_column'" in ready.problems["a"]


def test_the_control_group_has_its_share_and_grows_with_it() -> None:
    names = [str(number) for number in range(20_000)]
    tenth, fifth = Offer(offer_id="a", control_share=0.1), Offer(offer_id="a", control_share=0.2)
    small, large = ({name for name in names if is_control(name, offer)} for offer in (tenth, fifth))
    other = {name for name in names if is_control(name, Offer(offer_id="b", control_share=0.1))}
    assert small < large
    assert len(small) == pytest.approx(2_000, abs=150)
    assert len(small & other) == pytest.approx(200, abs=60)


def test_categories_narrow_brands_and_products_are_added() -> None:
    infos = [
        ProductInfo("1", category="Shoes", brand="Ala"),
        ProductInfo("2", category="Shoes", brand="Bor"),
        ProductInfo("3", category="Hats", brand="Ala"),
        ProductInfo("4"),
    ]
    catalogue = Catalogue({info.product_id: info for info in infos})
    table = product_table(catalogue.product_ids, catalogue)
    ready = shelf(
        Offer(offer_id="both", categories=("shoes",), brands=("ALA",), products=("4", "unknown")),
        Offer(offer_id="brand", brands=("Ala",)),
        Offer(offer_id="own"),
        Offer(offer_id="unknown", products=("9",)),
    )
    found = {name: None if rows is None else rows.tolist() for name, rows in ready.promoted(table).items()}
    assert found == {"both": [0, 3], "brand": [0, 2], "own": None, "unknown": []}
    assert ready.promoted(table) is ready.promoted(table)


def test_many_customers_are_answered_as_each_alone() -> None:
    ready = shelf(Offer(offer_id="a", control_share=0.5), Offer(offer_id="b", store_ids=("north",)))
    names = [str(number) for number in range(50)]
    many = ready.eligible_many(names, None, 0.0, store_id="south")  # type: ignore[arg-type]  (no condition asks)
    alone = [{o.offer_id for o in ready.eligible(name, no_row, 0.0, store_id="south").offers} for name in names]
    assert [set(np.array(["a", "b"])[row]) for row in many] == alone
