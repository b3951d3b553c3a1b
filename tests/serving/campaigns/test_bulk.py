"""Decisions for everybody: one row each, in batches the same as one by one, and logged once."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError, MissingError
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.settings import Settings
from serving.campaigns import bulk
from serving.decision.rules import Rules
from serving.runtime import Runtime
from serving.schemas import ChurnRequest, DecideRequest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(tmp_path, f"sqlite:///{tmp_path / 'events.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}")
    found.timeline_path.parent.mkdir(parents=True)
    at = pa.array([1_700_000_000_000_000] * 4).cast(pa.timestamp("us", "UTC"))
    timeline = {"customer_id": ["zoe", "ada", "ada", "never-seen"], "occurred_at": at, "kind": ["view"] * 4}
    pq.write_table(pa.table(timeline), found.timeline_path)
    return found


@pytest.fixture
def ready(runtime: Runtime, log: SqliteEventLog) -> Runtime:
    item = {"event_id": "z1", "occurred_at": "2024-02-01T00:00:00Z", "kind": "view", "channel": "web"}
    events, _ = parse_events([{**item, "customer_id": "zoe", "product_id": "soap"}], runtime.clock.now())
    log.append(events_to_table(events))
    return runtime


def run(runtime: Runtime, settings: Settings, out: Path, keep: bool = True) -> Any:
    return bulk._decide(runtime, bulk.customer_ids(settings), out, keep, lambda _: None, 0.0)


def test_everybody_gets_the_row_that_one_by_one_gives(ready: Runtime, settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "decisions.parquet"
    alone = {
        name: ready.answers.decide(DecideRequest(customer_id=name)).answer for name in ("ada", "zoe")
    }  # before: what is kept reserves contacts
    report = run(ready, settings, out)
    rows = pq.read_table(out).to_pylist()
    assert [row["customer_id"] for row in rows] == ["ada", "zoe"]
    assert (report.customers, report.logged, sum(report.arms.values())) == (2, 2, 2)
    for row in rows:
        one = alone[row["customer_id"]]
        assert (row["decision_id"], row["arm"], row["pscore"]) == (one.decision_id, one.arm, one.pscore)
        assert row["reasons"] == one.reasons
        churn = ready.answers.churn(ChurnRequest(customer_id=row["customer_id"]))
        assert row["churn_probability"] == pytest.approx(churn.churn_probability, abs=1e-6)
    refused = [arm for one in alone.values() for arm in one.arms]
    assert sum(report.not_allowed.values()) == sum(not arm.eligible for arm in refused) > 0
    assert list(out.parent.glob("*.part")) == []
    assert report.refused == {"consent": 1, "reachable": 1}  # zoe, of whom a view is known
    assert (report.without_any_arm, report.warnings) == (1, ())


def test_decisions_are_a_csv_by_the_ending(ready: Runtime, settings: Settings, tmp_path: Path) -> None:
    run(ready, settings, tmp_path / "d.parquet", keep=False)
    run(ready, settings, tmp_path / "d.csv", keep=False)
    with (tmp_path / "d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert [row["decision_id"] for row in rows] == [row["decision_id"] for row in expected]
    assert [json.loads(row["reasons"]) for row in rows] == [row["reasons"] for row in expected]


def test_bulk_waits_for_the_best_hour_unless_it_is_to_be_now(
    ready: Runtime, settings: Settings, tmp_path: Path, log: SqliteEventLog
) -> None:
    item = {"event_id": "z2", "occurred_at": ready.clock.now(), "kind": "visit", "channel": "store"}
    events, _ = parse_events([{**item, "customer_id": "zoe"}], ready.clock.now())
    log.append(events_to_table(events))
    ready.rules = Rules(exploration=1.0, opt_in_channels=())
    now, out = ready.clock.now(), tmp_path / "d.parquet"
    for when, fits in (("best", lambda at: at > now), ("now", lambda at: at == now)):
        moments = []
        for name in range(20):  # every hold-out of nobody is a draw of its own
            ready.rules = ready.rules.model_copy(update={"holdout_name": f"h{name}"})
            bulk._decide(ready, bulk.customer_ids(settings), out, False, lambda _: None, 0.0, when)
            moments += [row["send_at"] for row in pq.read_table(out).to_pylist() if row["action"] == "send"]
        assert moments and all(fits(at) for at in moments)


def test_decisions_are_logged_once_or_not_at_all(
    ready: Runtime, settings: Settings, tmp_path: Path, log: SqliteEventLog
) -> None:
    before = log.count()
    run(ready, settings, tmp_path / "a.parquet", keep=False)
    assert log.count() == before
    run(ready, settings, tmp_path / "a.parquet")
    assert log.count() == before + 2


def test_a_campaign_goes_to_those_for_whom_it_does_not_rest(
    ready: Runtime, settings: Settings, tmp_path: Path, log: SqliteEventLog
) -> None:
    sent = {"event_id": "s1", "occurred_at": ready.clock.now(), "kind": "send", "channel": "post", "customer_id": "ada"}
    events, _ = parse_events([{**sent, "campaign_id": "spring"}], ready.clock.now())
    log.append(events_to_table(events))
    out = tmp_path / "a.parquet"
    report = bulk._decide(ready, bulk.customer_ids(settings), out, True, lambda _: None, 0.0, campaign_id="spring")
    rows = {row["customer_id"]: row for row in pq.read_table(out).to_pylist()}
    assert rows["ada"]["action"] == "nothing"
    assert any("campaign spring" in reason for reason in rows["ada"]["reasons"])
    assert not any("campaign spring" in reason for reason in rows["zoe"]["reasons"])
    for name, row in rows.items():
        one = ready.answers.decide(DecideRequest(customer_id=name, campaign_id="spring")).answer
        assert (row["decision_id"], row["reasons"]) == (one.decision_id, one.reasons)
    assert report.logged == 2
    with pytest.raises(InputError, match="is no campaign's name"):
        bulk._decide(ready, [], out, True, lambda _: None, 0.0, campaign_id="")


def test_what_is_missing_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        bulk.decide_all(settings, tmp_path / "nowhere" / "a.parquet")
    with pytest.raises(MissingError, match="omni features build"):
        bulk.decide_all(settings, tmp_path / "a.parquet")
