"""Proof that batch and live agree: what happened is replayed; every signal, exposure and number of a product is compared.

So are the signals as they are compiled and as they are written to be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.checks.product_parity import PRODUCT_NAMES, product_numbers
from features.checks.replay import put_together, relive
from features.console import Progress
from features.errors import MissingError
from features.offline.files import scan_path
from features.settings import Settings
from features.signals import compute_signals, read_signals, signal_names
from features.sql import connect, scan
from features.state.batch import StateBatch
from features.state.encoding import decode, encode
from features.state.fold import customer_arrays, fold_customer, fold_newer, with_said
from features.state.layout import EXPOSURE_LAST, EXPOSURE_WIDTH, N_EXPOSURES
from features.vocabulary import DAY_S, Columns

MOMENTS_PER_CUSTOMER: Final = 5
TOLERANCE: Final = 1e-6
"""Largest relative difference that still counts as equal."""
_EXPOSURE_NAMES: Final = tuple(
    f"exposure {place} {name}"
    for place in range(N_EXPOSURES)
    for name in ("code", "last", "ignored", "channel", "earlier")
)
"""What is compared of the products and campaigns that the rules let rest: all that a state holds, by ascending code."""
_CODES_COMPARED: Final = 65_521
"""A prime: of codes that differ, one pair in so many leaves the same remainder."""


@dataclass(frozen=True)
class ParityReport:
    """How many values were compared, how many differ, and the worst signal.

    `put_together` of the customers were several once, and had their identities found out again event by event. `products`
    counts those that had sold at each of the moments that products are compared at.
    """

    customers: int
    put_together: int
    products: int
    events: int
    values: int
    different: int
    largest_difference: float
    worst_signal: str
    equal: bool


def check_parity(settings: Settings, customers: int, seed: int, progress: Progress) -> ParityReport:
    """Replay `customers` drawn by `seed`, and all purchases, through the live folds and compare at random moments.

    Of customers who were put together from several, the events of all whom they ever had to do with go through a log of
    their own, so that merges are found out again as they were found out live.

    Between events the live state is encoded and decoded as the online store would. Raises MissingError before the
    first build.
    """
    if not settings.customer_state_path.exists():
        raise MissingError("There are no features to compare with.", repair="Run: omni features build")
    rng = np.random.default_rng(seed)
    tally, n_events, n_products = _Tally(), 0, 0
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
        tally.compare(compute_signals(batch, as_of), compute_signals(live, as_of), signal_names())
        tally.compare(read_signals(batch, as_of), compute_signals(batch, as_of), signal_names())
        tally.compare(_exposures(batch), _exposures(live), _EXPOSURE_NAMES)
        n_events += timeline.num_rows
        if (i + 1) % 10 == 0 or i + 1 == len(ids):
            progress(f"{i + 1:,} of {len(ids):,} customers, {tally.different:,} differences")
    for of_training, of_serving in product_numbers(settings, rng):
        tally.compare(of_training, of_serving, PRODUCT_NAMES)
        n_products += len(of_training)
    progress(f"{n_products:,} products at random moments, {tally.different:,} differences")
    return ParityReport(
        customers=len(ids),
        put_together=n_together,
        products=n_products,
        events=n_events,
        values=tally.values,
        different=tally.different,
        largest_difference=tally.largest,
        worst_signal=tally.worst,
        equal=tally.different == 0,
    )


@dataclass
class _Tally:
    """What was compared so far."""

    values: int = 0
    different: int = 0
    largest: float = 0.0
    worst: str = ""

    def compare(self, batch: NDArray[np.floating], live: NDArray[np.floating], names: Sequence[str]) -> None:
        """Two tables (n, F) of what `names` (F,) say."""
        difference = relative_difference(batch, live)
        self.values += difference.size
        self.different += int((difference > TOLERANCE).sum())
        if difference.max(initial=0.0) > self.largest:
            self.largest = float(difference.max())
            self.worst = names[int(np.unravel_index(difference.argmax(), difference.shape)[1])]


def _exposures(states: StateBatch) -> FloatArray:
    """The exposures of states (n, len(_EXPOSURE_NAMES)), NaN where there are fewer; small, so that each digit counts."""
    found = np.full((len(states), N_EXPOSURES, 1 + EXPOSURE_WIDTH), np.nan)
    for row, last_event_s in enumerate(states.scalar("last_event")):
        codes, stats = states.exposure_code[row], states.exposure_stats[row].copy()
        stats[:, EXPOSURE_LAST] = last_event_s - stats[:, EXPOSURE_LAST]
        order = np.argsort(codes)
        found[row, : len(codes)] = np.column_stack([codes % _CODES_COMPARED, stats])[order]
    return found.reshape(len(states), -1)


def relative_difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> FloatArray:
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
            fresh = timeline.slice(at, upto - at)
            newer = fold_newer(state, customer_arrays(fresh))
            state = fold_customer(timeline.slice(0, upto)) if newer is None else with_said(newer, fresh)
            state = decode(*encode(state, [""]))
            at = upto
        reached.append(state)
    return StateBatch.concat(reached)
