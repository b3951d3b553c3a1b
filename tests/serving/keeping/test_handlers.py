"""Offers, the suppression list, products and stock over HTTP: kept, told, changed only as the caller knows them."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from features.offers.offer import Offer
from features.settings import Settings
from serving.api import create_app
from serving.offers.house_offers import HouseOffers
from serving.runtime import Runtime

SPRING = {"channels": ["email"], "where": "value_decile >= 8", "cost": 0.5, "ends_at": "2030-01-01T00:00:00+01:00"}


@pytest.fixture
def kept(runtime: Runtime, tmp_path: Path) -> Runtime:
    runtime.settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    runtime.offers = HouseOffers(runtime.settings, runtime.log)
    runtime.offers.begin()
    return runtime


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_offer_is_put_read_listed_and_taken_out(kept: Runtime, client: Any) -> None:
    put, again, read, listed, gone, none = client.run(
        ("PUT", "/v1/offers/spring", SPRING),
        ("PUT", "/v1/offers/spring", SPRING),
        ("GET", "/v1/offers/spring", None),
        ("GET", "/v1/offers", None),
        ("DELETE", "/v1/offers/spring", None),
        ("GET", "/v1/offers/spring", None),
    )
    assert put.status_code == 200
    assert put.json()["offer"]["offer_id"] == "spring"
    assert put.json() == again.json() == read.json()
    assert put.headers["etag"] == read.headers["etag"] == f'"{put.json()["digest"]}"'
    assert (listed.json()["version"], [one["in_force"] for one in listed.json()["offers"]]) == (1, [True])
    assert gone.json() == {"removed": 1}
    assert code(none) == (404, "offer_unknown")


def test_the_worker_that_put_an_offer_makes_it_at_once(kept: Runtime, client: Any) -> None:
    client.run(("PUT", "/v1/offers/a", {}))
    assert kept.offers is not None
    assert [offer.offer_id for offer in kept.offers.shelf.offers] == ["a"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"cost": "1"}, "cost is str, which it cannot be"),
        ({"caps": {"per_customer": {"max": True, "days": 1}}}, "caps.per_customer.max is bool"),
        ({"tags": ["a", 3]}, "tags.1 is int"),
        ({"prize": 1}, "prize: Extra inputs are not permitted"),
        ({"offer_id": "b"}, "offer_id is not the one of the path"),
        ({"where": "no_column > 1"}, "There is no column 'no_column'"),
        ({"starts_at": "2030-01-01T00:00:00"}, "name its time zone"),
        (b"{", "The body is not JSON"),
        ([], "Input should be"),
    ],
)
def test_what_is_no_offer_is_refused_in_words(kept: Runtime, client: Any, body: Any, words: str) -> None:
    answer = client.run(("PUT", "/v1/offers/a", body))[0]
    assert answer.status_code in (400, 422)
    assert words in answer.json()["error"]["message"]
    assert kept.log.offers().version() == 0


def test_nobody_overwrites_an_offer_that_somebody_else_changed(kept: Runtime) -> None:
    asyncio.run(change_it_twice(kept))


async def change_it_twice(kept: Runtime) -> None:
    app = create_app(lambda: kept)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        first = await http.put("/v1/offers/a", json={"cost": 1}, headers={"If-None-Match": "*"})
        assert first.status_code == 200
        assert code(await http.put("/v1/offers/a", json={}, headers={"If-None-Match": "*"})) == (412, "changed")
        known = {"If-Match": first.headers["etag"]}
        assert (await http.put("/v1/offers/a", json={"cost": 2}, headers=known)).status_code == 200
        assert code(await http.put("/v1/offers/a", json={"cost": 3}, headers=known)) == (412, "changed")
        assert code(await http.delete("/v1/offers/a", headers=known)) == (412, "changed")
        assert code(await http.put("/v1/offers/b", json={}, headers=known)) == (412, "changed")
        assert (await http.get("/v1/offers/a")).json()["offer"]["cost"] == 2


def test_what_the_file_owns_is_a_conflict(kept: Runtime, client: Any) -> None:
    kept.log.offers().settle_file([Offer(offer_id="a")], "digest")
    put, removed, listed = client.run(
        ("PUT", "/v1/offers/a", {}), ("DELETE", "/v1/offers/a", None), ("GET", "/v1/offers", None)
    )
    assert code(put) == code(removed) == (409, "conflict")
    assert listed.json()["offers"][0]["of_file"] is True


def test_who_is_suppressed_is_sent_nothing_until_they_are_taken_off(kept: Runtime, client: Any) -> None:
    question = ("POST", "/v1/decide", {"customer_id": "ada", "log": False})
    before, put, listed, during, removed, none, after = client.run(
        question,
        ("PUT", "/v1/suppressions/email:Ada@example.org", {"reason": "works here"}),
        ("GET", "/v1/suppressions", None),
        question,
        ("DELETE", "/v1/suppressions/email:ada@example.org", None),
        ("GET", "/v1/suppressions/email:ada@example.org", None),
        question,
    )
    assert put.json()["name"] == listed.json()["suppressions"][0]["name"] == "email:ada@example.org"
    assert (during.json()["action"], during.json()["pscore"]) == ("nothing", 1.0)
    refused = [row for row in during.json()["arms"] if row["channel"]]
    assert all("on the suppression list: works here" in row["reasons"] for row in refused)
    assert (removed.status_code, code(none)) == (200, (404, "suppression_unknown"))
    assert after.json() == before.json()


def test_a_name_of_nobody_is_not_suppressed(kept: Runtime, client: Any) -> None:
    nobody, blank = client.run(
        ("PUT", "/v1/suppressions/undefined", {"reason": "x"}), ("PUT", "/v1/suppressions/a", {"reason": " "})
    )
    assert code(nobody) == code(blank) == (409, "conflict")


def test_products_and_stock_are_merged_and_bad_rows_told(kept: Runtime, client: Any) -> None:
    rows = [
        {"product_id": "tea", "units": 3, "store_id": "north"},
        {"product_id": "tea", "units": "many"},
        {"units": 1},
    ]
    stock, products = client.run(
        ("PUT", "/v1/stock", {"stock": rows}),
        ("PUT", "/v1/products", {"products": [{"product_id": "tea", "attributes": {"withdrawn": True}}]}),
    )
    assert stock.json()["merged"] == 1
    assert [(row["index"], row["field"]) for row in stock.json()["rejected"]] == [(1, "units"), (2, "product_id")]
    assert products.json() == {"merged": 1, "rejected": []}
    assert kept.settings is not None
    assert pq.read_table(kept.settings.stock_path)["units"].to_pylist() == [3.0]


def test_an_unknown_store_is_an_error_where_any_store_is_known(kept: Runtime, client: Any) -> None:
    question = ("POST", "/v1/decide", {"customer_id": "ada", "store_id": "nowhere", "log": False})
    assert client.run(question)[0].status_code == 200
    catalogue = replace(kept.knowledge.catalogue, stock={None: {"tea": 1.0}, "north": {"tea": 1.0}})
    kept.knowledge = replace(kept.knowledge, catalogue=catalogue)
    products = ("POST", "/v1/next-products", {"customer_id": "ada", "store_id": "nowhere"})
    known = ("POST", "/v1/next-products", {"customer_id": "ada", "store_id": "north"})
    decided, ranked, good = client.run(question, products, known)
    assert code(decided) == code(ranked) == (404, "store_unknown")
    assert "The store 'nowhere' is not known" in ranked.json()["error"]["message"]
    assert good.status_code == 200
