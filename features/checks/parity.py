"""Proof that batch and live agree: customers are replayed event by event and every signal is compared with the build."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.arrays import Float32Array, FloatArray
from features.checks.replay import put_together, relive
from features.console import Progress
from features.errors import MissingError
from features.offline.files import scan_path
from features.settings import Settings
from features.signals import SIGNAL_NAMES, compute_signals
from features.sql import connect, scan
from features.state.batch import StateBatch
from features.state.encoding import decode, encode
from features.state.fold import fold_events
from features.vocabulary import DAY_S, Columns

MOMENTS_PER_CUSTOMER: Final = 5
TOLERANCE: Final = 1e-6
"""Largest relative difference that still counts as equal."""


@dataclass(frozen=True)
class ParityReport:
    """How many values were compared, how many differ, and the worst signal.

    `put_together` of the customers were several once, and had their identities found out again event by event.
    """

    customers: int
    put_together: int
    events: int
    values: int
    different: int
    largest_difference: float
    worst_signal: str
    equal: bool


def check_parity(settings: Settings, customers: int, seed: int, progress: Progress) -> ParityReport:
    """Replay `customers` drawn by `seed` through the live fold and compare with the offline rows at random moments.

    Of customers who were put together from several, the events of all whom they ever had to do with go through a log of
    their own, so that merges are found out again as they were found out live.

    Between events the live state is encoded and decoded as the online store would. Raises MissingError before the
    first build.
    """
    if not settings.customer_state_path.exists():
        raise MissingError("There are no features to compare with.", repair="Run: omni features build")
    rng = np.random.default_rng(seed)
    n_events = n_values = n_different = 0
    largest, worst = 0.0, ""
    together = put_together(settings)
    ids = _draw(settings, customers, together, rng)
    n_together = sum(customer_id in together for customer_id in ids)
    for i, customer_id in enumerate(ids):
        timeline, stored = _read(settings, customer_id)
        rows = rng.choice(stored.num_rows, min(MOMENTS_PER_CUSTOMER, stored.num_rows), replace=False)
        stored = stored.take(pa.array(np.sort(rows)))
        batch, stops = decode(stored, None), stored[Columns.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
        as_of = stops / 1e6 + rng.exponential(10 * DAY_S, len(batch))
        live = relive(settings, customer_id, stops) if customer_id in together else _replay(timeline, stops / 1e6)
        difference = relative_difference(compute_signals(batch, as_of), compute_signals(live, as_of))
        n_events += timeline.num_rows
        n_values += difference.size
        n_different += int((difference > TOLERANCE).sum())
        if difference.max(initial=0.0) > largest:
            largest = float(difference.max())
            worst = SIGNAL_NAMES[int(np.unravel_index(difference.argmax(), difference.shape)[1])]
        if (i + 1) % 10 == 0 or i + 1 == len(ids):
            progress(f"{i + 1:,} of {len(ids):,} customers, {n_different:,} differences")
    return ParityReport(len(ids), n_together, n_events, n_values, n_different, largest, worst, equal=n_different == 0)


def relative_difference(a: Float32Array, b: Float32Array) -> FloatArray:
    """|a - b| relative to the larger of the two and 1; two NaN are equal, NaN against a number is infinitely far."""
    one_missing = np.isnan(a) != np.isnan(b)
    x, y = np.nan_to_num(a.astype(np.float64)), np.nan_to_num(b.astype(np.float64))
    return np.where(one_missing, np.inf, np.abs(x - y) / np.maximum(1.0, np.maximum(np.abs(x), np.abs(y))))


def _draw(settings: Settings, n: int, together: set[str], rng: np.random.Generator) -> list[str]:
    """Customers at random; half of those who were put together, as far as there are any, so that they are not missed."""
    first = sorted(together)
    with connect() as connection:
        ids = connection.execute(
            f"SELECT DISTINCT customer_id FROM {scan(scan_path(settings.customer_state_path))} ORDER BY 1"
        ).fetchall()
    drawn = [first[i] for i in rng.choice(len(first), min(n // 2, len(first)), replace=False)]
    others = sorted({name for (name,) in ids} - set(drawn))
    return drawn + [others[i] for i in rng.choice(len(others), min(n - len(drawn), len(others)), replace=False)]


def _read(settings: Settings, customer_id: str) -> tuple[pa.Table, pa.Table]:
    """The customer's events and stored states, both in time order."""
    mine = [(Columns.CUSTOMER_ID, "=", customer_id)]
    timeline = pq.read_table(settings.timeline_path, filters=mine)
    stored = pq.read_table(settings.customer_state_path, filters=mine)
    by_time = [(Columns.OCCURRED_AT, "ascending"), (Columns.EVENT_ID, "ascending")]
    return timeline.sort_by(by_time), stored.sort_by(Columns.EVENT_TIMESTAMP)


def _replay(timeline: pa.Table, stops: FloatArray) -> StateBatch:
    """The live states (ascending `stops`, seconds) after the events up to and including each stop."""
    seconds = timeline[Columns.OCCURRED_AT].cast(pa.int64()).to_numpy() / 1e6
    state, at, reached = StateBatch.empty(1), 0, []
    for stop in stops:
        end = int(np.searchsorted(seconds, stop, side="right"))
        for moment in pd.unique(seconds[at:end]):
            upto = int(np.searchsorted(seconds, moment, side="right"))
            state = fold_events(state, timeline.slice(at, upto - at))
            state = decode(*encode(state, [""]))
            at = upto
        reached.append(state)
    return StateBatch.concat(reached)
