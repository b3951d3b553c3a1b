"""A log of lapsing customers of whom it is known whom an e-mail brings back: those who shop in the app."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa

from features.events.payload import detail_column
from training.benchmarks.report import MemoryStates, as_timeline

START = pd.Timestamp("2024-01-01", tz="UTC")
CONFIG = ["horizon_days=28", "wait_days=14", "min_data_in_leaf=30", "max_rounds=30"]


def lapsing_customers(n: int = 1500, effect: float = 0.4, seed: int = 0) -> pd.DataFrame:
    """Events of `n` customers: purchases ten days apart, a decision 30 days later, and then a visit or nothing.

    A contact raises the chance of the visit by `effect` for shoppers in the app and lowers it for those on the web.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        name, in_app = f"c{i:04}", i % 2 == 0
        channel = "app" if in_app else "web"
        first = rng.uniform(0, 30)
        rows += [event(f"p{i}-{k}", name, first + 10 * k, "purchase", channel, value=5.0) for k in range(3)]
        sent = rng.random() < 0.5
        arm = "email" if sent else "nothing"
        properties = json.dumps({"arm": arm, "pscore": 0.5, "chances": {"email": 0.5, "nothing": 0.5}})
        named = {"properties": properties, "decision_id": f"d{i}"}
        rows.append(event(f"d{i}", name, first + 50, "decision", "email" if sent else "web", **named))
        if sent:
            rows.append(event(f"s{i}", name, first + 50.1, "send", "email", decision_id=f"d{i}"))
        chance = 0.5 + (effect if in_app else -effect) * sent
        if rng.random() < chance:
            rows.append(event(f"v{i}", name, first + 50 + 20, "visit", channel))
    return pd.DataFrame([*rows, event("end", "z", 140, "visit", "web")])


def event(event_id: str, customer: str, day: float, kind: str, channel: str, **more: object) -> dict[str, object]:
    at = (START + pd.Timedelta(days=day)).floor("us")
    return {"event_id": event_id, "customer_id": customer, "occurred_at": at, "kind": kind, "channel": channel, **more}


def as_log(events: pd.DataFrame) -> tuple[pa.Table, MemoryStates]:
    """The timeline with the events' properties and what they say to the fold, and the states of it."""
    timeline = as_timeline(events)
    for name in ("properties", "decision_id"):
        said = events.set_index("event_id")[name] if name in events else pd.Series(dtype=object)
        texts = [said.get(event_id) for event_id in timeline["event_id"].to_pylist()]
        plain = pa.array([text if isinstance(text, str) else None for text in texts], pa.string())
        if name in timeline.column_names:
            timeline = timeline.drop_columns(name)
        timeline = timeline.append_column(name, plain)
    timeline = timeline.append_column("detail", pa.array(detail_column(timeline), from_pandas=True))
    return timeline, MemoryStates(timeline)
