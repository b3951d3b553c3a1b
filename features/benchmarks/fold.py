"""Numbers of simulated events come in; how fast they fold, in how much memory, and what plain SQL and pandas take, go out.

All on one core: seconds are CPU seconds of this process. A fold starts from event columns in memory and ends with encoded
state rows in memory; files are another matter. Events are made in pieces, so no number of them needs more memory.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from features.benchmarks.baselines import BASELINES, PairFeatures, from_rows, without_returned
from features.benchmarks.timelines import Piece, make_events
from features.console import to_plain
from features.meter import Meter, release_memory
from features.state import kernel, kernel_batch
from features.state.fold import changes_state
from features.state.layout import EventArrays, new_buffers

BASELINE_EVENTS: Final = 1_000_000
TOLERANCE: Final = 1e-5
"""Relative difference up to which two ways of computing a feature are the same: the fold's sums are of single precision."""
_ROWS: Final = 2_000
_PROTOCOL: Final = {
    "newest": "every event folded into the complete state, one encoded row per customer, as the online store keeps it",
    "every_moment": "the same with an encoded row after every distinct moment, as the offline store keeps it",
    "baselines": (
        f"the first {BASELINE_EVENTS:,} events; per customer, channel and kind the last time, the total and the decayed "
        "counts and values of five half-lives, and per customer the purchase occasions; nothing else of the state"
    ),
    "returns": "the other ways are given purchases without what went back, and are not charged for finding it",
    "seconds": "CPU seconds, one thread, without making the events",
}


@dataclass(frozen=True)
class FoldSize:
    """One number of events, folded."""

    events: int
    customers: int
    state_rows: int
    seconds: dict[str, float]
    events_per_s: dict[str, float]
    peak_mib: float


@dataclass(frozen=True)
class Baseline:
    """One other way to a part of the features, beside the fold of the same events into the complete state."""

    seconds: float
    events_per_s: float
    times_the_fold: float
    largest_difference: float
    """From the fold's values, relative."""


