"""What a customer has reserved and what others used up in, the ways that have no room left refused out; pure.

A live reservation counts as a contact at the moment it is to be sent: for the caps of its channel, over all channels, of its
campaign and its tags, and for the rests of its product and campaign. A cap holds in every window of its length, past and
coming ones: what is decided to be sent tomorrow leaves no room for more than the cap around it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from features.log.reservations import Held, Place
from features.online.live import LiveState
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.vocabulary import CHANNELS, DAY_S, KIND_CODES, Channel, EventKind
from serving.decision.rests import Exposure, campaign_code
from serving.decision.rules import Cap, Eligibility, Rules

Used: TypeAlias = Callable[[Iterable[str]], Mapping[str, float]]
"""How much of counters is used up, by their keys."""
_US: Final = 1_000_000
_SEND: Final = KIND_CODES[EventKind.SEND]


@dataclass(frozen=True)
class Limits:
    """What limits a question beside the customer: its campaign's cap, and the volumes of channels."""

    rules: Rules
    campaign_id: str | None = None
    used: Used | None = None
    """None: volumes are not looked at."""

    @property
    def concern_all(self) -> bool:
        """Whether they may refuse ways to somebody who has nothing reserved."""
        return bool(self.campaign_cap or (self.rules.volume and self.used))

    @property
    def campaign_cap(self) -> Cap | None:
        """The cap of the question's campaign."""
        return None if self.campaign_id is None else self.rules.campaign_caps.get(self.campaign_id)

    def apply(
        self, whom: Callable[[], LiveState], held: Held, checked: Sequence[Eligibility], moments: Sequence[float | None]
    ) -> Sequence[Eligibility]:
        """The arms (n,), to be sent at `moments` (n,), and which of them leave no room for it.

        `whom` is asked where something of the customer themselves is looked at.
        """
        live = [(one.channel, one.send_at_us / _US) for one in held.reservations if not one.sent]
        if not (live or self.concern_all):
            return checked
        contacts: list[tuple[str, float]] = [*sent_contacts(whom().state), *live] if live else []
        of_campaign = self._of_campaign(whom, held)
        found = []
        for item, at_s in zip(checked, moments, strict=True):
            reasons: list[str] = []
            if item.eligible and item.arm.channel is not None and at_s is not None:
                reasons = [
                    *(_cap_reasons(item.arm.channel, contacts, at_s, self.rules) if live else ()),
                    *self._campaign_reasons(of_campaign, at_s),
                    *self._volume_reasons(item.arm.channel, at_s),
                ]
            found.append(Eligibility(item.arm, False, tuple(reasons)) if reasons else item)
        return found

    def _of_campaign(self, whom: Callable[[], LiveState], held: Held) -> list[float]:
        """When the customer was, and is to be, contacted for the campaign, in seconds."""
        if self.campaign_cap is None or self.campaign_id is None:
            return []
        decided = [one for one in held.reservations if not one.sent and one.campaign_id == self.campaign_id]
        contacted = whom().contacted
        sent: list[float] = []
        if contacted is not None:
            events = contacted()
            is_of_it = (events.kind == _SEND) & (events.campaign == product_code([self.campaign_id])[0])
            sent = events.time[is_of_it].tolist()
        return [*sent, *(one.send_at_us / _US for one in decided)]

    def _campaign_reasons(self, times: Sequence[float], at_s: float) -> list[str]:
        cap = self.campaign_cap
        if cap is None or has_room(times, at_s, cap):
            return []
        return [f"{cap.max} contacts for campaign {self.campaign_id} in {cap.days:g} days is the cap"]

    def _volume_reasons(self, channel: Channel, at_s: float) -> list[str]:
        if self.used is None:
            return []
        for place in volume_places(channel, at_s, self.rules):
            if self.used((place.key,)).get(place.key, 0.0) + place.amount > place.limit:
                day = self.rules.local(at_s).date()
                return [f"the volume of {place.limit:,.0f} contacts a day on {channel} is used up for {day}"]
        return []


class Remembered:
    """Counters that are asked for once: for many customers who are decided for together."""

    def __init__(self, used: Used) -> None:
        self._used = used
        self._known: dict[str, float] = {}

    def __call__(self, keys: Iterable[str]) -> Mapping[str, float]:
        """How much of them is used up."""
        unknown = [key for key in keys if key not in self._known]
        self._known.update(self._used(unknown) if unknown else {})
        return self._known


def tag_refusal(held: Held, tags: Iterable[str], at_s: float, rules: Rules) -> str | None:
    """Why an offer with these tags may not be sent at a moment, in seconds, to who had and has others with them."""
    for tag in tags if rules.tag_caps else ():
        cap = rules.tag_caps.get(tag)
        times = [one.send_at_us / _US for one in held.reservations if tag in one.tags]
        if cap is not None and not has_room(times, at_s, cap):
            return f"{cap.max} contacts tagged {tag} in {cap.days:g} days is the cap"
    return None


def has_room(times: Sequence[float], at_s: float, cap: Cap) -> bool:
    """Whether one more contact at a moment leaves at most `cap.max` in every window of `cap.days`; all in seconds."""
    span_s = cap.days * DAY_S
    near = [at for at in times if at_s - span_s < at < at_s + span_s]
    if len(near) < cap.max:
        return True
    ends = [at_s, *(at for at in near if at > at_s)]  # the fullest window ends with a contact
    return all(sum(1 for at in near if end - span_s < at <= end) < cap.max for end in ends)


def sent_contacts(state: StateBatch) -> list[tuple[Channel, float]]:
    """Channel and moment, in seconds, of the contacts that a state (n = 1) remembers."""
    return [(CHANNELS[int(channel)], float(at_s)) for channel, at_s in state.contacts.values]


def volume_places(channel: Channel | None, send_at_s: float, rules: Rules) -> tuple[Place, ...]:
    """The room that a contact on a channel needs in the channel's volume of its day; none where that has no limit."""
    volume = None if channel is None else rules.volume.get(channel)
    if volume is None:
        return ()
    return (Place(f"volume:{channel}:{rules.local(send_at_s).date()}", 1.0, float(volume.per_day)),)


def reserved_exposures(held: Held, as_of_s: float) -> dict[int, Exposure]:
    """Products and campaigns that a customer is to be contacted about, by the code, as contacts that were just made."""
    exposures: dict[int, Exposure] = {}
    for one in held.reservations:
        if one.sent:
            continue
        days = max(0.0, (as_of_s - one.send_at_us / _US) / DAY_S)
        exposure = Exposure(days, 1, Channel(one.channel), reserved=True)
        if one.product_id is not None:
            exposures[int(product_code([one.product_id])[0])] = exposure
        if one.campaign_id is not None:
            exposures[campaign_code(one.campaign_id)] = exposure
    return exposures


def _cap_reasons(channel: Channel, contacts: Sequence[tuple[str, float]], at_s: float, rules: Rules) -> list[str]:
    reasons = []
    cap, overall = rules.channel_caps.get(channel), rules.overall_cap
    if cap is not None and not has_room([at for other, at in contacts if other == channel], at_s, cap):
        reasons.append(f"{cap.max} contacts on {channel} in {cap.days:g} days is the cap, with what is decided")
    if not has_room([at for _, at in contacts], at_s, overall):
        reasons.append(
            f"{overall.max} contacts over all channels in {overall.days:g} days is the cap, with what is decided"
        )
    return reasons
