"""Best channel: the timeline's contacts in, the probability of a response per arm out (one booster per arm).

An arm is a way of contacting a customer, in given hours or in any. Who was contacted how was the retailer's choice and
not random in observed data, so these are response probabilities among customers like those contacted, not effects of
the contact. Where the timeline also holds decisions with their pscore, effects are learned from those (channel_effects).
"""

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from features.errors import InputError
from features.vocabulary import NOTHING, Channel, Columns, EventKind, Task
from training import plots
from training.dataset import TrainingSet, build_training_set
from training.labels import ARM, Arm, Span, contact_entities, data_span
from training.metrics import BINARY, LOWER_IS_BETTER, Metric, Sampled, average, resample
from training.models.boosted import (
    BoosterConfig,
    Fitted,
    constant_booster,
    fit_calibrated,
    logistic_scores,
    predict,
    shrunk_rate,
)
from training.models.channel_effects import Effects, EffectsConfig, learn_effects, summary
from training.models.channel_evidence import no_evidence
from training.models.found_arms import N_MIN_CONTACTS, find_arms, never_used
from training.results import TrainContext, TrainedModel
from training.splits import TimeSplit
from training.tracking import Run

logger = logging.getLogger(__name__)

PRIMARY: Final = "log_loss"
LIMITS: Final = (
    "Exposures were not randomised: these are probabilities of a response among customers like those who were "
    "contacted so, not effects of the contact. An exposure in a store is only seen when the customer shops there."
)
RFM: Final = ("days_since_occasion", "n_occasions", "occasions_90d", "spend_90d", "basket_lines")
PERIODS: Final = ("train", "valid", "test")
N_BOOTSTRAP: Final = 300
PRIOR_RATE: Final = 0.05
"""What a response rate is shrunk to, with the weight of one contact."""
FloatArray = NDArray[np.float64]


class ArmConfig(BaseModel):
    """One way of contacting a customer and what counts as its answer; see training.labels.Arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """What the arm is called in answers and files."""
    channel: Channel
    """The channel of the contact."""
    kind: EventKind
    """The kind of event that a contact is: send or impression."""
    properties: dict[str, tuple[str, ...]] = {}
    """Allowed values of the contact's properties."""
    response_kinds: tuple[EventKind, ...]
    """Kinds of event that answer the contact."""
    response_match: tuple[str, ...] = ()
    """Columns in which contact and answer agree, e.g. campaign_id."""
    response_days: float = Field(gt=0)
    """Days in which an answer counts."""
    cost: float = Field(0.0, ge=0)
    """Money that one contact costs; an assumption of yours, used by the decision and by the reward of logged decisions."""
    hours: tuple[int, int] | None = None
    """Local hours [from, to) in which the arm is sent; left out: any. Two arms may share a channel and differ in hours."""

    def arm(self) -> Arm:
        """The same for training.labels."""
        return Arm(
            name=self.name,
            channel=self.channel.value,
            kind=self.kind.value,
            properties=self.properties,
            response_kinds=[kind.value for kind in self.response_kinds],
            response_match=self.response_match,
            response_days=self.response_days,
        )


class BestChannelConfig(BaseModel):
    """The arms, how many contacts of each are learned from, and the boosters' size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: tuple[ArmConfig, ...] = Field(min_length=1)
    """The ways of contacting a customer."""
    arms_not_in_log: Literal["refuse", "find"] = "refuse"
    """Where the log holds no contact of one of the arms: "refuse", or "find" those that it does hold, at no cost."""
    n_max_contacts: int = Field(24_000, ge=100)
    """Most contacts per arm; of more a fixed sample is taken."""
    period_days: float | None = Field(None, gt=0)
    """Length of the validation and of the test period; left out: twice the longest response window."""
    min_positives: int = Field(20, ge=1)
    """An arm with fewer answers in training or none in validation gets one constant, shrunk rate for everybody."""
    booster: BoosterConfig = BoosterConfig()
    """Size and pace of every arm's booster."""
    effects: EffectsConfig = EffectsConfig()
    """What effects are learned from, where the log holds decisions with a pscore."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have the same name")
        if NOTHING in names:
            raise ValueError(f"{NOTHING!r} is always an arm and needs no entry")
        return self


@dataclass(frozen=True)
class ArmData:
    """One arm's contacts by period."""

    config: ArmConfig
    train: TrainingSet
    valid: TrainingSet
    test: TrainingSet


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
    _log_importance(ctx.run, models, names)
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
        evaluation=evaluation_table(data, scores),
        rescore=lambda folder: _rescore(folder, data),
        policy=effects.evidence if effects else no_evidence(),
    )


