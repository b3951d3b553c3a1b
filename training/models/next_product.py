"""Next product: the timeline in, an ONNX network out that scores every product for a customer's next basket.

Learned on many (customer, cutoff) pairs: the state as of the cutoff, through the feature store, and the products of the
first basket after it. Global time: validation and test are the last two horizons of the data; the whole catalogue is
ranked and nothing is filtered.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.product_ranking import Companions
from features.state import StateBatch
from features.vocabulary import CHANNELS, KINDS, Columns, Task
from training.basket_labels import Purchases, load_purchases
from training.labels import Span, data_span
from training.models.baselines import METHODS, recommend, tune
from training.models.interactions import Interactions
from training.models.next_product_data import (
    Examples,
    ProductVocabulary,
    load_examples,
    log_popularity,
    seconds,
    vocabulary_json,
)
from training.models.next_product_fit import FitHistory, FitSettings, OnEpoch, fit_network, rank
from training.models.next_product_measure import KS, measure
from training.models.next_product_ranker import ProductRanker, companions_at, fit_product_ranker, rank_with_trees
from training.models.next_product_score import rank_with_file
from training.models.onnx_export import as_arrays, export_onnx, open_session, score_onnx
from training.models.ranker import RankerConfig
from training.models.sequence import OUTPUT_NAME, NetworkSize, NextProductNet
from training.ranking_metrics import IntArray, Targets, ranking_values
from training.results import Progress, TrainContext, TrainedModel
from training.splits import TimeSplit
from training.tracking import Run

logger = logging.getLogger(__name__)

PRIMARY: Final = "ndcg@10"
PART: Final = "all"
_LATENCY_CALLS: Final = 200


class NextProductConfig(BaseModel):
    """Which moments are learned from, the network's size, its fit, and the grids of the baselines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    horizon_days: float = Field(28, gt=0)
    """The next basket is the first one in this many days after the cutoff; also the length of validation and test."""
    step_days: float = Field(28, gt=0)
    """Days between the cutoffs that training examples are taken at."""
    warmup_days: float = Field(56, ge=0)
    """History that must lie before the first cutoff."""
    n_min_customers: int = Field(5, ge=1)
    """Only products that so many customers bought before the validation period can be named by the network."""
    popularity_half_life_days: float = Field(14, gt=0)
    """How fast a purchase stops counting as recent popularity."""
    n_events: int = Field(64, ge=1, le=128)
    """Newest events that the network looks at."""
    embedding_dim: int = Field(32, ge=4)
    """Size of a product's vector; a multiple of n_heads."""
    repeat_dim: int = Field(2, ge=1)
    """Size of what is learned about how a product is bought again."""
    hidden_dim: int = Field(24, ge=4)
    """Width of the network that scores habitual products."""
    n_heads: int = Field(4, ge=1)
    """Attention heads, each with its own forgetting."""
    n_blocks: int = Field(0, ge=0)
    """Transformer blocks before the pooling; 0 pools the events as they are."""
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of the customer's vector that is dropped while learning."""
    batch_size: int = Field(256, ge=2)
    """Examples per step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Highest rate of the one-cycle schedule."""
    weight_decay: float = Field(0.01, ge=0)
    """Pull of all weights towards zero (AdamW)."""
    max_epochs: int = Field(3, ge=1)
    """Most passes over the examples."""
    patience: int = Field(1, ge=1)
    """Passes without a better validation value before the fit stops."""
    n_popular: int = Field(1500, ge=1)
    """Most popular products that every customer's softmax contains."""
    n_random: int = Field(500, ge=0)
    """Other products drawn per step, which stand for all the rest."""
    n_threads: int = Field(1, ge=1)
    """Threads of torch; on cores shared with other work one is much faster than two."""
    n_tuning_customers: int = Field(800, ge=1)
    """Validation customers that the baselines are tuned on."""
    rule_window_days: float = Field(120, gt=0)
    """Only baskets of so many days make the rules that put candidates forward."""
    with_ranker: bool = True
    """Order the candidates by boosted trees, where that is better on the validation period than the network alone."""
    ranker: RankerConfig = RankerConfig()
    """The boosted trees."""
    baselines: dict[str, list[dict[str, float]]] = {"popularity": [{}], "personal_frequency": [{}]}
    """Per baseline the settings to choose from on the validation period."""


@dataclass(frozen=True)
class Periods:
    """Windows (cutoff, end of the label window) of training, oldest first, of validation and of test."""

    train: list[tuple[datetime, datetime]]
    valid: tuple[datetime, datetime]
    test: tuple[datetime, datetime]


@dataclass(frozen=True)
class Prepared:
    """What every fit on the same data shares."""

    periods: Periods
    purchases: Purchases
    vocabulary: ProductVocabulary
    train: Examples
    valid: Examples
    test: Examples
    test_states: StateBatch
    test_entities: pd.DataFrame

    def popularity(self, moment: datetime, config: NextProductConfig) -> torch.Tensor:
        """Log-popularity (V + 1,) as of a moment."""
        return log_popularity(
            self.purchases.lines, self.vocabulary, moment.timestamp(), config.popularity_half_life_days
        )


