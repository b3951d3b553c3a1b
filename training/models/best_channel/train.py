"""Best channel: the timeline's contacts in, the probability of a response per arm out (one booster per arm).

An arm is a way of contacting a customer, in given hours or in any. Who was contacted how was the retailer's choice and
not random in observed data, so these are response probabilities among customers like those contacted, not effects of
the contact. Where the timeline also holds decisions with their pscore, effects are learned from those (effects.py).
"""

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pandas as pd

from features.arrays import Float32Array, FloatArray
from features.scoring.model_files import find_optional
from features.vocabulary import Task
from training.data.training_set import TrainingSet
from training.evaluation import plots
from training.models.best_channel.data import (
    PERIODS,
    PRIOR_RATE,
    ArmConfig,
    ArmData,
    BestChannelConfig,
    load_data,
    with_arms_of_log,
)
from training.models.best_channel.effects import Effects, learn_effects, summary
from training.models.best_channel.evidence import no_evidence
from training.models.best_channel.measure import evaluation, measure
from training.models.boosted import (
    SHAP_ROWS,
    Fitted,
    constant_booster,
    contributions,
    fit_calibrated,
    predict,
    shrunk_rate,
)
from training.run import Run
from training.task import TrainContext, TrainedModel

logger = logging.getLogger(__name__)

LIMITS: Final = (
    "Exposures were not randomised: these are probabilities of a response among customers like those who were "
    "contacted so, not effects of the contact. An exposure in a store is only seen when the customer shops there."
)


@dataclass(frozen=True)
class ArmModel:
    """One arm's booster; `constant` when there were too few answers to learn from."""

    config: ArmConfig
    booster: lgb.Booster
    rate: float
    constant: bool
    history: tuple[float, ...] = ()


def train_best_channel(ctx: TrainContext) -> TrainedModel:
    """Fit, calibrate and measure one booster per arm on global time; see the module's words for what it can tell."""
    ctx = with_arms_of_log(ctx)
    config: BestChannelConfig = ctx.config
    started = time.perf_counter()
    data, split = load_data(ctx)
    features_s = time.perf_counter() - started
    models = fit(data, config, ctx)
    costs = {arm.name: arm.cost for arm in config.arms}
    channels = {arm.name: arm.channel for arm in config.arms}
    effects = learn_effects(ctx, config.effects, costs, channels, split)
    fit_s = time.perf_counter() - started - features_s
    ctx.progress("best-channel: measuring on the test period")
    scores = [predict(model.booster, part.test.features) for model, part in zip(models, data, strict=True)]
    predict_s = time.perf_counter() - started - features_s - fit_s
    report = measure(data, scores, ctx.seed)
    for model in models:
        ctx.run.log_history(f"valid_log_loss/{model.config.name}", model.history)
    names = data[0].train.feature_names
    for model, part in zip(models, data, strict=True):
        _log_importance(ctx.run, model, names, part.test.features[:SHAP_ROWS])
    if effects is not None:
        tables = {"learned": effects.metrics, **effects.baselines}
        values = {name: table["policy_value_dr"] for name, table in tables.items() if "policy_value_dr" in table}
        ctx.run.log_figure(plots.policy_values(values, "Policies on later decisions"), "plots/policy_value.png")
    metadata = {
        "task": Task.BEST_CHANNEL.value,
        "feature_service": data[0].train.feature_service,
        "signal_names": list(names),
        "config": config.model_dump(mode="json"),
        "as_of_end": split.test_end.isoformat(),
        "arms": described(models),
        "limits": LIMITS,
        "effects": summary(effects),
        "training_set": data[0].train.fingerprint,
    }
    return TrainedModel(
        task=Task.BEST_CHANNEL,
        metrics={**report.metrics, **(effects.metrics if effects else {})},
        baselines={**report.baselines, **(effects.baselines if effects else {})},
        gains={**report.gains, **(effects.gains if effects else {})},
        seconds={"features": features_s, "fit": fit_s, "predict": predict_s},
        rows={f"{period}/{part.config.name}": len(getattr(part, period)) for part in data for period in PERIODS}
        | (effects.rows if effects else {}),
        metadata=metadata,
        log_model=lambda run: log_model(run, models, data[0].test, metadata, effects),
        evaluation=evaluation(data, scores),
        rescore=lambda folder: _rescore(folder, data),
        policy=effects.evidence if effects else no_evidence(),
    )