def load_data(ctx: TrainContext) -> tuple[list[ArmData], TimeSplit]:
    """Every arm's contacts by period, and the periods. Raises InputError for an arm never used."""
    config: BestChannelConfig = ctx.config
    entities, span, split = _contacts(ctx, config)
    _check_periods(entities, config)
    fingerprint = f"{span.start.isoformat()}/{span.end.isoformat()}"
    whole = build_training_set(entities, Task.BEST_CHANNEL, ctx.store, fingerprint, progress=ctx.progress)
    parts = []
    for arm in config.arms:
        mine = (whole.entities[ARM] == arm.name).to_numpy()
        by_period = {name: whole.select(mine & (whole.entities["period"] == name).to_numpy()) for name in PERIODS}
        parts.append(ArmData(arm, **by_period))
    return parts, split


def with_arms_of_log(ctx: TrainContext) -> TrainContext:
    """The context as it is; or, with `arms_not_in_log = "find"` and an arm that was never used, with the log's own arms.

    Raises InputError where the log holds no way of contact that could be learned from.
    """
    config: BestChannelConfig = ctx.config
    timeline = ctx.settings.timeline_path
    if config.arms_not_in_log == "refuse" or not timeline.exists():
        return ctx
    unused = never_used(timeline, [arm.arm() for arm in config.arms])
    if not unused:
        return ctx
    arms = tuple(ArmConfig.model_validate(vars(arm)) for arm in find_arms(timeline))
    if not arms:
        raise InputError(
            f"The log holds no way of contact with {N_MIN_CONTACTS} events of kind send or impression, so nothing says which "
            "channel a customer answers (next-product and churn need none).",
            repair="Ingest what was sent, and the opens, clicks or outcomes that answered.",
        )
    found = config.model_copy(update={"arms": arms})
    entities, _, _ = _contacts(ctx, found)
    usable = tuple(arm for arm in arms if not _missing_periods(entities, arm))
    if usable:
        found = found.model_copy(update={"arms": usable})
        told = "; ".join(f"{arm.name}, answered by {' or '.join(arm.response_kinds)}" for arm in usable)
        logger.warning(
            "The log holds no contact of %s, so the arms are those it holds: %s within %g days. Their costs are taken as 0;"
            " describe arms of your own in a TOML file and pass --config (training/configs/best-channel.toml is one).",
            ", ".join(unused),
            told,
            usable[0].response_days,
        )
    return replace(ctx, config=found)


def _contacts(ctx: TrainContext, config: BestChannelConfig) -> tuple[pd.DataFrame, Span, TimeSplit]:
    """Contacts of all arms whose answers could be awaited, with the `period` they belong to."""
    answers = {kind.value for arm in config.arms for kind in arm.response_kinds}
    span = data_span(ctx.settings.timeline_path, sorted(answers))
    longest = max(arm.response_days for arm in config.arms)
    split = TimeSplit.at_end_of(span.end, config.period_days or 2 * longest)
    ctx.progress("best-channel: finding the contacts and their answers")
    entities = contact_entities(
        ctx.settings.timeline_path,
        [arm.arm() for arm in config.arms],
        span.end,
        config.n_max_contacts,
        ctx.seed,
    )
    windows = entities[ARM].map({arm.name: arm.response_days for arm in config.arms})
    period = pd.Series("", index=entities.index, dtype=object)
    for days in windows.unique():
        rows = windows == days
        period[rows] = split.assign(entities.loc[rows, Columns.AS_OF], float(days))
    return entities.assign(period=period)[period != ""].reset_index(drop=True), span, split


def fit(data: Sequence[ArmData], config: BestChannelConfig, ctx: TrainContext) -> list[ArmModel]:
    """One booster per arm; sees no test row."""
    models = []
    for part in data:
        ctx.progress(f"best-channel: growing trees for {part.config.name}")
        models.append(fit_arm(part, config, ctx.seed))
    return models