def train_next_product(ctx: TrainContext) -> TrainedModel:
    """Fit, measure and export; see the module's words for the protocol."""
    config: NextProductConfig = ctx.config
    clock = _Stopwatch()
    data = prepare(ctx)
    periods, vocabulary, valid, test = data.periods, data.vocabulary, data.valid, data.test
    lines = data.purchases.lines
    clock.lap("features")

    def popularity(moment: datetime) -> torch.Tensor:
        return data.popularity(moment, config)

    net, history = fit(data, config, ctx.seed, ctx.progress)
    clock.lap("fit")

    def companions(moment: datetime) -> Companions:
        at = moment.timestamp()
        return companions_at(lines, vocabulary, at, popularity(moment), config.rule_window_days)

    ranker = None
    if config.with_ranker:
        ctx.progress("next-product: ranker")
        ranker = fit_product_ranker(
            net, valid, vocabulary, companions(periods.valid[0]), config.ranker, PRIMARY, ctx.seed
        )
        if ranker is not None and not ranker.helps:
            ranker = None
    clock.lap("ranker")
    net.log_popularity.copy_(popularity(periods.test[0]))
    if ranker is None:
        network_top = rank(net, test, vocabulary, max(KS))
    else:
        network_top = rank_with_trees(net, test, vocabulary, companions(periods.test[0]), ranker, max(KS))
    clock.lap("predict")
    ctx.progress("next-product: baselines")
    tops, chosen = baseline_rankings(lines, periods, valid, test, config, ctx.seed)
    clock.lap("baselines")
    report = measure(
        network_top, tops, test, lines, periods.test[0].timestamp(), config.horizon_days, PRIMARY, ctx.seed
    )
    # The file that serves knows what is popular at the end of the data; nothing else differs from what was measured.
    net.log_popularity.copy_(popularity(periods.test[1]))
    ctx.progress("next-product: writing the graph")
    example = test.batch(np.arange(2) % len(test))
    graph = export_onnx(net, example)
    clock.lap("export")
    latency = _latency_ms(graph.SerializeToString(), as_arrays(tuple(part[:1] for part in example)))
    _log_history(ctx.run, history, latency)
    metadata = {
        "task": Task.NEXT_PRODUCT.value,
        "feature_service": ctx.store.feature_service_name(Task.NEXT_PRODUCT),
        "signal_names": [],
        "config": config.model_dump(mode="json"),
        "as_of_end": periods.test[1].isoformat(),
        "test_cutoff": periods.test[0].isoformat(),
        "n_products": len(vocabulary),
        "baseline_settings": chosen,
        "latency_ms": latency,
        "ranker": ranker is not None,
    }
    if ranker is not None:
        ctx.run.log_metrics({"valid_network": ranker.valid_network, "valid_ranker": ranker.valid_ranker})

    def rescore(folder: Path) -> NDArray[np.float64]:
        as_of = seconds(data.test_entities[Columns.AS_OF])
        top = rank_with_file(folder, data.test_states, as_of, data.purchases.product_ids, max(KS))
        return ranking_values(top, test.targets, KS)[PRIMARY]

    return TrainedModel(
        task=Task.NEXT_PRODUCT,
        metrics=report.metrics,
        baselines=report.baselines,
        gains=report.gains,
        seconds=clock.seconds,
        rows={
            "train": len(data.train),
            "valid": len(valid),
            "test": len(test),
            "products": len(vocabulary),
            "catalogue": vocabulary.n_catalogue,
            "best_epoch": history.best + 1,
        },
        metadata=metadata,
        log_model=lambda run: log_model(run, graph, example, vocabulary, metadata, ranker, companions(periods.test[1])),
        evaluation=_evaluation(data.test_entities, report.values),
        rescore=rescore,
    )


def prepare(ctx: TrainContext) -> Prepared:
    """Load everything that a fit reads. Raises OmniError where the history is missing or too short."""
    config: NextProductConfig = ctx.config
    periods = split_periods(data_span(ctx.settings.timeline_path), config)
    purchases = load_purchases(ctx.settings.timeline_path)
    vocabulary = ProductVocabulary.of_customers(purchases, periods.valid[0].timestamp(), config.n_min_customers)
    windows = [*periods.train, periods.valid, periods.test]
    examples, test_states, test_entities = load_examples(ctx.store, purchases, vocabulary, windows, ctx.progress)
    n_train = len(periods.train)
    return Prepared(
        periods=periods,
        purchases=purchases,
        vocabulary=vocabulary,
        train=examples.of_moments(0, n_train),
        valid=examples.of_moments(n_train, n_train + 1),
        test=examples.of_moments(n_train + 1, n_train + 2),
        test_states=test_states,
        test_entities=test_entities,
    )


def fit(
    data: Prepared, config: NextProductConfig, seed: int, progress: Progress, on_epoch: OnEpoch = lambda *_: None
) -> tuple[NextProductNet, FitHistory]:
    """A fitted network; `on_epoch` gets the number of each epoch and its validation value, and may raise to stop."""
    torch.set_num_threads(config.n_threads)
    torch.manual_seed(seed)
    net = new_network(config, data.vocabulary, data.popularity(data.periods.valid[0], config))
    history = fit_network(
        net,
        data.train,
        data.valid,
        data.vocabulary,
        torch.stack([data.popularity(cutoff, config) for cutoff, _ in data.periods.train]),
        data.popularity(data.periods.valid[0], config),
        fit_settings(config),
        seed,
        progress,
        on_epoch,
    )
    return net, history


