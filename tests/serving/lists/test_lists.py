"""Lists for the pages of a shop: similar products, companions of a cart, what is popular; rules and stock hold on each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_companions import made_companions

from features.scoring.item_tables import Neighbours
from features.state.products import POPULARITY_DAYS
from serving.decision.never import Never
from serving.decision.rules import Rules
from serving.fallback.choice import Fallback
from serving.fallback.population import EVERYWHERE, PLACE, Population, Sales
from serving.lists.popular import rise
from serving.products.catalogue import Catalogue
from serving.products.content import ContentIndex
from serving.products.product_range import product_range
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime

Ask = Callable[..., Any]
SHOP = Catalogue(
    {
        "mug-r": ProductInfo("mug-r", "Red mug with dots", "mugs", 5.0),
        "mug-b": ProductInfo("mug-b", "Blue mug with dots", "mugs", 5.5),
        "pot": ProductInfo("pot", "Blue teapot", "pots", 20.0),
        "milk": ProductInfo("milk", "Whole milk", "dairy", 1.2),
        "oat": ProductInfo("oat", "Oat milk", "dairy", 2.2),
        "tea": ProductInfo("tea", "Green tea", "drinks", 4.0),
        "bread": ProductInfo("bread", "Rye bread", "bakery", 2.5),
        "soap": ProductInfo("soap", "Soap", "household", 1.0),
    },
    stock={None: {"oat": 0.0}, "north": {"milk": 3.0, "mug-b": 1.0}},
)
SOLD = Sales(  # everywhere milk, tea and mugs; by the app tea alone
    pa.array(["milk", "tea", "mug-r"]),
    {EVERYWHERE: 0, "channel:app": 1},
    np.array([0, 1, 2, PLACE + 1]),
    np.array([9.0, 4.0, 1.0, 2.0]),
)


def with_companions(runtime: Runtime) -> Runtime:
    """The model's products are milk, bread, tea and soap: tea goes with milk (twice as strongly as bread) and with bread."""
    n = len(runtime.knowledge.bundle.need_product())
    item, weight = np.zeros((n + 1, 2), np.int32), np.zeros((n + 1, 2), np.float32)
    item[1], weight[1] = (3, 2), (0.6, 0.3)
    item[2], weight[2] = (3, 0), (0.2, 0.0)
    counts = np.zeros((n + 1, len(POPULARITY_DAYS)))
    counts[1:, POPULARITY_DAYS.index(7.0)] = (10.0, 1.0, 9.0, 0.0)
    counts[1:, POPULARITY_DAYS.index(28.0)] = (40.0, 4.0, 12.0, 0.0)
    companions = made_companions(n, pairs=Neighbours(item, weight), popularity=np.log(counts + 0.05).astype(np.float32))
    product = runtime.knowledge.bundle.need_product()
    product.files = replace(product.files, companions=companions)
    product.companions = companions
    return runtime


@pytest.fixture
def shop(runtime: Runtime) -> Runtime:
    fallback = Fallback.of(Population(SOLD), SHOP)
    runtime.knowledge = replace(runtime.knowledge, catalogue=SHOP, counted=fallback)
    return with_companions(runtime)


@pytest.fixture
def ask(shop: Runtime, client: Any) -> Ask:
    def post(path: str, status: int = 200, **body: Any) -> Any:
        answer = client.post(f"/v1/{path}", {"timeout_ms": 5000, **body})
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


def ids(answer: Any) -> list[str]:
    return [product["product_id"] for product in answer["products"]]


def test_words_of_names_and_what_a_product_is_make_it_alike() -> None:
    index = ContentIndex.of(SHOP.product_ids, SHOP)
    row = dict(zip(SHOP.product_ids, range(len(index)), strict=True))
    to_red_mug = index.similarity(row["mug-r"])
    assert to_red_mug[row["mug-b"]] > 0.5 > to_red_mug[row["pot"]]
    assert to_red_mug[row["milk"]] == 0.0
    assert np.allclose(index.similarity(row["milk"])[row["oat"]], index.similarity(row["oat"])[row["milk"]])


