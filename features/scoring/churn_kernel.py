"""All signals and the trees' log-odds in, chances of leaving, purchases and money out: the score of churn.py, compiled.

What the numbers mean is said in churn.py, bg_nbd.py and log_linear.py, which training fits and which stay the reference; this
is the same arithmetic of one customer after the other, without an array per step.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray, IntArray
from features.scoring.bg_nbd import Rates
from features.scoring.churn import PACE_HALF_LIFE_DAYS, ChurnScore, prospects
from features.signals import signal_index
from features.state.jit import inlined, released

_RATES: Final = np.dtype([(name, np.float64) for name in ("r", "alpha", "a", "b")] + [("modified", np.bool_)])
_SCORE: Final = np.dtype(
    [
        ("plain", _RATES),
        ("modified", _RATES),
        ("horizon_days", np.float64),
        ("of_trees", np.float64),  # weights of the trees, the regression and BG/NBD
        ("of_linear", np.float64),
        ("of_silence", np.float64),
        ("has_linear", np.bool_),
        ("intercept", np.float64),  # of the regression
        ("slope", np.float64),
        ("shift", np.float64),
        ("buyers_only", np.bool_),
        ("has_spend", np.bool_),
        ("p", np.float64),  # of Gamma-Gamma
        ("q", np.float64),
        ("v", np.float64),
        ("pace", np.float64),
        ("pace_half_life_days", np.float64),
        # columns of the signals
        ("n_occasions", np.int64),
        ("since_first", np.int64),
        ("since_last", np.int64),
        ("occasions_of_year", np.int64),
        ("spent_of_year", np.int64),
        ("spent_of_late", np.int64),
    ],
    align=True,
)
"""Everything of a ChurnScore but the regression's arrays; an array of one of it is handed to the functions here."""
_Score = NDArray[np.void]
_CLIP: Final = 1e-4  # as log_linear.py
_MOST_TERMS: Final = 2_000
"""Where the series is not done by then, bg_nbd.py has the answer."""
_LARGE: Final = np.finfo(np.float64).max


