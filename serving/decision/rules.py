"""Facts about a customer and the house rules in, which arms and products are allowed out; pure."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from features.config import Config, check, load_toml, parse_toml
from features.events.payload import store_code
from features.settings import RULES_FILE, Settings
from features.state.layout import N_CONTACTS
from features.vocabulary import DAY_S, Channel
from serving.decision.never import Never
from serving.decision.reachable import Reach, Reachable, unreachable
from serving.decision.worth import ValueRules
from serving.words import days

REMEMBERED_CONTACTS = N_CONTACTS
"""A state keeps the times of the last 16 contacts on each channel, so no cap can be higher."""
RHYTHM_OCCASIONS: Final = 3
"""Occasions, and so two gaps, from which on a product has a usual gap, and can be due."""
_NEWER: Final = (
    *("store_time_zones", "arms_without_product", "value", "levers"),
    *("campaign_caps", "tag_caps", "volume", "reservation_minutes"),
)
"""Keys that came after decisions were first logged: left at their defaults they change nothing, and no decision's name."""


class Cap(Config):
    """At most `max` contacts in any `days` days."""

    max: int = Field(ge=0, le=REMEMBERED_CONTACTS)
    days: float = Field(gt=0)


class Volume(Config):
    """At most `per_day` contacts over all customers on one day of the house's time zone."""

    per_day: int = Field(ge=0)


class QuietHours(Config):
    """Local hours in which these channels stay silent; `start` may be later than `end` (over midnight)."""

    start: time = time(21, 0)
    end: time = time(8, 0)
    channels: tuple[Channel, ...] = (Channel.SMS, Channel.PUSH, Channel.CALL_CENTER)


class Rules(Config):
    """The retailer's own rules, as read from `rules.toml`."""

    time_zone: str = "UTC"
    """IANA name of the zone that quiet hours and sending hours are in, for whom no other one is known."""
    store_time_zones: dict[str, str] = Field(default_factory=dict)
    """Store -> zone: of who has told none of their own, the store that they did something in last says it."""
    opt_in_channels: tuple[Channel, ...] = (Channel.EMAIL, Channel.SMS, Channel.PUSH)
    """Channels that need a yes; on the others only a no counts."""
    overall_cap: Cap = Cap(max=6, days=7)
    """Over all channels together."""
    channel_caps: dict[Channel, Cap] = Field(default_factory=dict)
    """Per channel; a channel without one has only the overall cap."""
    campaign_caps: dict[str, Cap] = Field(default_factory=dict)
    """Per campaign, over all channels, for one customer."""
    tag_caps: dict[str, Cap] = Field(default_factory=dict)
    """Per tag of offers, likewise."""
    volume: dict[Channel, Volume] = Field(default_factory=dict)
    """Per channel, over all customers."""
    reservation_minutes: float = Field(60, gt=0, le=44_640)
    """So long after its moment a decision that was not sent holds its contact; see features/log/reservations.py."""
    max_unanswered: int = Field(8, ge=1)
    """After this many messages in a row without an answer a channel rests."""
    rest_days: float = Field(30, ge=0)
    """How long it rests, from its last message."""
    quiet_hours: QuietHours = QuietHours()
    reachable: Reachable = Reachable()
    """By what a channel can reach a customer."""
    never: Never = Never()
    """What is never advertised."""
    arms_without_product: tuple[str, ...] = ()
    """Arms whose messages show no product: they go on where nothing may be advertised."""
    bought_recently_days: float = Field(7, ge=0)
    """A product bought within this many days is not offered, unless the customer rebuys it and it is due."""
    due_after: float = Field(0.8, gt=0)
    """A habitual product is due after this share of the customer's usual gap."""
    product_rest_days: float = Field(7, ge=0)
    """How long a product rests after a contact about it, on whatever channel; 0: not at all."""
    product_rest_growth: float = Field(2.0, ge=1, le=10)
    """It rests so many times as long after each further contact in a row that the customer did not react to."""
    campaign_rest_days: float = Field(7, ge=0)
    """How long a campaign rests, likewise."""
    campaign_rest_growth: float = Field(2.0, ge=1, le=10)
    """How its rest grows."""
    rest_max_days: float = Field(180, ge=0)
    """No rest of a product or campaign grows longer."""
    response_value: float = Field(5.0, gt=0)
    """What one response is worth, in money; weighed against the cost of an arm."""
    value: ValueRules = ValueRules()
    """What the value of an offer hangs on beside money."""
    exploration: float = Field(0.1, ge=0, le=1)
    """Share of decisions spread evenly over all allowed arms, so that policies can be compared later."""
    temperature: float = Field(0.1, gt=0)
    """How sharply the rest follow the expected value, in money: smaller is sharper."""
    bucket_minutes: int = Field(10, ge=1, le=1440)
    """Within one such stretch of time every channel gets the same decision."""
    now_minutes: float = Field(15, ge=0)
    """A visit, a view or a change of the cart that is so recent is answered at once; 0: nothing is, unless it is asked for."""
    levers: bool = True
    """Whether what pushes or buries an offer counts beside its value; false in an experiment's group without."""
    holdout_share: float = Field(0.0, ge=0, lt=1)
    """Share of the customers who are never contacted, drawn by chance, to measure against; see serving/decision/holdout.py."""
    holdout_name: str = Field("holdout", pattern=r"^[ -~]{1,64}$")
    """What they are drawn with: the same name always draws the same customers, a new one draws anew."""

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        return _need_zone(name)

    @field_validator("store_time_zones")
    @classmethod
    def _are_zones(cls, of_stores: dict[str, str]) -> dict[str, str]:
        return {store: _need_zone(name) for store, name in of_stores.items()}

    def __copy__(self) -> Self:
        """A copy of which nothing is remembered: `model_copy` changes fields of it."""
        copied = super().__copy__()
        for name in ("text", "version", "zone", "_in_zones", "zone_of_store"):
            vars(copied).pop(name, None)
        return copied

    @cached_property
    def text(self) -> str:
        """The rules as JSON; a newer key at its default is left out, so that decisions without it stay the same."""
        defaults = {name: type(self).model_fields[name].get_default(call_default_factory=True) for name in _NEWER}
        return self.model_dump_json(exclude={name for name in _NEWER if getattr(self, name) == defaults[name]})

    @cached_property
    def version(self) -> str:
        """Twelve hexadecimal digits that are others whenever the rules are, however their file is written."""
        return _digest(self.text)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def zone_of_store(self) -> dict[float, str]:
        """`store_time_zones` by the codes of stores that states hold."""
        return {store_code(store): name for store, name in self.store_time_zones.items()}

    def in_zone(self, name: str) -> "Rules":
        """These rules by the clocks of another zone; their version stays what it is."""
        if name == self.time_zone:
            return self
        found = self._in_zones.get(name)
        if found is None:
            found = self.model_copy(update={"time_zone": name})
            vars(found)["version"] = self.version
            self._in_zones[name] = found
        return found

    @cached_property
    def _in_zones(self) -> dict[str, "Rules"]:
        return {}

    def local(self, at_s: float) -> datetime:
        """A moment, in seconds since the epoch, by the clocks of that zone."""
        return datetime.fromtimestamp(at_s, UTC).astimezone(self.zone)


