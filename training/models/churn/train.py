"""Churn: the timeline in, a calibrated blend out that gives the probability of no purchase within the horizon.

Learned on snapshots of every customer at many past cutoffs whose label windows end by the test cutoff, calibrated on
customers left out of each fit, measured on one last snapshot of everybody.
"""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pandas as pd
import scipy
from scipy.special import expit

from features.arrays import FloatArray
from features.errors import InputError
from features.scoring import additive, bg_nbd, log_linear
from features.scoring.churn import SCORE_FILE
from features.scoring.contract import read_score
from features.scoring.model_files import find_file, find_optional
from features.vocabulary import Columns, EventKind, Task
from training.data.labels import churn_entities, data_span
from training.data.splits import shorter
from training.data.training_set import StateSource, TrainingSet, build_training_set
from training.evaluation import plots
from training.models.boosted import SHAP_ROWS, contributions, predict
from training.models.churn.blend import SEASON_HISTORY_DAYS, Blend, fit_blend
from training.models.churn.config import ChurnConfig
from training.models.churn.measure import ChurnData, Measured, measure
from training.models.churn.under_contract import (
    ContractBlend,
    contract_snapshots,
    fit_contract_blend,
    measure_contracts,
)
from training.run import Run
from training.task import Progress, TrainContext, TrainedModel, evaluation_table

logger = logging.getLogger(__name__)

PART: Final = "all"


def train_churn(ctx: TrainContext) -> TrainedModel:
    """Fit, calibrate and measure the churn model; see the module's words for the protocol."""
    config: ChurnConfig = ctx.config
    started = time.perf_counter()
    data = load_data(ctx)
    features_s = time.perf_counter() - started
    ctx.progress("churn: growing trees")
    blend = fit(data, config, ctx.seed, ctx.progress)
    fit_s = time.perf_counter() - started - features_s
    ctx.progress("churn: measuring on the test period")
    scores = blend.probability(data.test.features)
    predict_s = time.perf_counter() - started - features_s - fit_s
    report = _measure(data, scores, ctx.seed, blend, config)
    ctx.run.log_history("held_log_loss", blend.history)
    ctx.run.keep(
        {f"{metric}/{name}": value for name, values in report.slices.items() for metric, value in values.items()}
    )
    more = {days: _more_horizon(ctx, days) for days in config.more_horizons_days if days != config.horizon_days}
    _log_trees(ctx.run, blend.booster, data.test)
    ctx.run.log_figure(plots.profit_curve(data.test.labels, scores), "plots/profit.png")
    metadata = {
        "task": Task.CHURN.value,
        "feature_service": data.test.feature_service,
        "signal_names": list(data.test.feature_names),
        "config": config.model_dump(mode="json"),
        "as_of_end": (data.cutoff + timedelta(days=config.horizon_days)).isoformat(),
        "horizon_days": config.horizon_days,
        "kind": config.kind,
        "calibration": {"slope": blend.score.slope, "shift": blend.score.shift},
        "training_set": data.test.fingerprint,
    }
    return TrainedModel(
        task=Task.CHURN,
        metrics=report.metrics,
        baselines=report.baselines,
        gains=report.gains,
        seconds={"features": features_s, "fit": fit_s, "predict": predict_s},
        rows={
            "train": 0 if data.known is None else len(data.known),
            "test": len(data.test),
            "trees": blend.booster.num_trees(),
        },
        metadata=metadata,
        log_model=lambda run: _log(run, blend, more, data.test, metadata),
        evaluation=evaluation_table(data.test.entities, data.test.labels, scores, PART),
        rescore=lambda folder: _rescore(folder, data.test),
    )


def _log_trees(run: Run, booster: lgb.Booster, test: TrainingSet) -> None:
    """Which signals the trees gained from, and what they make of test rows; those under contract see a few signals only."""
    names = booster.feature_name()
    gains = booster.feature_importance("gain")
    run.log_figure(plots.importance(names, gains, "What churn is predicted from"), "plots/importance.png")
    rows = test.columns(names)[:SHAP_ROWS]
    figure = plots.shap_summary(names, contributions(booster, rows), rows, "What the trees make of each signal")
    run.log_figure(figure, "plots/shap.png")


def _measure(
    data: ChurnData, scores: FloatArray, seed: int, blend: Blend | ContractBlend, config: ChurnConfig
) -> Measured:
    if isinstance(blend, Blend):
        return measure(data, scores, seed, blend.score)
    return measure_contracts(data, scores, config.contract_signals, seed)


def _more_horizon(ctx: TrainContext, days: float) -> Blend | ContractBlend:
    """Fit another horizon and put its figures, measured on its own last window, into the run as `auc/60d`."""
    config: ChurnConfig = ctx.config.model_copy(update={"horizon_days": days})
    ctx.progress(f"churn: a horizon of {days:g} days")
    data = load_data(replace(ctx, config=config))
    blend = fit(data, config, ctx.seed, ctx.progress)
    report = _measure(data, blend.probability(data.test.features), ctx.seed, blend, config)
    ctx.run.keep({f"{name}/{days:g}d": metric for name, metric in report.metrics.items()})
    return blend