class CompiledChurn:
    """A ChurnScore that answers a customer in microseconds."""

    def __init__(self, score: ChurnScore) -> None:
        self._score = score
        self._of = np.array([_record(score)], dtype=_SCORE)
        linear = score.linear
        self._columns: IntArray = np.empty(0, np.int64) if linear is None else linear.columns
        self._linear: FloatArray = np.zeros((4, len(self._columns) + 2))
        if linear is not None:
            self._linear[0, :-2] = linear.fill
            self._linear[1:] = linear.mean, linear.scale, linear.weights

    def chances(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """All signals (n, F) and the trees' log-odds (n,) to ChurnScore.probability (n,); NaN of prospects, if buyers only."""
        return _chances(
            np.ascontiguousarray(signals), np.ascontiguousarray(trees), self._of, self._columns, self._linear
        )

    def expectations(self, signals: Float32Array) -> tuple[FloatArray, FloatArray | None]:
        """All signals (n, F) to purchases and money (n,) within the horizon, NaN of prospects; None: no values were seen."""
        both = _expectations(np.ascontiguousarray(signals), self._of)
        if np.isnan(both[:, 0]).any():  # prospects, and who is beyond the series
            rest = np.isnan(both[:, 0]) & ~prospects(signals)
            if rest.any():
                revenue = self._score.expected_revenue(signals[rest])
                both[rest, 0] = self._score.expected_purchases(signals[rest])
                both[rest, 1] = np.nan if revenue is None else revenue
        return both[:, 0], None if self._score.spend is None else both[:, 1]


def _record(score: ChurnScore) -> tuple[object, ...]:
    """A score as one _SCORE."""
    spend = score.spend
    names = ("n_occasions", "days_since_first_purchase", "days_since_occasion")
    money = ("occasions_365d", "spend_365d", f"spend_{PACE_HALF_LIFE_DAYS}d")
    return (
        _rates(score.rates),
        _rates(score.modified),
        score.horizon_days,
        *score.mix,
        score.linear is not None,
        0.0 if score.linear is None else score.linear.intercept,
        score.slope,
        score.shift,
        score.buyers_only,
        spend is not None,
        *((0.0, 0.0, 0.0) if spend is None else (spend.p, spend.q, spend.v)),
        score.pace,
        float(PACE_HALF_LIFE_DAYS),
        *signal_index((*names, *money)).tolist(),
    )


def _rates(rates: Rates) -> tuple[object, ...]:
    return rates.r, rates.alpha, rates.a, rates.b, rates.modified


@inlined
def _known(value: float) -> float:
    """A number for what may be none, as `np.nan_to_num` has it."""
    if np.isnan(value):
        return 0.0
    return min(max(value, -_LARGE), _LARGE)


@inlined
def _expit(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


@inlined
def _bought(row: Any, score: Any) -> Any:
    """Repeats, days from the first purchase to the last, and to now: bg_nbd.Summary.of_signals."""
    age, since = _known(row[score.since_first]), _known(row[score.since_last])
    repeats = max(_known(row[score.n_occasions]) - 1.0, 0.0)
    return repeats, (max(age - since, 0.0) if repeats > 0 else 0.0), max(age, 0.0)


@inlined
def _alive(rates: Any, repeats: float, last_days: float, age_days: float) -> Any:
    log_ratio = (rates.r + repeats) * np.log((rates.alpha + age_days) / (rates.alpha + last_days))
    if rates.modified:
        return _expit(np.log((rates.b + repeats) / rates.a) - log_ratio)
    if repeats <= 0:
        return 1.0
    return _expit(np.log((rates.b + max(repeats, 1.0) - 1.0) / rates.a) - log_ratio)


@inlined
def _silence(rates: Any, repeats: float, last_days: float, age_days: float, horizon_days: float) -> Any:
    """Clipped log-odds of no purchase within the horizon."""
    rate = rates.alpha + age_days
    quiet = (rate / (rate + horizon_days)) ** (rates.r + repeats)
    chance = 1.0 - _alive(rates, repeats, last_days, age_days) * (1.0 - quiet)
    chance = min(max(chance, _CLIP), 1.0 - _CLIP)
    return np.log(chance / (1.0 - chance))


@released
def _chances(signals: Float32Array, trees: FloatArray, of: _Score, columns: IntArray, linear: FloatArray) -> FloatArray:
    """All signals (n, F) and the trees' log-odds (n,) to the calibrated chance (n,); NaN of prospects, where only buyers count.

    `columns` (k,) are those of the regression, and `linear` (4, k + 2) its fill, means, scales and weights.
    """
    score = of[0]
    k = len(columns)
    out = np.empty(len(signals))
    for i in range(len(signals)):
        row = signals[i]
        if score.buyers_only and not np.isfinite(row[score.since_last]):
            out[i] = np.nan
            continue
        repeats, last_days, age_days = _bought(row, score)
        plain = _silence(score.plain, repeats, last_days, age_days, score.horizon_days)
        modified = _silence(score.modified, repeats, last_days, age_days, score.horizon_days)
        raw = score.of_trees * trees[i] + score.of_silence * modified
        if score.has_linear:
            total = 0.0
            for j in range(k):
                value = np.float64(row[columns[j]])
                if not np.isfinite(value):
                    value = linear[0, j]
                value = np.sign(value) * np.log1p(abs(value))
                total += (value - linear[1, j]) / linear[2, j] * linear[3, j]
            total += (plain - linear[1, k]) / linear[2, k] * linear[3, k]
            total += (modified - linear[1, k + 1]) / linear[2, k + 1] * linear[3, k + 1]
            raw += score.of_linear * (total + score.intercept)
        out[i] = _expit(score.slope * raw + score.shift)
    return out


@inlined
def _purchases(rates: Any, repeats: float, last_days: float, age_days: float, horizon_days: float) -> Any:
    """Rates.expected_purchases; NaN where the series does not end soon, or says nothing.

    With Euler's transformation (DLMF 15.8.1) the hypergeometric function there is (1 - z)^(a - 1) (1 + (a - 1) T), T a series
    of few terms: the power of the purchases is gone, and so is the pole at a = 1.
    """
    shape, rate = rates.r + repeats, rates.alpha + age_days
    stays = rates.b + repeats + (1.0 if rates.modified else 0.0)
    beyond = rates.a - 1.0
    total, share = stays + beyond, horizon_days / (rate + horizon_days)
    if total <= 0.0:
        return np.nan
    outside = np.log1p(-share)
    term = (total - shape) / total * share
    series = 0.0
    for n in range(1, _MOST_TERMS):
        series += term
        if abs(term) <= 1e-17 * abs(series):
            reached = -outside if beyond == 0.0 else -np.expm1(beyond * outside) / beyond
            alive = total * (reached - np.exp(beyond * outside) * series)
            return _alive(rates, repeats, last_days, age_days) * alive
        term *= (total - shape + n) * (beyond + n) / ((total + n) * (n + 1.0)) * share
    return np.nan


@released
def _expectations(signals: Float32Array, of: _Score) -> FloatArray:
    """All signals (n, F) to purchases and money within the horizon (n, 2); NaN of prospects and where it is not known here."""
    score = of[0]
    out = np.empty((len(signals), 2))
    for i in range(len(signals)):
        row = signals[i]
        out[i, :] = np.nan
        if not np.isfinite(row[score.since_last]):
            continue
        repeats, last_days, age_days = _bought(row, score)
        out[i, 0] = _purchases(score.modified, repeats, last_days, age_days, score.horizon_days)
        if not score.has_spend:
            continue
        occasions, spent = np.float64(row[score.occasions_of_year]), np.float64(row[score.spent_of_year])
        n = total = 0.0
        if occasions > 0 and spent > 0 and np.isfinite(spent / occasions):
            n = _known(occasions)
            total = n * (spent / occasions)
        revenue = out[i, 0] * score.p * (score.v + total) / max(score.p * n + score.q - 1.0, 1e-9)
        if score.pace > 0:
            goes_on = _known(row[score.spent_of_late]) * math.log(2.0) / score.pace_half_life_days * score.horizon_days
            revenue += score.pace * (goes_on - revenue)
        out[i, 1] = revenue
    return out
