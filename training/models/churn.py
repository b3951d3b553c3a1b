"""Churn: the timeline in, a calibrated booster out that gives the probability of no purchase within the horizon.

Learned on snapshots of every customer at many past cutoffs, stopped and calibrated on one later snapshot, measured on
the last one; the label windows of the three do not overlap.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.vocabulary import Columns, EventKind, Task
from training import plots
from training.dataset import TrainingSet, build_training_set
from training.labels import Span, churn_entities, data_span
from training.metrics import BINARY, Metric, binary_metrics, paired_difference
from training.models.boosted import BoosterConfig, Fitted, RoundCallback, fit_calibrated, logistic_scores, predict
from training.results import Progress, TrainContext, TrainedModel
from training.splits import TimeSplit
from training.tracking import Run

logger = logging.getLogger(__name__)

PRIMARY: Final = "log_loss"
RECENCY: Final = ("days_since_occasion",)
RFM: Final = ("days_since_occasion", "n_occasions", "occasions_90d", "spend_90d", "spend_365d")
PART: Final = "all"
FloatArray = NDArray[np.float64]


class ChurnConfig(BaseModel):
    """What counts as churn, from which moments it is learned, and the booster's size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    horizon_days: float = Field(28, gt=0)
    """Churned: none of the activity in this many days. Whole weeks keep weekdays out of the label."""
    step_days: float = Field(7, gt=0)
    """Days between the cutoffs that training snapshots are taken at."""
    warmup_days: float = Field(56, ge=0)
    """History that must lie before the first cutoff."""
    active_within_days: float | None = Field(365, gt=0)
    """Only customers with activity in this many days before a cutoff count; without it all that were ever seen do."""
    activity_kinds: tuple[EventKind, ...] = (EventKind.PURCHASE,)
    """Kinds of event that show that a customer has not churned."""
    booster: BoosterConfig = BoosterConfig()
    """Size and pace of the booster."""


@dataclass(frozen=True)
class ChurnData:
    """Training snapshots, the validation snapshot and the test snapshot."""

    train: TrainingSet
    valid: TrainingSet
    test: TrainingSet
    test_end: datetime


def train_churn(ctx: TrainContext) -> TrainedModel:
    """Fit, calibrate and measure the churn model; see the module's words for the protocol."""
    config: ChurnConfig = ctx.config
    started = time.perf_counter()
    data = load_data(ctx)
    features_s = time.perf_counter() - started
    ctx.progress("churn: growing trees")
    fitted = fit(data, config, ctx.seed)
    fit_s = time.perf_counter() - started - features_s
    ctx.progress("churn: measuring on the test period")
    scores = predict(fitted.booster, data.test.features)
    predict_s = time.perf_counter() - started - features_s - fit_s
    report = measure(data, scores, ctx.seed)
    ctx.run.log_history("valid_log_loss", fitted.history)
    names = data.train.feature_names
    gains = fitted.booster.feature_importance("gain")
    ctx.run.log_figure(plots.importance(names, gains, "What churn is predicted from"), "plots/importance.png")
    metadata = {
        "task": Task.CHURN.value,
        "feature_service": data.train.feature_service,
        "signal_names": list(names),
        "config": config.model_dump(mode="json"),
        "as_of_end": data.test_end.isoformat(),
        "horizon_days": config.horizon_days,
        "calibration": {"slope": fitted.slope, "shift": fitted.shift},
        "training_set": data.train.fingerprint,
    }
    return TrainedModel(
        task=Task.CHURN,
        metrics=report.metrics,
        baselines=report.baselines,
        gains=report.gains,
        seconds={"features": features_s, "fit": fit_s, "predict": predict_s},
        rows={
            "train": len(data.train),
            "valid": len(data.valid),
            "test": len(data.test),
            "trees": fitted.booster.num_trees(),
        },
        metadata=metadata,
        log_model=lambda run: _log(run, fitted, data.test, metadata),
        evaluation=evaluation_table(data.test, scores),
        rescore=lambda folder: _rescore(folder, data.test),
    )


