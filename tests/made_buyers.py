"""Customers who buy regularly until they stop for ever: purchases whose churn can be learned."""

import numpy as np
import pandas as pd


def regular_buyers(n: int) -> pd.DataFrame:
    """customer_id, occurred_at and value of `n` customers, who buy every 3 to 9 days from the new year 2024 on."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n):
        stop, gap, day = rng.uniform(20, 400), rng.uniform(3, 9), rng.uniform(0, 9)
        while day < min(stop, 182):
            rows.append((f"c{i:03}", pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=day), 10.0))
            day += gap * rng.uniform(0.7, 1.3)
    return pd.DataFrame(rows, columns=["customer_id", "occurred_at", "value"])
