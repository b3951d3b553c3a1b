"""Over HTTP, without any model: every question that has an answer gets a sensible one, and says who gives it and why."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from features.vocabulary import Task
from serving.answers import Knowledge
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime
from serving.scorers.bundle import LOADING, Bundle

ASKED = ("/v1/next-products", "/v1/churn", "/v1/best-channel", "/v1/decide")
Ask = Callable[..., Any]


def products(answer: Any) -> list[str]:
    return [product["product_id"] for product in answer.json()["products"]]


def decisions(runtime: Runtime) -> list[dict[str, Any]]:
    rows = [row for batch in runtime.log.read() for row in batch.to_pylist()]
    return [row for row in rows if row["kind"] == "decision"]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("who", [{"customer_id": "c0"}, {"customer_id": "zed"}, {"identifiers": {"cookie": "new"}}])
def test_every_question_is_answered_and_marked(ask: Ask, path: str, who: dict[str, Any]) -> None:
    answer = ask(path, who)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    by = "popularity" if path in ("/v1/next-products", "/v1/decide") else "population"
    assert (found["served_by"], found["models"]) == (by, {})
    if who == {"customer_id": "c0"}:
        assert found["reason"] == "no model"
        assert "omni train" in found["note"]
    else:
        assert found["customer"]["known"] is False
        assert found["reason"] == ("never bought" if path == "/v1/churn" else "unknown customer")


def test_a_model_says_that_it_answers(client: Any) -> None:
    found = client.post("/v1/churn", {"customer_id": "ada"}).json()
    assert (found["served_by"], found["reason"], found["note"], found["fallbacks"]) == ("model", None, None, {})


def test_what_they_buy_again_comes_first_and_then_what_everybody_buys(ask: Ask) -> None:
    again, stranger = ask("/v1/next-products", {"customer_id": "c8"}), ask("/v1/next-products", {"customer_id": "zed"})
    assert products(again)[0] == "milk"
    assert again.json()["products"][0]["reasons"][0] == "bought 4 times"
    assert products(stranger) == ["bread", "milk", "tea", "soap"]  # by what is sold, of late above all
    assert [row["reasons"] for row in stranger.json()["products"]] == [["popular now"]] * 3 + [["in the range"]]


@pytest.mark.parametrize(
    ("narrowed", "first", "said"),
    [
        ({"store_id": "s2"}, "milk", "popular in store s2 now"),
        ({"channel": "web"}, "tea", "popular on web now"),
        ({"categories": ["drinks"]}, "tea", "popular now"),
        ({"store_id": "nowhere"}, "bread", "popular now"),
        ({"exclude": ["bread"]}, "milk", "popular now"),
    ],
)
def test_what_is_popular_is_so_somewhere(ask: Ask, narrowed: dict[str, Any], first: str, said: str) -> None:
    answer = ask("/v1/next-products", {"customer_id": "zed", **narrowed})
    assert (products(answer)[0], answer.json()["products"][0]["reasons"]) == (first, [said])


def test_stock_and_what_is_withdrawn_hold(ask: Ask, shop: Runtime) -> None:
    before = shop.knowledge.catalogue
    rows = dict(before.by_id) | {"milk": replace(before.get("milk"), attributes='{"withdrawn": "true"}')}
    catalogue = Catalogue(rows, before.id_by_code, {None: {"bread": 0.0}, "s1": {"tea": 3.0}})
    shop.knowledge = replace(
        shop.knowledge,
        catalogue=catalogue,
        counted=type(shop.knowledge.fallback).of(shop.knowledge.fallback.population, catalogue),
    )
    assert products(ask("/v1/next-products", {"customer_id": "zed"})) == ["tea", "soap"]
    assert products(ask("/v1/next-products", {"customer_id": "c8", "store_id": "s1"})) == ["tea"]
    decision = ask("/v1/decide", {"customer_id": "c8"}).json()
    assert decision["action"] == "nothing" or decision["product"]["product_id"] in ("tea", "soap")


def test_churn_is_everybodys_rate_and_nobody_leaves_who_never_came(ask: Ask) -> None:
    customer, looked = ask("/v1/churn", {"customer_id": "c20"}).json(), ask("/v1/churn", {"customer_id": "c40"}).json()
    assert (customer["churn_probability"], customer["horizon_days"]) == (0.75, 28.0)  # 30 of 40 did not come back
    assert "30 of 40 customers bought nothing in the latest 28 days" in customer["note"]
    assert (looked["churn_probability"], looked["customer_status"]) == (None, "prospect")
    assert (looked["reason"], looked["note"]) == ("never bought", "not a customer yet: who never bought cannot leave")


def test_a_channel_needs_a_yes_and_answers_as_often_as_everybody_did(ask: Ask) -> None:
    agreed, never_asked = (ask("/v1/best-channel", {"customer_id": name}).json() for name in ("c5", "c20"))
    email = next(arm for arm in agreed["arms"] if arm["arm"] == "email")
    overall = (4 + 0.02 * 50) / (10 + 50)
    assert email["response_probability"] == pytest.approx((4 + overall * 50) / (10 + 50), abs=0.005)
    assert (agreed["best"], email["eligible"]) == ("email", True)
    assert never_asked["best"] == "nothing"
    refused = {arm["arm"]: arm["reasons"] for arm in never_asked["arms"] if not arm["eligible"]}
    assert refused["email"][0] == "no consent for email is on record"
    assert "post" not in refused  # a way that the shop never used is none of its ways


def test_a_decision_is_logged_with_its_chance_and_what_it_rests_on(ask: Ask, shop: Runtime) -> None:
    first = ask("/v1/decide", {"customer_id": "c5"}).json()
    again = ask("/v1/decide", {"customer_id": "c5", "asked_by": "app"}).json()
    assert (first["decision_id"], first["pscore"]) == (again["decision_id"], again["pscore"])
    assert 0 < first["pscore"] <= 1
    assert sum(arm["chance"] for arm in first["arms"]) == pytest.approx(1.0)
    (logged,) = decisions(shop)
    kept = json.loads(logged["properties"])
    assert (kept["pscore"], kept["chances"][first["arm"]]) == (first["pscore"], pytest.approx(first["pscore"]))
    assert kept["fallbacks"] == first["fallbacks"] == {"next-product": "no model", "best-channel": "no model"}
    if first["arm"] == "email":
        assert first["product"]["product_id"] in ("milk", "tea", "bread", "soap")


def test_nobody_is_contacted_of_whom_nothing_is_known(ask: Ask, shop: Runtime) -> None:
    one, other = (ask("/v1/decide", {"identifiers": {"cookie": name}}).json() for name in ("k1", "k2"))
    assert [answer["action"] for answer in (one, other)] == ["nothing", "nothing"]
    assert (one["pscore"], one["product"], one["reason"]) == (1.0, None, "unknown customer")
    assert one["decision_id"] != other["decision_id"]
    assert [row["resolved_customer_id"] for row in decisions(shop)] == ["anon:cookie:k1", "anon:cookie:k2"]
    assert ask("/v1/decide", {"identifiers": {"cookie": "undefined"}}).status_code == 422


def test_a_model_that_is_there_answers_beside_what_needs_none(ask: Ask, shop: Runtime, runtime: Runtime) -> None:
    models = runtime.knowledge.bundle
    shop.knowledge = replace(shop.knowledge, bundle=Bundle(product=models.product, churn=models.churn))
    found = ask("/v1/decide", {"customer_id": "c5"}).json()
    assert found["models"] == {"next-product": "3", "churn": "2"}
    assert (found["served_by"], found["fallbacks"]) == ("population", {"best-channel": "no model"})
    assert ask("/v1/churn", {"customer_id": "c5"}).json()["served_by"] == "model"


def test_who_refused_profiling_is_asked_of_no_model(client: Any, runtime: Runtime) -> None:
    refusal = {"event_id": "no", "kind": "profile", "channel": "web", "customer_id": "ada", "properties": {}}
    _, *answers = client.run(
        ("POST", "/v1/events", refusal | {"properties": {"profiling": False}}),
        *(("POST", path, {"customer_id": "ada"}) for path in ASKED),
    )
    for answer in answers:
        found = answer.json()
        assert (found["models"], found["reason"], found["customer"]["personal"]) == ({}, "profiling refused", False)
    assert "no model is asked about them" in answers[0].json()["note"]


def test_a_home_without_anything_answers_with_nothing(ask: Ask, shop: Runtime) -> None:
    shop.knowledge = Knowledge(states=shop.knowledge.states)
    assert ask("/v1/next-products", {"customer_id": "zed"}).json()["products"] == []
    assert ask("/v1/decide", {"customer_id": "zed"}).json()["action"] == "nothing"
    young = ask("/v1/churn", {"customer_id": "c0"}).json()
    assert young["churn_probability"] is None and "too young" in young["note"]


def test_what_is_sold_without_being_listed_is_answered_too(ask: Ask, shop: Runtime) -> None:
    fallback = shop.knowledge.fallback
    catalogue = Catalogue({"cake": ProductInfo("cake", "Cake")}, {})
    counted = type(fallback).of(fallback.population, catalogue)
    shop.knowledge = replace(shop.knowledge, catalogue=catalogue, counted=counted)
    assert products(ask("/v1/next-products", {"customer_id": "zed"})) == ["bread", "milk", "tea", "cake"]


def test_it_is_ready_and_says_what_it_does_without(client: Any, shop: Runtime) -> None:
    found = type(client)(lambda: shop).get("/readyz")
    assert (found.status_code, found.json()["status"]) == (200, "ready")
    assert {row["task"]: row["reason"] for row in found.json()["fallbacks"]} == {
        task: f"There is no champion for {task} yet. Run `omni train {task}`."
        for task in ("next-product", "churn", "best-channel")
    }
    shop.knowledge = replace(shop.knowledge, bundle=Bundle(problems=dict.fromkeys(Task, LOADING)))
    loading = type(client)(lambda: shop)
    assert loading.get("/readyz").status_code == 503
    assert loading.post("/v1/churn", {"customer_id": "c0"}).json()["reason"] == "model loading"


def test_fallbacks_are_counted_by_task_and_reason(client: Any, shop: Runtime) -> None:
    def counted(text: str, task: str, reason: str) -> float:
        series = f'omni_fallbacks_total{{reason="{reason}",task="{task}"}}'
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series)), 0.0)

    before, *_, after = type(client)(lambda: shop).run(
        ("GET", "/metrics", None),
        ("POST", "/v1/churn", {"customer_id": "c0"}),
        ("POST", "/v1/decide", {"customer_id": "zed"}),
        ("GET", "/metrics", None),
    )
    for task, reason in (
        ("churn", "no model"),
        ("best-channel", "unknown customer"),
        ("next-product", "unknown customer"),
    ):
        assert counted(after.text, task, reason) - counted(before.text, task, reason) == 1.0
