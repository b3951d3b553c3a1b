"""What popularity of now is worth: one next-product model, months after its training, told what sells now or left as it was.

OMNI_HOME=… python tests/benchmarks/bench_popularity.py --weeks 20 --report R.json    # a home whose features are built

The model learns from what lies before the end of the log less so many weeks. Then it ranks, every four weeks, the first basket
of everybody who buys in the next four: as it was exported; told what is popular at that moment; with the products that it did
not know and that sold since in its spare rows; and, which no service does, with what sells in each store and on each channel at
that moment as well. The files, the numbers and the ranking are those that serve.
"""

import argparse
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.scoring.item_tables import Companions
from features.scoring.model_inputs import CodeRows, model_inputs
from features.scoring.next_product import ProductFiles, ProductTrees, open_session
from features.scoring.rerank import rerank
from features.settings import Settings
from features.state.batch import StateBatch
from features.store.feature_store import Store
from training.data.baskets import Purchases, load_purchases
from training.data.labels import data_span
from training.data.splits import TimeSplit
from training.evaluation.ranking import Targets, paired_gain, ranking_values, top_k
from training.models.next_product.champion import catalogue_rows
from training.models.next_product.cold_start import with_spare
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import Examples, ProductVocabulary, load_examples
from training.models.next_product.dataset import Dataset
from training.models.next_product.history import ProductHistory
from training.models.next_product.item_tables import CompanionBuilder, product_facts
from training.models.next_product.onnx_export import export_onnx
from training.models.next_product.system import fit_system
from training.pipeline import CONFIGS

WEEK, STEP = timedelta(weeks=1), timedelta(weeks=4)
BATCH, K, SEED = 256, 10, 0
FROZEN = "as exported"


@dataclass(frozen=True)
class Asked:
    """Customers at one moment of the future, and what they then bought."""

    examples: Examples
    states: StateBatch
    at_s: float
    bought: BoolArray  # (m,) of the targets: whether the customer had the product before
    later: BoolArray  # (m,) whether it was first sold after the training


