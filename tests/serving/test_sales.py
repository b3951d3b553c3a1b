"""What is popular now reaches the model: seldom, off the answers, and a store that is away changes nothing."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from made_companions import made_companions

from features.clock import Clock
from features.errors import StoreError
from features.online.reach import Reach
from features.scoring.next_product import POPULARITY_NAME, ProductFiles
from features.settings import Settings
from features.state.event_arrays import product_code
from features.state.product_blocks import N_BLOCKS, ProductBlocks
from features.state.products import POPULARITY_DAYS, ProductStates, fold_purchases
from features.vocabulary import Task
from serving.answers import Knowledge
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.runtime import Runtime, Watcher
from serving.sales import EVERY_S, NEWCOMERS_S, Sales
from serving.scorers.bundle import Bundle
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer

NOW = datetime(2024, 3, 1, tzinfo=UTC)
MONTH = POPULARITY_DAYS.index(28.0)
SHELF = Catalogue({name: ProductInfo(name, category="things") for name in ("milk", "tea", "cup", "pot")})


def clock_at(moment: datetime) -> Clock:
    return Clock(start=moment, origin_s=time.monotonic())


class Popular:
    """A network whose scores are what it was told to be popular."""

    def run(self, names: list[str] | None, asked: dict[str, Any]) -> list[Any]:
        return [np.tile(asked[POPULARITY_NAME], (len(asked["item"]), 1))]


class Shop:
    """An online store of sales, and the seconds that pass."""

    def __init__(self) -> None:
        self.blocks, self.now_s, self.away, self.reads = ProductBlocks.empty(), 1000.0, "", 0

    def sell(self, *products: str) -> None:
        states = fold_purchases(self.blocks.states, product_code(products), np.full(len(products), NOW.timestamp()))
        self.blocks = ProductBlocks(states, self.blocks.last_seq + 1)

    def read_products(self) -> ProductBlocks:
        self.reads += 1
        if self.away:
            raise StoreError(self.away)
        return self.blocks


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop()
    monkeypatch.setattr("serving.sales.OnlineReader", lambda *_: made)
    made.sell("milk", "tea", "tea")
    return made


@pytest.fixture
def sales(shop: Shop, tmp_path: Any) -> Sales:
    return Sales(Settings.from_env({"OMNI_HOME": str(tmp_path)}), clock_at(NOW), lambda: shop.now_s)


@pytest.fixture
def known(runtime: Runtime) -> Knowledge:
    files = ProductFiles(("milk", "tea"), Popular(), made_companions(2), popularity_days=7.0, n_spare=1)
    product = ProductScorer(ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), files)
    return replace(runtime.knowledge, bundle=Bundle(product=product), catalogue=SHELF)


def monthly(known: Knowledge) -> list[float]:
    """The counts of a month that the model goes by."""
    product = known.bundle.need_product()
    assert product.companions is not None
    return (np.exp(product.companions.popularity[1:, MONTH]) - 0.05).tolist()


def test_a_model_that_was_just_loaded_is_told_at_once(sales: Sales, known: Knowledge) -> None:
    assert monthly(sales.up_to_date(known)) == pytest.approx([1.0, 2.0], abs=1e-4)
    assert monthly(known) == pytest.approx([0.95, 0.95])  # whoever is being answered goes on with what they had


def test_it_is_read_seldom_and_made_anew_where_something_sold(sales: Sales, known: Knowledge, shop: Shop) -> None:
    first = sales.up_to_date(known)
    shop.sell("milk")
    shop.now_s += EVERY_S - 1
    assert sales.up_to_date(first) is first
    assert shop.reads == 1

    shop.now_s += 1
    second = sales.up_to_date(first)
    assert monthly(second) == pytest.approx([2.0, 2.0], abs=1e-4)
    shop.now_s += EVERY_S
    assert sales.up_to_date(second) is second
    shop.now_s += 600.0
    assert sales.up_to_date(second) is not second  # it fades all the same


def test_newcomers_are_ranked_a_minute_later_at_most(sales: Sales, known: Knowledge, shop: Shop) -> None:
    first = sales.up_to_date(known)
    shop.sell("pot", "pot", "nowhere")
    shop.now_s += EVERY_S
    second = sales.up_to_date(first)
    assert second.bundle.need_product().product_ids is first.bundle.need_product().product_ids

    shop.now_s += NEWCOMERS_S
    third = sales.up_to_date(second).bundle.need_product()
    assert third.product_ids == ("milk", "tea", "pot")
    assert third.row_of["pot"] == 2
    assert third.codes.tolist() == product_code(["milk", "tea", "pot"]).tolist()


def test_another_catalogue_is_heeded_at_once(sales: Sales, known: Knowledge) -> None:
    first = sales.up_to_date(known)
    dearer = replace(SHELF, by_id={name: ProductInfo(name, price=2.0) for name in SHELF.by_id})
    second = sales.up_to_date(replace(first, catalogue=dearer)).bundle.need_product()
    assert second.companions is not None
    assert second.companions.log_price[1:].tolist() == pytest.approx([np.log(2.0)] * 2)


def test_a_store_that_is_away_changes_nothing_and_is_told_once(
    sales: Sales, known: Knowledge, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first = sales.up_to_date(known)
    shop.away = "the store is away"
    for _ in range(3):
        shop.now_s += EVERY_S
        assert sales.up_to_date(first) is first
    assert [record.getMessage() for record in caplog.records] == ["What is popular stays as it was: the store is away"]
    shop.away = ""
    shop.sell("milk")
    shop.now_s += EVERY_S
    assert monthly(sales.up_to_date(first)) == pytest.approx([2.0, 2.0], abs=1e-4)


def test_sales_of_another_log_do_not_count(shop: Shop, known: Knowledge, tmp_path: Any, caplog: Any) -> None:
    problem = ["of another log"]
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    sales = Sales(settings, clock_at(NOW), lambda: shop.now_s, lambda: problem[0])
    assert sales.up_to_date(known) is known
    assert [record.getMessage() for record in caplog.records] == ["What is popular stays as it was: of another log"]
    problem[0] = ""
    shop.now_s += EVERY_S
    assert monthly(sales.up_to_date(known)) == pytest.approx([1.0, 2.0], abs=1e-4)


def test_without_sales_or_without_a_model_nothing_is_made(sales: Sales, known: Knowledge, shop: Shop) -> None:
    shop.blocks = ProductBlocks(ProductStates.empty(), np.zeros(N_BLOCKS, np.int64))
    assert sales.up_to_date(known) is known
    nobody = replace(known, bundle=Bundle())
    assert sales.up_to_date(nobody) is nobody


@pytest.fixture
def watched(
    runtime: Runtime, known: Knowledge, shop: Shop, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A watcher over the shop, and how often it had everything done once before it answered from it."""
    (tmp_path / "offline").mkdir(exist_ok=True)
    published: list[Knowledge] = []
    monkeypatch.setattr("serving.runtime.rehearse", lambda knowledge, *_: published.append(knowledge))
    monkeypatch.setattr("serving.runtime.next_bundle", lambda current, *_: current)
    runtime.knowledge, runtime.clock = known, clock_at(NOW + timedelta(days=28))
    settings = Settings(tmp_path, f"sqlite:///{tmp_path}/events.db", f"sqlite:///{tmp_path}/mlflow.db")
    Reach(settings).make_of(runtime.log)
    yield Watcher(settings, runtime), published


def test_the_watcher_swaps_in_other_numbers_and_rehearses_other_products(
    watched: Any, shop: Shop, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, published = watched
    monkeypatch.setattr(watcher._sales, "_now", lambda: shop.now_s)
    watcher.refresh()
    assert (len(published), monthly(runtime.knowledge)) == (0, pytest.approx([0.5, 1.0], abs=1e-4))

    shop.sell("pot")
    shop.now_s += NEWCOMERS_S
    watcher.refresh()
    assert len(published) == 1
    assert runtime.knowledge.bundle.need_product().product_ids == ("milk", "tea", "pot")
