"""How fast one customer's products are ranked: network, candidates, trees, rules and reasons, in one process on one thread.

python tests/benchmarks/bench_next_product.py    # made-up models of 12,000 and of 100,000 products; nothing else is needed

The weights are random (speed does not depend on them), the sizes are those of training/configs/next-product.toml, and the
customer has as many events and habits as a state can hold.
"""

import json
import time
from dataclasses import replace
from tempfile import TemporaryDirectory

import lightgbm
import numpy as np
import pyarrow as pa
import torch

from features.events.schema import EVENT_SCHEMA
from features.scoring.item_tables import Companions, Favourites, Neighbours
from features.scoring.next_product import ProductFiles, ProductTrees, open_session
from features.scoring.rerank import FEATURES
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from features.state.products import POPULARITY_DAYS
from features.vocabulary import Task
from serving.decision.rules import Rules
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.products.ranking import rank_products
from serving.schemas import NextProductsRequest
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import ProductVocabulary, as_tensors
from training.models.next_product.onnx_export import export_onnx
from training.models.next_product.system import new_network
from training.pipeline import load_config

CALLS, WARM_UP = 300, 30
BATCH = 256
N_CATEGORIES, N_BRANDS, N_STORES, N_TIES = 300, 2_000, 400, 30
NOW = 1_700_000_000.0


def made_companions(n: int, rng: np.random.Generator) -> Companions:
    """Every product has a price, a category, a brand and as many neighbours as there can be."""
    rows = n + 1

    def neighbours() -> Neighbours:
        return Neighbours(
            rng.integers(1, rows, (rows, N_TIES)).astype(np.int32), rng.random((rows, N_TIES), dtype=np.float32)
        )

    def favourites(n_places: int) -> Favourites:
        shape = (n_places + 1, 64)
        return Favourites(
            np.arange(n_places, dtype=np.float64),
            rng.integers(1, rows, shape).astype(np.int32),
            rng.random(shape, dtype=np.float32),
        )

    return Companions(
        popularity=rng.normal(size=(rows, len(POPULARITY_DAYS))).astype(np.float32),
        rules=neighbours(),
        pairs=neighbours(),
        category=rng.integers(0, N_CATEGORIES, rows).astype(np.int32),
        brand=rng.integers(0, N_BRANDS, rows).astype(np.int32),
        log_price=rng.normal(size=rows).astype(np.float32),
        in_category=rng.normal(size=rows).astype(np.float32),
        category_best=rng.integers(1, rows, (N_CATEGORIES, 8)).astype(np.int32),
        stores=favourites(N_STORES),
        channels=favourites(12),
        half_life_days=np.array([21.0, 21.0], np.float32),
    )


