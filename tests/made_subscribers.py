"""A log of subscribers of whom it is known how fast they leave: those who come by seldom leave five times as fast."""

import json

import numpy as np
import pandas as pd
from made_contacts import event

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
