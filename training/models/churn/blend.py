"""Labelled snapshots at past cutoffs in, a calibrated blend of trees, logistic regression and BG/NBD out.

One method for long and short histories: who is left out of a fit is chosen by customer, so every past cutoff can be
both learned from and calibrated on; the fewer independent label windows there are, the more BG/NBD counts, for the order
of customers a little and for the level of all of them much, and without any it answers alone.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.bg_nbd import Spend
from features.scoring.churn import LINEAR_SIGNALS, ChurnScore, Linear, purchase_values, summary
from features.scoring.log_linear import filled_logarithms
from features.signals import signal_index
from features.vocabulary import DAY_S, Columns
from training.data.training_set import TrainingSet
from training.models.boosted import BoosterConfig, constant_booster, level_shift, parameters, platt, predict
from training.models.churn.bg_nbd_fit import fit_rates, fit_spend
from training.models.churn.revenue import pace_weight
from training.task import Progress

logger = logging.getLogger(__name__)

N_FOLDS: Final = 3
MIN_ROWS_OF_A_CLASS: Final = 30
"""With fewer churners or fewer returners in the past, nothing is learned but BG/NBD's rates."""
SEASON_WEIGHT: Final = 3.0
"""How much the same season a year ago counts in the calibration, against the latest cutoffs together."""
SEASON_HISTORY_DAYS: Final = 150.0
"""A year-old cutoff must have this much history: before, everybody looks new."""
LEVEL_WINDOWS: Final = 3.0
"""With this many independent label windows the past and BG/NBD count the same for the level; see `level_weight`."""
_YEAR_DAYS: Final = 365.25


@dataclass(frozen=True)
class Blend:
    """The score's arithmetic and its trees."""

    score: ChurnScore
    booster: lgb.Booster
    history: tuple[float, ...] = ()
    """Log-loss of the trees on the folds' held-out customers after each round, the mean over folds."""

    def probability(self, features: Float32Array) -> FloatArray:
        """All signals (n, F) to the chance of churn (n,)."""
        return self.score.probability(features, predict(self.booster, features, raw=True))


