"""What a customer was contacted about and the house rules in, which products and campaigns rest, and why, out; pure.

A contact is a message that was sent or an impression that was seen, on any channel; a decision that nobody sent is none.
"""

import math
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from features.arrays import FloatArray
from features.state.event_arrays import product_code
from features.state.layout import CAMPAIGN_MARK
from features.vocabulary import Channel
from serving.decision.rules import Rules
from serving.words import days

_MOST_DOUBLINGS: Final = 64
"""Contacts in a row beyond which a rest grows no further, so that no power overflows; every rest has reached its limit."""


@dataclass(frozen=True)
class Exposure:
    """Contacts about one product or campaign: how long ago, where the last one was, how many in a row without a reaction."""

    last_days: float
    ignored: int
    channel: Channel
    earlier: bool = False
    """Whether there may have been contacts before these, which the state has forgotten."""
    reserved: bool = False
    """Whether it is decided, and not sent yet."""


@dataclass(frozen=True, eq=False)
class ExposureHistory:
    """What a customer was contacted about, by the code: exact for every rule, and the log is read only where one needs it."""

    remembered: Mapping[int, Exposure]
    """What their state holds."""
    forgotten_days: float = math.inf
    """Days since the latest contact about something that the state has forgotten; infinite where it holds everything."""
    ask: Callable[[], Mapping[int, Exposure]] | None = None
    """Everything, from the log."""

    def with_these(self, exposures: dict[int, Exposure]) -> "ExposureHistory":
        """The same with others in the place of what is known of the same things."""
        if not exposures:
            return self
        ask = self.ask
        whole = None if ask is None else lambda: ChainMap(exposures, dict(ask()))
        return ExposureHistory(ChainMap(exposures, dict(self.remembered)), self.forgotten_days, whole)

    @cached_property
    def all(self) -> Mapping[int, Exposure]:
        """Everything that the customer was ever contacted about."""
        return self.remembered if math.isinf(self.forgotten_days) or self.ask is None else self.ask()

    def within(self, days_: float) -> Mapping[int, Exposure]:
        """Right exposures, among which are all with a contact in the last `days_` days."""
        if math.isinf(self.forgotten_days):
            return self.remembered
        incomplete = self.forgotten_days < days_ or any(
            exposure.earlier and exposure.last_days < days_ for exposure in self.remembered.values()
        )
        return self.all if incomplete else self.remembered

    def lately(self, code: int, days_: float) -> Exposure | None:
        """`within` for one thing: the log is not read because of what the state has forgotten about others."""
        own = self.remembered.get(code)
        if own is None:
            return self.all.get(code) if self.forgotten_days < days_ else None
        return self.all.get(code, own) if own.earlier and own.last_days < days_ else own


def rest_days(exposure: Exposure, base_days: float, growth: float, longest_days: float) -> float:
    """How long after its last contact something rests: longer after each contact in a row that nobody reacted to."""
    doublings = min(max(exposure.ignored - 1, 0), _MOST_DOUBLINGS)
    return max(base_days, min(base_days * growth**doublings, longest_days))


def many_rest_days(ignored: FloatArray, rules: Rules) -> FloatArray:
    """`rest_days` of products that were contacted about so often in a row without a reaction, of any shape."""
    doublings = np.clip(ignored - 1, 0, _MOST_DOUBLINGS)
    grown = rules.product_rest_days * np.power(rules.product_rest_growth, doublings)
    return np.maximum(rules.product_rest_days, np.minimum(grown, rules.rest_max_days))


def resting_products(history: ExposureHistory, rules: Rules) -> dict[int, str]:
    """Codes of the products that must not be offered now, each with the reason in words."""
    longest = _longest_days(rules.product_rest_days, rules.product_rest_growth, rules)
    reasons = {}
    for code, exposure in (history.within(longest) if longest > 0 else {}).items():
        if code < CAMPAIGN_MARK:
            reason = product_rest_reason(exposure, rules)
            if reason is not None:
                reasons[code] = reason
    return reasons


def product_rest(history: ExposureHistory, code: int, rules: Rules) -> str | None:
    """The reason of `resting_products` for one product, or None where it does not rest."""
    longest = _longest_days(rules.product_rest_days, rules.product_rest_growth, rules)
    exposure = history.lately(code, longest) if longest > 0 else None
    return None if exposure is None else product_rest_reason(exposure, rules)


def product_rest_reason(exposure: Exposure, rules: Rules) -> str | None:
    """Why a product must not be offered now that was offered so, or None where it may be."""
    reason = _reason(exposure, rules.product_rest_days, rules.product_rest_growth, rules)
    return None if reason is None else reason if exposure.reserved else f"last offered {reason}"


def product_rest_at_most(rules: Rules) -> float:
    """Days after which no product rests any more; 0 where none ever rests."""
    return _longest_days(rules.product_rest_days, rules.product_rest_growth, rules)


def campaign_refusal(history: ExposureHistory, campaign_id: str | None, rules: Rules) -> str | None:
    """Why nobody may be contacted for a campaign now, or None where they may be."""
    longest = _longest_days(rules.campaign_rest_days, rules.campaign_rest_growth, rules)
    if campaign_id is None or longest <= 0:
        return None
    exposure = history.within(longest).get(campaign_code(campaign_id))
    if exposure is None:
        return None
    reason = _reason(exposure, rules.campaign_rest_days, rules.campaign_rest_growth, rules)
    if reason is None:
        return None
    return (
        f"campaign {campaign_id}: {reason}" if exposure.reserved else f"campaign {campaign_id}: last contact {reason}"
    )


def campaign_code(campaign_id: str) -> int:
    """The code by which states know a campaign."""
    return int(product_code([campaign_id])[0]) + CAMPAIGN_MARK


def _longest_days(base_days: float, growth: float, rules: Rules) -> float:
    """No rest is longer; 0 where nothing rests."""
    return base_days if growth == 1 or base_days == 0 else max(base_days, rules.rest_max_days)


def _reason(exposure: Exposure, base_days: float, growth: float, rules: Rules) -> str | None:
    rest = rest_days(exposure, base_days, growth, rules.rest_max_days)
    if exposure.last_days >= rest:
        return None
    if exposure.reserved:
        return f"already decided on {exposure.channel}, and not sent yet"
    row = f", {exposure.ignored} times in a row without a reaction" if exposure.ignored > 1 else ""
    return f"{days(exposure.last_days)} ago on {exposure.channel}{row}: rests for {days(rest)}"