def load_data(ctx: TrainContext) -> ChurnData:
    """The snapshots of the log's timeline, with signals through the feature store; the last horizon is the test.

    Raises InputError where nobody is known before the last horizon.
    """
    config: ChurnConfig = ctx.config
    if config.kind == "contract":
        return contract_snapshots(ctx, past_cutoffs)
    span = data_span(ctx.settings.timeline_path, [kind.value for kind in config.activity_kinds])
    cutoff = span.end - timedelta(days=config.horizon_days)
    if cutoff <= span.start:
        raise InputError(
            f"The history from {span.start:%Y-%m-%d} to {span.end:%Y-%m-%d} is not longer than the horizon of "
            f"{config.horizon_days:g} days.",
            repair=shorter((span.end - span.start) / timedelta(days=1), 3),
        )
    return snapshots(ctx.settings.timeline_path, ctx.store, span.start, cutoff, config, ctx.progress)


def snapshots(
    timeline: Path, store: StateSource, start: datetime, cutoff: datetime, config: ChurnConfig, progress: Progress
) -> ChurnData:
    """Everybody eligible at the cutoff, and at past cutoffs whose windows end by it."""
    past = past_cutoffs(start, cutoff, config)
    progress(f"churn: labels at {len(past)} past cutoffs")
    entities = churn_entities(
        timeline,
        [*past, cutoff],
        config.horizon_days,
        [kind.value for kind in config.activity_kinds],
        config.active_within_days,
        config.min_purchases,
    )
    whole = build_training_set(
        entities, Task.CHURN, store, f"{start.isoformat()}/{cutoff.isoformat()}", progress=progress
    )
    as_of = whole.entities[Columns.AS_OF]
    known = whole.select((as_of < cutoff).to_numpy())
    test = whole.select((as_of == cutoff).to_numpy())
    if not len(test):
        raise InputError(
            f"Nobody can be asked about at {cutoff:%Y-%m-%d}: no customer has an event of kind "
            f"{' or '.join(config.activity_kinds)} before it.",
            repair="Bring such events, or a longer history, or set other activity_kinds or a shorter horizon_days.",
        )
    progress(f"churn: {len(known):,} past rows, {test.labels.mean():.1%} of the test rows churned")
    return ChurnData(known if len(known) else None, test, cutoff, start, config.horizon_days)


def past_cutoffs(start: datetime, cutoff: datetime, config: ChurnConfig) -> list[datetime]:
    """Cutoffs with label windows that end by `cutoff`, `step_days` apart, newest last, none before the warm-up.

    A history too short for the warm-up gives the one latest cutoff, if anything lies before it, else none. The moment
    52 weeks ago is always among them where the log knows enough of the time before: calibration looks for the season.
    """
    horizon, step = timedelta(days=config.horizon_days), timedelta(days=config.step_days)
    latest = cutoff - horizon
    earliest = start + timedelta(days=config.warmup_days)
    n = min(int((latest - earliest) / step) + 1, config.max_cutoffs) if latest >= earliest else int(latest > start)
    past = {latest - k * step for k in range(n)}
    season = cutoff - timedelta(days=364)
    if n and season <= latest and season - start >= timedelta(days=SEASON_HISTORY_DAYS):
        past.add(season)
    return sorted(past)


def fit(data: ChurnData, config: ChurnConfig, seed: int, progress: Progress = lambda _: None) -> Blend | ContractBlend:
    """The calibrated blend of the config's kind; sees no label of the test."""
    if config.kind == "contract":
        return fit_contract_blend(data, config, seed)
    return fit_purchases(data, config, seed, progress)


def fit_purchases(data: ChurnData, config: ChurnConfig, seed: int, progress: Progress = lambda _: None) -> Blend:
    """The blend for customers who buy when they like."""
    blend = fit_blend(
        data.known,
        data.test.features,
        data.cutoff,
        data.start,
        config.horizon_days,
        config.booster,
        data.test.feature_names,
        seed,
        progress,
    )
    buyers_only = set(config.activity_kinds) == {EventKind.PURCHASE}
    return replace(blend, score=replace(blend.score, buyers_only=buyers_only))


def _log(
    run: Run,
    blend: Blend | ContractBlend,
    more: Mapping[float, Blend | ContractBlend],
    test: TrainingSet,
    metadata: Mapping[str, Any],
) -> str:
    """Trees and score as an MLflow pyfunc that answers what serves; more horizons as `horizon_<days>.json` and `.lgb`."""
    example = pd.DataFrame(test.features[:3], columns=list(test.feature_names))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "churn"
        folder.mkdir()
        for score_file, part, trees_file in [
            (SCORE_FILE, blend, "model.lgb"),
            *((f"horizon_{days:g}.json", other, f"horizon_{days:g}.lgb") for days, other in more.items()),
        ]:
            (folder / score_file).write_text(part.score.to_json(), encoding="utf-8")
            part.booster.save_model(str(folder / trees_file))
        return run.log_pyfunc(
            script=Path(__file__).with_name("pyfunc.py"),
            artifacts={"churn": folder},
            example=example,
            output=blend.probability(test.features[:3]),
            metadata=metadata,
            requirements=[f"lightgbm=={lgb.__version__}", f"scipy=={scipy.__version__}"],
            modules=[Path(bg_nbd.__file__), Path(additive.__file__), Path(log_linear.__file__)],
        )


def _rescore(folder: Path, test: TrainingSet) -> FloatArray:
    """Another version's scores on the test rows; versions from before the blend are their trees alone."""
    booster = lgb.Booster(model_file=str(find_file(folder, "model.lgb", "The champion")))
    table = pd.DataFrame(test.features, columns=list(test.feature_names))
    trees = predict(booster, table.reindex(columns=booster.feature_name()).to_numpy(), raw=True)
    file = find_optional(folder, SCORE_FILE)
    if file is None:
        return np.asarray(expit(trees))
    return read_score(file.read_text(encoding="utf-8")).probability(test.features, trees)
