"""The churn score: all signals and the trees' log-odds in, the calibrated chance of leaving out; for training and serving.

The log-odds are a weighted sum of three parts, calibrated by `slope * sum + shift`: boosted trees on all signals, a
logistic regression on the logarithms of a few signals, and BG/NBD's chance of silence. All are additive, so the share
of every signal in one prediction is exact.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.scoring.bg_nbd import Rates, Spend, Summary
from features.scoring.log_linear import LogLinear, clipped_log_odds, expit, weighted_sum
from features.signals import SIGNAL_NAMES, signal_index

LINEAR_SIGNALS: Final = (
    *("days_since_occasion", "n_occasions", "occasions_30d", "occasions_90d", "occasions_365d"),
    *("spend_90d", "spend_365d", "days_since_first_purchase", "gap_mean_days", "overdue_ratio", "last_basket_value"),
)
"""Recency, frequency, money and rhythm: what the logistic part looks at, beside BG/NBD's two log-odds."""
RHYTHM: Final = "overdue_ratio"
"""The signal that carries the share of BG/NBD: what it sees is the rhythm of buying."""
PACE_HALF_LIFE_DAYS: Final = 30
"""How far back the recent pace of spending looks."""
SCORE_FILE: Final = "churn_score.json"
_BOUGHT: Final = SIGNAL_NAMES.index("days_since_occasion")
_SUMMARY: Final = signal_index(("n_occasions", "days_since_first_purchase", "days_since_occasion"))
_VALUES: Final = signal_index(("occasions_365d", "spend_365d"))


class Linear(LogLinear):
    """The logistic part: a regression on the log of some signals and on BG/NBD's log-odds."""

    def inputs(self, signals: Float32Array, silence: FloatArray) -> FloatArray:
        """All signals (n, F) and `silence` (n, 2) to standardised inputs (n, len(names) + 2)."""
        return self.standardised(signals[:, self.columns], silence)

    def log_odds(self, signals: Float32Array, silence: FloatArray) -> FloatArray:
        """All signals (n, F) and `silence` (n, 2) to the regression's log-odds (n,)."""
        return self.score(signals[:, self.columns], silence)

    @cached_property
    def columns(self) -> IntArray:
        """Where `names` lie among all signals."""
        return signal_index(self.names)


@dataclass(frozen=True)
class ChurnScore:
    """Everything but the trees: see the module's words. `mix` is the weight of trees, linear part and BG/NBD."""

    horizon_days: float
    rates: Rates
    modified: Rates
    linear: Linear | None
    mix: tuple[float, float, float]
    slope: float
    shift: float
    spend: Spend | None = None
    pace: float = 0.0
    """The share of the recent pace in expected revenue; the rest is purchases times their value."""
    buyers_only: bool = True
    """Whether only purchases count as activity: then a prospect has no churn. Formulas answer for them all the same."""

    def raw(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """Log-odds (n,) before calibration, from all signals (n, F) and the trees' log-odds (n,)."""
        silence = self.silence(signals)
        linear = None if self.linear is None else self.linear.log_odds(signals, silence)
        return weighted_sum(self.mix, trees, linear, silence)

    def log_odds(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """Calibrated log-odds (n,)."""
        return np.asarray(self.slope * self.raw(signals, trees) + self.shift)

    def probability(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """Calibrated chance (n,) of no purchase within the horizon."""
        return expit(self.log_odds(signals, trees))

    def silence(self, signals: Float32Array) -> FloatArray:
        """BG/NBD's log-odds of silence, plain and modified: (n, 2)."""
        known = summary(signals)
        silent = [rates.silence_probability(known, self.horizon_days) for rates in (self.rates, self.modified)]
        return clipped_log_odds(np.column_stack(silent))

    def contributions(self, signals: Float32Array, trees: FloatArray) -> FloatArray:
        """The share of every signal in the log-odds, (n, F), from all signals and the trees' own shares (n, F).

        Shares count from the average customer of the past snapshots, so they add up to the log-odds but for a constant.
        """
        shares = self.mix[0] * np.asarray(trees, dtype=np.float64)
        silence = self.silence(signals)
        rhythm = SIGNAL_NAMES.index(RHYTHM)
        usual = 0.0 if self.linear is None else self.linear.mean[-1]
        shares[:, rhythm] += self.mix[2] * (silence[:, 1] - usual)
        if self.linear is not None:
            parts = self.mix[1] * self.linear.inputs(signals, silence) * np.array(self.linear.weights)
            n = len(self.linear.names)
            shares[:, self.linear.columns] += parts[:, :n]
            shares[:, rhythm] += parts[:, n:].sum(axis=1)
        return np.asarray(self.slope * shares)

    def expected_purchases(self, signals: Float32Array, horizon_days: float | None = None) -> FloatArray:
        """Mean number (n,) of purchase occasions within the horizon."""
        return self.modified.expected_purchases(summary(signals), horizon_days or self.horizon_days)

    def expected_revenue(self, signals: Float32Array, horizon_days: float | None = None) -> FloatArray | None:
        """Expected money (n,) within the horizon, a mean, or None where no values were ever seen."""
        if self.spend is None:
            return None
        value = self.spend.expected_value(*purchase_values(signals))
        revenue = self.expected_purchases(signals, horizon_days) * value
        if self.pace > 0:
            revenue = revenue + self.pace * (recent_pace(signals, horizon_days or self.horizon_days) - revenue)
        return np.asarray(revenue)

    def to_json(self) -> str:
        """The content of SCORE_FILE."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "ChurnScore":
        """The inverse of `to_json`."""
        plain: dict[str, Any] = json.loads(text)
        linear = plain.pop("linear")
        spend = plain.pop("spend")
        return cls(
            rates=Rates(**plain.pop("rates")),
            modified=Rates(**plain.pop("modified")),
            linear=None if linear is None else Linear(**{k: _tuple(v) for k, v in linear.items()}),
            spend=None if spend is None else Spend(**spend),
            mix=tuple(plain.pop("mix")),
            **plain,
        )


def prospects(signals: Float32Array) -> BoolArray:
    """Which of the customers with all signals (n, F) never bought (n,)."""
    return ~np.isfinite(signals[:, _BOUGHT])


def summary(signals: Float32Array) -> Summary:
    """What BG/NBD knows of customers, from all signals (n, F)."""
    occasions, first, last = signals[:, _SUMMARY].T
    return Summary.of_signals(occasions, first, last)


def purchase_values(signals: Float32Array) -> tuple[FloatArray, FloatArray]:
    """How many purchases (n,) count for their value, and their mean value (n,), both with a half-life of 365 days."""
    occasions, spend = signals[:, _VALUES].T.astype(np.float64)
    mean = np.divide(spend, occasions, out=np.full(len(spend), np.nan), where=(occasions > 0) & (spend > 0))
    return occasions, mean


def recent_pace(signals: Float32Array, horizon_days: float) -> FloatArray:
    """Money (n,) within the horizon if all signals' (n, F) decayed spending of late simply goes on."""
    spent = np.nan_to_num(signals[:, SIGNAL_NAMES.index(f"spend_{PACE_HALF_LIFE_DAYS}d")].astype(np.float64))
    return np.asarray(spent * math.log(2) / PACE_HALF_LIFE_DAYS * horizon_days)


def _tuple(value: Mapping[str, Any] | list[Any] | float) -> Any:
    return tuple(value) if isinstance(value, list) else value
