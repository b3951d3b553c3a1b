"""BG/NBD, MBG/NBD and Gamma-Gamma: a customer's buying and a few rates in; the chance of buying again, purchases, money out.

BG/NBD (Fader, Hardie and Lee 2005, "Counting Your Customers" the Easy Way) and its modified form in which a customer
may also be gone after the very first purchase (Batislam, Denizel and Filiztekin 2007); Gamma-Gamma for the value of a
purchase (Fader and Hardie 2013). Training fits the rates, training and serving both evaluate these formulas. The file
travels inside models, so it imports nothing of ours; and SciPy, which takes more memory than a model, only where it is asked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Gauss-Legendre on (-1, 1): quantiles of the dropout probability, where the closed form is out of a float's range."""
_NEAR_ONE: Final = 1e-6
"""The closed form has a removable pole at a = 1; nearer to it than this it is only rounding."""


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
            return _expit(np.log((self.b + x) / self.a) - log_ratio)
        stayed = self.b + np.maximum(x, 1.0) - 1
        return np.where(x > 0, _expit(np.log(stayed / self.a) - log_ratio), 1.0)

    def silence_probability(self, known: Summary, horizon_days: float) -> Floats:
        """Chance (n,) of no purchase in the next `horizon_days`: gone, or there and not buying."""
        shape, rate = self.r + known.repeats, self.alpha + known.age_days
        quiet = (rate / (rate + horizon_days)) ** shape
        return np.asarray(1 - self.alive_probability(known) * (1 - quiet))

    def expected_purchases(self, known: Summary, horizon_days: float) -> Floats:
        """Mean number (n,) of purchases in the next `horizon_days`: equation 10 of Fader, Hardie and Lee (2005).

        Of MBG/NBD the first purchase is one more that was survived (Batislam et al. 2007).
        """
        from scipy.special import hyp2f1

        shape, rate = self.r + known.repeats, self.alpha + known.age_days
        stays = self.b + known.repeats + float(self.modified)
        total, share = self.a + stays - 1, horizon_days / (rate + horizon_days)
        with np.errstate(all="ignore"):  # beyond a float's range it is infinite or no number, and answered below
            left = (1 - share) ** shape * hyp2f1(shape, stays, total, share)
            alive = total / (self.a - 1) * (1 - left)
        if abs(self.a - 1) < _NEAR_ONE:
            alive = np.full(shape.shape, np.nan)
        rest = ~np.isfinite(alive)
        alive[rest] = _purchases_by_quantiles(self.a, stays[rest], shape[rest], horizon_days / rate[rest])
        return np.asarray(self.alive_probability(known) * alive)


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


def _expit(log_odds: Floats) -> Floats:
    with np.errstate(over="ignore"):  # of what is far below 0 the chance is 0
        return np.asarray(1 / (1 + np.exp(-log_odds)))


def _purchases_by_quantiles(a: float, stays: Floats, shape: Floats, reach: Floats) -> Floats:
    """Mean purchases (n,) of customers who are there, averaged over the dropout probability, which is Beta(a, stays).

    `reach` (n,) is the horizon in units of the purchase rate's own scale. Good to about 1e-6, at worst 2e-4.
    """
    from scipy.special import betaincinv

    leaves = np.maximum(betaincinv(a, stays[:, None], (_NODES + 1) / 2), 1e-300)  # (n, nodes)
    bought = -np.expm1(-shape[:, None] * np.log1p(leaves * reach[:, None])) / leaves
    return np.asarray(bought @ _NODE_WEIGHTS / 2)
