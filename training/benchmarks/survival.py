"""A study, not what `omni train churn` fits: one discrete-time survival model for every horizon, beside a model per horizon.

A log, a cutoff and several horizons in, both on the same customers out. The survival model is a hazard by week: a row per
customer, cutoff and week that was still silent when it began, the label whether the next purchase came in it, the week's
number a feature. A cutoff shortly before the end of what is known gives its first weeks only, so nothing is censored away.
It was measured worse than a model per horizon, surely so at 90 days (tests/benchmarks/README.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from features.evaluation.resampling import resample
from features.vocabulary import DAY_S, Columns, Task
from training.data.labels import churn_entities, days_to_next
from training.data.training_set import StateSource, build_training_set, epoch_seconds
from training.evaluation.metrics import CHURN
from training.models.boosted import BoosterConfig, parameters, predict
from training.models.churn.blend import Blend, customer_folds
from training.models.churn.config import ChurnConfig
from training.models.churn.train import fit_purchases, snapshots
from training.task import Progress

WEEK_DAYS: Final = 7.0
MAX_ROWS: Final = 150_000
"""Person-weeks that a fit looks at; more are sampled."""
N_SIGNALS: Final = 40
"""Signals that the survival model looks at: those the blend's trees gained most from."""
N_CUTOFFS: Final = 20


@dataclass(frozen=True)
class Survival:
    """The chance of a purchase in each week, given silence until then."""

    booster: lgb.Booster
    n_weeks: int

    def silence(self, features: Float32Array, horizon_days: float) -> FloatArray:
        """Chance (n,) of no purchase in `horizon_days`, from features (n, F); within a week the hazard is even."""
        log_silence = np.zeros(len(features))
        for week in range(self.n_weeks):
            share = min(max(horizon_days / WEEK_DAYS - week, 0.0), 1.0)
            if share == 0.0:
                break
            hazard = np.clip(predict(self.booster, with_week(features, week)), 1e-6, 1 - 1e-6)
            log_silence += share * np.log1p(-hazard)
        return np.asarray(np.exp(log_silence))


def compare_horizons(
    timeline: Path,
    store: StateSource,
    start: datetime,
    cutoff: datetime,
    configs: Sequence[ChurnConfig],
    booster: Blend,
    seed: int,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """For each config's horizon: metrics of its own blend and of the one survival model, and the paired gain in
    log-loss of the survival model over the blend (above zero: the survival model is better).
    """
    longest = max(config.horizon_days for config in configs)
    gains = booster.booster.feature_importance("gain")
    best = np.argsort(-gains, kind="stable")[:N_SIGNALS]
    model = _survival(timeline, store, start, cutoff, longest, configs[0], best, seed)
    report = {}
    for config in configs:
        progress(f"churn: a horizon of {config.horizon_days:g} days")
        data = snapshots(timeline, store, start, cutoff, config, progress)
        single = fit_purchases(data, config, seed, progress).probability(data.test.features)
        survival = model.silence(data.test.features[:, best], config.horizon_days)
        groups = data.test.entities[Columns.CUSTOMER_ID].to_numpy()
        sampled = resample(
            {
                f"{name} {metric}": make(data.test.labels, scores)
                for name, scores in (("single", single), ("survival", survival))
                for metric, make in CHURN.items()
            },
            groups,
            seed=seed,
        )
        report[f"{config.horizon_days:g}"] = {
            **{
                name: {metric: sampled[f"{name} {metric}"].metric() for metric in CHURN}
                for name in ("single", "survival")
            },
            "gain of survival": sampled["single log_loss"].minus(sampled["survival log_loss"]).metric(),
        }
    return report


def _survival(
    timeline: Path,
    store: StateSource,
    start: datetime,
    cutoff: datetime,
    longest: float,
    config: ChurnConfig,
    signals: np.ndarray,
    seed: int,
) -> Survival:
    """Fit on snapshots up to a week before the cutoff: what comes after it is not looked at."""
    latest, earliest = cutoff - timedelta(days=WEEK_DAYS), start + timedelta(days=config.warmup_days)
    step = max(timedelta(days=WEEK_DAYS), (latest - earliest) / N_CUTOFFS)
    past = [latest - k * step for k in range(N_CUTOFFS) if latest - k * step >= earliest] or [latest]
    kinds = [kind.value for kind in config.activity_kinds]
    entities = churn_entities(timeline, past[::-1], WEEK_DAYS, kinds, config.active_within_days, config.min_purchases)
    known = build_training_set(entities, Task.CHURN, store, "survival")
    moments = known.entities[Columns.AS_OF]
    until = (cutoff.timestamp() - epoch_seconds(moments)) / DAY_S
    days = days_to_next(timeline, known.entities, cutoff, kinds)
    folds = customer_folds(known.entities[Columns.CUSTOMER_ID])
    return fit_survival(known.features[:, signals], days, until, folds, longest, config.booster, seed)


def fit_survival(
    features: Float32Array,
    days_to_next: FloatArray,
    known_days: FloatArray,
    folds: IntArray,
    horizon_days: float,
    config: BoosterConfig,
    seed: int,
) -> Survival:
    """Fit on snapshots (n, F): days to the next purchase (NaN: none was seen) and how many days after it are known.

    The trees stop growing on the customers of fold 0, and are grown again on everybody.
    """
    n_weeks = int(np.ceil(horizon_days / WEEK_DAYS))
    row, week, label = person_weeks(days_to_next, known_days, n_weeks)
    if len(row) > MAX_ROWS:
        chosen = np.random.default_rng(seed).choice(len(row), MAX_ROWS, replace=False)
        row, week, label = row[chosen], week[chosen], label[chosen]
    rows = with_week(features[row], week)
    held = folds[row] == 0
    data = lgb.Dataset(rows[~held], label[~held], free_raw_data=False)
    options = parameters(config, seed)
    booster = lgb.train(
        options,
        data,
        num_boost_round=config.max_rounds,
        valid_sets=[lgb.Dataset(rows[held], label[held], reference=data)],
        callbacks=[lgb.early_stopping(config.patience, verbose=False)],
    )
    n_trees = max(1, booster.best_iteration)
    return Survival(lgb.train(options, lgb.Dataset(rows, label), num_boost_round=n_trees), n_weeks)


def person_weeks(
    days_to_next: FloatArray, known_days: FloatArray, n_weeks: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """Snapshots (n,) to rows: the snapshot, the week, and whether the next purchase came in that week.

    A week counts when it was silent until its beginning and is known whole, or brought the purchase.
    """
    next_week = np.where(np.isfinite(days_to_next), days_to_next // WEEK_DAYS, np.inf)
    rows, weeks, labels = [], [], []
    for week in range(n_weeks):
        whole = known_days >= (week + 1) * WEEK_DAYS
        at_risk = np.flatnonzero((next_week >= week) & whole)
        rows.append(at_risk)
        weeks.append(np.full(len(at_risk), week))
        labels.append((next_week[at_risk] == week).astype(np.float64))
    return np.concatenate(rows), np.concatenate(weeks), np.concatenate(labels)


def with_week(features: Float32Array, week: IntArray | int) -> Float32Array:
    """Features (n, F) with the number of the week beside them: (n, F + 1)."""
    return np.column_stack([features, np.broadcast_to(np.asarray(week, dtype=np.float32), len(features))]).astype(
        np.float32
    )
