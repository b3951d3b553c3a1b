"""The one system that ranks next products: a dataset in, the fitted network, its tables and the trees that help it out.

`omni train` and `omni benchmark` both come through `fit_system`. The tables' settings, when the network stops and whether
trees order better than the network alone are chosen on the dataset's validation customers.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from features.scoring.rerank import TRANSFORMER
from features.vocabulary import CHANNELS, KINDS
from training.models.next_product.cold_start import place_unseen
from training.models.next_product.config import PRIMARY, NextProductConfig
from training.models.next_product.data import ProductVocabulary
from training.models.next_product.dataset import Dataset
from training.models.next_product.fit import FitHistory, FitSettings, OnEpoch, fit_network
from training.models.next_product.item_tables import TableSettings
from training.models.next_product.network import NetworkSize, NextProductNet
from training.models.next_product.reranker import ProductRanker, Scored, fit_product_ranker
from training.models.next_product.start_vectors import start_vectors
from training.models.recommenders.lambdamart import sample
from training.models.recommenders.search import search
from training.task import Progress

_TUNED_CELLS = 50_000_000
_MIN_TUNED = 500


@dataclass(frozen=True)
class System:
    """Everything after the fit; `ranker` is None where the network alone is as good."""

    net: NextProductNet
    tables: TableSettings
    ranker: ProductRanker | None
    history: FitHistory
    valid: dict[str, float]
    """Validation NDCG@10 of the tables' own rankings (where they were searched), the network and the trees."""
    past: list[Scored]
    judging: Scored
    seconds: dict[str, float] = field(default_factory=dict)


def fit_system(
    data: Dataset,
    config: NextProductConfig,
    seed: int,
    progress: Progress,
    *,
    before: Dataset | None = None,
    checkpoint: Path | None = None,
) -> System:
    """Network, tables and trees.

    With `before`, the same customers one moment earlier, the trees learn from what that dataset validates with, which a
    network fitted to it never saw, and that network then goes on with `data`; no validation target is learned from. Without
    it they learn from the newest moments of training and from half of the validation customers, and the other half judges.
    """
    clock = Laps()
    with clock.lap("tables"):
        tables, valid = choose_tables(data, config, seed, progress)
    with clock.lap("network"):
        checked = data if before is None else _checked(data, config, seed)
        if before is None:
            earlier = None
            net, history = fit(data, config, seed, progress, checkpoint=checkpoint)
        else:
            earlier, _ = fit(_checked(before, config, seed), config, seed, progress, checkpoint=checkpoint)
            more = checkpoint and checkpoint.with_name(f"{checkpoint.name}.more")
            net, history = go_on(earlier, checked, config, config.n_more_epochs, seed, progress, more)
    place_unseen(net, data.vocabulary.sold(data.lines.before(data.valid_at)), data.builder.category)
    ranker = None
    with clock.lap("trees"):
        past, judging = _tree_moments(net, earlier, checked, before, tables, config, seed)
        if config.with_ranker:
            progress("next-product: trees")
            ranker = fit_product_ranker(past, judging, data.vocabulary, config, PRIMARY, seed)
            progress("next-product: the trees help" if _helps(ranker) else "next-product: the network alone is as good")
    if ranker is not None:
        valid |= {TRANSFORMER: ranker.valid_network, "ranker": ranker.valid_ranker}
    return System(net, tables, ranker if _helps(ranker) else None, history, valid, past, judging, clock.seconds)


def _helps(ranker: ProductRanker | None) -> bool:
    return ranker is not None and ranker.helps


def choose_tables(
    data: Dataset, config: NextProductConfig, seed: int, progress: Progress
) -> tuple[TableSettings, dict[str, float]]:
    """How products point to each other, by what ranks best on validation customers, and the values of the chosen ones."""
    axes = {"rules": config.tables.rules, "item_knn": config.tables.item_knn}
    chosen, values = {}, {}
    rows = sample(len(data.valid), n_tuning(config, data.lines.n_items), seed)
    for name, of in axes.items():
        if all(len(options) == 1 for options in of.values()):
            chosen[name] = {key: options[0] for key, options in of.items()}
            continue
        progress(f"next-product: tuning {name}")
        method = "sequence_rules" if name == "rules" else name
        past = data.lines.before(data.valid_at)
        tuned = search(
            method, of, past, data.valid_at, data.valid.customers[rows], data.valid.targets.take(rows), PRIMARY
        )
        chosen[name], values[name] = tuned.settings, tuned.value
    return TableSettings(chosen["rules"], chosen["item_knn"], config.tables.n_neighbors), values


