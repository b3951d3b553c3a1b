"""What is known of a customer's buying and a few rates in; the chance of buying again, expected purchases and money out.

BG/NBD (Fader, Hardie and Lee 2005, "Counting Your Customers" the Easy Way) and its modified form in which a customer
may also be gone after the very first purchase (Batislam, Denizel and Filiztekin 2007); Gamma-Gamma for the value of a
purchase (Fader and Hardie 2013). Training fits the rates, training and serving both evaluate these formulas.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]

_QUANTILES: Final = (np.arange(24) + 0.5) / 24
"""Midpoints at which the posterior of the dropout probability is averaged."""


@dataclass(frozen=True)
class Summary:
    """Buying as the models see it, each of shape (n,): `repeats` after the first purchase, days from the first
    purchase to the last (`last_days`) and to the moment of prediction (`age_days`).
    """

    repeats: Floats
    last_days: Floats
    age_days: Floats

    @classmethod
    def of_signals(cls, n_occasions: Floats, days_since_first: Floats, days_since_last: Floats) -> "Summary":
        """From signals (n,); somebody who never bought counts as having bought once, now."""
        age = np.nan_to_num(np.asarray(days_since_first, dtype=np.float64))
        since = np.nan_to_num(np.asarray(days_since_last, dtype=np.float64))
        repeats = np.maximum(np.nan_to_num(np.asarray(n_occasions, dtype=np.float64)) - 1, 0.0)
        return cls(repeats, np.where(repeats > 0, np.maximum(age - since, 0.0), 0.0), np.maximum(age, 0.0))


@dataclass(frozen=True)
class Rates:
    """Purchases come at a rate that is Gamma(r, alpha) over customers, per day; after each the customer leaves with a
    probability that is Beta(a, b). With `modified` the first purchase counts as one of those.
    """

    r: float
    alpha: float
    a: float
    b: float
    modified: bool = False

    def alive_probability(self, known: Summary) -> Floats:
        """Chance (n,) that the customer has not left for good."""
        x = known.repeats
        log_ratio = (self.r + x) * np.log((self.alpha + known.age_days) / (self.alpha + known.last_days))
        if self.modified:
            return np.asarray(1 / (1 + self.a / (self.b + x) * np.exp(np.minimum(log_ratio, 500.0))))
        gone = self.a / (self.b + np.maximum(x, 1.0) - 1) * np.exp(np.minimum(log_ratio, 500.0))
        return np.where(x > 0, 1 / (1 + gone), 1.0)

    def silence_probability(self, known: Summary, horizon_days: float) -> Floats:
        """Chance (n,) of no purchase in the next `horizon_days`: gone, or there and not buying."""
        shape, rate = self.r + known.repeats, self.alpha + known.age_days
        quiet = (rate / (rate + horizon_days)) ** shape
        return np.asarray(1 - self.alive_probability(known) * (1 - quiet))

    def expected_purchases(self, known: Summary, horizon_days: float) -> Floats:
        """Mean number (n,) of purchases in the next `horizon_days`; the posterior is averaged at 24 quantiles."""
        shape, rate = self.r + known.repeats, self.alpha + known.age_days
        leaves = betaincinv(self.a, (self.b + known.repeats + float(self.modified))[:, None], _QUANTILES)
        leaves = np.maximum(leaves, 1e-9)  # (n, quantiles)
        left = (rate[:, None] / (rate[:, None] + leaves * horizon_days)) ** shape[:, None]
        return np.asarray(self.alive_probability(known) * np.mean((1 - left) / leaves, axis=1))


@dataclass(frozen=True)
class Spend:
    """The value of a purchase varies around a customer's own mean with shape `p`, the means over customers with shape
    `q` and scale `v`.
    """

    p: float
    q: float
    v: float

    def expected_value(self, n_purchases: Floats, mean_value: Floats) -> Floats:
        """Expected value (n,) of a future purchase, from how many were seen and their mean; without any, of everybody."""
        n = np.where(np.isfinite(mean_value), np.nan_to_num(n_purchases), 0.0)
        total = n * np.nan_to_num(mean_value)
        return np.asarray(self.p * (self.v + total) / np.maximum(self.p * n + self.q - 1, 1e-9))
