"""Decisions that nobody sent teach nothing: what counts as sent, and that the others move neither side."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.outcomes.delivery import Delivery, delivery
from features.outcomes.rewards import RewardConfig, decision_entities
from features.vocabulary import NOTHING
from training.data.labels import Arm, contact_entities

AT = datetime(2024, 3, 1, tzinfo=UTC)
END = datetime(2024, 6, 1, tzinfo=UTC)


def event(number: int, kind: str, day: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {
        "customer_id": f"c{number}",
        "occurred_at": AT + timedelta(days=day),
        "event_id": f"{kind}-{number}-{day}",
        "decision_id": f"d{number}",
        "kind": kind,
        "channel": "email",
        "value": float("nan"),
        "properties": None,
        **fields,
    }


def decision(number: int, arm: str, day: float = 0.0, pscore: float = 0.5, **more: Any) -> dict[str, Any]:
    return event(number, "decision", day, properties=json.dumps({"arm": arm, "pscore": pscore, **more}))


def read(path: Path, rows: list[dict[str, Any]]) -> tuple[pd.DataFrame, Delivery]:
    file = path / "timeline.parquet"
    pd.DataFrame(rows).astype({"occurred_at": "datetime64[us, UTC]", "properties": object}).to_parquet(file)
    rows_found = decision_entities(file, RewardConfig(margin_share=1.0, costs=False), {}, END)
    return rows_found, delivery(rows_found)


def learned(path: Path, rows: list[dict[str, Any]]) -> set[str]:
    table, found = read(path, rows)
    return set(table["customer_id"][found.kept])


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        *(("send", True), ("deliver", True), ("impression", True)),
        *(("open", True), ("click", True), ("outcome", True), ("ignore", True), ("unsubscribe", True)),
        *(("purchase", False), ("visit", False), ("view", False)),
    ],
)
def test_what_shows_that_a_decision_came_about(tmp_path: Path, kind: str, counts: bool) -> None:
    rows = [decision(0, "email"), decision(1, "email"), event(0, "send", 0.1), event(1, kind, 0.2)]
    assert learned(tmp_path, rows) == ({"c0", "c1"} if counts else {"c0"})


def test_a_send_of_somebody_elses_or_of_another_decision_shows_nothing(tmp_path: Path) -> None:
    rows = [decision(0, "email"), decision(1, "email"), decision(2, "email"), event(0, "send")]
    rows += [event(1, "send", customer_id="c9"), event(2, "send", decision_id="d7")]
    assert learned(tmp_path, rows) == {"c0"}


def test_where_only_answers_are_logged_nobody_who_did_not_answer_is_known(tmp_path: Path) -> None:
    rows = [decision(0, "email"), decision(1, "sms"), event(0, "send"), event(1, "click")]
    table, found = read(tmp_path, rows)
    assert table["customer_id"][found.kept].tolist() == ["c0"]
    assert found.only_answered == ("sms",)
    assert "Of sms only answers are logged" in found.words()


def world(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """n decisions for e-mail or nothing, all acted on, and what the customers spent."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        arm = "email" if rng.random() < 0.7 else NOTHING
        day = float(i % 20)
        rows.append(decision(i, arm, day, 0.7 if arm == "email" else 0.3))
        rows += [event(i, "send", day + 0.1)] if arm == "email" else []
        rows.append(event(i, "purchase", day + 1, value=float(rng.gamma(2.0, 1.0)), decision_id=None))
    return rows


def means(path: Path, rows: list[dict[str, Any]]) -> dict[str, tuple[float, int]]:
    table, found = read(path, rows)
    kept = table[found.kept].groupby("arm")["label"]
    return {str(arm): (float(labels.mean()), len(labels)) for arm, labels in kept}