def _need_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder of zones is none
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Paris") from error
    return name


@dataclass(frozen=True)
class Arm:
    """One way of reaching a customer, as the best-channel model knows it."""

    name: str
    channel: Channel | None
    cost: float = 0.0
    hours: tuple[int, int] | None = None
    """Local hours [from, to) in which it is sent; None: any."""


@dataclass(frozen=True)
class ContactFacts:
    """What the rules look at. Times are seconds since the epoch, UTC."""

    consents: Mapping[Channel, bool] = field(default_factory=dict)
    contacts: Sequence[tuple[Channel, float]] = ()
    unanswered: Mapping[Channel, int] = field(default_factory=dict)
    reach: Reach | None = None
    """By what they are known; None: everybody can be reached."""


@dataclass(frozen=True)
class Eligibility:
    """Whether an arm is allowed now, and if not, every reason why."""

    arm: Arm
    eligible: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProductHistory:
    """A customer's purchases of one product: how often, how far apart, how long ago.

    Those that follow each other within a day, on whatever channels, are one occasion.
    """

    count: int
    """Occasions on which it was bought."""
    gap_days: float | None
    """Mean days from one occasion to the next; None where there was only one."""
    last_days: float
    """Days since the last purchase."""
    earlier: bool = False
    """Whether there may have been earlier ones, which the state has forgotten: count and gap are of the latest."""


def load_rules(path: Path) -> Rules:
    """Read rules from TOML; an unknown key or a bad value is an InputError that names it."""
    return load_toml(Rules, path)


def house_rules(settings: Settings) -> Rules:
    """The retailer's own rules under `settings.home`, or those that come with the package."""
    own = settings.home / RULES_FILE
    return load_rules(own) if own.exists() else package_rules()


def package_rules() -> Rules:
    """The rules that come with the package."""
    return load_rules(Path(__file__).with_name(RULES_FILE))


def parse_rules(content: bytes, file: Path) -> Rules:
    """The rules that TOML which was read from `file` states; raises InputError as `load_rules` does."""
    return check(Rules, parse_toml(content, file), file)


def not_personal(may_profile: bool) -> list[str]:
    """The words for a customer who refused profiling: rules still look at them, models do not."""
    return [] if may_profile else ["the customer refused profiling: scored as somebody unknown"]


