"""How fast the fold is on one core, against the same fold in plain Python in the same run.

omni ingest complete-journey && omni features build && python tests/benchmarks/bench_fold.py
"""

import json
import os
import time
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from features.offline.timeline import read_timeline
from features.settings import Settings
from features.state import kernel, kernel_batch
from features.state.event_arrays import event_arrays
from features.state.layout import new_buffers

PLAIN_EVENTS = 2_000
REPEATS = 3


@njit
def update_only(scratch: Any, events: Any, customers: Any) -> None:
    """The fold without writing a row after every moment."""
    for i in range(len(customers)):
        if i == 0 or customers[i] != customers[i - 1]:
            kernel.reset(scratch)
        kernel.apply_events(scratch, events, i, i + 1)


def with_rows(scratch: Any, events: Any, customers: Any, buffers: Any) -> int:
    """The fold as the build runs it: an encoded state after every distinct (customer, time); returns the rows."""
    start = n_rows = 0
    while start < len(customers):
        start, written = kernel_batch.fold_rows(scratch, events, customers, start, buffers)
        n_rows += written
    return n_rows


def cpu_seconds(run: Any) -> float:
    """Best of a few runs, in CPU seconds of this process."""
    best = np.inf
    for _ in range(REPEATS):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return float(best)


def main() -> None:
    """Print one JSON object with rates and ratios."""
    timeline = read_timeline(Settings.from_env(os.environ))
    customers = timeline["customer_id"].combine_chunks().dictionary_encode()
    if isinstance(customers, pa.ChunkedArray):
        customers = customers.combine_chunks()
    rows = customers.indices.to_numpy().astype(np.int64)
    events, scratch, buffers = event_arrays(timeline), kernel.new_scratch(), new_buffers(20_000)
    few = type(events)(*(column[:PLAIN_EVENTS] for column in events))
    update_only(scratch, few, rows[:PLAIN_EVENTS])  # compile
    with_rows(scratch, few, rows[:PLAIN_EVENTS], buffers)
    update_s = cpu_seconds(lambda: update_only(scratch, events, rows))
    rows_s = cpu_seconds(lambda: with_rows(scratch, events, rows, buffers))
    n_rows = with_rows(scratch, events, rows, buffers)

    def plain() -> None:
        fresh, first = kernel.new_scratch(), 0
        for i in range(PLAIN_EVENTS):
            if i == 0 or rows[i] != rows[i - 1]:
                kernel.reset.py_func(fresh)
                first = i
            kernel.apply_event.py_func(fresh, few, first, i, False)

    plain_rate = PLAIN_EVENTS / cpu_seconds(plain)
    print(
        json.dumps(
            {
                "events": len(rows),
                "state_rows": n_rows,
                "million_events_per_s": {
                    "fold": round(len(rows) / update_s / 1e6, 2),
                    "fold_and_every_state_encoded": round(len(rows) / rows_s / 1e6, 2),
                },
                "times_plain_python": round(len(rows) / update_s / plain_rate),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
