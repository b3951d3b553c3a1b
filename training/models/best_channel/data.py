"""Best channel's config and training rows: the timeline and the arms in, contacts and their answers by period out."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from features.config import Config
from features.errors import InputError
from features.outcomes.named import ARM
from features.vocabulary import NOTHING, Channel, Columns, EventKind, Task
from training.data.labels import Arm, Span, contact_entities, data_span
from training.data.rhythm import usual_gaps
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
    """Length of the validation and of the test period; left out: twice the longest response window, or longer where the log's
    own rhythm (a newsletter every other week) would leave an arm without a contact in one of them."""
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
    _check_periods(entities, config, ctx.settings.timeline_path, split)
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
    ctx.progress("best-channel: finding the contacts and their answers")
    entities = contact_entities(
        ctx.settings.timeline_path,
        [arm.arm() for arm in config.arms],
        span.end,
        config.n_max_contacts,
        ctx.seed,
    )
    split = TimeSplit.at_end_of(span.end, config.period_days or _shortest_period(config))
    found = _in_periods(entities, split, config)
    late = [arm for arm in config.arms if {"valid", "test"} & set(_missing_periods(found, arm))]
    if late and config.period_days is None:
        days = _period_by_rhythm(ctx.settings.timeline_path, config, late)
        longer = TimeSplit.at_end_of(span.end, max(days, _shortest_period(config)))
        of_longer = _in_periods(entities, longer, config)
        if all("train" not in _missing_periods(of_longer, arm) for arm in late):
            split, found = longer, of_longer
    return found, span, split


def _shortest_period(config: BestChannelConfig) -> float:
    return 2 * max(arm.response_days for arm in config.arms)


def _period_by_rhythm(timeline: Path, config: BestChannelConfig, arms: Sequence[ArmConfig]) -> float:
    """Days of a period in which each of these arms is used once at least, early enough for its answer to be awaited."""
    gaps = usual_gaps(timeline, [arm.arm() for arm in arms])
    longest = max(arm.response_days for arm in config.arms)
    return math.ceil(longest + max(gaps.values(), default=0.0))


def _in_periods(entities: pd.DataFrame, split: TimeSplit, config: BestChannelConfig) -> pd.DataFrame:
    """The contacts whose answer's whole window lies in one of the periods, with its name."""
    windows = entities[ARM].map({arm.name: arm.response_days for arm in config.arms})
    period = pd.Series("", index=entities.index, dtype=object)
    for days in windows.unique():
        rows = windows == days
        period[rows] = split.assign(entities.loc[rows, Columns.AS_OF], float(days))
    return entities.assign(period=period)[period != ""].reset_index(drop=True)


def _check_periods(entities: pd.DataFrame, config: BestChannelConfig, timeline: Path, split: TimeSplit) -> None:
    for arm in config.arms:
        missing = _missing_periods(entities, arm)
        if missing:
            raise InputError(
                f"The arm {arm.name} has no contact whose answer could be awaited in: {', '.join(missing)} "
                f"(of {(split.test_end - split.valid_end) / timedelta(days=1):g} days each, from the end).",
                repair=_cure(missing, arm, config, timeline, split)
                + (" A decision counts where a send names its decision_id." if arm.kind is EventKind.DECISION else ""),
            )


def _cure(missing: Sequence[str], arm: ArmConfig, config: BestChannelConfig, timeline: Path, split: TimeSplit) -> str:
    """What to do about an arm without contacts in some periods: longer ones hold more of them, but leave less to train on."""
    days = (split.test_end - split.valid_end) / timedelta(days=1)
    gap = usual_gaps(timeline, [arm.arm()]).get(arm.name)
    needed = _period_by_rhythm(timeline, config, [arm])
    if "train" in missing:
        return "Bring a longer history, set a shorter period_days or response_days, or take the arm out of the config."
    if gap is not None and needed > days:
        return f"It is used about every {gap:g} days: pass a longer period, --set period_days={needed:g}."
    return f"Pass a longer period, such as --set period_days={2 * days:g}, or take the arm out of the config."


def _missing_periods(entities: pd.DataFrame, arm: ArmConfig) -> list[str]:
    used = set(entities.loc[entities[ARM] == arm.name, "period"])
    return [name for name in PERIODS if name not in used]
