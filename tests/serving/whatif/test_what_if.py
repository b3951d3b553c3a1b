"""A whole home asked what other rules would do: counts, evidence from its logged decisions, and nothing written."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from features.build import build_features
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.vocabulary import NOTHING, Channel
from serving.decision.rules import Cap, Rules
from serving.runtime import Runtime
from serving.whatif import what_if as module
from serving.whatif.told import Told
from serving.whatif.what_if import Sampled, what_if
from tests.serving.conftest import NOW

N = 90
OLD = Rules(exploration=1.0)
"""Whoever may be written to is drawn for evenly: that is how the log below was made."""
NEW = OLD.model_copy(update={"channel_caps": {Channel.POST: Cap(max=0, days=7)}})
ANSWERS = {"email_news": 0.6, "post_a": 0.2, NOTHING: 0.0}


def story() -> list[dict[str, Any]]:
    rng, items = np.random.default_rng(3), []

    def add(customer: str, kind: str, days_ago: float, channel: str = "web", **fields: Any) -> None:
        at = (NOW - timedelta(days=days_ago)).isoformat()
        items.append(
            {"event_id": f"e{len(items)}", "occurred_at": at, "kind": kind, "channel": channel, "customer_id": customer}
            | fields
        )

    for i in range(N):
        name = f"c{i:03d}"
        add(name, "purchase", 200, "store", product_id="tea", value=4.0)
        add(name, "subscribe", 199, "email")
        for days_ago in (60.0, 40.0):
            arm = str(rng.choice(list(ANSWERS)))
            decision = {"decision_id": f"d-{i}-{days_ago:g}"}
            properties = {"arm": arm, "pscore": 1 / 3, "when": "best"}
            add(name, "decision", days_ago, properties=properties, **decision)
            if arm != NOTHING:
                channel = "email" if arm == "email_news" else "post"
                add(name, "send", days_ago - 0.1, channel, **decision)
                if rng.random() < ANSWERS[arm]:
                    add(name, "click", days_ago - 1, channel, **decision)
    add("c000", "visit", 1)
    return items


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("what-if"))})
    log = open_log(settings)
    events, rejected = parse_events(story(), NOW)
    assert not rejected
    log.append(events_to_table(events))
    build_features(settings, lambda _: None)
    log.close()
    return settings


@pytest.fixture
def log(home: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    opened = open_log(home)
    states = LiveStates(OnlineReader(home, runtime.clock), opened)  # type: ignore[arg-type]
    knowledge = replace(runtime.knowledge, states=states)
    monkeypatch.setattr(module, "Runtime", lambda **_: replace(runtime, log=open_log(home), knowledge=knowledge))
    monkeypatch.setattr(module, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))
    yield opened
    opened.close()


def test_what_another_cap_would_do(home: Settings, log: EventLog) -> None:
    before = log.last_seq()
    found = what_if(home, NEW, Sampled(sample=50, decisions=1_000), old=OLD)

    assert (found.customers, found.old.without_any_arm, found.new.without_any_arm) == (50, 0, 0)
    assert found.old.arms == {"email_news": pytest.approx(50 / 3, abs=0.01), "post_a": pytest.approx(50 / 3, abs=0.01),
                              NOTHING: pytest.approx(50 / 3, abs=0.01)}  # fmt: skip
    assert found.new.arms == {"email_news": 25.0, NOTHING: 25.0}
    assert (found.old.refused, found.new.refused) == ({}, {"caps": 50})
    assert found.old.cost == pytest.approx(50 / 3 * 0.51, abs=0.01)
    assert found.moved == sum(move.customers for move in found.moves) > 0

    logged = found.logged
    assert logged is not None, found.logged_refusal
    assert (logged.decisions, logged.customers, logged.same_chance) == (2 * N, N, 1.0)
    truth = (5 * 0.6 - 0.01) / 2 - (5 * 0.6 - 0.01 + 5 * 0.2 - 0.5) / 3
    assert logged.difference.low <= truth <= logged.difference.high
    assert 0.55 * logged.decisions < logged.effective_decisions < 0.8 * logged.decisions
    assert log.last_seq() == before
    assert "by the other rules" in Told(found).__rich__()


def test_a_condition_chooses_the_customers(home: Settings, log: EventLog) -> None:
    found = what_if(home, NEW, Sampled(where="customer_id < 'c010'", decisions=0), old=OLD)
    assert (found.customers, found.logged, found.logged_refusal) == (10, None, "")


def test_the_same_rules_are_told_to_be_the_same(home: Settings, log: EventLog) -> None:
    found = what_if(home, OLD, Sampled(sample=20, decisions=0), old=OLD)
    assert (found.moved, found.warnings) == (0, ["These are the rules in force: nothing changes."])


def test_a_log_without_known_outcomes_says_so(home: Settings, log: EventLog) -> None:
    found = what_if(home, NEW, Sampled(sample=5, window_days=90), old=OLD)
    assert found.logged is None
    assert "no decision of today's ways whose outcome is known yet" in found.logged_refusal
