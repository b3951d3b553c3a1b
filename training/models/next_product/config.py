"""The config of next-product, and all that a fit reads: periods, purchases, examples; out comes a fitted network."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field

from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, KINDS
from training.data.baskets import Purchases, load_purchases
from training.data.labels import Span, data_span
from training.data.splits import TimeSplit
from training.models.next_product.data import Examples, ProductVocabulary, load_examples, log_popularity
from training.models.next_product.fit import FitHistory, FitSettings, OnEpoch, fit_network
from training.models.next_product.network import NetworkSize, NextProductNet
from training.models.recommenders.lambdamart import RankerConfig
from training.task import Progress, TrainContext

PRIMARY: Final = "ndcg@10"
"""The metric that a fit is stopped by, settings are searched by, and versions are compared by."""


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