def main() -> None:
    """Fit, ask at every moment, print a line for each way of answering."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weeks", type=int, default=20)
    options.add_argument("--report", type=Path)
    told = options.parse_args()
    settings = Settings.from_env(os.environ)
    config = NextProductConfig(**tomllib.loads((CONFIGS / "next-product.toml").read_text(encoding="utf-8")))
    store, purchases = Store(settings), load_purchases(settings.timeline_path)
    end = data_span(settings.timeline_path).end
    trained = end - timedelta(weeks=told.weeks)
    ages = range(4, told.weeks - 3, 4)
    files, tables_at = fitted(settings, store, purchases, trained, config, [trained + age * WEEK for age in ages])
    facts, rows = product_facts(settings.products_path), []
    for age in ages:
        asked = ask(store, purchases, files, trained, trained + age * WEEK)
        (sold,) = store.training_products([trained + age * WEEK])
        ways = {
            FROZEN: files,
            "popularity of now": files.as_of(sold, facts, asked.at_s, ()),
            "and newcomers": files.as_of(sold, facts, asked.at_s),
        }
        ways["and places"] = with_places(ways["and newcomers"], tables_at(asked.at_s))
        values = {name: measured(way, asked, purchases) for name, way in ways.items()}
        for name, value in values.items():
            row: dict[str, object] = {"weeks_old": age, "way": name, "customers": len(asked.examples)}
            for metric, each in value.items():
                row[metric] = float(np.nanmean(each))
                if name != FROZEN:
                    known = np.isfinite(each)
                    gain = paired_gain(each[known], values[FROZEN][metric][known], SEED)
                    row[f"{metric}_gain"] = [gain.value, gain.low, gain.high]
            rows.append(row)
            print(json.dumps(row), flush=True)
    if told.report:
        told.report.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def with_places(files: ProductFiles, now: Companions) -> ProductFiles:
    """The same files with what sells in each store and on each channel taken from the tables of another moment."""
    assert files.companions is not None
    return replace(files, companions=replace(files.companions, stores=now.stores, channels=now.channels))


def fitted(
    settings: Settings,
    store: Store,
    purchases: Purchases,
    end: datetime,
    config: NextProductConfig,
    later: Sequence[datetime],
) -> tuple[ProductFiles, Callable[[float], Companions]]:
    """The files of a model whose data ended at `end`, in memory, and what makes its tables as of the moments `later`."""
    span = data_span(settings.timeline_path)
    horizon = timedelta(days=config.horizon_days)
    valid = end - horizon
    split = TimeSplit.at_end_of(end + horizon, config.horizon_days)
    cutoffs = split.train_cutoffs(span.start, config.horizon_days, config.step_days, config.warmup_days)
    lines = purchases.lines
    vocabulary = ProductVocabulary.of_customers(purchases, end.timestamp(), config.n_min_customers)
    windows = [*((cutoff, cutoff + horizon) for cutoff in cutoffs), (valid, end)]
    examples, _, _ = load_examples(store, purchases, vocabulary, windows, lambda _: None)
    history = ProductHistory.of_store(store, vocabulary.product_ids, [*cutoffs, valid, end, *later])
    data = Dataset(
        lines=lines,
        vocabulary=vocabulary,
        builder=CompanionBuilder(lines, vocabulary, history, settings.products_path, settings.timeline_path),
        train=examples.of_moments(0, len(cutoffs)),
        train_at=tuple(cutoff.timestamp() for cutoff in cutoffs),
        valid=examples.of_moments(len(cutoffs), len(cutoffs) + 1),
        valid_at=valid.timestamp(),
    )
    system = fit_system(data, config, SEED, lambda _: None)
    system.net.log_popularity.copy_(data.popularity(end.timestamp(), config))
    net = with_spare(system.net, config.n_spare)
    graph = export_onnx(net, data.valid.batch(np.arange(2)))
    trees = system.ranker and ProductTrees.of(
        system.ranker.booster.model_to_string(), "the model", from_network=config.ranker.from_network
    )
    files = ProductFiles(
        product_ids=vocabulary.product_ids,
        session=open_session(graph.SerializeToString()),
        companions=data.builder.at(end.timestamp(), system.tables),
        trees=trees or None,
        popularity_days=config.popularity_half_life_days,
        n_spare=config.n_spare,
        log_popularity=net.log_popularity.numpy(),
    )
    return files, lambda at_s: data.builder.at(at_s, system.tables)


def ask(store: Store, purchases: Purchases, files: ProductFiles, trained: datetime, at: datetime) -> Asked:
    """Who buys in the weeks after a moment."""
    lines, vocabulary = purchases.lines, ProductVocabulary(files.product_ids, np.zeros(0, np.int64), 0)
    examples, states, _ = load_examples(store, purchases, vocabulary, [(at, at + STEP)], lambda _: None)
    past, width = lines.before(at.timestamp()), lines.n_items + 1
    pairs = examples.customers[examples.targets.owners()] * width + examples.targets.items
    first = np.full(width, np.inf)
    np.minimum.at(first, lines.item, lines.time)
    return Asked(
        examples=examples,
        states=states,
        at_s=at.timestamp(),
        bought=np.isin(pairs, past.customer * width + past.item),
        later=first[examples.targets.items] >= trained.timestamp(),
    )


def measured(files: ProductFiles, asked: Asked, purchases: Purchases) -> dict[str, FloatArray]:
    """One number per customer: of all they bought, of what was first sold later, and of what was new to them."""
    rows = np.concatenate(([0], catalogue_rows(files.product_ids, purchases.product_ids)))
    everything, new = (rows[ranked(files, asked, purchases, rows, only_new)] for only_new in (False, True))
    targets: Targets = asked.examples.targets
    found = ranking_values(everything, targets, (K,))
    return {
        f"ndcg@{K}": found[f"ndcg@{K}"],
        f"recall@{K}": found[f"recall@{K}"],
        f"recall_later@{K}": ranking_values(everything, targets.keep(asked.later), (K,))[f"recall@{K}"],
        f"ndcg_new@{K}": ranking_values(new, targets.keep(~asked.bought), (K,))[f"ndcg@{K}"],
        f"recall_new_later@{K}": ranking_values(new, targets.keep(asked.later), (K,))[f"recall@{K}"],
    }


def ranked(files: ProductFiles, asked: Asked, purchases: Purchases, rows: IntArray, only_new: bool) -> IntArray:
    """The K best rows of each customer; with `only_new` nothing that they bought before."""
    to_rows, lines = CodeRows(files.product_ids), purchases.lines.before(asked.at_s)
    row_of = np.zeros(lines.n_items + 1, np.int64)
    row_of[rows[1:]] = np.arange(1, len(rows))
    tops = []
    for batch in batches(len(asked.examples)):
        inputs = model_inputs(asked.states.take(batch), np.full(len(batch), asked.at_s), to_rows)
        scores = files.scores(inputs).copy()
        if only_new:
            mine = np.isin(lines.customer, asked.examples.customers[batch])
            place = np.searchsorted(asked.examples.customers[batch], lines.customer[mine])
            scores[place, row_of[lines.item[mine]]] = -np.inf
        if files.trees is not None and files.companions is not None:
            scores, _ = rerank(scores, inputs, files.companions, files.trees.score)
        tops.append(top_k(scores, K))
    return np.concatenate(tops)


def batches(n: int) -> Iterator[IntArray]:
    """Row numbers, some hundred at a time."""
    for start in range(0, n, BATCH):
        yield np.arange(start, min(start + BATCH, n))


if __name__ == "__main__":
    main()
