"""Best channel's config and training rows: the timeline and the arms in, contacts and their answers by period out."""

import logging
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from features.config import Config
from features.errors import InputError
from features.vocabulary import NOTHING, Channel, Columns, EventKind, Task
from training.data.labels import ARM, Arm, Span, contact_entities, data_span
from training.data.splits import TimeSplit
from training.data.training_set import TrainingSet, build_training_set
from training.models.best_channel.arms_of_log import N_MIN_CONTACTS, find_arms, never_used
from training.models.best_channel.effects import EffectsConfig
from training.models.boosted import BoosterConfig
from training.task import TrainContext

logger = logging.getLogger(__name__)

PERIODS: Final = ("train", "valid", "test")
PRIOR_RATE: Final = 0.05
"""What a response rate is shrunk to, with the weight of one contact."""


class ArmConfig(Config):
    """One way of contacting a customer and what counts as its answer; see training.data.labels.Arm."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """What the arm is called in answers and files."""
    channel: Channel
    """The channel of the contact."""
    kind: EventKind
    """The kind of event that a contact is: send or impression."""
    properties: dict[str, tuple[str, ...]] = Field(default_factory=dict)
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
        """The same for training.data.labels."""
        return Arm(
            name=self.name,
            channel=self.channel.value,
            kind=self.kind.value,
            properties=self.properties,
            response_kinds=[kind.value for kind in self.response_kinds],
            response_match=self.response_match,
            response_days=self.response_days,
        )


class BestChannelConfig(Config):
    """The arms, how many contacts of each are learned from, and the boosters' size."""

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


def _check_periods(entities: pd.DataFrame, config: BestChannelConfig) -> None:
    for arm in config.arms:
        missing = _missing_periods(entities, arm)
        if missing:
            raise InputError(
                f"The arm {arm.name} has no contact whose answer could be awaited in: {', '.join(missing)}.",
                repair="Take the arm out of best-channel.toml, or set a shorter response_days or period_days."
                + (" A decision counts where a send names its decision_id." if arm.kind is EventKind.DECISION else ""),
            )


def _missing_periods(entities: pd.DataFrame, arm: ArmConfig) -> list[str]:
    used = set(entities.loc[entities[ARM] == arm.name, "period"])
    return [name for name in PERIODS if name not in used]
