"""Logged decisions as rows to learn from: who is in a hold-out was never drawn for, and teaches nothing about the draw."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features.vocabulary import NOTHING
from training.data.rewards import RewardConfig, decision_entities

END = datetime(2024, 4, 1, tzinfo=UTC)


def decision(customer: str, arm: str, pscore: float, **properties: Any) -> dict[str, Any]:
    return {
        "customer_id": customer,
        "occurred_at": datetime(2024, 3, 1, tzinfo=UTC),
        "event_id": f"d-{customer}",
        "decision_id": f"d-{customer}",
        "kind": "decision",
        "channel": "web",
        "value": float("nan"),
        "properties": json.dumps({"arm": arm, "pscore": pscore, **properties}),
    }


def flag(held_out: bool) -> dict[str, Any]:
    return {"name": "holdout", "share": 0.1, "held_out": held_out}


def test_forced_nothings_of_a_hold_out_are_left_out(tmp_path: Path) -> None:
    rows = [
        decision("plain", NOTHING, 0.4),
        decision("drawn", NOTHING, 0.3, holdout=flag(False)),
        decision("mailed", "email", 0.7, holdout=flag(False)),
        decision("held", NOTHING, 1.0, holdout=flag(True)),
    ]
    path = tmp_path / "timeline.parquet"
    pd.DataFrame(rows).astype({"occurred_at": "datetime64[us, UTC]"}).to_parquet(path)
    found = decision_entities(path, RewardConfig(), {"email": 0.1}, END)
    assert dict(zip(found["customer_id"], found["pscore"], strict=True)) == {"plain": 0.4, "drawn": 0.3, "mailed": 0.7}