@dataclass(frozen=True)
class FeaturesReport:
    """What `omni benchmark features` answers."""

    sizes: tuple[FoldSize, ...]
    growth: dict[str, float]
    baselines: dict[str, Baseline]
    protocol: dict[str, str]
    seed: int

    @property
    def equal(self) -> bool:
        """Whether all ways came to the same values."""
        return all(other.largest_difference <= TOLERANCE for other in self.baselines.values())

    def write(self, path: Path) -> None:
        """Write the report as one JSON object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_plain(self), indent=2) + "\n", encoding="utf-8")

    def __rich__(self) -> Any:
        """Two tables, for a person."""
        from rich.console import Group
        from rich.table import Table

        sizes = Table(title="The fold, complete state, one core", title_justify="left", box=None, pad_edge=False)
        others = Table(title="A part of it in other ways", title_justify="left", box=None, pad_edge=False)
        for table, names in (
            (sizes, ("events", "customers", "newest events/s", "states", "every moment events/s", "peak MiB")),
            (others, ("way", "seconds", "events/s", "times the fold", "largest difference")),
        ):
            for name in names:
                table.add_column(name, justify="left" if name == "way" else "right")
        for size in self.sizes:
            newest, every = size.events_per_s["newest"], size.events_per_s["every_moment"]
            figures = (size.events, size.customers, newest, size.state_rows, every, size.peak_mib)
            sizes.add_row(*(f"{figure:,.0f}" for figure in figures))
        for name, other in self.baselines.items():
            others.add_row(
                name,
                f"{other.seconds:.2f}",
                f"{other.events_per_s:,.0f}",
                f"{other.times_the_fold:.1f}",
                f"{other.largest_difference:.1e}",
            )
        growth = ", ".join(f"{name.replace('_', ' ')} {value:,.2f}" for name, value in self.growth.items())
        return Group(sizes, growth, "", others)


def benchmark_features(numbers: list[int], seed: int) -> FeaturesReport:
    """Fold each number of events, and the first million in other ways too; tells on stderr how far it is."""
    folder = _Folder()
    folder.compile(seed)
    with Meter() as meter:
        sizes = []
        for n_events in sorted(set(numbers)):
            release_memory()
            with meter.step(f"Folding {n_events:,} events") as progress:
                figures = folder.fold(make_events(n_events, seed), n_events, progress)
            sizes.append(FoldSize(**figures, peak_mib=meter.costs().steps[-1].peak_mib))
    release_memory()
    return FeaturesReport(tuple(sizes), _growth(sizes), folder.compare(max(numbers), seed), dict(_PROTOCOL), seed)


class _Folder:
    """The fold's scratch and buffers, used again and again."""

    def __init__(self) -> None:
        self._scratch = kernel.new_scratch()
        self._buffers = new_buffers(_ROWS)

    def compile(self, seed: int) -> None:
        piece = next(make_events(1_000, seed))
        for fold in (kernel_batch.fold_newest, kernel_batch.fold_rows):
            self._run(fold, piece)

    def fold(self, pieces: Iterator[Piece], n_events: int, progress: Callable[[str], None]) -> dict[str, Any]:
        """Every figure of a `FoldSize` but the memory."""
        seconds, customers, rows, done = {"newest": 0.0, "every_moment": 0.0}, 0, 0, 0
        for piece in pieces:
            with _timed(seconds, "newest"):
                customers += self._run(kernel_batch.fold_newest, piece)
            with _timed(seconds, "every_moment"):
                rows += self._run(kernel_batch.fold_rows, piece)
            done += len(piece)
            progress(f"{done:,} of {n_events:,} events, {done / seconds['newest']:,.0f} a second")
        return {
            "events": done,
            "customers": customers,
            "state_rows": rows,
            "seconds": seconds,
            "events_per_s": {name: done / spent for name, spent in seconds.items()},
        }

    def compare(self, n_events: int, seed: int) -> dict[str, Baseline]:
        """The first events in other ways."""
        pieces = list(make_events(min(n_events, BASELINE_EVENTS), seed))
        seconds: dict[str, float] = {"fold": 0.0}
        expected = []
        for piece in pieces:
            with _timed(seconds, "fold"):
                start = n_rows = 0
                while start < len(piece):
                    start, n_rows = kernel_batch.fold_newest(
                        self._scratch, piece.events, piece.customers, start, self._buffers
                    )
                    expected.append(from_rows(self._buffers, n_rows))
        events = pd.concat([_frame(piece) for piece in pieces], ignore_index=True)
        baselines = {}
        for name, compute in BASELINES.items():
            seconds[name] = 0.0
            with _timed(seconds, name):
                features = compute(events)
            baselines[name] = Baseline(
                seconds=seconds[name],
                events_per_s=sum(map(len, pieces)) / seconds[name],
                times_the_fold=seconds[name] / seconds["fold"],
                largest_difference=PairFeatures.concat(expected).difference(features),
            )
        return baselines

    def _run(self, fold: Callable[..., tuple[int, int]], piece: Piece) -> int:
        start = n_rows = 0
        while start < len(piece):
            start, written = fold(self._scratch, piece.events, piece.customers, start, self._buffers)
            n_rows += written
        return n_rows


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    seconds[name] += time.process_time() - started


def _growth(sizes: list[FoldSize]) -> dict[str, float]:
    """From the smallest number of events to the largest: 1 is linear in time; memory beyond the smallest's is the growth."""
    if len(sizes) < 2:
        return {}
    small, large = sizes[0], sizes[-1]
    more = math.log(large.events / small.events)
    return {
        "seconds_exponent": math.log(large.seconds["newest"] / small.seconds["newest"]) / more,
        "peak_mib_per_million_events": (large.peak_mib - small.peak_mib) / (large.events - small.events) * 1e6,
    }


def _frame(piece: Piece) -> pd.DataFrame:
    """The columns that SQL and pandas need, of the events that change a state; purchases as far as they were kept."""
    changes = changes_state(piece.events)
    events = EventArrays._make(column[changes] for column in piece.events)
    frame = pd.DataFrame(
        {
            "customer": piece.customers[changes],
            "time": events.time,
            "channel": events.channel,
            "kind": events.kind,
            "product": events.product,
            "quantity": events.quantity,
            "value": events.value,
        }
    )
    return without_returned(frame)[["customer", "time", "channel", "kind", "value"]].reset_index(drop=True)
