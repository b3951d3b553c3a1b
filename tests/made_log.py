"""Timelines made row by row, and a log of a random hold-out whose lift is known."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.offline.timeline import ORDER, TIMELINE_SCHEMA
from serving.decision.holdout import holdout_flag, is_held_out
from serving.decision.rules import Rules

START = datetime(2024, 3, 1, tzinfo=UTC)
ORDER_VALUE, CONTACT_COST, SENDS, DAYS = 20.0, 0.5, 4, 28
"""Of a made log: mean money per order, money per contact, contacts per customer contacted, days of its period."""


def event(customer: str, day: float, kind: str, channel: str, **fields: Any) -> dict[str, Any]:
    """One row; `day` counts from START."""
    return {
        "customer_id": customer,
        "occurred_at": START + timedelta(days=day),
        "kind": kind,
        "channel": channel,
        **fields,
    }


def write_timeline(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the timeline's order and columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filled = [{"event_id": f"e{i:06d}", "seq": i, "product_code": 0, **row} for i, row in enumerate(rows)]
    table = pa.Table.from_pylist(filled, schema=TIMELINE_SCHEMA)
    pq.write_table(table.sort_by([(name, "ascending") for name in ORDER]), path)
    return path


def made_log(seed: int, n: int = 1_200, share: float = 0.25, lift: float = 1.0) -> list[dict[str, Any]]:
    """Customers decided for on day 0; those not held out get SENDS e-mails and buy `lift` orders more in DAYS days."""
    rng = np.random.default_rng(seed)
    rules = Rules(holdout_share=share, holdout_name=f"made-{seed}")
    ids = [f"C{i:05d}" for i in range(n)]
    held = np.array([is_held_out(one, rules) for one in ids])
    usual = rng.gamma(1.0, 2.0, n)  # orders in DAYS days
    rows = [
        event(one, 0, "decision", "web", decision_id=f"d-{one}", properties=json.dumps(holdout_flag(one, rules)))
        for one in ids
    ]
    for begin, rate in ((-DAYS, usual), (0, usual + lift * ~held)):
        for i, orders in enumerate(rng.poisson(rate)):
            days, values = begin + DAYS * rng.random(orders), rng.gamma(2.0, ORDER_VALUE / 2, orders)
            rows += [
                event(ids[i], day, "purchase", "store", value=value) for day, value in zip(days, values, strict=True)
            ]
    for i in np.flatnonzero(~held):
        rows += [event(ids[i], day, "send", "email") for day in DAYS * rng.random(SENDS)]
    return rows
