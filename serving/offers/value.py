"""What an option (a way of contact and an offer) is expected to bring: chances, money and costs in, one value out; pure.

    value = responses x money x retention weight x boost - cost of the way - cost of the offer - fatigue

Responses are the model's chance of one by this way, times how the offer does there against what the model expects (its lift),
less what the customer would have bought anyway. Where the way's effect over nothing is known, the responses that it adds are
counted instead: what comes anyway is no part of them. Money is in the home's currency.
"""

import math
from dataclasses import dataclass

import numpy as np

from features.arrays import FloatArray


@dataclass(frozen=True)
class Terms:
    """What the value of one option is made of."""

    response_probability: float
    """The model's chance of a response by this way."""
    effect: float | None
    """What the way gains over nothing, in money and its cost taken off; None where it is not known."""
    lift: float
    """Responses to the offer for each one that the model expects."""
    anyway_probability: float
    """The chance that the customer buys its product without being told."""
    money: float
    """What one response is worth."""
    retention_weight: float
    """How much more a response counts of who may leave."""
    boost: float
    """The offer's own factor, times the levers'."""
    cost: float
    """Of the way."""
    offer_cost: float
    """Of the offer, on top."""
    fatigue: float
    """What later contacts lose by this one."""
    value: float

    def plain(self) -> dict[str, float | None]:
        """As it is told, without digits that mean nothing."""
        return {name: number if number is None else round(number, 6) for name, number in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Worth:
    """What the options of one customer are worth: A ways, O offers."""

    response: FloatArray  # (A,)
    gain: FloatArray  # (A,) over nothing, in money, the way's cost taken off; NaN where not known
    cost: FloatArray  # (A,)
    response_value: float
    """What a response is worth in `gain`."""
    money: FloatArray  # (O,)
    anyway: FloatArray  # (O,)
    boost: FloatArray  # (O,)
    offer_cost: FloatArray  # (O,)
    retention_weight: float = 1.0
    fatigue: float = 0.0

    def gross(self) -> FloatArray:
        """Money that each option brings for each response to its offer that the model expects (A, O), costs not taken off.

        A boost moves what is gained, and never turns a loss into less of one.
        """
        known = ~np.isnan(self.gain)
        added = np.where(known, (self.gain + self.cost) / self.response_value, self.response)  # (A,)
        kept = np.where(known[:, None], 1.0, 1.0 - self.anyway)  # (A, O)
        gross = added[:, None] * kept * (self.money * self.retention_weight)
        return np.where(gross > 0, gross * self.boost, gross)

    def costs(self) -> FloatArray:
        """What each option takes (A, O)."""
        costs: FloatArray = self.cost[:, None] + self.offer_cost + self.fatigue
        return costs

    def values(self, lift: FloatArray) -> FloatArray:
        """The value of each option (A, O) where offers do as `lift` (A, O) says."""
        values: FloatArray = self.gross() * lift - self.costs()
        return values

    def terms(self, arm: int, offer: int, lift: float) -> Terms:
        """What one option's value is made of."""
        gain, cost, money = self.gain.item(arm), self.cost.item(arm), self.money.item(offer)
        response, boost, offer_cost = self.response.item(arm), self.boost.item(offer), self.offer_cost.item(offer)
        anyway, is_known = self.anyway.item(offer), not math.isnan(gain)
        added = (gain + cost) / self.response_value if is_known else response * (1.0 - anyway)
        gross = added * (money * self.retention_weight)
        return Terms(
            response_probability=response,
            effect=gain if is_known else None,
            lift=lift,
            anyway_probability=anyway,
            money=money,
            retention_weight=self.retention_weight,
            boost=boost,
            cost=cost,
            offer_cost=offer_cost,
            fatigue=self.fatigue,
            value=(gross * boost if gross > 0 else gross) * lift - cost - offer_cost - self.fatigue,
        )


def retention_weight(churn: float | None, weight: float) -> float:
    """How much a response counts of a customer with this churn probability; `weight` is what a sure leaver's counts more."""
    return 1.0 if churn is None or math.isnan(churn) else 1.0 + weight * churn


def anyway_probability(count: int, gap_days: float | None, last_days: float, within_days: float) -> float:
    """The chance that a product which was bought on `count` occasions is bought again `within_days` without any message.

    The habit is over with chance 1 / (count + 1) after each occasion (a beta prior that is uniform, as in BG/NBD, Fader,
    Hardie and Lee 2005); while it lasts, gaps are Erlang of order 2 with the customer's own mean (Chatfield and Goodhardt
    1973). Given `last_days` without it, the chance is that the habit lives, times that its next occasion comes in time.
    """
    if gap_days is None or gap_days <= 0 or count < 2:
        return 0.0
    ends = 1.0 / (count + 1)
    silent, later = _erlang_survival(last_days, gap_days), _erlang_survival(last_days + within_days, gap_days)
    lives = (1.0 - ends) * silent
    return (1.0 - ends) * (silent - later) / (ends + lives)


def _erlang_survival(days: float, mean_days: float) -> float:
    """The chance that a gap, Erlang of order 2, is longer than `days`."""
    rate = 2.0 * days / mean_days
    return (1.0 + rate) * math.exp(-rate)