def load_data(ctx: TrainContext) -> ChurnData:
    """The three snapshots of the log's timeline, with signals through the feature store."""
    config: ChurnConfig = ctx.config
    kinds = [kind.value for kind in config.activity_kinds]
    span = data_span(ctx.settings.timeline_path, kinds)
    cutoffs, split = snapshot_times(span, config)
    ctx.progress(f"churn: labels at {len(cutoffs)} training cutoffs")
    entities = churn_entities(
        ctx.settings.timeline_path,
        [*cutoffs, split.train_end, split.valid_end],
        config.horizon_days,
        kinds,
        config.active_within_days,
    )
    fingerprint = f"{span.start.isoformat()}/{span.end.isoformat()}"
    whole = build_training_set(entities, Task.CHURN, ctx.store, fingerprint, progress=ctx.progress)
    return divide(whole, split, ctx.progress)


def snapshot_times(span: Span, config: ChurnConfig) -> tuple[list[datetime], TimeSplit]:
    """Training cutoffs, and the split whose `train_end` and `valid_end` are the validation and test cutoffs."""
    split = TimeSplit.at_end_of(span.end, config.horizon_days)
    earliest = span.start + timedelta(days=config.warmup_days)
    return split.train_cutoffs(earliest, config.horizon_days, config.step_days), split


def divide(whole: TrainingSet, split: TimeSplit, progress: Progress = lambda _: None) -> ChurnData:
    """Rows by their cutoff."""
    as_of = whole.entities[Columns.AS_OF]
    data = ChurnData(
        train=whole.select((as_of < split.train_end).to_numpy()),
        valid=whole.select((as_of == split.train_end).to_numpy()),
        test=whole.select((as_of == split.valid_end).to_numpy()),
        test_end=split.test_end,
    )
    progress(f"churn: {len(data.train):,} training rows, {data.test.labels.mean():.1%} of the test rows churned")
    return data


def fit(data: ChurnData, config: ChurnConfig, seed: int, on_round: RoundCallback | None = None) -> Fitted:
    """The calibrated booster; sees no test row."""
    return fit_calibrated(
        (data.train.features, data.train.labels),
        (data.valid.features, data.valid.labels),
        data.train.feature_names,
        config.booster,
        seed,
        on_round,
    )


@dataclass(frozen=True)
class Measured:
    """The model's metrics, the baselines' and the paired gains over each baseline on the primary metric."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]


def measure(data: ChurnData, scores: FloatArray, seed: int) -> Measured:
    """Everything on the test snapshot; the baselines are fitted on the same rows as the model."""
    labels, groups = data.test.labels, data.test.entities[Columns.CUSTOMER_ID].to_numpy()
    rivals = baseline_scores(data)
    ours = BINARY[PRIMARY](labels, scores)
    return Measured(
        metrics=binary_metrics(labels, scores, groups, seed=seed),
        baselines={name: binary_metrics(labels, rival, groups, seed=seed) for name, rival in rivals.items()},
        gains={
            name: paired_difference(BINARY[PRIMARY](labels, rival), ours, groups, seed=seed)
            for name, rival in rivals.items()
        },
    )


def baseline_scores(data: ChurnData) -> Mapping[str, FloatArray]:
    """Test scores (n,) of: everybody the same, recency alone, a logistic regression on log-RFM."""
    known = data.train.joined(data.valid)
    return {
        "base_rate": np.full(len(data.test), known.labels.mean()),
        "recency": _logistic(data, known, RECENCY),
        "log_rfm": _logistic(data, known, RFM),
    }


def evaluation_table(test: TrainingSet, scores: FloatArray) -> pd.DataFrame:
    """The test rows as TrainedModel.evaluation wants them."""
    customers = test.entities[Columns.CUSTOMER_ID]
    return pd.DataFrame(
        {
            "key": customers + "@" + test.entities[Columns.AS_OF].astype(str),
            Columns.CUSTOMER_ID: customers,
            "label": test.labels,
            "score": scores,
            "part": PART,
        }
    )


def _logistic(data: ChurnData, known: TrainingSet, names: tuple[str, ...]) -> FloatArray:
    return logistic_scores((known.columns(names), known.labels), data.test.columns(names))


def _log(run: Run, fitted: Fitted, test: TrainingSet, metadata: Mapping[str, Any]) -> str:
    example = pd.DataFrame(test.features[:3], columns=list(test.feature_names))
    return run.log_lightgbm(fitted.booster, example, metadata)


def _rescore(folder: Path, test: TrainingSet) -> FloatArray:
    booster = lgb.Booster(model_file=str(folder / "model.lgb"))
    table = pd.DataFrame(test.features, columns=list(test.feature_names))
    return predict(booster, table.reindex(columns=booster.feature_name()).to_numpy())
