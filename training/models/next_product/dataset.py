"""What every fit reads: customers at moments, with what they took next, and what was known of products at any moment.

Filled from the feature store at cutoffs of global time (`prepare`), or from a file of interactions and a published protocol
(`published.py`); what is fitted to it does not know which.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import torch

from features.scoring.popularity import network_popularity
from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, KINDS
from training.data.baskets import Purchases, load_purchases
from training.data.interactions import Interactions
from training.data.labels import Span, data_span
from training.data.splits import TimeSplit
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import Examples, ProductVocabulary, load_examples
from training.models.next_product.history import ProductHistory
from training.models.next_product.item_tables import CompanionBuilder, TableSettings
from training.models.next_product.reranker import Moment, bought_before
from training.task import TrainContext


@dataclass(frozen=True)
class Dataset:
    """Examples to learn from, of moments `train_at` (seconds) that `train.moment` names, and those that validate."""

    lines: Interactions
    vocabulary: ProductVocabulary
    builder: CompanionBuilder
    train: Examples
    train_at: tuple[float, ...]
    valid: Examples
    valid_at: float
    n_kinds: int = len(KINDS)
    n_channels: int = len(CHANNELS)
    all_items: bool = False
    """Whether what nobody took yet is ranked, too, as published protocols ask."""

    def popularity(self, at: float, config: NextProductConfig) -> torch.Tensor:
        """Log-popularity (V + 1,) as of a moment."""
        counts = self.builder.history.counts(at)
        return torch.from_numpy(network_popularity(counts, config.popularity_half_life_days, len(self.vocabulary)))

    def moment(self, examples: Examples, at: float, tables: TableSettings, config: NextProductConfig) -> Moment:
        """Customers with what was known of products at a moment (seconds)."""
        past = self.lines.before(at)
        sold = self.vocabulary.sold(past)
        return Moment(
            examples,
            self.builder.at(at, tables),
            self.popularity(at, config),
            np.arange(len(sold)) > 0 if self.all_items else sold,
            bought_before(past, self.vocabulary, examples.customers),
        )


@dataclass(frozen=True)
class Periods:
    """Windows (cutoff, end of the label window) of training, oldest first, of validation and of test."""

    train: list[tuple[datetime, datetime]]
    valid: tuple[datetime, datetime]
    test: tuple[datetime, datetime]


@dataclass(frozen=True)
class Prepared:
    """The feature store's moments: what is fitted, and what measures it."""

    dataset: Dataset
    periods: Periods
    purchases: Purchases
    test: Examples
    test_states: StateBatch
    test_entities: pd.DataFrame


def prepare(ctx: TrainContext) -> Prepared:
    """Load everything that a fit reads. Raises OmniError where the history is missing or too short."""
    config: NextProductConfig = ctx.config
    periods = split_periods(data_span(ctx.settings.timeline_path), config)
    purchases = load_purchases(ctx.settings.timeline_path)
    vocabulary = ProductVocabulary.of_customers(purchases, periods.test[1].timestamp(), config.n_min_customers)
    windows = [*periods.train, periods.valid, periods.test]
    examples, test_states, test_entities = load_examples(ctx.store, purchases, vocabulary, windows, ctx.progress)
    n_train = len(periods.train)
    asked = [*(start for start, _ in windows), periods.test[1]]
    history = ProductHistory.of_store(ctx.store, vocabulary.product_ids, asked)
    return Prepared(
        dataset=Dataset(
            lines=purchases.lines,
            vocabulary=vocabulary,
            builder=CompanionBuilder(
                purchases.lines, vocabulary, history, ctx.settings.products_path, ctx.settings.timeline_path
            ),
            train=examples.of_moments(0, n_train),
            train_at=tuple(cutoff.timestamp() for cutoff, _ in periods.train),
            valid=examples.of_moments(n_train, n_train + 1),
            valid_at=periods.valid[0].timestamp(),
        ),
        periods=periods,
        purchases=purchases,
        test=examples.of_moments(n_train + 1, n_train + 2),
        test_states=test_states,
        test_entities=test_entities,
    )


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
