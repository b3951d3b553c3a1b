"""A file of user-item interactions in, a benchmark report out: leave-one-out, all items ranked, nothing filtered.

Per user the last item is the test target and the one before it the validation target. The network here reads the
sequence only: without times and kinds there are no habits to speak of.
"""

from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from features.errors import InputError
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Task
from training.benchmark import BenchmarkReport
from training.metrics import Metric
from training.models.baselines import METHODS, Interactions, recommend, tune
from training.models.next_product_data import Examples, ProductVocabulary
from training.models.next_product_fit import FitSettings, fit_network, rank
from training.models.sequence import NetworkSize, NextProductNet
from training.ranking_metrics import (
    DEFAULT_KS,
    IntArray,
    Targets,
    coverage_at_k,
    paired_gain,
    ranking_values,
    with_intervals,
)
from training.results import Progress

PRIMARY: Final = "ndcg@10"
LENGTH: Final = 20
SECONDS_PER_STEP: Final = 86_400.0
"""Positions count as days, so that the network's forgetting has a scale."""
N_TUNING_USERS: Final = 4000
MAX_EPOCHS: Final = 6
GRIDS: Final[dict[str, list[dict[str, Any]]]] = {
    "popularity": [{}],
    "sequence_rules": [
        {"max_distance": 10, "distance_decay": 0.8, "n_recent": 10, "recent_decay": decay, "normalisation": power}
        for decay in (0.6, 0.8)
        for power in (0.3, 0.5)
    ],
    "item_knn": [
        {"by_customer": True, "shrinkage": shrinkage, "half_life_days": 3.0, "self_weight": 0.0}
        for shrinkage in (0.0, 5.0, 20.0)
    ],
}


def benchmark(
    interactions: Path,
    protocol: str = "leave-one-out",
    *,
    refit: bool = False,
    seed: int = 0,
    progress: Progress = lambda _: None,
    max_epochs: int = MAX_EPOCHS,
) -> BenchmarkReport:
    """Measure the network and the simple methods on a CSV or Parquet with user_id, item_id, and position or timestamp.

    With `refit` the simple methods are fitted again with the validation items before the test; the network is not.
    Raises InputError for another protocol or a file that cannot be used.
    """
    if protocol != "leave-one-out":
        raise InputError(f"The protocol {protocol!r} is not available.", repair="Use --protocol leave-one-out.")
    lines = read_interactions(interactions)
    place = np.arange(len(lines.customer)) - np.searchsorted(lines.customer, lines.customer)
    left = np.bincount(lines.customer)[lines.customer] - 1 - place  # 0 for a user's last item
    long_enough = np.bincount(lines.customer)[lines.customer] >= 3
    users = np.unique(lines.customer[long_enough])
    if not len(users):
        raise InputError(f"{interactions} has no user with three interactions.", repair="Give longer histories.")
    test = Targets.from_lists([[item] for item in lines.item[(left == 0) & long_enough]])
    valid = Targets.from_lists([[item] for item in lines.item[(left == 1) & long_enough]])
    fitted = lines.select((left > 1) | ~long_enough)
    known = lines.select((left > 0) | ~long_enough)
    now = float(lines.time.max()) + SECONDS_PER_STEP

    tops: dict[str, IntArray] = {}
    chosen: dict[str, Any] = {}
    spent: dict[str, float] = {}
    tuning = np.random.default_rng(seed).permutation(len(users))[:N_TUNING_USERS]
    started = perf_counter()
    for name, grid in GRIDS.items():
        progress(f"benchmark: {name}")
        wanted = Targets.from_lists([[item] for item in valid.items[tuning]])
        chosen[name], _ = tune(name, grid, fitted, now, users[tuning], wanted, PRIMARY)
        tops[name] = recommend(_refitted(name, fitted, known, now, chosen[name], refit), users, max(DEFAULT_KS))
    spent["baselines"] = perf_counter() - started
    started = perf_counter()
    network, fit_seconds = _network(lines, left, users, valid, test, seed, progress, max_epochs)
    spent["fit"], spent["predict"] = fit_seconds, perf_counter() - started - fit_seconds
    values = {name: ranking_values(top, test) for name, top in {**tops, "network": network}.items()}

    def summary(name: str, top: IntArray) -> dict[str, Metric]:
        found = with_intervals(values[name], seed)
        shares = {f"coverage@{k}": coverage_at_k(top, lines.n_items, k) for k in DEFAULT_KS}
        return found | {key: Metric(share, share, share) for key, share in shares.items()}

    return BenchmarkReport(
        task=Task.NEXT_PRODUCT,
        metrics=summary("network", network),
        baselines={name: summary(name, top) for name, top in tops.items()},
        gains={name: paired_gain(values["network"][PRIMARY], values[name][PRIMARY], seed) for name in tops},
        seconds=spent,
        protocol={"name": protocol, "refit": refit, "filtered": False, "all_items": True, "settings": chosen},
        rows={"interactions": len(lines.customer), "users": len(users), "items": lines.n_items},
        seed=seed,
    )


