"""Snapshots with the days to the next purchase in, the chance of silence until any day out: one model for every horizon.

A discrete-time hazard: a row per customer, cutoff and week that was still silent when it began, the label whether the
next purchase came in it, the week's number a feature. A cutoff shortly before the end of what is known gives its first
weeks only, so nothing is censored away.
"""

from dataclasses import dataclass
from typing import Final

import lightgbm as lgb
import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from training.models.boosted import BoosterConfig, parameters, predict

WEEK_DAYS: Final = 7.0
MAX_ROWS: Final = 150_000
"""Person-weeks that a fit looks at; more are sampled."""


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
        callbacks=[lgb.early_stopping(config.early_stopping_rounds, verbose=False)],
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