def check_arm(
    arm: Arm,
    facts: ContactFacts,
    rules: Rules,
    as_of_s: float,
    *,
    send_at_s: float | None = None,
    channels: Collection[Channel] | None = None,
    standing: dict[Channel, list[str]] | None = None,
) -> Eligibility:
    """Whether `arm` may be used at `send_at_s` (now where not given), judged from what is known at `as_of_s`.

    `channels` narrows to those that the caller can use. `standing` keeps what speaks against each channel at any moment, for
    the next arm of the same customer and question.
    """
    channel = arm.channel
    if channel is None:
        return Eligibility(arm, True)
    known = None if standing is None else standing.get(channel)
    if known is None:
        known = _standing_reasons(channel, facts, rules, as_of_s, channels)
        if standing is not None:
            standing[channel] = known
    reasons = list(known)
    quiet = rules.quiet_hours
    if channel in quiet.channels and is_quiet(channel, rules, rules.local(as_of_s if send_at_s is None else send_at_s)):
        reasons.append(f"quiet hours on {channel} from {quiet.start:%H:%M} to {quiet.end:%H:%M} ({rules.time_zone})")
    return Eligibility(arm, not reasons, tuple(reasons))


def refuse_all(checked: Sequence[Eligibility], reason: str, but: Collection[str] = ()) -> list[Eligibility]:
    """The same arms, none of which, `but` those named, may be used for one reason more; nothing is left to choose."""
    return [
        item
        if item.arm.channel is None or item.arm.name in but
        else Eligibility(item.arm, False, (*item.reasons, reason))
        for item in checked
    ]


def is_quiet(channel: Channel, rules: Rules, local: datetime) -> bool:
    """Whether `channel` must be silent at that local time."""
    quiet = rules.quiet_hours
    if channel not in quiet.channels or quiet.start == quiet.end:
        return False
    clock = local.time()
    if quiet.start < quiet.end:
        return quiet.start <= clock < quiet.end
    return clock >= quiet.start or clock < quiet.end


def product_refusal(history: ProductHistory | None, rules: Rules, units_in_stock: float | None = None) -> str | None:
    """Why a product must not be offered now, or None where it may be."""
    if units_in_stock is not None and units_in_stock <= 0:
        return "out of stock"
    if history is None or history.last_days >= rules.bought_recently_days or is_due(history, rules):
        return None
    return f"bought {days(history.last_days)} ago"


def is_due(history: ProductHistory, rules: Rules) -> bool:
    """Whether a product that the customer rebuys is due again: with one gap alone nobody has a habit yet."""
    if history.gap_days is None or history.count < RHYTHM_OCCASIONS:
        return False
    return history.last_days >= rules.due_after * history.gap_days


@lru_cache(maxsize=64)
def _digest(content: str) -> str:
    """The digest of what JSON says, in whatever order."""
    sorted_content = json.dumps(json.loads(content), sort_keys=True)
    return hashlib.blake2b(sorted_content.encode(), digest_size=6).hexdigest()


def _standing_reasons(
    channel: Channel, facts: ContactFacts, rules: Rules, as_of_s: float, channels: Collection[Channel] | None
) -> list[str]:
    """What speaks against a channel, at whatever moment it is used."""
    asked = channels is None or channel in channels
    return [
        *([] if asked else [f"{channel} was not among the channels asked for"]),
        *_consent_reasons(channel, facts, rules),
        *_cap_reasons(channel, facts, rules, as_of_s),
        *_fatigue_reasons(channel, facts, rules, as_of_s),
        *_reach_reasons(channel, facts, rules),
    ]


def _reach_reasons(channel: Channel, facts: ContactFacts, rules: Rules) -> list[str]:
    consent = facts.consents.get(channel)
    if facts.reach is None or consent is False:  # who refused is not looked for
        return []
    return unreachable(channel, facts.reach, consent, rules.reachable)


def _consent_reasons(channel: Channel, facts: ContactFacts, rules: Rules) -> list[str]:
    consent = facts.consents.get(channel)
    if consent is False:
        return [f"the customer refused {channel}"]
    if consent is None and channel in rules.opt_in_channels:
        return [f"no consent for {channel} is on record"]
    return []


def _cap_reasons(channel: Channel, facts: ContactFacts, rules: Rules, as_of_s: float) -> list[str]:
    reasons = []
    on_channel = [at for other, at in facts.contacts if other == channel]
    cap = rules.channel_caps.get(channel)
    if cap is not None and _within(on_channel, cap, as_of_s) >= cap.max:
        reasons.append(f"{cap.max} contacts on {channel} in {cap.days:g} days is the cap")
    everywhere = [at for _, at in facts.contacts]
    if _within(everywhere, rules.overall_cap, as_of_s) >= rules.overall_cap.max:
        reasons.append(
            f"{rules.overall_cap.max} contacts over all channels in {rules.overall_cap.days:g} days is the cap"
        )
    return reasons


def _within(times: Sequence[float], cap: Cap, as_of_s: float) -> int:
    return sum(1 for at in times if as_of_s - cap.days * DAY_S < at <= as_of_s)


def _fatigue_reasons(channel: Channel, facts: ContactFacts, rules: Rules, as_of_s: float) -> list[str]:
    ignored = facts.unanswered.get(channel, 0)
    if ignored < rules.max_unanswered:
        return []
    last = max((at for other, at in facts.contacts if other == channel), default=None)
    if last is None or as_of_s - last >= rules.rest_days * DAY_S:
        return []
    return [f"the last {ignored} messages on {channel} were not answered"]
