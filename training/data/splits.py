"""Splits in global time: the end of the data and a horizon in; train, validation and test out, all half-open."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from features.errors import InputError


@dataclass(frozen=True)
class TimeSplit:
    """Train is [.., train_end), validation [train_end, valid_end), test [valid_end, test_end).

    A label whose window is [cutoff, cutoff + horizon) belongs to the period that holds the whole window, so nothing
    that decides a training label happens inside validation or test.
    """

    train_end: datetime
    valid_end: datetime
    test_end: datetime

    def __post_init__(self) -> None:
        if not self.train_end < self.valid_end < self.test_end:
            raise InputError(
                f"The periods are not in order: {self.train_end}, {self.valid_end}, {self.test_end}.",
                repair="Give train_end < valid_end < test_end.",
            )

    @classmethod
    def at_end_of(cls, data_end: datetime, horizon_days: float) -> "TimeSplit":
        """Test is the last horizon before `data_end` (exclusive), validation the one before it, train the rest."""
        horizon = timedelta(days=horizon_days)
        return cls(train_end=data_end - 2 * horizon, valid_end=data_end - horizon, test_end=data_end)

    def train_cutoffs(
        self, data_start: datetime, horizon_days: float, step_days: float, warmup_days: float = 0.0
    ) -> list[datetime]:
        """Cutoffs whose label windows end by `train_end`, `step_days` apart, newest last, none in the warm-up.

        The warm-up is the `warmup_days` after `data_start`. Raises InputError when the history is too short for one.
        """
        earliest = data_start + timedelta(days=warmup_days)
        cutoffs = []
        cutoff = self.train_end - timedelta(days=horizon_days)
        while cutoff >= earliest:
            cutoffs.append(cutoff)
            cutoff -= timedelta(days=step_days)
        if not cutoffs:
            days = (self.test_end - data_start) / timedelta(days=1)
            raise InputError(
                f"The history from {data_start:%Y-%m-%d} to {self.test_end:%Y-%m-%d} is too short: three horizons of "
                f"{horizon_days:g} days and a warm-up of {warmup_days:g} days need {3 * horizon_days + warmup_days:g}.",
                repair=shorter(days, 4, warmup=True, needed_days=3 * horizon_days + warmup_days),
            )
        return cutoffs[::-1]

    def assign(self, starts: pd.Series, horizon_days: float) -> pd.Series:
        """The period ('train', 'valid', 'test') that holds each whole window [start, start + horizon), or ''."""
        ends = starts + pd.Timedelta(days=horizon_days)
        period = pd.Series("", index=starts.index, dtype=object)
        period[ends <= self.train_end] = "train"
        period[(starts >= self.train_end) & (ends <= self.valid_end)] = "valid"
        period[(starts >= self.valid_end) & (ends <= self.test_end)] = "test"
        return period


def shorter(days: float, n_parts: int, *, warmup: bool = False, needed_days: float | None = None) -> str:
    """What to do about a history of `days` that does not hold `n_parts` horizons (the warm-up counts as one).

    `needed_days` is what the horizon as it is set takes.
    """
    horizon = int(days // n_parts)
    settings = f"--set horizon_days={max(horizon, 1)}" + (f" --set warmup_days={max(horizon, 1)}" if warmup else "")
    if horizon < 1:
        longer = "Bring a longer history" if needed_days is None else f"Bring a history of {needed_days:g} days"
        return f"{longer}; {n_parts} days are enough only for {settings}."
    return f"Pass {settings}."