def n_tuning(config: NextProductConfig, n_items: int) -> int:
    """Customers that settings are searched on: every trial scores them times items, so large catalogues take fewer."""
    return min(config.n_tuning_customers, max(_MIN_TUNED, _TUNED_CELLS // n_items))


def fit(
    data: Dataset,
    config: NextProductConfig,
    seed: int,
    progress: Progress,
    on_epoch: OnEpoch = lambda *_: None,
    checkpoint: Path | None = None,
) -> tuple[NextProductNet, FitHistory]:
    """A fitted network; `on_epoch` gets the number of each epoch and its validation value, and may raise to stop."""
    torch.set_num_threads(config.n_threads)
    torch.manual_seed(seed)
    start = None
    if config.start_scale > 0 and len(data.vocabulary) > config.embedding_dim:
        start = start_vectors(data.lines.before(data.valid_at), data.vocabulary, config.embedding_dim, seed)
        start = start * config.start_scale
    net = new_network(
        config, data.vocabulary, data.popularity(data.valid_at, config), data.n_kinds, data.n_channels, start
    )
    return net, _fit(net, data, config, seed, progress, on_epoch, checkpoint)


def go_on(
    net: NextProductNet,
    data: Dataset,
    config: NextProductConfig,
    max_epochs: int,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
    *,
    blindly: bool = False,
) -> tuple[NextProductNet, FitHistory]:
    """A fitted network that learned from newer moments as well; `blindly` keeps the last epoch."""
    net = copy.deepcopy(net)
    more = config.model_copy(update={"max_epochs": max_epochs})
    return net, _fit(net, data, more, seed, progress, checkpoint=checkpoint, blindly=blindly)


def _fit(
    net: NextProductNet,
    data: Dataset,
    config: NextProductConfig,
    seed: int,
    progress: Progress,
    on_epoch: OnEpoch = lambda *_: None,
    checkpoint: Path | None = None,
    *,
    blindly: bool = False,
) -> FitHistory:
    return fit_network(
        net,
        data.train,
        None if blindly else data.valid,
        data.vocabulary,
        torch.stack([data.popularity(at, config) for at in data.train_at]),
        data.popularity(data.valid_at, config),
        fit_settings(config),
        seed,
        progress,
        on_epoch,
        checkpoint,
    )


def new_network(
    config: NextProductConfig,
    vocabulary: ProductVocabulary,
    popularity: torch.Tensor,
    n_kinds: int = len(KINDS),
    n_channels: int = len(CHANNELS),
    start: torch.Tensor | None = None,
) -> NextProductNet:
    """An unfitted network of the configured size."""
    size = NetworkSize(
        n_items=len(vocabulary),
        n_kinds=n_kinds,
        n_channels=n_channels,
        max_length=config.max_length,
        embedding_dim=config.embedding_dim,
        repeat_dim=config.repeat_dim,
        hidden_dim=config.hidden_dim,
        n_heads=config.n_heads,
        n_blocks=config.n_blocks,
        dropout=config.dropout,
    )
    return NextProductNet(size, popularity.clone(), start)


def fit_settings(config: NextProductConfig) -> FitSettings:
    """The config's part that the fit needs."""
    return FitSettings(
        max_epochs=config.max_epochs,
        patience=config.patience,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        n_popular=config.n_popular,
        n_negatives=config.n_negatives,
        batch_events=config.batch_events,
        sequence_weight=config.sequence_weight,
        metric=PRIMARY,
    )


class Laps:
    """Seconds per part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = perf_counter()
        yield
        self.seconds[name] = perf_counter() - started


def _checked(data: Dataset, config: NextProductConfig, seed: int) -> Dataset:
    """The same with at most so many validation customers as the config says."""
    rows = sample(len(data.valid), config.n_checked_customers, seed)
    return replace(data, valid=data.valid.take(rows))


def _tree_moments(
    net: NextProductNet,
    earlier: NextProductNet | None,
    data: Dataset,
    before: Dataset | None,
    tables: TableSettings,
    config: NextProductConfig,
    seed: int,
) -> tuple[list[Scored], Scored]:
    """What trees learn from, each with the network that scores it, and what judges them."""
    valid = data.moment(data.valid, data.valid_at, tables, config)
    if before is not None and earlier is not None:
        return [(earlier, before.moment(before.valid, before.valid_at, tables, config))], (net, valid)
    n = len(data.train_at)
    past = [
        (net, data.moment(data.train.of_moments(number, number + 1), data.train_at[number], tables, config))
        for number in range(max(0, n - config.n_ranker_moments), n)
    ]
    mixed = np.random.default_rng(seed).permutation(len(valid.examples))
    learned, judging = (valid.take(np.sort(mixed[half::2])) for half in (0, 1))
    return [*past, (net, learned)], (net, judging)
