"""When a customer is active, hour by hour of the week, in; the moment to reach them out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays import FloatArray, IntArray
from features.errors import StoreError
from features.state.batch import StateBatch
from features.state.layout import HOUR_HALF_LIFE_DAYS, N_HOURS
from features.vocabulary import CUSTOMER_KINDS, DAY_S, Channel, Columns
from serving.decision.rules import Arm, Rules, is_quiet

HOUR_S: Final = 3600.0
QUARTER_S: Final = 900.0
STEP_S: Final = 600.0
"""Within a stretch of time that is longer, `send_at` moves on as it passes, in steps of this length."""
PRIOR_WEIGHT: Final = 80.0
"""How many occasions of their own it takes until a customer counts as much as the population (bench_timing.py)."""
_BATCH: Final = 65_536
_EPOCH_HOUR: Final = 72
"""The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC."""


def uniform_hours() -> FloatArray:
    """No hour of the week is better than another, shape (168,)."""
    return np.full(N_HOURS, 1.0 / N_HOURS)


def population_hours(timeline: Path) -> FloatArray:
    """Share of all customers' actions by hour of the week, shape (168,), from the timeline; uniform without one.

    Raises StoreError for a file that cannot be used.
    """
    counts = np.zeros(N_HOURS, np.int64)
    if not timeline.exists():
        return hour_shares(counts)
    columns = [Columns.OCCURRED_AT, Columns.KIND]
    try:
        for batch in pq.ParquetFile(timeline).iter_batches(columns=columns, batch_size=_BATCH, use_threads=False):
            counts += hour_counts(batch)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise StoreError(f"{timeline} cannot be used ({said}).", repair="Run: omni features build --force") from error
    return hour_shares(counts)


def hour_counts(events: pa.RecordBatch | pa.Table) -> IntArray:
    """How many actions of customers there are in each hour of the week (168,) among a timeline's events."""
    acted = pc.is_in(
        events[Columns.KIND].cast(pa.string()), value_set=pa.array([kind.value for kind in CUSTOMER_KINDS])
    )
    micros = events[Columns.OCCURRED_AT].filter(acted).cast(pa.int64()).to_numpy()
    return np.bincount(hour_of_week(micros / 1e6), minlength=N_HOURS)


def hour_shares(counts: IntArray) -> FloatArray:
    """Counts by hour of the week (168,) to shares; one is added to each, so that no hour is impossible."""
    return np.asarray((counts + 1.0) / (counts.sum() + N_HOURS))