def read_interactions(path: Path) -> Interactions:
    """The file's rows by user and then position (or timestamp; ties keep the file's order), one basket each."""
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}).", repair="Give a CSV or Parquet file.") from error
    order = next((name for name in ("position", "timestamp") if name in table.columns), None)
    if order is None or not {"user_id", "item_id"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(map(str, table.columns))}.",
            repair="It needs user_id, item_id, and position or timestamp.",
        )
    user, _ = pd.factorize(table["user_id"], sort=True)
    item, names = pd.factorize(table["item_id"], sort=True)
    rows = np.lexsort((pd.factorize(table[order], sort=True)[0], user))
    user, item = user[rows].astype(np.int64), item[rows].astype(np.int64) + 1
    last = np.searchsorted(user, user, side="right")
    # Counted back from each user's end: what lies last is equally recent for all.
    time = (user.size - (last - np.arange(user.size))) * SECONDS_PER_STEP
    return Interactions(user, item, np.arange(user.size), time.astype(np.float64), int(user.max()) + 1, len(names))


def _refitted(
    name: str, fitted: Interactions, known: Interactions, now: float, settings: dict[str, Any], refit: bool
) -> Any:
    """The method fitted on `fitted` (or `known`); what it asks with is always everything before the test item."""
    asking = METHODS[name](known, now, **settings)
    if refit or name == "popularity":
        return asking if refit else METHODS[name](fitted, now, **settings)
    model = METHODS[name](fitted, now, **settings)
    learned = {"sequence_rules": "rules", "item_knn": "similarity"}[name]
    object.__setattr__(asking, learned, getattr(model, learned))
    return asking


def _network(
    lines: Interactions,
    left: IntArray,
    users: IntArray,
    valid: Targets,
    test: Targets,
    seed: int,
    progress: Progress,
    max_epochs: int,
) -> tuple[IntArray, float]:
    started = perf_counter()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    vocabulary = ProductVocabulary(
        tuple(str(row) for row in range(1, lines.n_items + 1)), np.arange(1, lines.n_items + 1), lines.n_items
    )
    place = np.arange(len(lines.customer)) - np.searchsorted(lines.customer, lines.customer)
    asked = np.isin(lines.customer, users)
    train = np.flatnonzero((place > 0) & ((left > 1) | ~asked))
    train_set = _examples(lines, train, Targets.from_lists([[item] for item in lines.item[train]]))
    valid_set = _examples(lines, np.flatnonzero((left == 1) & asked), valid)
    test_set = _examples(lines, np.flatnonzero((left == 0) & asked), test)
    count = np.bincount(lines.item[(left > 1) | ~asked], minlength=lines.n_items + 1) + 0.5
    popularity = torch.from_numpy(np.log(count / count.mean()).astype(np.float32))
    size = NetworkSize(lines.n_items, len(KIND_CODES), len(CHANNEL_CODES), LENGTH, 64, n_blocks=1)
    net = NextProductNet(size, popularity)
    settings = FitSettings(max_epochs, 2, 256, 3e-3, 0.01, n_popular=500, n_random=500, metric=PRIMARY)
    fit_network(net, train_set, valid_set, vocabulary, popularity[None], popularity.clone(), settings, seed, progress)
    seconds = perf_counter() - started
    return rank(net, test_set, vocabulary, max(DEFAULT_KS)), seconds


def _examples(lines: Interactions, rows: IntArray, targets: Targets) -> Examples:
    """For each row (n,) the up to LENGTH interactions of the same user before it."""
    source = rows[:, None] - LENGTH + np.arange(LENGTH)
    inside = (source >= 0) & (lines.customer[np.maximum(source, 0)] == lines.customer[rows][:, None])
    item = np.where(inside, lines.item[np.maximum(source, 0)], 0).astype(np.int32)
    shape, none = item.shape, np.zeros((len(rows), 1), np.float32)
    age = np.where(inside, np.arange(LENGTH, 0, -1), 0).astype(np.float32)
    habits = dict.fromkeys(("habit_weight", "habit_age_days", "habit_gap_days", "habit_count"), none)
    return Examples(
        inputs={
            "item": item,
            "kind": np.full(shape, KIND_CODES["purchase"], np.int8),
            "channel": np.full(shape, CHANNEL_CODES["web"], np.int8),
            "age_days": age,
            "habit_item": none.astype(np.int32),
            **habits,
        },
        targets=targets,
        customers=lines.customer[rows],
        moment=np.zeros(len(rows), np.int64),
    )
