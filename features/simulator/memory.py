"""What a simulated retailer remembers of every customer from day to day; this morning's features of a decision come out."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.simulator.people import CONTACT, ORGANIC
from features.vocabulary import Channel

PRESSURE_HALF_LIFE_DAYS: Final = 5.0
_PRIOR_CONTACTS: Final = 5.0
"""An open rate counts this many imagined contacts that were not opened."""
_SHARES: Final = (Channel.WEB, Channel.APP, Channel.STORE, Channel.SOCIAL)


@dataclass
class Memory:
    """Sums that decay, named with their half-life in days, and the last days on which things happened; n customers."""

    n: int

    def __post_init__(self) -> None:
        n = self.n
        self.pressure = np.zeros(n)
        self.contacts_7d = np.zeros(n)
        self.contacts_30d = np.zeros(n)
        self.last_contact: FloatArray = np.full(n, -np.inf)
        self.last_purchase: FloatArray = np.full(n, np.nan)
        self.last_action: FloatArray = np.full(n, np.nan)
        self.visits_30d = np.zeros((n, len(ORGANIC)))
        self.spend_90d = np.zeros(n)
        self.purchases_90d = np.zeros(n)
        self.promoted_90d = np.zeros(n)
        self.sends_90d = np.zeros((n, len(CONTACT)))
        self.opens_90d = np.zeros((n, len(CONTACT)))
        self.day_part_90d = np.zeros((n, 3))
        """Visits in the morning, at midday and in the evening."""
        self.weekend_90d = np.zeros(n)

    def forget(self) -> None:
        """A day goes by."""
        decays = (
            (PRESSURE_HALF_LIFE_DAYS, (self.pressure,)),
            (7.0, (self.contacts_7d,)),
            (30.0, (self.contacts_30d, self.visits_30d)),
            (90.0, (self.spend_90d, self.purchases_90d, self.promoted_90d, self.sends_90d, self.opens_90d)),
            (90.0, (self.day_part_90d, self.weekend_90d)),
        )
        for half_life, sums in decays:
            for values in sums:
                values *= 0.5 ** (1 / half_life)

    def open_rates(self, who: IntArray) -> FloatArray:
        """Share of the contacts that was opened, (n, contact channels)."""
        return np.asarray(self.opens_90d[who] / (self.sends_90d[who] + _PRIOR_CONTACTS))

    def features(self, who: IntArray, day: int) -> dict[str, np.ndarray]:
        """What behaviour tells of customers this morning, by name without the prefix x_."""
        visits, parts = self.visits_30d[who], self.day_part_90d[who]
        share = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-9)
        rates = self.open_rates(who)
        signals: dict[str, np.ndarray] = {f"visits_{ch.value}_30d": visits[:, i] for i, ch in enumerate(ORGANIC)}
        signals |= {f"share_{ch.value}": visits[:, ORGANIC.index(ch)] / (visits.sum(axis=1) + 1.0) for ch in _SHARES}
        signals |= {f"response_rate_{ch.value}": rates[:, i] for i, ch in enumerate(CONTACT)}
        return signals | {
            "spend_90d": self.spend_90d[who],
            "basket_value": self.spend_90d[who] / np.maximum(self.purchases_90d[who], 1e-9),
            "promoted_share": self.promoted_90d[who] / (self.purchases_90d[who] + 1.0),
            "days_since_purchase": day - self.last_purchase[who],
            "days_since_action": day - self.last_action[who],
            "pressure": self.pressure[who],
            "contacts_7d": self.contacts_7d[who],
            "contacts_30d": self.contacts_30d[who],
            "days_since_contact": np.where(np.isfinite(self.last_contact[who]), day - self.last_contact[who], np.nan),
            "morning_share": share[:, 0],
            "evening_share": share[:, 2],
            "weekend_share": self.weekend_90d[who] / np.maximum(parts.sum(axis=1), 1e-9),
        }