def hour_of_week(at_s: FloatArray) -> IntArray:
    """Seconds since the epoch to hours since Monday 00:00 UTC."""
    hours: IntArray = ((at_s // HOUR_S).astype(np.int64) + _EPOCH_HOUR) % N_HOURS
    return hours


def customer_hours(state: StateBatch, population: FloatArray) -> FloatArray:
    """Chance that a customer (n = 1) is active, per hour of the week (168,): their own hours, shrunk to everybody's."""
    around = np.zeros(
        N_HOURS + 2
    )  # their own hours, with the last one before the first and the first one after the last
    own = around[1:-1]
    own[state.hour_bins.values] = state.hour_weights.values * _hours_left(state)
    around[0], around[-1] = own[-1], own[0]
    spread = 0.25 * around[:-2] + 0.5 * own + 0.25 * around[2:]
    return np.asarray((spread + PRIOR_WEIGHT * population) / (own.sum() + PRIOR_WEIGHT))


def many_hours(states: StateBatch, population: FloatArray) -> FloatArray:
    """`customer_hours` of n customers (n, 168)."""
    own = states.hours()
    spread = 0.25 * np.roll(own, 1, axis=1) + 0.5 * own + 0.25 * np.roll(own, -1, axis=1)
    return np.asarray((spread + PRIOR_WEIGHT * population) / (own.sum(axis=1, keepdims=True) + PRIOR_WEIGHT))


def coming_hours(hours: FloatArray, rules: Rules, as_of_s: float) -> list[tuple[float, datetime]]:
    """The hours of the day that begins at `as_of_s`, the likeliest of `hours` (168,) first.

    Each as its start, in seconds (`as_of_s` itself for the present hour), and in local time.
    """
    of_week, moments = day_from(as_of_s, rules.zone)
    return [moments[i] for i in np.argsort(-hours[of_week], kind="stable").tolist()]


def best_moment(
    coming: Sequence[tuple[float, datetime]],
    channel: Channel,
    rules: Rules,
    within: tuple[int, int] | None = None,
    before_s: float = math.inf,
) -> float | None:
    """The first allowed moment in the likeliest of the `coming_hours` that has any, in seconds.

    `within` narrows to local hours [from, to). None where the channel is silent in all of them, up to `before_s`.
    """
    for at_s, _ in coming:
        for moment_s, clock in _moments(at_s, rules.zone, rules.quiet_hours.end):
            if moment_s < before_s and is_open(channel, rules, clock, within):
                return moment_s
    return None


def is_open(channel: Channel, rules: Rules, local: datetime, within: tuple[int, int] | None) -> bool:
    """Whether a channel may be used at that local time: not in its quiet hours, and in the hours [from, to) of `within`."""
    return (within is None or within[0] <= local.hour < within[1]) and not is_quiet(channel, rules, local)


@dataclass(frozen=True)
class Plan:
    """When one customer, likely active in `hours` (168,), is reached best; days are looked up once for all arms."""

    hours: FloatArray
    rules: Rules
    _days: dict[float, list[tuple[float, datetime]]] = field(default_factory=dict)

    def moment(self, arm: Arm, from_s: float, before_s: float = math.inf) -> float | None:
        """The best moment for an arm in [from_s, before_s), in seconds; a second day counts where the first has none.

        That is so where the clocks leave out the only hour, or it has begun. None for no channel, and where the channel is
        silent in all of the arm's hours.
        """
        if arm.channel is None:
            return None
        for start_s in (from_s, next_day(from_s)):
            if start_s >= before_s:
                return None
            if start_s not in self._days:
                self._days[start_s] = coming_hours(self.hours, self.rules, start_s)
            moment_s = best_moment(self._days[start_s], arm.channel, self.rules, arm.hours, before_s)
            if moment_s is not None:
                return moment_s
        return None


@lru_cache(maxsize=1_024)
def moment_of(at_s: float) -> datetime:
    """Seconds since the epoch as a moment; many customers share a few."""
    return datetime.fromtimestamp(at_s, UTC)


def next_day(from_s: float) -> float:
    """Where the hours after those of the day that begins at `from_s` begin."""
    return from_s // HOUR_S * HOUR_S + DAY_S


def earliest_moment(now_s: float, bucket_s: float) -> float:
    """The earliest moment to send at, for everybody who asks in the same step of a stretch of time: the step's end.

    So two channels get the same answer, and neither gets a moment that is over. A step is the stretch, or STEP_S of it.
    """
    start = now_s // bucket_s * bucket_s
    return min(step_start(now_s, bucket_s) + min(bucket_s, STEP_S), start + bucket_s)


def step_start(now_s: float, bucket_s: float) -> float:
    """Where the step begins that `now_s` lies in."""
    start, step = now_s // bucket_s * bucket_s, min(bucket_s, STEP_S)
    return start + (now_s - start) // step * step


@lru_cache(maxsize=1_024)
def day_from(as_of_s: float, zone: ZoneInfo) -> tuple[IntArray, tuple[tuple[float, datetime], ...]]:
    """The 24 hours from `as_of_s` on: each one's hour of the week (24,), and its start in seconds and in local time.

    Remembered, because everybody who is asked about in one stretch of time has the same day ahead.
    """
    starts = np.floor(as_of_s / HOUR_S) * HOUR_S + HOUR_S * np.arange(24)
    moments = np.maximum(starts, as_of_s).tolist()
    return hour_of_week(starts), tuple((at_s, _local(at_s, zone)) for at_s in moments)


def _hours_left(state: StateBatch) -> float:
    """What is left of the weights of a customer's (n = 1) hours as of their last action; see `StateBatch.hours`."""
    later_days = (state.scalar("last_action")[0] - state.scalar("hours_from")[0]) / DAY_S
    return 1.0 if math.isnan(later_days) else float(np.exp2(-later_days / HOUR_HALF_LIFE_DAYS))


@lru_cache(maxsize=4_096)
def _moments(at_s: float, zone: ZoneInfo, quiet_end: time) -> tuple[tuple[float, datetime], ...]:
    """`at_s` and the later moments of its hour at which the clock's hour or the quiet may change, in order.

    Zones lie whole quarters of an hour apart, and clocks are put forward and back at whole quarters. Remembered, because all
    arms, and in bulk all customers, ask for the same hours.
    """
    moments, end_s = [], at_s // HOUR_S * HOUR_S + HOUR_S
    while at_s < end_s:
        local = _local(at_s, zone)
        moments.append((at_s, local))
        next_s = at_s // QUARTER_S * QUARTER_S + QUARTER_S
        wait_s = (datetime.combine(local.date(), quiet_end, local.tzinfo) - local).total_seconds()
        if 0 < wait_s < next_s - at_s:
            moments.append((at_s + wait_s, _local(at_s + wait_s, zone)))
        at_s = next_s
    return tuple(moments)


@lru_cache(maxsize=4_096)
def _local(at_s: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone)
