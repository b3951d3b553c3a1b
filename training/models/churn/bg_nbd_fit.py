"""Customers' buying in, the rates of BG/NBD and of Gamma-Gamma out, by maximum likelihood."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from features.arrays import FloatArray
from features.scoring.bg_nbd import Rates, Spend, Summary

N_MAX_CUSTOMERS: Final = 20_000
"""Customers that a fit looks at; four rates need no more."""
_PENALTY: Final = 1e-5
"""Pull of the logarithms of the rates towards the start, per customer: keeps a flat likelihood from running away."""
_BOUND: Final = 9.0


def fit_rates(known: Summary, *, modified: bool = False, seed: int = 0) -> Rates:
    """BG/NBD's rates from summaries up to one moment; with `modified` those of the modified form."""
    rows = _sample(len(known.repeats), seed)
    x, last, age = known.repeats[rows], known.last_days[rows], known.age_days[rows]
    scale = max(float(np.mean(age)), 1e-6)
    last, age = last / scale, age / scale
    extra = float(modified)

    def loss(logs: FloatArray) -> float:
        r, alpha, a, b = np.exp(logs)
        buying = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        there = betaln(a, b + x + extra) - (r + x) * np.log(alpha + age)
        gone = betaln(a + 1, b + np.maximum(x + extra - 1, 0.0)) - (r + x) * np.log(alpha + last)
        if not modified:
            gone = np.where(x > 0, gone, -np.inf)
        return -float(np.mean(buying - betaln(a, b) + np.logaddexp(there, gone)))

    r, alpha, a, b = _minimum(loss, [[0.0, 0.0, 0.0, 1.0], [-1.0, -1.0, -1.0, 1.0]])
    return Rates(r, alpha * scale, a, b, modified)


def fit_spend(n_purchases: FloatArray, mean_value: FloatArray, *, seed: int = 0) -> Spend:
    """Gamma-Gamma's shapes from customers' numbers of purchases and mean values; without any positive value, zeros."""
    usable = (n_purchases > 0) & np.isfinite(mean_value) & (mean_value > 0)
    n, mean = n_purchases[usable], mean_value[usable]
    if not len(n):
        return Spend(0.0, 2.0, 0.0)
    rows = _sample(len(n), seed)
    scale = float(np.mean(mean))
    n, mean = n[rows], mean[rows] / scale

    def loss(logs: FloatArray) -> float:
        p, v = np.exp(logs[[0, 2]])
        q = 1.0 + np.exp(logs[1])  # below 1 the mean over customers does not exist
        total = n * mean
        log_likelihood = gammaln(p * n + q) - gammaln(p * n) - gammaln(q) + q * np.log(v) - np.log(mean)
        return -float(np.mean(log_likelihood + p * n * np.log(total) - (p * n + q) * np.log(v + total)))

    p, above, v = _minimum(loss, [[0.5, 0.5, 0.0]])
    return Spend(p, 1.0 + above, v * scale)


def _sample(n: int, seed: int) -> NDArray[np.intp]:
    if n <= N_MAX_CUSTOMERS:
        return np.arange(n)
    return np.random.default_rng(seed).choice(n, N_MAX_CUSTOMERS, replace=False)


def _minimum(loss: Callable[[FloatArray], float], starts: Sequence[Sequence[float]]) -> list[float]:
    """The best of several starts, on the logarithms of the parameters."""
    best = None
    for start in starts:
        centre = np.array(start)
        fitted = minimize(
            lambda logs, centre=centre: loss(logs) + _PENALTY * float(np.sum((logs - centre) ** 2)),
            centre,
            method="L-BFGS-B",
            bounds=[(-_BOUND, _BOUND)] * len(start),
        )
        best = fitted if best is None or fitted.fun < best.fun else best
    assert best is not None
    return [float(value) for value in np.exp(best.x)]