def fit(data: Sequence[ArmData], config: BestChannelConfig, ctx: TrainContext) -> list[ArmModel]:
    """One booster per arm; sees no test row."""
    models = []
    for part in data:
        ctx.progress(f"best-channel: growing trees for {part.config.name}")
        models.append(fit_arm(part, config, ctx.seed))
    return models


def described(models: Sequence[ArmModel]) -> list[dict[str, Any]]:
    """The content of `arms.json`: one object per arm, in order."""
    return [
        {
            "arm": model.config.name,
            "channel": model.config.channel.value,
            "kind": model.config.kind.value,
            "response_days": model.config.response_days,
            "rate": model.rate,
            "cost": model.config.cost,
            "constant": model.constant,
            "hours": model.config.hours,
        }
        for model in models
    ]


def log_model(
    run: Run,
    models: Sequence[ArmModel],
    test: TrainingSet,
    metadata: Mapping[str, Any],
    effects: Effects | None = None,
) -> str:
    """Write the boosters, `arms.json`, the effects and the stand-alone code as an MLflow pyfunc; answers its URI."""
    example = pd.DataFrame(test.features[:3], columns=list(test.feature_names))
    output = pd.DataFrame({m.config.name: m.booster.predict(example.to_numpy()) for m in models})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "arms"
        folder.mkdir()
        (folder / "arms.json").write_text(json.dumps(described(models), indent=2), encoding="utf-8")
        for model in models:
            model.booster.save_model(str(folder / f"{model.config.name}.txt"))
        if effects is not None:
            effects.write(folder)
        return run.log_pyfunc(
            script=Path(__file__).with_name("pyfunc.py"),
            artifacts={"arms": folder},
            example=example,
            output=output,
            metadata=metadata,
            requirements=[f"lightgbm=={lgb.__version__}"],
        )


def fit_arm(part: ArmData, config: BestChannelConfig, seed: int) -> ArmModel:
    """The calibrated booster of one arm, or its rate for everybody where it has too few answers."""
    known = np.concatenate([part.train.labels, part.valid.labels])
    rate = shrunk_rate(known, PRIOR_RATE, 1.0)
    if part.train.labels.sum() < config.min_positives or part.valid.labels.sum() == 0:
        logger.warning(
            "%s has %d answers in training and %d in validation: it gets its rate %.3f for everybody.",
            part.config.name,
            part.train.labels.sum(),
            part.valid.labels.sum(),
            rate,
        )
        return ArmModel(part.config, constant_booster(rate, part.train.feature_names), rate, constant=True)
    fitted: Fitted = fit_calibrated(
        (part.train.features, part.train.labels),
        (part.valid.features, part.valid.labels),
        part.train.feature_names,
        config.booster,
        seed,
    )
    return ArmModel(part.config, fitted.booster, rate, constant=False, history=fitted.history)


def _log_importance(run: Run, model: ArmModel, names: Sequence[str], rows: Float32Array) -> None:
    """Which signals the trees gained from, and what they make of test rows."""
    if model.constant:
        return
    arm = model.config.name
    gains = model.booster.feature_importance("gain")
    title = f"What an answer to {arm} is predicted from"
    run.log_figure(plots.importance(names, gains, title), f"plots/importance_{arm}.png")
    shap = contributions(model.booster, rows)
    run.log_figure(plots.shap_summary(names, shap, rows, title), f"plots/shap_{arm}.png")


def _rescore(folder: Path, data: Sequence[ArmData]) -> FloatArray:
    scores = []
    for part in data:
        file = find_optional(folder, f"{part.config.name}.txt")
        table = pd.DataFrame(part.test.features, columns=list(part.test.feature_names))
        if file is not None:
            booster = lgb.Booster(model_file=str(file))
            scores.append(booster.predict(table.reindex(columns=booster.feature_name()).to_numpy()))
        else:
            scores.append(np.full(len(part.test), shrunk_rate(part.train.labels, PRIOR_RATE, 1.0)))
    return np.concatenate(scores)
