"""How fast training states are found as of their moments, against a hand-written DuckDB ASOF join in the same run.

omni ingest complete-journey && omni features build && python tests/benchmarks/bench_point_in_time.py
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features.meter import Meter
from features.offline.timeline import read_timeline
from features.settings import Settings
from features.sql import connect, scan
from features.store.feature_store import Store
from features.views import CUSTOMER_VIEWS, TASK_VIEWS, View
from features.vocabulary import Columns, Task

ENTITY_ROWS = 100_000
REPEATS = 2


def draw_entities(settings: Settings) -> pd.DataFrame:
    """Random customers at random moments of the timeline, one customer in fifty unknown."""
    timeline = read_timeline(settings, [Columns.CUSTOMER_ID, Columns.OCCURRED_AT])
    customers = timeline[Columns.CUSTOMER_ID].unique().to_pylist()
    moments = timeline[Columns.OCCURRED_AT].cast(pa.int64()).to_numpy()
    rng = np.random.default_rng(5)
    names = np.array([*customers, *(f"nobody-{i}" for i in range(len(customers) // 50))], dtype=object)
    return pd.DataFrame(
        {
            Columns.CUSTOMER_ID: rng.choice(names, ENTITY_ROWS),
            Columns.AS_OF: pd.to_datetime(rng.integers(moments.min(), moments.max(), ENTITY_ROWS), unit="us", utc=True),
        }
    )


def asof_join(settings: Settings, entities: pd.DataFrame, views: list[View]) -> list[pa.Table]:
    """The same columns of the same rows by hand, in the entities' order."""
    tables = []
    for view in views:
        fields = ", ".join(f"s.{name}" for name, _ in view.fields)
        with connect() as connection:
            connection.register("entities", entities.reset_index(names="entity_row"))
            query = (
                f"SELECT {fields} FROM entities e ASOF LEFT JOIN {scan(view.path(settings))} s"
                " ON e.customer_id = s.customer_id AND e.as_of > s.event_timestamp ORDER BY e.entity_row"
            )
            tables.append(connection.sql(query).to_arrow_table())
    return tables


def measure(run: Callable[[], Any], name: str) -> tuple[float, float, Any]:
    """Best seconds of a few runs, the largest memory in MiB meanwhile, and what it returned."""
    best, peak, result = np.inf, 0.0, None
    for _ in range(REPEATS):
        result = None
        with Meter() as meter, meter.step(name):
            started = time.perf_counter()
            result = run()
            best = min(best, time.perf_counter() - started)
        peak = max(peak, meter.costs().peak_mib)
    return float(best), peak, result


def main() -> None:
    """Print one JSON object per task: seconds of both, their ratio, and peak memory."""
    settings = Settings.from_env(os.environ)
    entities, store = draw_entities(settings), Store(settings)
    store.apply()
    report: dict[str, Any] = {"entity_rows": ENTITY_ROWS}
    for task in (Task.CHURN, Task.NEXT_PRODUCT):
        views = [view for view in TASK_VIEWS[task] if view in CUSTOMER_VIEWS]
        plain_s, plain_mib, tables = measure(lambda views=views: asof_join(settings, entities, views), "ASOF join")
        expected = tables[0]["last_seq"].fill_null(0).to_numpy()
        del tables
        ours_s, ours_mib, states = measure(lambda task=task: store.training_states(entities, task), "training_states")
        assert np.array_equal(states.last_seq, expected), "the two disagree"
        report[task.value] = {
            "training_states_s": round(ours_s, 2),
            "asof_join_s": round(plain_s, 2),
            "ratio": round(ours_s / plain_s, 2),
            "training_states_peak_mib": round(ours_mib),
            "asof_join_peak_mib": round(plain_mib),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
