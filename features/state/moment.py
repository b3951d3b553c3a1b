"""States of many customers and a moment each in, what they hold at that moment out: times, totals and decayed sums, dense.

What is computed of that is a `Group`: signals with their names and words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.errors import SettingsError
from features.state import layout
from features.state.batch import StateBatch
from features.state.kernel_signals import Part
from features.vocabulary import CHANNEL_WORDS, CHANNELS, DAY_S, HALF_LIVES_DAYS, KIND_WORDS


@dataclass(frozen=True)
class Moment:
    """States of n customers opened at one moment each; what the groups compute from."""

    states: StateBatch
    as_of: FloatArray  # (n,) seconds since the epoch

    def days_since(self, times: FloatArray) -> FloatArray:
        """Days from `times` to the moment, NaN for never; `times` is (n, ...)."""
        as_of = self.as_of.reshape(-1, *([1] * (times.ndim - 1)))
        return np.asarray((as_of - times) / DAY_S)

    def scalar(self, name: str) -> FloatArray:
        """A scalar of the state, (n,)."""
        return self.states.scalar(name)

    @cached_property
    def last(self) -> FloatArray:
        """Last time of every (channel, kind), NaN for never: (n, C, K)."""
        return self._open(self.states.pair_stats.values[:, layout.PAIR_LAST], np.nan)

    @cached_property
    def totals(self) -> FloatArray:
        """How often every (channel, kind) ever happened: (n, C, K)."""
        return self._open(self.states.pair_stats.values[:, layout.PAIR_TOTAL], 0.0)

    @cached_property
    def counts(self) -> FloatArray:
        """Decayed counts at the moment: (n, C, K, H)."""
        return self._decayed(layout.PAIR_COUNTS)

    @cached_property
    def values(self) -> FloatArray:
        """Decayed money at the moment: (n, C, K, H)."""
        return self._decayed(layout.PAIR_VALUES)

    @cached_property
    def occasions(self) -> FloatArray:
        """Decayed count of purchase occasions: (n, H)."""
        sums = self.states.scalars[:, layout.OCCASIONS : layout.OCCASIONS + len(HALF_LIVES_DAYS)]
        elapsed = np.nan_to_num(self.days_since(self.scalar("last_occasion")))
        return np.asarray(sums * np.exp2(-elapsed[:, None] / np.array(HALF_LIVES_DAYS)))

    @cached_property
    def hours(self) -> FloatArray:
        """Share of the customer's actions by hour of the week (Monday 00:00 UTC first), zeros without history: (n, 168)."""
        out = self.states.hours()
        return np.asarray(out / np.maximum(out.sum(axis=1, keepdims=True), 1e-12))

    def _open(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        shape = (len(self.as_of), layout.N_CHANNELS * layout.N_KINDS, *values.shape[1:])
        out = np.full(shape, fill)
        out[self.states.pair_codes.rows(), self.states.pair_codes.values] = values
        return out.reshape(shape[0], layout.N_CHANNELS, layout.N_KINDS, *values.shape[1:])

    def _decayed(self, first: int) -> FloatArray:
        stats = self.states.pair_stats.values
        elapsed = (self.as_of[self.states.pair_codes.rows()] - stats[:, layout.PAIR_LAST]) / DAY_S
        left = np.exp2(-elapsed[:, None] / np.array(HALF_LIVES_DAYS))
        return self._open(stats[:, first : first + len(HALF_LIVES_DAYS)] * left, 0.0)


def half_life(days: float) -> int:
    """The place of a half-life among HALF_LIVES_DAYS; raises SettingsError where the states do not keep it."""
    if days not in HALF_LIVES_DAYS:
        raise SettingsError(
            f"A signal needs the half-life of {days:g} days, which HALF_LIVES_DAYS in features/vocabulary.py lacks.",
            repair="Keep it there and add yours beside it, or take the signals named after it out of features/signals.py.",
        )
    return HALF_LIVES_DAYS.index(days)


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """`above / below`, NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def latest(times: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """The largest of `times` along `axis`, NaN where all are."""
    largest = np.max(np.where(np.isnan(times), -np.inf, times), axis=axis)
    return np.where(np.isneginf(largest), np.nan, largest)


@dataclass(frozen=True)
class Group:
    """Signals that are computed together: their names with a marketer's words, and the columns in that order."""

    words: dict[str, str]
    compute: Callable[[Moment], list[FloatArray]]  # arrays (n,) or (n, k), laid side by side
    part: Part | None = None
    """Where the same numbers are compiled, if they are."""

    @property
    def title(self) -> str:
        """What the group is called: its compiled part, or `single` for signals of one function each."""
        return "single" if self.part is None else self.part.name.lower()


def per_kind(name: str, words: str) -> dict[str, str]:
    """Names and words, both with {kind}, of one signal for each kind of event."""
    return {name.format(kind=kind.value): words.format(kind=text) for kind, text in KIND_WORDS.items()}


def per_channel(name: str, words: str) -> dict[str, str]:
    """Names and words, both with {channel}, of one signal for each channel."""
    return {
        name.format(channel=channel.value): words.format(channel=CHANNEL_WORDS.get(channel, channel.value))
        for channel in CHANNELS
    }
