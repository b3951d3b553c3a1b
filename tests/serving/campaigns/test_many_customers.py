"""Three hundred customers in bulk: each row, and each event in the log, is what that customer alone would be answered."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from features.build import build_features
from features.events.rows import event_rows
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from serving.campaigns import bulk
from serving.decider import Decision
from serving.decision.rules import Cap, Rules
from serving.runtime import Runtime
from serving.schemas import DecideRequest

NOW = datetime(2024, 3, 1, tzinfo=UTC)
N_CUSTOMERS = 300
PRODUCTS = ("milk", "bread", "tea", "soap", "cup", "pot")
OTHERS = tuple(f"other-{i}" for i in range(150))
"""So many that a state forgets some of what somebody was contacted about, or bought."""
KINDS = ("view", "purchase", "purchase", "send", "impression", "click", "add_to_cart", "visit", "return", "decision")


class _Story:
    """Draws events with ids of their own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.items: list[dict[str, Any]] = []

    def add(self, customer: str, kind: str, days_ago: float, channel: str = "web", **fields: Any) -> None:
        at = (NOW - timedelta(days=days_ago)).isoformat()
        fields = {"occurred_at": at, "kind": kind, "channel": channel, "customer_id": customer, **fields}
        self.items.append({"event_id": f"e{len(self.items)}", **fields})

    def live(self, customer: str, from_days: float, to_days: float, n: int) -> None:
        for days_ago in self.rng.uniform(to_days, from_days, n):
            kind = str(self.rng.choice(KINDS))
            fields: dict[str, Any] = {"product_id": str(self.rng.choice(PRODUCTS))}
            if kind in ("purchase", "return"):
                fields |= {"quantity": 1.0, "value": float(self.rng.uniform(1, 20))}
            if kind in ("send", "impression", "click") and self.rng.random() < 0.3:
                fields["campaign_id"] = "spring"
            if kind == "decision":
                fields["decision_id"] = f"d{len(self.items)}"
            self.add(customer, kind, days_ago, str(self.rng.choice(["web", "email", "post"])), **fields)

    def table(self) -> Any:
        events, rejected = parse_events(self.items, NOW)
        assert not rejected
        return events_to_table(events)


def _before() -> _Story:
    story = _Story(1)
    for i in range(N_CUSTOMERS):
        name = f"c{i:03d}"
        story.add(name, "subscribe" if i % 3 else "unsubscribe", 300, "email")
        story.live(name, 90, 1, int(story.rng.integers(0, 25)))
        if i % 11 == 0:
            story.add(name, "profile", 200, properties={"profiling": False})
        if i % 10 == 0:
            kind = "impression" if i % 20 else "purchase"
            for place, product in enumerate((*PRODUCTS, *OTHERS)):
                story.add(name, kind, 60 - place / 3, product_id=product)
    return story


def _after() -> _Story:
    """Newer events, and some that come late: older than what was built."""
    story = _Story(2)
    for i in range(0, N_CUSTOMERS, 7):
        story.live(f"c{i:03d}", 0.5, 0.1, 2)
        if i % 2:
            story.live(f"c{i:03d}", 89, 2, 1)
    for item in story.items:
        item["event_id"] = f"after-{item['event_id']}"
    return story


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("many"))})
    log = open_log(settings)
    log.append(_before().table())
    build_features(settings, lambda _: None)
    log.append(_after().table())
    log.close()
    return settings


@pytest.fixture
def log(home: Settings) -> Iterator[EventLog]:
    opened = open_log(home)
    yield opened
    opened.close()


def test_everybody_is_decided_for_as_if_alone(
    home: Settings, log: EventLog, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Rules(holdout_share=0.1, exploration=0.5, overall_cap=Cap(max=12, days=7), product_rest_days=20)
    states = LiveStates(OnlineReader(home, runtime.clock), log)  # type: ignore[arg-type]
    alone = replace(runtime, log=log, rules=rules, knowledge=replace(runtime.knowledge, states=states))  # type: ignore[arg-type]
    monkeypatch.setattr(bulk, "Runtime", lambda **_: replace(alone, log=open_log(home)))
    monkeypatch.setattr(bulk, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))

    def ask(name: str) -> Decision:
        return alone.answers.decide(DecideRequest(customer_id=name, campaign_id="spring", when="best"))

    before = {name: ask(name) for name in bulk.customer_ids(home)}  # what is kept reserves contacts
    report = bulk.decide_all(home, tmp_path / "all.parquet", campaign_id="spring")
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()

    assert report.customers == report.logged == len(rows) == N_CUSTOMERS
    seen: set[str] = set()
    for row in rows:
        decision = before[row["customer_id"]]
        answer, product = decision.answer, decision.answer.product
        assert row["decision_id"] == answer.decision_id
        for name in ("as_of", "action", "arm", "channel", "send_at", "pscore", "customer_status", "reasons"):
            assert row[name] == getattr(answer, name), name
        for name in ("response_probability", "churn_probability"):
            assert row[name] == pytest.approx(getattr(answer, name)), name
        assert (row["product_id"], row["product_name"]) == (
            (product.product_id, product.name) if product else (None, None)
        )
        kept = log.append(event_rows([decision.event]))
        assert (kept.appended, kept.conflicts) == (0, ())  # what bulk keeps is the same event
        seen |= {" ".join(reason.split()[:2]) for reason in row["reasons"]} | {str(row["action"])}
        seen |= {word for word in ("last offered", "hold-out", "refused profiling") if word in " ".join(row["reasons"])}
    assert {"last offered", "hold-out", "refused profiling", "send", "nothing"} <= seen
