"""Moments at which a contact was possible: what the log says of their chances, and who came back when."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.errors import MissingError
from training.data.contacts import contact_moments

AT = datetime(2024, 3, 1, tzinfo=UTC)
END = datetime(2024, 6, 1, tzinfo=UTC)


def happened(customer: str, days: float, kind: str, **properties: Any) -> dict[str, Any]:
    return {
        "customer_id": customer,
        "occurred_at": AT + timedelta(days=days),
        "event_id": f"{kind}-{customer}-{days}",
        "kind": kind,
        "channel": "web",
        "decision_id": f"d-{customer}-{days}" if kind == "decision" else None,
        "properties": json.dumps(properties) if properties else None,
    }


def moments(path: Path, events: list[dict[str, Any]], n_max: int = 100) -> pd.DataFrame:
    pd.DataFrame(events).astype({"occurred_at": "datetime64[us, UTC]"}).to_parquet(path)
    return contact_moments(path, ["visit"], 14, 28, END, n_max, 0).set_index("customer_id")


def test_only_what_comes_after_the_wait_and_within_the_horizon_is_a_return(tmp_path: Path) -> None:
    days = {"soon": 13.9, "first": 14.0, "last": 41.9, "late": 42.0}
    events = [happened(name, 0, "decision", arm="nothing", pscore=0.5) for name in days]
    events += [happened(name, day, "visit") for name, day in days.items()]
    events += [happened("bought", 0, "decision", arm="email", pscore=0.5), happened("bought", 20, "purchase")]
    found = moments(tmp_path / "timeline.parquet", events)
    assert found["label"].to_dict() == {"soon": 0.0, "first": 1.0, "last": 1.0, "late": 0.0, "bought": 0.0}


def test_the_chance_of_any_contact_is_what_the_chances_leave_to_nothing(tmp_path: Path) -> None:
    events = [
        happened("told", 0, "decision", arm="email", pscore=0.5, chances={"email": 0.5, "sms": 0.2, "nothing": 0.3}),
        happened("plain", 0, "decision", arm="email", pscore=0.5),
        happened("held", 0, "decision", arm="nothing", pscore=1, chances={"nothing": 1.0}, holdout={"held_out": True}),
        happened("unknown", 0, "decision", arm="email"),
        happened("young", 60, "decision", arm="email", pscore=0.5),
    ]
    found = moments(tmp_path / "timeline.parquet", events)
    assert set(found.index) == {"told", "plain", "held"}
    assert found["chance"]["told"] == pytest.approx(0.7)
    assert pd.isna(found["chance"]["plain"])
    assert found["held_out"].to_dict() == {"told": False, "plain": False, "held": True}


def test_of_many_decisions_the_same_few_are_taken_every_time(tmp_path: Path) -> None:
    events = [happened(f"c{i}", 0, "decision", arm="nothing", pscore=0.5) for i in range(50)]
    first, again = (moments(tmp_path / "timeline.parquet", events[::step], n_max=10) for step in (1, -1))
    assert sorted(first.index) == sorted(again.index)
    assert len(first) == 10


def test_a_missing_timeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="omni features build"):
        contact_moments(tmp_path / "none.parquet", ["visit"], 14, 28, END, 10, 0)
