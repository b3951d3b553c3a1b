"""Logged decisions as rows to learn from: who is in a hold-out was never drawn for, and teaches nothing about the draw."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features.outcomes.rewards import RewardConfig, decision_entities
from features.vocabulary import NOTHING

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


def test_with_offers_an_arm_has_the_chance_of_all_of_its_offers_together(tmp_path: Path) -> None:
    rows = [
        decision("with offers", "email", 0.1, arm_pscore=0.6, offer_id="tea"),
        decision("left alone", NOTHING, 0.2, arm_pscore=0.2),
        decision("without", "email", 0.7),
    ]
    path = tmp_path / "timeline.parquet"
    pd.DataFrame(rows).astype({"occurred_at": "datetime64[us, UTC]"}).to_parquet(path)
    found = decision_entities(path, RewardConfig(), {}, END)
    assert dict(zip(found["customer_id"], found["pscore"], strict=True)) == {
        "with offers": 0.6,
        "left alone": 0.2,
        "without": 0.7,
    }


def test_the_end_of_a_contract_is_no_refusal_of_messages(tmp_path: Path) -> None:
    def end(customer: str, product: str | None) -> dict[str, Any]:
        later = datetime(2024, 3, 2, tzinfo=UTC)
        row = {**decision(customer, "", 1.0), "event_id": f"u-{customer}", "decision_id": None, "kind": "unsubscribe"}
        return {**row, "occurred_at": later, "product_id": product, "properties": None}

    names = ("refuses", "blank", "cancels")
    rows = [{**decision(name, NOTHING, 0.5), "product_id": None} for name in names]
    rows += [end("refuses", None), end("blank", ""), end("cancels", "plan")]
    path = tmp_path / "timeline.parquet"
    pd.DataFrame(rows).astype({"occurred_at": "datetime64[us, UTC]"}).to_parquet(path)
    found = decision_entities(path, RewardConfig(unsubscribe_penalty=2.0, costs=False), {}, END)
    assert found.set_index("customer_id")["label"].to_dict() == {"refuses": -2.0, "blank": -2.0, "cancels": 0.0}