def split_periods(span: Span, config: NextProductConfig) -> Periods:
    """The windows of global time; a label window never reaches into the next period."""
    horizon = timedelta(days=config.horizon_days)
    split = TimeSplit.at_end_of(span.end, config.horizon_days)
    earliest = span.start + timedelta(days=config.warmup_days)
    cutoffs = split.train_cutoffs(earliest, config.horizon_days, config.step_days)
    return Periods(
        train=[(cutoff, cutoff + horizon) for cutoff in cutoffs],
        valid=(split.train_end, split.valid_end),
        test=(split.valid_end, split.test_end),
    )


def new_network(config: NextProductConfig, vocabulary: ProductVocabulary, popularity: torch.Tensor) -> NextProductNet:
    """An unfitted network of the configured size."""
    size = NetworkSize(
        n_items=len(vocabulary),
        n_kinds=len(KINDS),
        n_channels=len(CHANNELS),
        n_events=config.n_events,
        embedding_dim=config.embedding_dim,
        repeat_dim=config.repeat_dim,
        hidden_dim=config.hidden_dim,
        n_heads=config.n_heads,
        n_blocks=config.n_blocks,
        dropout=config.dropout,
    )
    return NextProductNet(size, popularity.clone())


def fit_settings(config: NextProductConfig) -> FitSettings:
    """The config's part that the fit needs."""
    return FitSettings(
        max_epochs=config.max_epochs,
        patience=config.patience,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        n_popular=config.n_popular,
        n_random=config.n_random,
        metric=PRIMARY,
    )


def baseline_rankings(
    lines: Interactions, periods: Periods, valid: Examples, test: Examples, config: NextProductConfig, seed: int
) -> tuple[dict[str, IntArray], dict[str, dict[str, float]]]:
    """Each baseline tuned on validation customers, fitted again up to the test cutoff, ranked for the test customers."""
    rng = np.random.default_rng(seed)
    n_tuning = min(config.n_tuning_customers, len(valid))
    chosen_rows = np.sort(rng.choice(len(valid), n_tuning, replace=False))
    owner = np.repeat(np.arange(len(valid)), valid.targets.sizes)
    number = np.full(len(valid), -1)
    number[chosen_rows] = np.arange(n_tuning)
    kept = number[owner] >= 0
    targets = Targets.from_pairs(number[owner[kept]], valid.targets.items[kept], n_tuning)
    valid_at, test_at = periods.valid[0].timestamp(), periods.test[0].timestamp()
    past, latest = lines.before(valid_at), lines.before(test_at)
    tops: dict[str, IntArray] = {}
    chosen: dict[str, dict[str, float]] = {}
    for name, grid in config.baselines.items():
        chosen[name] = dict(grid[0])
        if len(grid) > 1:
            chosen[name], _ = tune(name, grid, past, valid_at, valid.customers[chosen_rows], targets, PRIMARY)
        tops[name] = recommend(METHODS[name](latest, test_at, **chosen[name]), test.customers, max(KS))
    return tops, chosen


def log_model(
    run: Run,
    graph: Any,
    example: tuple[torch.Tensor, ...],
    vocabulary: ProductVocabulary,
    metadata: Mapping[str, Any],
    ranker: ProductRanker | None,
    companions: Companions,
) -> str:
    """The graph with its vocabulary and, where there is one, the ranker beside it; answers the model's URI."""
    inputs = as_arrays(example)
    output = {OUTPUT_NAME: score_onnx(open_session(graph.SerializeToString()), inputs)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.json"
        path.write_text(vocabulary_json(vocabulary), encoding="utf-8")
        beside = [path] if ranker is None else [path, *ranker.save(Path(folder), companions)]
        return run.log_onnx(graph, inputs, output, metadata, beside)


def _evaluation(entities: pd.DataFrame, values: NDArray[np.float64]) -> pd.DataFrame:
    customers = entities[Columns.CUSTOMER_ID]
    return pd.DataFrame(
        {
            "key": customers + "@" + entities[Columns.AS_OF].astype(str),
            Columns.CUSTOMER_ID: customers,
            "label": np.nan,
            "score": values,
            "part": PART,
        }
    )


def _log_history(run: Run, history: FitHistory, latency: Mapping[str, float]) -> None:
    run.log_history("train_loss", history.loss)
    run.log_history("valid_ndcg_at_10", history.valid)
    run.log_metrics({f"latency_ms.{name}": value for name, value in latency.items()})


def _latency_ms(model: bytes, one: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    session = open_session(model)
    times = []
    for _ in range(_LATENCY_CALLS):
        started = time.perf_counter()
        score_onnx(session, one)
        times.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(times[10:], [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


class _Stopwatch:
    """Seconds per part, in the order of the laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Close the part `name`."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