def made_trees(config: NextProductConfig, rng: np.random.Generator) -> ProductTrees:
    """As many trees, with as many leaves, as the config grows."""
    x = rng.normal(size=(20_000, len(FEATURES)))
    y = (x[:, :5].sum(axis=1) + rng.normal(size=len(x)) > 2).astype(float)
    params = {"objective": "lambdarank", "num_leaves": config.ranker.num_leaves, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(x, y, group=[200] * 100, feature_name=list(FEATURES), params={"verbosity": -1})
    booster = lightgbm.train(params, data, config.ranker.max_rounds)
    return ProductTrees.of(booster.model_to_string(), "the benchmark")


def made_scorer(n: int, rng: np.random.Generator) -> ProductScorer:
    """A model of n products."""
    config = load_config(Task.NEXT_PRODUCT)
    assert isinstance(config, NextProductConfig)
    ids = tuple(f"p{i}" for i in range(n))
    net = new_network(config, ProductVocabulary(ids, np.arange(1, n + 1), n), torch.zeros(n + 1))
    scorer = ProductScorer(ModelCard(Task.NEXT_PRODUCT, "1", "next_product_v2"), ProductFiles(ids, NoSession()))
    example = as_tensors(scorer_inputs(scorer, busy_state(n, rng)))
    with TemporaryDirectory():
        graph = export_onnx(net, tuple(part.repeat(2, 1) for part in example))
    session = open_session(graph.SerializeToString())
    files = ProductFiles(ids, session, made_companions(n, rng), made_trees(config, rng))
    popularity = rng.normal(size=n + 1).astype(np.float32)
    return ProductScorer(scorer.card, replace(files, popularity_days=7.0, log_popularity=popularity))


class NoSession:
    """Stands in until the network is exported."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise AssertionError


def scorer_inputs(scorer: ProductScorer, state: StateBatch) -> dict[str, np.ndarray]:
    from features.scoring.model_inputs import model_inputs

    return model_inputs(state, np.array([NOW]), scorer.rows)


def busy_state(n: int, rng: np.random.Generator) -> StateBatch:
    """A customer who bought 400 times in a store, from among 200 products."""
    owned = rng.integers(0, n, 200)
    rows = [
        {
            "event_id": f"e{i}",
            "occurred_at": int((NOW - (400 - i) * 20_000) * 1e6),
            "kind": "purchase",
            "channel": "store",
            "customer_id": "c",
            "product_id": f"p{owned[rng.integers(0, len(owned))]}",
            "quantity": 1.0,
            "value": 3.0,
            "store_id": "s",
        }
        for i in range(400)
    ]
    return fold_customer(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA))


def timed(call: object) -> dict[str, float]:
    """Median and 99th percentile of CALLS calls in milliseconds, after WARM_UP others."""
    taken = []
    for i in range(WARM_UP + CALLS):
        started = time.perf_counter()
        call(i)  # type: ignore[operator]
        taken.append((time.perf_counter() - started) * 1000)
    return {f"p{q}_ms": round(float(np.percentile(taken[WARM_UP:], q)), 2) for q in (50, 99)}


def measure(n: int) -> dict[str, object]:
    """The parts of an answer, and the whole, for a catalogue of n products."""
    rng = np.random.default_rng(0)
    scorer = made_scorer(n, rng)
    states = [busy_state(n, rng) for _ in range(20)]
    infos = [ProductInfo(f"p{i}", f"Product {i}", f"c{i % N_CATEGORIES}", 2.0, f"b{i % N_BRANDS}") for i in range(n)]
    by_code = dict(zip(product_code(scorer.product_ids).tolist(), scorer.product_ids, strict=True))
    catalogue = Catalogue({info.product_id: info for info in infos}, by_code)
    now, rules = np.array([NOW]), Rules()

    def answer(request: NextProductsRequest) -> dict[str, float]:
        def ask(i: int) -> None:
            state = states[i % len(states)]
            rank_products(
                scorer,
                scorer.score(state, now),
                state,
                NOW,
                request=request,
                seed="s",
                catalogue=catalogue,
                rules=rules,
            )

        return timed(ask)

    many = StateBatch.concat([states[i % len(states)] for i in range(BATCH)])
    scored = scorer.score(many, np.full(BATCH, NOW))
    started = time.perf_counter()
    for i in range(BATCH):
        scorer.rank(scorer.score(states[i % len(states)], now)).best(10)
    each = (time.perf_counter() - started) / BATCH
    return {
        "network": timed(lambda i: scorer.score(states[i % len(states)], now)),
        "candidates_and_trees": timed(lambda i: scorer.rank(scored.one(i % BATCH))),
        "answer_of_10": answer(NextProductsRequest(customer_id="c", k=10)),
        "answer_of_10_never_bought": answer(NextProductsRequest(customer_id="c", k=10, rebuys="never")),
        "answer_of_10_diverse": answer(NextProductsRequest(customer_id="c", k=10, diversity=0.5)),
        "batch_customers_per_second": round(1 / each),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({f"{n:,} products": measure(n) for n in (12_000, 100_000)}, indent=2))
