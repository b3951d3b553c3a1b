"""Next products among the caller's own, within a visit, and by what the shop earns."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.online.visit import with_visit
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.vocabulary import Channel
from serving.decision.never import Never
from serving.decision.rules import Rules
from serving.products.catalogue import Catalogue
from serving.products.eligibility import ProductTable
from serving.products.objective import by_objective
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime

Ask = Callable[..., Any]


@pytest.fixture
def ask(client: Any) -> Ask:
    def post(status: int = 200, **body: Any) -> Any:
        answer = client.post("/v1/next-products", {"customer_id": "ada", "timeout_ms": 5000, **body})
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


def ids(answer: Any) -> list[str]:
    return [product["product_id"] for product in answer["products"]]


def test_only_the_callers_own_products_are_ranked(ask: Ask) -> None:
    everything = ids(ask(k=4))
    assert ids(ask(candidates=["soap", "milk", "bread"])) == [name for name in everything if name != "tea"]


def test_what_the_model_does_not_know_comes_last_in_the_order_given(ask: Ask, runtime: Runtime) -> None:
    listed = dict(runtime.knowledge.catalogue.by_id)
    listed["jam"] = ProductInfo("jam", "Jam", "bakery", 3.0)
    listed["old"] = ProductInfo("old", "Old jam", "bakery", 3.0, attributes='{"withdrawn": true}')
    runtime.knowledge = replace(runtime.knowledge, catalogue=Catalogue(listed))
    answer = ask(candidates=["zzz", "jam", "old", "milk", "jam"])
    assert ids(answer) == ["milk", "zzz", "jam"]
    assert answer["products"][1]["reasons"] == ["the model does not know it yet: in the order given"]
    assert ids(ask(candidates=["zzz", "jam", "milk"], categories=["bakery"])) == ["jam"]
    assert ids(ask(candidates=["zzz", "jam"], exclude=["zzz"])) == ["jam"]
    runtime.rules = Rules(never=Never(products=("jam", "zzz")))
    assert ids(ask(candidates=["zzz", "jam", "milk"])) == ["milk"]


def test_a_long_list_is_ranked_whole(ask: Ask) -> None:
    names = [f"p{number}" for number in range(4996)]
    answer = ask(candidates=[*names, "soap", "milk", "tea", "bread"])
    assert len(answer["products"]) == 5000
    assert set(ids(answer)[:4]) == {"soap", "milk", "tea", "bread"} and ids(answer)[4:] == names
    assert ids(ask(candidates=["soap", "milk"], k=1)) == ["milk"]
    assert ask(422, candidates=["p"] * 5001)["error"]["code"] == "invalid_request"


def test_a_visit_counts_and_is_not_kept(client: Any) -> None:
    who = {"identifiers": {"cookie": "never-seen-before"}, "timeout_ms": 5000}
    before, visit, after = (
        client.post("/v1/next-products", who | more).json() for more in ({}, {"session": ["soap"]}, {})
    )
    assert before["served_by"] == after["served_by"] == "popularity"
    assert visit["served_by"] == "model" and visit["customer"]["known"] is False
    soap = next(product for product in visit["products"] if product["product_id"] == "soap")
    assert "viewed" in soap["reasons"][0]


def test_views_of_a_visit_follow_everything_else_and_lie_before_the_question() -> None:
    empty = with_visit(StateBatch.empty(1), ["tea", "milk"], Channel.WEB, 1000.0)
    assert empty.seq_time.values.tolist() == [998.0, 999.0]
    again = with_visit(empty, ["soap", "bread"], Channel.APP, 1000.0)
    assert again.seq_product.values.tolist() == product_code(["tea", "milk", "soap", "bread"]).tolist()
    assert again.seq_time.values.tolist() == [998.0, 999.0, 999.5, 1000.0]
    assert with_visit(empty, [], Channel.WEB, 1000.0) is empty


def test_a_list_is_ordered_by_what_the_shop_earns() -> None:
    infos = [
        ProductInfo("tea", price=8.0, attributes='{"margin": 0.1}'),
        ProductInfo("mug", price=4.0, attributes='{"cost": 1.0}'),
        ProductInfo("bag"),
    ]
    table = ProductTable(("tea", "mug", "bag"), Catalogue({info.product_id: info for info in infos}))
    scores = np.log(np.array([0.2, 0.3, 0.25], np.float32))
    by_revenue, by_margin = (np.exp(by_objective(scores, table, what, None)) for what in ("revenue", "margin"))
    assert by_revenue == pytest.approx([1.6, 1.2, 0.25 * 6.0])  # a product without a price counts as the median
    assert by_margin == pytest.approx([0.16, 0.9, 0.25 * 1.9])
    assert by_objective(scores, table, "conversion", None) is scores


def test_revenue_reorders_an_answer(ask: Ask) -> None:
    assert ids(ask(k=1, candidates=["soap", "bread"], objective="conversion")) == ["bread"]
    assert ids(ask(k=2, candidates=["soap", "milk"], objective="revenue")) == ["milk", "soap"]
    assert ids(ask(k=1, objective="revenue", rebuys="never")) == ["bread"]