@pytest.mark.parametrize("asked_by", [None, "web"])
def test_a_hundred_and_fifty_looked_at_decisions_move_no_mean(tmp_path: Path, asked_by: str | None) -> None:
    """On days of their own, by the asker of the others or by another one."""
    rows = world(600)
    more = {} if asked_by is None else {"asked_by": asked_by}
    looked_at = [decision(10_000 + i, "email" if i % 3 else NOTHING, 30.0, 0.7, **more) for i in range(150)]
    before = means(tmp_path, rows)
    plain, _ = read(tmp_path, [*rows, *looked_at])
    assert plain.groupby("arm")["label"].mean()["email"] < 0.9 * before["email"][0]  # what counting them would do
    assert means(tmp_path, [*rows, *looked_at]) == before
    _, found = read(tmp_path, [*rows, *looked_at])
    assert found.arms["email"].not_delivered == 100
    assert found.counts() == {"not_delivered/email": 100}
    assert f"100 of {before['email'][1] + 100} decisions to send were not delivered" in found.words()


def test_looks_among_the_days_of_real_decisions_thin_both_sides_alike(tmp_path: Path) -> None:
    rows = world(4000, seed=1)
    rng = np.random.default_rng(2)
    looked_at = [
        decision(10_000 + i, arm, float(i % 20), 0.7 if arm == "email" else 0.3)
        for i, arm in enumerate(np.where(rng.random(2000) < 0.7, "email", NOTHING))
    ]
    table, found = read(tmp_path, [*rows, *looked_at])
    share = (table["arm"][found.kept] == "email").mean()
    assert share == pytest.approx(0.7, abs=0.02)  # what the pscores say; with every `nothing` it were 0.61
    assert found.kept.sum() == pytest.approx(4000, rel=0.03)


def test_who_could_not_be_reached_is_kept_as_nothing_is(tmp_path: Path) -> None:
    rows = [decision(0, "email"), decision(1, "email"), event(0, "send")]
    rows += [decision(2, "email", 5.0, asked_by="web"), decision(3, "email", 5.0, asked_by="web")]  # looked at
    table, _ = read(tmp_path, rows)
    found = delivery(table, reachable=~table["customer_id"].isin(["c1", "c3"]).to_numpy())
    assert found.kept.tolist() == [True, True, False, False]
    assert found.arms["email"].not_delivered == 1


def test_a_log_of_nothing_alone_is_kept(tmp_path: Path) -> None:
    assert learned(tmp_path, [decision(i, NOTHING) for i in range(20)]) == {f"c{i}" for i in range(20)}


def test_an_asker_who_never_sends_teaches_nothing(tmp_path: Path) -> None:
    rows = [*world(100), *(decision(1000 + i, "push" if i % 2 else NOTHING, 3.0, asked_by="app") for i in range(40))]
    assert not learned(tmp_path, rows) & {f"c{1000 + i}" for i in range(40)}


@given(st.permutations(range(12)))
def test_the_order_of_the_rows_decides_nothing(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    table = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(12)],
            "as_of": pd.Timestamp(AT),
            "arm": ["email", NOTHING] * 6,
            "asker": "",
            "contacted": [i % 4 == 0 for i in range(12)],
            "answered": False,
        }
    )
    kept = dict(zip(table["key"], delivery(table).kept, strict=True))
    shuffled = table.iloc[order].reset_index(drop=True)
    assert dict(zip(shuffled["key"], delivery(shuffled).kept, strict=True)) == kept


def test_a_decision_is_a_contact_only_where_somebody_sent_it(tmp_path: Path) -> None:
    rows = [decision(i, "email") for i in range(4)] + [event(0, "send"), event(1, "click", 0.5), event(9, "view", 3)]
    rows[-1] |= {"decision_id": None}
    path = tmp_path / "timeline.parquet"
    pd.DataFrame(rows).astype({"occurred_at": "datetime64[us, UTC]"}).to_parquet(path)
    arm = Arm("email", "email", "decision", {"arm": ["email"]}, ["click"], ["decision_id"], 1.0)
    found = contact_entities(path, [arm], END, 100, 0)
    assert found.set_index("customer_id")["label"].to_dict() == {"c0": 0.0, "c1": 1.0}
