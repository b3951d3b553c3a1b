"""Which products may be answered: every rule alone, no leak on any path, spread over categories, and exploration."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_companions import made_companions

from features.online.live import LiveState
from features.scoring.item_tables import Favourites, Neighbours
from features.scoring.model_inputs import STORE, model_inputs
from features.scoring.next_product import ProductFiles, ProductTrees
from features.scoring.rerank import FEATURES
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.vocabulary import Task
from serving.decision.rules import ProductHistory, Rules
from serving.products.catalogue import Catalogue, load_stock
from serving.products.diversity import diversify, explore
from serving.products.eligibility import allowed_products, product_table
from serving.products.history import PurchaseHistory
from serving.products.product_rows import ProductInfo
from serving.products.ranking import NEW, product_to_offer, rank_products
from serving.schemas import NextProductsRequest, ProductFilter
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer, Scored

NOW = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
IDS = ("milk", "oat", "tea", "soap", "gone", "soon")
INFOS = (
    ProductInfo("milk", category="Dairy", price=1.0, brand="Alp", attributes='{"size": "1L", "bio": true}'),
    ProductInfo("oat", category="Dairy", price=2.0, brand="Feld", available_from_s=NOW - 5 * DAY),
    ProductInfo("tea", category="Drinks", price=4.0, brand="Alp", attributes='{"size": "20"}'),
    ProductInfo("soap", category="Care", price=None),
    ProductInfo("gone", category="Care", price=1.0, attributes='{"withdrawn": true}'),
    ProductInfo("soon", category="Care", price=1.0, available_from_s=NOW + DAY),
    ProductInfo("cold", category="Dairy", price=3.0, available_from_s=NOW - DAY),  # the model does not know it
)
STOCK = {None: {"tea": 0.0}, "s1": {"milk": 3.0, "tea": 2.0, "soap": 0.0, "cold": 1.0}}
CATALOGUE = Catalogue(
    {info.product_id: info for info in INFOS},
    dict(zip(product_code([info.product_id for info in INFOS]).tolist(), [i.product_id for i in INFOS], strict=True)),
    STOCK,
)
BOUGHT = {"milk": ProductHistory(3, 10.0, 4.0), "oat": ProductHistory(3, 5.0, 5.0)}
HISTORIES = PurchaseHistory(dict(zip(product_code(list(BOUGHT)).tolist(), BOUGHT.values(), strict=True)))
NOBODY = LiveState("ada", StateBatch.empty(1), None, 0, "")


class NoSession:
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> Any:
        raise AssertionError


SCORER = ProductScorer(ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(IDS, NoSession()))
SCORES = Scored(np.array([[-np.inf, 6, 5, 4, 3, 9, 8]], np.float32))
EVERYTHING = np.arange(len(IDS) + 1, dtype=np.int32)
PUSHED = made_companions(
    len(IDS),  # everything sells, in the store too, and goes with everything: all paths put all products forward
    rules=Neighbours(np.tile(EVERYTHING, (len(IDS) + 1, 1)), np.ones((len(IDS) + 1, len(IDS) + 1), np.float32)),
    stores=Favourites(np.array([1.0]), np.tile(EVERYTHING, (2, 1)), np.ones((2, len(IDS) + 1), np.float32)),
    category_best=EVERYTHING[None],
)
TREES = ProductTrees(lambda rows: -rows[:, FEATURES.index("score")] * 3, lambda rows: rows)
WITH_TREES = ProductScorer(SCORER.card, ProductFiles(IDS, NoSession(), PUSHED, TREES))
LATEST = model_inputs(StateBatch.empty(1), np.array([NOW]), SCORER.rows) | {STORE: np.array([1.0])}
LATEST["item"] = np.where(np.arange(128) == 127, 1, LATEST["item"])


def allowed(recent_days: float = 0.0, **wanted: Any) -> list[str]:
    request = ProductFilter(customer_id="ada", **wanted)
    mask = allowed_products(product_table(IDS, CATALOGUE), request, HISTORIES, recent_days, Rules(), NOW)
    return [name for name, fine in zip(IDS, mask, strict=True) if fine]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["milk", "oat", "soap"]),  # tea is out of stock online, `gone` is withdrawn, `soon` is not yet sold
        ({"store_id": "s1"}, ["milk", "tea"]),  # soap has no units there, oat is not sold there
        ({"store_id": "unknown to the stock"}, ["milk", "oat", "tea", "soap"]),
        ({"brands": ["ALP"]}, ["milk"]),
        ({"categories": ["dairy"]}, ["milk", "oat"]),
        ({"min_price": 1.5}, ["oat"]),  # an unknown price is no price
        ({"max_price": 1.5}, ["milk"]),
        ({"attributes": {"size": "1l"}}, ["milk"]),
        ({"attributes": {"bio": "true"}, "store_id": "s1"}, ["milk"]),
        ({"exclude": ["milk", "nothing"]}, ["oat", "soap"]),
        ({"rebuys": "never"}, ["soap"]),
        ({"rebuys": "due"}, ["oat", "soap"]),
        ({"recent_days": 4.5}, ["oat", "soap"]),
    ],
)
def test_every_rule_leaves_out_what_it_should(wanted: dict[str, Any], expected: list[str]) -> None:
    assert allowed(**wanted) == expected


def ask(scorer: ProductScorer = SCORER, scored: Scored = SCORES, **wanted: Any) -> list[Any]:
    request = NextProductsRequest(customer_id="ada", **wanted)
    return rank_products(scorer, scored, NOBODY, NOW, request=request, seed="s", catalogue=CATALOGUE, rules=Rules())


@settings(deadline=None)  # the first call makes the tables
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "store_id": st.sampled_from(["s1", "s2"]),
            "brands": st.just(["alp"]),
            "categories": st.sampled_from([["dairy"], ["care", "drinks"]]),
            "max_price": st.sampled_from([1.0, 3.0]),
            "exclude": st.sampled_from([["milk"], ["cold", "oat"]]),
            "explore_share": st.sampled_from([0.0, 0.5]),
            "diversity": st.sampled_from([0.0, 1.0]),
        },
    )
)
def test_no_path_leaks_what_the_rules_forbid(wanted: dict[str, Any]) -> None:
    everything = product_table(CATALOGUE.product_ids, CATALOGUE)
    request = NextProductsRequest(customer_id="ada", **wanted)
    mask = allowed_products(everything, request, PurchaseHistory({}), 0.0, Rules(), NOW)
    fine = {name for name, ok in zip(CATALOGUE.product_ids, mask, strict=True) if ok}
    for scorer, scored in ((SCORER, SCORES), (WITH_TREES, replace(SCORES, inputs=LATEST))):
        assert {product.product_id for product in ask(scorer, scored, **wanted)} <= fine
        offered = product_to_offer(scorer, scored, NOBODY, NOW, wanted=request, catalogue=CATALOGUE, rules=Rules())
        assert offered.product is None or offered.product.product_id in fine


def test_the_trees_order_what_the_rules_leave() -> None:
    scored = replace(SCORES, inputs=LATEST)
    assert [product.product_id for product in ask(k=3)] == ["milk", "oat", "soap"]
    assert [product.product_id for product in ask(WITH_TREES, scored, k=3)] == ["soap", "oat", "milk"]


def test_diversity_takes_one_category_less_often() -> None:
    columns, scores = np.arange(5), np.array([5.0, 4.9, 4.8, 4.0, 1.0])
    groups = ["a", "a", "a", "b", ""]
    assert diversify(columns, scores, groups, 3, 0.0) == [0, 1, 2]
    assert diversify(columns, scores, groups, 3, 1.0) == [0, 3, 1]
    assert diversify(columns[:0], scores, [], 3, 1.0) == []


def test_exploration_happens_as_often_as_its_pscore_says() -> None:
    shown: Counter[str] = Counter()
    for i in range(4000):
        (place,) = explore(["best"], ["new1", "new2"], 0.2, f"seed {i}")
        shown[place.product_id] += 1
        assert place.pscore == pytest.approx(0.1 if place.explored else 0.8)
    assert [shown[name] / 4000 for name in ("best", "new1", "new2")] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert explore(["best"], [], 0.5, "s")[0].pscore == 1.0


def test_a_new_product_that_the_model_does_not_know_can_be_explored() -> None:
    found = [
        product
        for seed in range(60)
        for product in rank_products(
            SCORER,
            SCORES,
            NOBODY,
            NOW,
            request=NextProductsRequest(customer_id="ada", k=1, explore_share=0.5, new_days=3),
            seed=str(seed),
            catalogue=CATALOGUE,
            rules=Rules(),
        )
    ]
    cold = [product for product in found if product.product_id == "cold"]
    assert 15 < len(cold) < 45
    assert (cold[0].pscore, cold[0].reasons, cold[0].score) == (0.5, [NEW], 0.0)


def test_the_newest_stock_record_counts(tmp_path: Path) -> None:
    at = [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 1, 1)]
    table = pa.table(
        {
            "product_id": ["milk", "milk", "tea"],
            "store_id": pa.array([None, None, "s1"], pa.string()),
            "units": [0, 7, 2],
            "as_of": at,
        }
    )
    pq.write_table(table, tmp_path / "stock.parquet")
    assert load_stock(tmp_path / "stock.parquet") == {None: {"milk": 0.0}, "s1": {"tea": 2.0}}
    assert load_stock(tmp_path / "none.parquet") == {}
