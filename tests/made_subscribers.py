"""A log of subscribers of whom it is known how fast they leave: those who come by seldom leave five times as fast."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
from made_contacts import event

from training.benchmarks.report import MemoryStates, as_timeline

N_DAYS = 300
HAZARD = {True: 0.02, False: 0.004}
"""Chance per day that the contract ends, of who comes by seldom and of who comes often."""
SMALL = ["step_days=28", "warmup_days=28", "contract.max_rounds=50", "contract.min_data_in_leaf=20"]


def subscribers(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Events of `n` customers, who subscribe on any day but the last and visit until they unsubscribe; every even one seldom.

    A third has a plan that ends after 90 days unless it is renewed, which nobody does.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        name, seldom = f"c{i:04}", i % 2 == 0
        begin = rng.uniform(0, N_DAYS - 20)
        stays = rng.exponential(1 / HAZARD[seldom])
        plan = {"product_id": "box", "value": 20.0}
        if i % 3 == 0:
            ends = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=begin + 90)
            plan |= {"product_id": "quarter", "properties": json.dumps({"ends_at": ends.isoformat()})}
            left = min(stays, 90)
        else:
            left = stays
        rows.append(event(f"s{i}", name, begin, "subscribe", "web", **plan))
        if left == stays and begin + left < N_DAYS:
            rows.append(event(f"u{i}", name, begin + left, "unsubscribe", "web", product_id=plan["product_id"]))
        day = begin
        while (day := day + rng.exponential(15 if seldom else 3)) < min(begin + left, N_DAYS):
            rows.append(event(f"v{i}-{day:.3f}", name, day, "visit", "web"))
    return pd.DataFrame([*rows, event("end", "z", N_DAYS, "visit", "web")])


def as_log(events: pd.DataFrame) -> tuple[pa.Table, MemoryStates]:
    """The timeline with what the properties say to the fold, and the states of it."""
    from features.events.payload import detail_column

    timeline = as_timeline(events)
    said = events.set_index("event_id")["properties"] if "properties" in events else pd.Series(dtype=object)
    texts = [said.get(event_id) for event_id in timeline["event_id"].to_pylist()]
    plain = pa.array([text if isinstance(text, str) else None for text in texts], pa.string())
    timeline = timeline.append_column("properties", plain)
    timeline = timeline.append_column("detail", pa.array(detail_column(timeline), from_pandas=True))
    return timeline, MemoryStates(timeline)
