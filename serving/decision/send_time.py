"""When a customer is active, hour by hour of the week, in; the moment to reach them out."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.arrays import FloatArray, IntArray
from features.state.batch import StateBatch
from features.state.layout import N_HOURS
from features.vocabulary import CUSTOMER_KINDS, Channel, Columns
from serving.decision.rules import Rules, is_quiet

HOUR_S: Final = 3600.0
PRIOR_WEIGHT: Final = 80.0
"""How many occasions of their own it takes until a customer counts as much as the population (bench_timing.py)."""
_EPOCH_HOUR: Final = 72
"""The epoch was a Thursday: hour 0 of the week is Monday 00:00 UTC."""


def uniform_hours() -> FloatArray:
    """No hour of the week is better than another, shape (168,)."""
    return np.full(N_HOURS, 1.0 / N_HOURS)


def population_hours(timeline: Path) -> FloatArray:
    """Share of all customers' actions by hour of the week, shape (168,), from the timeline; uniform without one."""
    if not timeline.exists():
        return uniform_hours()
    counts = np.ones(N_HOURS)
    kinds = [kind.value for kind in CUSTOMER_KINDS]
    columns = [Columns.OCCURRED_AT, Columns.KIND]
    for batch in pq.ParquetFile(timeline).iter_batches(columns=columns, batch_size=500_000):
        acted = pc.is_in(batch[Columns.KIND].cast(pa.string()), value_set=pa.array(kinds))
        micros = batch[Columns.OCCURRED_AT].filter(acted).cast(pa.int64()).to_numpy()
        counts += np.bincount(hour_of_week(micros / 1e6), minlength=N_HOURS)
    return np.asarray(counts / counts.sum())


def hour_of_week(at_s: FloatArray) -> IntArray:
    """Seconds since the epoch to hours since Monday 00:00 UTC."""
    hours: IntArray = ((at_s // HOUR_S).astype(np.int64) + _EPOCH_HOUR) % N_HOURS
    return hours


def customer_hours(state: StateBatch, population: FloatArray) -> FloatArray:
    """Chance that a customer (n = 1) is active, per hour of the week (168,): their own hours, shrunk to everybody's."""
    own = state.hours()[0]
    spread = 0.25 * np.roll(own, 1) + 0.5 * own + 0.25 * np.roll(own, -1)
    return np.asarray((spread + PRIOR_WEIGHT * population) / (own.sum() + PRIOR_WEIGHT))


def coming_hours(hours: FloatArray, rules: Rules, as_of_s: float) -> list[tuple[float, datetime]]:
    """The hours of the day that begins at `as_of_s`, the likeliest of `hours` (168,) first.

    Each as its start, in seconds (`as_of_s` itself for the present hour), and in local time.
    """
    starts = np.floor(as_of_s / HOUR_S) * HOUR_S + HOUR_S * np.arange(24)
    order = np.argsort(-hours[hour_of_week(starts)], kind="stable")
    moments = np.maximum(starts, as_of_s)[order].tolist()
    return [(at_s, rules.local(at_s)) for at_s in moments]


def best_moment(
    coming: Sequence[tuple[float, datetime]], channel: Channel, rules: Rules, within: tuple[int, int] | None = None
) -> float | None:
    """The first allowed of the `coming_hours`, in seconds; `within` narrows to local hours [from, to).

    None where the channel is silent in all of them.
    """
    for at_s, local in coming:
        if (within is None or within[0] <= local.hour < within[1]) and not is_quiet(channel, rules, local):
            return at_s
    return None