def test_a_product_that_no_model_knows_has_similar_ones(ask: Ask) -> None:
    answer = ask("similar", product_id="mug-r")
    assert ids(answer)[0] == "mug-b" and "mug-r" not in ids(answer)
    assert answer["served_by"] == "content" and answer["models"] == {}
    assert answer["products"][0]["reasons"] == ["the same category as Red mug with dots"]


def test_rules_stock_and_what_a_question_narrows_hold_on_lists(ask: Ask, shop: Runtime) -> None:
    assert ids(ask("similar", product_id="milk")) == []  # the only other milk is out of stock
    assert ids(ask("similar", product_id="mug-r", store_id="north")) == ["mug-b"]
    assert ids(ask("similar", product_id="mug-r", max_price=5.2)) == []
    shop.rules = Rules(never=Never(categories=("mugs",)))
    assert ids(ask("similar", product_id="mug-r")) == []


def test_what_goes_with_a_cart_is_added_up_and_said(ask: Ask) -> None:
    answer = ask("bought-together", product_ids=["milk", "bread"])
    assert ids(answer) == ["tea"]  # bread is in the cart
    assert answer["products"][0]["score"] == pytest.approx(0.8)
    assert answer["products"][0]["reasons"] == ["bought together with Whole milk"]
    assert answer["served_by"] == "model" and answer["models"] == {"next-product": "3"}
    assert ids(ask("bought-together", product_ids=["milk"])) == ["tea", "bread"]


def test_an_open_cart_counts_where_no_product_is_named(ask: Ask, shop: Runtime) -> None:
    answer = ask("bought-together", customer_id="ada")  # soap, of which nothing is known
    assert answer["served_by"] == "popularity" and "soap" not in ids(answer)
    assert "nothing is known" in answer["note"]


def test_who_bought_something_lately_is_not_shown_it_again(ask: Ask) -> None:
    assert ids(ask("popular", k=1)) == ["milk"]
    assert ids(ask("popular", k=1, customer_id="ada")) == ["tea"]  # ada bought milk on the day before yesterday


def test_what_is_popular_depends_on_the_place(ask: Ask) -> None:
    assert ids(ask("popular", k=3)) == ["milk", "tea", "mug-r"]
    answer = ask("popular", k=2, channel="app")
    assert ids(answer) == ["tea", "milk"]
    assert answer["products"][0]["reasons"] == ["popular on app now"]


def test_a_trend_is_more_than_four_weeks_let_expect(ask: Ask) -> None:
    answer = ask("popular", by="trending")
    assert ids(answer) == ["tea"]  # milk sells most, and just as it did
    assert rise(np.array([10.0, 1.0, 9.0, 0.0]), np.array([40.0, 4.0, 12.0, 0.0])).tolist() == [0.0, 0.0, 3.0, 0.0]


def test_without_a_model_lists_are_answered_and_say_so(ask: Ask, shop: Runtime) -> None:
    shop.knowledge = replace(shop.knowledge, bundle=replace(shop.knowledge.bundle, product=None))
    assert ids(ask("similar", product_id="mug-r"))[0] == "mug-b"
    together, trending = ask("bought-together", product_ids=["milk"], k=1), ask("popular", by="trending", k=1)
    assert (ids(together), together["served_by"]) == (["tea"], "popularity")
    assert ids(trending) == ["milk"] and "omni train next-product" in trending["note"]


def test_an_unlisted_product_is_no_error(ask: Ask) -> None:
    answer = ask("similar", product_id="nothing like it", k=1)
    assert ids(answer) == ["milk"] and "not listed" in answer["note"]


def test_a_question_that_names_nothing_is_refused(ask: Ask) -> None:
    assert ask("bought-together", k=1)["note"] == "the cart is empty: what is popular is answered"
    ask("similar", 422)
    ask("popular", 422, by="random")


def test_a_model_that_learned_what_is_popular_keeps_what_was_looked_up(shop: Runtime) -> None:
    known = shop.knowledge
    model = known.bundle.need_product()
    first = product_range(SHOP.product_ids, model, SHOP)
    first.prepare()
    again = type(model)(model.card, model.files)
    again.product_ids = model.product_ids
    second = product_range(SHOP.product_ids, again, SHOP)
    assert second.model is again and second.is_prepared and second.content is first.content
