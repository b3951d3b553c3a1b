"""A log, a cutoff and several horizons in; one survival model against a model per horizon on the same customers out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from features.vocabulary import Columns, Task
from training.benchmarks.survival_model import WEEK_DAYS, Survival, fit_survival
from training.data.labels import churn_entities, days_to_next
from training.data.training_set import StateSource, build_training_set, epoch_seconds
from training.evaluation.metrics import CHURN, resample
from training.models.churn.blend import Blend, customer_folds
from training.models.churn.train import ChurnConfig, fit, snapshots
from training.task import Progress

N_SIGNALS: Final = 40
"""Signals that the survival model looks at: those the blend's trees gained most from."""
N_CUTOFFS: Final = 20


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
        single = fit(data, config, seed, progress).probability(data.test.features)
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
    until = (cutoff.timestamp() - epoch_seconds(moments)) / 86_400
    days = days_to_next(timeline, known.entities, cutoff, kinds)
    folds = customer_folds(known.entities[Columns.CUSTOMER_ID])
    return fit_survival(known.features[:, signals], days, until, folds, longest, config.booster, seed)