def fit_blend(
    known: TrainingSet | None,
    now: Float32Array,
    cutoff: datetime,
    data_start: datetime,
    horizon_days: float,
    config: BoosterConfig,
    names: tuple[str, ...],
    seed: int,
    progress: Progress = lambda _: None,
) -> Blend:
    """Fit on `known`, rows whose label windows end by `cutoff`; `now` are all signals (n, F) of customers at the cutoff.

    BG/NBD is fitted on `now`, which holds no label: what was bought until the cutoff.
    """
    buying = summary(now)
    rates, modified = fit_rates(buying, seed=seed), fit_rates(buying, modified=True, seed=seed)
    spend: Spend | None = fit_spend(*purchase_values(now), seed=seed)
    spend = spend if spend is not None and spend.p > 0 else None
    alone = ChurnScore(horizon_days, rates, modified, None, (0.0, 0.0, 1.0), 1.0, 0.0, spend)
    if known is None or min(known.labels.sum(), (1 - known.labels).sum()) < MIN_ROWS_OF_A_CLASS:
        progress("churn: too little past to learn from, BG/NBD answers alone")
        return Blend(alone, constant_booster(0.5, names))
    silence = alone.silence(known.features)
    linear = fit_linear(known.features, silence, known.labels)
    held_trees, held_linear = np.empty(len(known)), np.empty(len(known))
    folds = customer_folds(known.entities[Columns.CUSTOMER_ID])
    sizes, curves = [], []
    for fold in range(N_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        part = fit_linear(known.features[inside], silence[inside], known.labels[inside])
        held_linear[outside] = part.log_odds(known.features[outside], silence[outside])
        booster, curve = _grow(known, inside, outside, config, names, seed)
        held_trees[outside] = predict(booster, known.features[outside], raw=True)
        sizes.append(booster.num_trees())
        curves.append(curve)
        progress(f"churn: grew {sizes[-1]} trees, fold {fold + 1} of {N_FOLDS}")
    rows = lgb.Dataset(known.features, known.labels, feature_name=list(names))
    n_trees = max(1, round(float(np.mean(sizes)) * (1 + 0.5 / N_FOLDS)))
    booster = lgb.train(parameters(config, seed, names), rows, num_boost_round=n_trees)
    windows = independent_windows(cutoff, data_start, horizon_days)
    mix = _mix(windows)
    raw = mix[0] * held_trees + mix[1] * held_linear + mix[2] * silence[:, 1]
    weights = calibration_weights(known.entities[Columns.AS_OF], cutoff, data_start, horizon_days)
    slope, shift = platt(raw, known.labels, weights=weights)
    score = ChurnScore(horizon_days, rates, modified, linear, mix, slope, shift, spend)
    silent = float(np.mean(rates.silence_probability(buying, horizon_days)))
    away = level_shift(score.log_odds(now, predict(booster, now, raw=True)), silent)
    score = replace(
        score,
        shift=shift + level_weight(windows) * away,
        pace=(1 - level_weight(windows)) * pace_weight(score, known, weights),
    )
    shortest = min(len(curve) for curve in curves)
    history = tuple(float(value) for value in np.mean([curve[:shortest] for curve in curves], axis=0))
    return Blend(score, booster, history)


def held_out_loss(
    known: TrainingSet,
    config: BoosterConfig,
    names: tuple[str, ...],
    seed: int,
    on_fold: Callable[[int, float], None] = lambda _, __: None,
) -> float:
    """Log-loss of the trees on customers left out, the mean over folds: what a search of settings minimises.

    `on_fold` gets the number of the fold and the mean so far; it may raise to stop a hopeless trial.
    """
    folds = customer_folds(known.entities[Columns.CUSTOMER_ID])
    losses: list[float] = []
    for fold in range(N_FOLDS):
        _, curve = _grow(known, np.flatnonzero(folds != fold), np.flatnonzero(folds == fold), config, names, seed)
        losses.append(min(curve))
        on_fold(fold, float(np.mean(losses)))
    return float(np.mean(losses))


def fit_linear(features: Float32Array, silence: FloatArray, labels: FloatArray) -> Linear:
    """The logistic part from all signals (n, F) and BG/NBD's log-odds (n, 2); a missing value is the largest known."""
    columns = features[:, signal_index(LINEAR_SIGNALS)]
    fill = np.max(np.where(np.isfinite(columns), columns, 0.0), axis=0)
    inputs = np.column_stack([filled_logarithms(columns, fill), silence])
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    model = LogisticRegression(max_iter=1000).fit((inputs - mean) / scale, labels)
    return Linear(
        LINEAR_SIGNALS,
        tuple(fill.tolist()),
        tuple(mean.tolist()),
        tuple(scale.tolist()),
        tuple(model.coef_[0].tolist()),
        float(model.intercept_[0]),
    )


def customer_folds(customers: pd.Series) -> IntArray:
    """The fold (n,) of each row, by the hash of its customer: nobody is on both sides."""
    hashes = pd.util.hash_pandas_object(customers.astype(str), index=False).to_numpy()
    return np.asarray(hashes % N_FOLDS, dtype=np.int64)


def calibration_weights(as_of: pd.Series, cutoff: datetime, data_start: datetime, horizon_days: float) -> FloatArray:
    """How much each row (n,) counts for the level: halved with every horizon that lies between it and the latest cutoff.

    Where the log holds the same season of the year before, with enough history, that counts SEASON_WEIGHT times as much:
    for a shop with a Christmas the last quarter says little of the next.
    """
    age_days = (as_of.max() - as_of).dt.total_seconds().to_numpy() / DAY_S
    recent = np.exp2(-age_days / horizon_days)
    recent = recent / recent.sum()
    ago = (pd.Timestamp(cutoff) - as_of).dt.total_seconds().to_numpy() / DAY_S
    history = (as_of - pd.Timestamp(data_start)).dt.total_seconds().to_numpy() / DAY_S
    season = (np.abs(ago - _YEAR_DAYS) <= max(horizon_days / 8, 7.0)) & (history >= SEASON_HISTORY_DAYS)
    return np.asarray(recent + SEASON_WEIGHT * season / season.sum() if season.any() else recent)


def independent_windows(cutoff: datetime, data_start: datetime, horizon_days: float) -> float:
    """How many label windows that do not overlap the log holds before the cutoff, less one horizon of history."""
    return max((cutoff - data_start) / timedelta(days=horizon_days) - 1, 0.0)


def level_weight(windows: float) -> float:
    """How much of the level, in log-odds, is BG/NBD's at the cutoff; the rest is what calibration found in the past.

    Two estimates weighed by their precision. Early label windows see customers who all look new, so a calibration that
    has few windows is wrong by about as much as one window's weight in it, 1 / windows, and its variance falls with the
    square; BG/NBD's level needs no label, and its error, of season and trend, stays.
    """
    return 1 / (1 + (windows / LEVEL_WINDOWS) ** 2)


def _mix(windows: float) -> tuple[float, float, float]:
    """Weights of trees, linear part and BG/NBD: one in two plus the number of independent label windows for the last."""
    silent = 1 / (2 + windows)
    return ((1 - silent) / 2, (1 - silent) / 2, silent)


def _grow(
    known: TrainingSet,
    inside: NDArray[np.intp],
    outside: NDArray[np.intp],
    config: BoosterConfig,
    names: tuple[str, ...],
    seed: int,
) -> tuple[lgb.Booster, list[float]]:
    rows = lgb.Dataset(known.features[inside], known.labels[inside], feature_name=list(names))
    held = lgb.Dataset(known.features[outside], known.labels[outside], reference=rows)
    evaluations: dict[str, dict[str, list[float]]] = {}
    booster = lgb.train(
        parameters(config, seed, names),
        rows,
        num_boost_round=config.max_rounds,
        valid_sets=[held],
        valid_names=["held"],
        callbacks=[
            lgb.early_stopping(config.patience, verbose=False),
            lgb.record_evaluation(evaluations),
        ],
    )
    kept = lgb.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    return kept, evaluations["held"]["binary_logloss"]