@dataclass(frozen=True)
class Measured:
    """Metrics per arm (`auc/<arm>`) and their means over the arms (`auc`); the same for every baseline."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]


def measure(data: Sequence[ArmData], scores: Sequence[FloatArray], seed: int) -> Measured:
    """Everything on the test contacts, customers resampled over all arms at once."""
    ours = _sampled(data, scores, seed)
    rivals = {name: _sampled(data, rival, seed) for name, rival in baseline_scores(data).items()}
    sign = -1.0 if PRIMARY in LOWER_IS_BETTER else 1.0
    gains: dict[str, Metric] = {}
    for name, rival in rivals.items():
        for metric in [key for key in ours if key.split("/")[0] == PRIMARY]:
            gain = ours[metric].minus(rival[metric])
            label = name if metric == PRIMARY else f"{name}/{metric.split('/')[1]}"
            gains[label] = Sampled(sign * gain.point, sign * gain.draws).metric()
    return Measured(
        metrics={key: value.metric() for key, value in ours.items()},
        baselines={name: {key: value.metric() for key, value in rival.items()} for name, rival in rivals.items()},
        gains=gains,
    )


def baseline_scores(data: Sequence[ArmData]) -> dict[str, list[FloatArray]]:
    """Test scores per arm of the simple methods, fitted on training and validation rows together.

    The arm's rate for everybody; the customer's record of answering the channel, which "most engaged channel" features
    go by; a logistic regression on log-RFM and that record.
    """
    found: dict[str, list[FloatArray]] = {"base_rate": [], "most_engaged": [], "log_rfm": []}
    for part in data:
        known = part.train.joined(part.valid)
        channel = part.config.channel.value
        record = (f"response_rate_{channel}", f"days_since_response_{channel}")
        found["base_rate"].append(np.full(len(part.test), shrunk_rate(known.labels, PRIOR_RATE, 1.0)))
        found["most_engaged"].append(_logistic(part, known, record[:1]))
        found["log_rfm"].append(_logistic(part, known, (*RFM, *record)))
    return found


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
            script=Path(__file__).with_name("best_channel_pyfunc.py"),
            artifacts={"arms": folder},
            example=example,
            output=output,
            metadata=metadata,
            requirements=[f"lightgbm=={lgb.__version__}"],
        )


def evaluation_table(data: Sequence[ArmData], scores: Sequence[FloatArray]) -> pd.DataFrame:
    """The test contacts of all arms as TrainedModel.evaluation wants them."""
    parts = [
        pd.DataFrame(
            {
                "key": part.config.name + "@" + part.test.entities["key"],
                Columns.CUSTOMER_ID: part.test.entities[Columns.CUSTOMER_ID],
                "label": part.test.labels,
                "score": score,
                "part": part.config.name,
            }
        )
        for part, score in zip(data, scores, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


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


def _check_periods(entities: pd.DataFrame, config: BestChannelConfig) -> None:
    for arm in config.arms:
        missing = _missing_periods(entities, arm)
        if missing:
            raise InputError(
                f"The arm {arm.name} has no contact whose answer could be awaited in: {', '.join(missing)}.",
                repair="Take the arm out of best-channel.toml, or set a shorter response_days or period_days.",
            )


def _missing_periods(entities: pd.DataFrame, arm: ArmConfig) -> list[str]:
    used = set(entities.loc[entities[ARM] == arm.name, "period"])
    return [name for name in PERIODS if name not in used]


def _sampled(data: Sequence[ArmData], scores: Sequence[FloatArray], seed: int) -> dict[str, Sampled]:
    groups = np.concatenate([part.test.entities[Columns.CUSTOMER_ID].to_numpy(str) for part in data])
    ends = np.cumsum([len(part.test) for part in data])
    statistics = {}
    for part, score, end in zip(data, scores, ends, strict=True):
        rows = slice(int(end) - len(part.test), int(end))
        for name, make in BINARY.items():
            inner = make(part.test.labels, score)
            statistics[f"{name}/{part.config.name}"] = lambda w, rows=rows, inner=inner: inner(w[rows])
    found = resample(statistics, groups, n_bootstrap=N_BOOTSTRAP, seed=seed)
    overall = {name: average([found[f"{name}/{part.config.name}"] for part in data]) for name in BINARY}
    return {**overall, **found}


def _logistic(part: ArmData, known: TrainingSet, names: Sequence[str]) -> FloatArray:
    if len(np.unique(known.labels)) < 2:
        return np.full(len(part.test), shrunk_rate(known.labels, PRIOR_RATE, 1.0))
    return logistic_scores((known.columns(names), known.labels), part.test.columns(names))


def _log_importance(run: Run, models: Sequence[ArmModel], names: Sequence[str]) -> None:
    for model in models:
        if not model.constant:
            gains = model.booster.feature_importance("gain")
            title = f"What an answer to {model.config.name} is predicted from"
            run.log_figure(plots.importance(names, gains, title), f"plots/importance_{model.config.name}.png")


def _rescore(folder: Path, data: Sequence[ArmData]) -> FloatArray:
    scores = []
    for part in data:
        files = sorted(folder.rglob(f"{part.config.name}.txt"))
        table = pd.DataFrame(part.test.features, columns=list(part.test.feature_names))
        if files:
            booster = lgb.Booster(model_file=str(files[0]))
            scores.append(booster.predict(table.reindex(columns=booster.feature_name()).to_numpy()))
        else:
            scores.append(np.full(len(part.test), shrunk_rate(part.train.labels, PRIOR_RATE, 1.0)))
    return np.concatenate(scores)
