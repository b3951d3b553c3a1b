"""Next product: the timeline in, an ONNX network out that scores every product for a customer's next basket.

Learned on many (customer, cutoff) pairs: the state as of the cutoff, through the feature store, and the products of the
first basket after it. Global time: validation and test are the last two horizons of the data; the whole catalogue is
ranked and nothing is filtered. A product that was first sold after the training period is ranked from its first sale on.
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

from features.product_companions import COMPANIONS_FILE, Companions
from features.product_ranking import RANKER_FILE
from features.state import StateBatch
from features.vocabulary import CHANNELS, KINDS, Columns, Task
from training.basket_labels import Purchases, load_purchases
from training.labels import Span, data_span
from training.models.cold_products import place_unseen
from training.models.next_product_baselines import Rankings, rank_baselines
from training.models.next_product_companions import CompanionBuilder
from training.models.next_product_data import (
    Examples,
    ProductVocabulary,
    load_examples,
    log_popularity,
    seconds,
    vocabulary_json,
)
from training.models.next_product_fit import FitHistory, FitSettings, OnEpoch, fit_network
from training.models.next_product_measure import KS, measure
from training.models.next_product_ranker import (
    Moment,
    ProductRanker,
    bought_before,
    fit_product_ranker,
    rank_moment,
)
from training.models.next_product_score import rank_with_file
from training.models.onnx_export import as_arrays, export_onnx, open_session, score_onnx
from training.models.ranker import RankerConfig
from training.models.sequence import OUTPUT_NAME, NetworkSize, NextProductNet
from training.ranking_metrics import ranking_values
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
    """Only products that so many customers bought, up to the end of the data, can be named."""
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
    n_ranker_moments: int = Field(3, ge=1)
    """Newest cutoffs before the validation period that the trees learn from."""
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

    net, history = fit(data, config, ctx.seed, ctx.progress)
    clock.lap("fit")
    builder = CompanionBuilder(
        lines, vocabulary, ctx.settings.products_path, ctx.settings.timeline_path, config.rule_window_days
    )
    place_unseen(net, vocabulary.sold(lines.before(periods.valid[0].timestamp())), builder.category)
    ranker = None
    if config.with_ranker:
        ctx.progress("next-product: trees")
        ranker = _fit_trees(net, data, builder, config, ctx.seed)
        ctx.progress("next-product: the network alone is as good" if ranker is None else "next-product: the trees help")
    clock.lap("trees")
    at_test = _moment(data, builder, test, periods.test[0], config)
    booster = None if ranker is None else ranker.booster
    top, top_new = (
        rank_moment(net, at_test, vocabulary, booster, max(KS), only_new=only_new) for only_new in (False, True)
    )
    clock.lap("predict")
    ctx.progress("next-product: baselines")
    valid_at, test_at = periods.valid[0].timestamp(), periods.test[0].timestamp()
    baselines = rank_baselines(
        lines,
        (valid, valid_at),
        (test, test_at),
        config.baselines,
        config.n_tuning_customers,
        PRIMARY,
        max(KS),
        ctx.seed,
    )
    clock.lap("baselines")
    own = Rankings({"": top}, {"": top_new}, {})
    report = measure(own, baselines, test, lines, test_at, config.horizon_days, PRIMARY, ctx.seed)
    # The file that serves knows what is popular at the end of the data; nothing else differs from what was measured.
    net.log_popularity.copy_(data.popularity(periods.test[1], config))
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
        "baseline_settings": baselines.settings,
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
        log_model=lambda run: log_model(
            run, graph, example, vocabulary, metadata, ranker, builder.at(periods.test[1].timestamp())
        ),
        evaluation=_evaluation(data.test_entities, report.values),
        rescore=rescore,
    )


def _moment(
    data: Prepared, builder: CompanionBuilder, examples: Examples, cutoff: datetime, config: NextProductConfig
) -> Moment:
    """Customers as of a cutoff, with what was known of products then."""
    at = cutoff.timestamp()
    past = data.purchases.lines.before(at)
    bought = bought_before(past, data.vocabulary, examples.customers)
    return Moment(examples, builder.at(at), data.popularity(cutoff, config), data.vocabulary.sold(past), bought)


def _fit_trees(
    net: NextProductNet, data: Prepared, builder: CompanionBuilder, config: NextProductConfig, seed: int
) -> ProductRanker | None:
    """Trees of the newest moments before the test period, or None where the network alone is as good."""
    n = len(data.periods.train)
    past = [
        _moment(data, builder, data.train.of_moments(one, one + 1), data.periods.train[one][0], config)
        for one in range(max(0, n - config.n_ranker_moments), n)
    ]
    valid = _moment(data, builder, data.valid, data.periods.valid[0], config)
    return fit_product_ranker(net, past, valid, data.vocabulary, config.ranker, PRIMARY, seed)


def prepare(ctx: TrainContext) -> Prepared:
    """Load everything that a fit reads. Raises OmniError where the history is missing or too short."""
    config: NextProductConfig = ctx.config
    periods = split_periods(data_span(ctx.settings.timeline_path), config)
    purchases = load_purchases(ctx.settings.timeline_path)
    vocabulary = ProductVocabulary.of_customers(purchases, periods.test[1].timestamp(), config.n_min_customers)
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
    cutoffs = split.train_cutoffs(span.start, config.horizon_days, config.step_days, config.warmup_days)
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


def log_model(
    run: Run,
    graph: Any,
    example: tuple[torch.Tensor, ...],
    vocabulary: ProductVocabulary,
    metadata: Mapping[str, Any],
    ranker: ProductRanker | None,
    companions: Companions,
) -> str:
    """The graph with its vocabulary, its companions and, where they help, the trees beside it; answers the model's URI."""
    inputs = as_arrays(example)
    output = {OUTPUT_NAME: score_onnx(open_session(graph.SerializeToString()), inputs)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.json"
        path.write_text(vocabulary_json(vocabulary), encoding="utf-8")
        beside = [path, Path(folder) / COMPANIONS_FILE]
        companions.save(beside[1])
        if ranker is not None:
            beside.append(Path(folder) / RANKER_FILE)
            ranker.booster.save_model(str(beside[2]))
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
