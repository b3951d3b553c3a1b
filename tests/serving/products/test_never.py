"""What is never advertised: each way of saying it, once per catalogue and rules, and gone from every answer over HTTP."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.ingest import take_rules
from features.settings import Settings
from features.state.event_arrays import product_code
from serving.decision.never import Never
from serving.decision.rules import Rules, house_rules, load_rules, package_rules
from serving.products.catalogue import Catalogue
from serving.products.eligibility import ProductTable, sellable
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime

INFOS = (
    ProductInfo("milk", category="Dairy", price=1.0, brand="Alp", attributes='{"cost": 0.5, "adult": false}'),
    ProductInfo("gin", category="Spirits", price=20.0, brand="Feld", attributes='{"margin": "0.05", "adult": true}'),
    ProductInfo("fuel", category="FUEL", price=50.0, attributes='{"cost": "49", "class": "b"}'),
    ProductInfo("bag", category=None, price=None, attributes='{"class": "a", "margin": "much"}'),
)
IDS = tuple(info.product_id for info in INFOS)


def catalogue(*infos: ProductInfo) -> Catalogue:
    by_id = {info.product_id: info for info in infos}
    return Catalogue(by_id, dict(zip(product_code(list(by_id)).tolist(), by_id, strict=True)))


TABLE = ProductTable(IDS, catalogue(*INFOS))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", []),
        ('categories = ["fuel", "none"]', ["fuel"]),
        ('brands = ["ALP"]', ["milk"]),
        ('products = ["bag", "gone"]', ["bag"]),
        ("attributes = { adult = true }", ["gin"]),
        ('attributes = { class = ["A", "b"] }', ["fuel", "bag"]),
        ("min_price = 2", ["milk"]),
        ("min_price = 1", []),
        ("min_margin = 0.1", ["gin", "fuel"]),
        ("min_margin = 0.6", ["milk", "gin", "fuel"]),
        ('categories = ["spirits"]\nmin_price = 2', ["milk", "gin"]),
    ],
)
def test_each_way_of_saying_it(said: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f"[never]\n{said}\n")
    never = load_rules(path).never
    assert [IDS[row] for row in np.flatnonzero(TABLE.refused(never))] == expected
    assert [IDS[row] for row in np.flatnonzero(~sellable(TABLE, None, never))] == expected


def test_a_wrong_section_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[never]\ncategory = ['fuel']\n")
    with pytest.raises(InputError, match="categor"):
        load_rules(path)


def test_the_mask_is_made_once_per_catalogue_and_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Never] = []
    refused = ProductTable.refused

    def counted(table: ProductTable, never: Never) -> Any:
        made.append(never)
        return refused(table, never)

    monkeypatch.setattr(ProductTable, "refused", counted)
    table = ProductTable(IDS, catalogue(*INFOS))
    masks = [sellable(table, None, Never(categories=("fuel",))) for _ in range(3)]  # read anew, the same content
    assert len(made) == 1 and masks[0] is masks[2]
    sellable(table, None, Never(categories=("dairy",)))
    sellable(ProductTable(IDS, catalogue(*INFOS)), None, Never(categories=("fuel",)))
    assert len(made) == 3


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["dairy", "Spirits", "fuel", "x"])), st.lists(st.sampled_from([*IDS, "y"])))
def test_more_said_never_allows_more(categories: list[str], products: list[str]) -> None:
    few, more = Never(categories=tuple(categories)), Never(categories=tuple(categories), products=tuple(products))
    assert not (TABLE.refused(few) & ~TABLE.refused(more)).any()


ADA = {"customer_id": "ada"}


def products(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [product["product_id"] for product in answer.json()["products"]]


def test_no_answer_over_http_shows_it(client: Any, runtime: Runtime) -> None:
    runtime.rules = Rules(never=Never(categories=("DRINKS",), min_price=1.1))  # no tea, which ada loves, and no soap
    calls = (
        ("/v1/next-products", ADA),
        ("/v1/next-products", {"customer_id": "zed", "allow_unknown": True}),
        ("/v1/next-products", {**ADA, "categories": ["drinks", "household"]}),
        ("/v1/next-products", {**ADA, "rebuys": "due"}),
        ("/v1/next-products", {**ADA, "explore_share": 0.5}),
    )
    answers = client.run(*(("POST", path, body) for path, body in calls))
    assert [products(answer) for answer in answers[:3]] == [["milk", "bread"], ["milk", "bread"], []]
    shown = {product for answer in answers for product in products(answer)}
    assert not shown & {"tea", "soap"}


def test_no_decision_offers_it(client: Any, runtime: Runtime) -> None:
    runtime.rules = replace_rules(never=Never(categories=("drinks",)))
    looks = [{**ADA, "exclude": list(left_out), "dry_run": True} for left_out in ((), ("milk",))]
    decisions = [client.post("/v1/decide", look).json() for look in looks]
    assert [decision["product"]["product_id"] for decision in decisions] == ["bread", "bread"]
    assert not any("tea" in reason.casefold() for decision in decisions for reason in decision["reasons"])
    runtime.rules = replace_rules()
    assert client.post("/v1/decide", ADA).json()["product"]["product_id"] == "tea"


def replace_rules(**changed: Any) -> Rules:
    """Rules by which something is sent for sure."""
    return Rules(exploration=0.0, temperature=0.001, **changed)


def test_the_demo_has_rules_of_its_own_and_every_other_shop_begins_with_none(tmp_path: Path) -> None:
    home = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    assert package_rules().never.is_empty
    take_rules("online-retail-2", home)
    assert house_rules(home) == package_rules()
    take_rules("complete-journey", home)
    rules = house_rules(home)
    assert rules.model_copy(update={"never": Never()}) == package_rules() and not rules.never.is_empty
    odd = (
        ProductInfo("gas", category="COUPON/MISC ITEMS", attributes='{"department": "FUEL"}'),
        ProductInfo("card", category=None, attributes='{"department": "MISCELLANEOUS"}'),
        ProductInfo("pickles", category="MISCELLANEOUS", attributes='{"department": "MEAT-PCKGD"}'),
    )
    table = ProductTable(tuple(info.product_id for info in odd), catalogue(*odd))
    assert table.refused(rules.never).tolist() == [True, True, False]


def test_rules_of_ones_own_stay(tmp_path: Path) -> None:
    own = tmp_path / "rules.toml"
    own.write_text("max_unanswered = 3\n", encoding="utf-8")
    take_rules("complete-journey", Settings.from_env({"OMNI_HOME": str(tmp_path)}))
    assert own.read_text(encoding="utf-8") == "max_unanswered = 3\n"
