"""The hold-out: its share, the same customers always, and no way by which one of them is contacted."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from features.events.schema import events_to_table
from features.settings import Settings
from features.vocabulary import NOTHING
from serving.campaigns import audience, bulk
from serving.decision.holdout import is_held_out
from serving.decision.policy import uniform
from serving.decision.rules import Rules
from serving.runtime import Runtime
from serving.schemas import BestChannelRequest, DecideRequest, NextProductsRequest

IDS = [f"C{i:06d}" for i in range(20_000)]


def held(share: float, name: str = "holdout") -> np.ndarray:
    rules = Rules(holdout_share=share, holdout_name=name)
    return np.array([is_held_out(one, rules) for one in IDS])


@pytest.fixture
def out(runtime: Runtime) -> Runtime:
    """A service whose one customer, ada, is in the hold-out."""
    names = (f"test-{i}" for i in range(100))
    rules = next(
        rules
        for name in names
        if is_held_out("ada", rules := Rules(holdout_share=0.2, holdout_name=name, exploration=1.0))
    )
    runtime.rules = rules
    return runtime


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_the_share_is_the_share(share: float) -> None:
    assert held(share).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(IDS)))


def test_the_same_customers_always_more_with_a_larger_share_others_with_another_name() -> None:
    # written out once: a change of the hash would draw everybody anew in the middle of a measurement
    assert [one for one in IDS[:40] if is_held_out(one, Rules(holdout_share=0.1))] == FIRST
    assert held(0.3)[held(0.1)].all()
    both = (held(0.3) & held(0.3, "second")).mean()
    assert both == pytest.approx(0.09, abs=0.01)


def test_it_is_independent_of_how_decisions_are_drawn() -> None:
    drawn = np.array([uniform(one) for one in IDS])
    plain = np.array([int(hashlib.blake2b(one.encode(), digest_size=8).hexdigest(), 16) / 2**64 for one in IDS])
    for other in (drawn, plain):
        assert abs(np.corrcoef(held(0.3), other)[0, 1]) < 0.03


def test_a_share_of_everybody_is_refused() -> None:
    with pytest.raises(ValidationError):
        Rules(holdout_share=1.0)
    with pytest.raises(ValidationError):
        Rules(holdout_name="")


def test_a_decision_is_nothing_forced_with_its_reason_and_its_flag(out: Runtime) -> None:
    for asked_by in ("web", "app", "store"):
        for channels in (None, ["email"], ["post"]):
            decision = out.answers.decide(DecideRequest(customer_id="ada", asked_by=asked_by, channels=channels))
            answer = decision.answer
            assert (answer.action, answer.arm, answer.channel, answer.pscore) == ("nothing", NOTHING, None, 1.0)
            assert answer.product is None
            assert answer.reasons[0].startswith("the customer is one of the 20 % in the hold-out")
            assert {arm.arm: (arm.eligible, arm.chance) for arm in answer.arms} == {
                "email_news": (False, 0.0),
                "post_a": (False, 0.0),
                NOTHING: (True, 1.0),
            }
            properties = json.loads(events_to_table([decision.event]).to_pylist()[0]["properties"])
            assert properties["holdout"] == {"name": out.rules.holdout_name, "share": 0.2, "held_out": True}
            assert (properties["pscore"], properties["chances"]) == (1.0, {NOTHING: 1.0})


def test_everybody_else_is_decided_for_as_before_and_flagged(out: Runtime) -> None:
    rules = next(
        r for i in range(99) if not is_held_out("ada", r := out.rules.model_copy(update={"holdout_name": f"n{i}"}))
    )
    without = replace(out.answers, rules=rules.model_copy(update={"holdout_share": 0.0})).decide(
        DecideRequest(customer_id="ada")
    )
    flagged = replace(out.answers, rules=rules).decide(DecideRequest(customer_id="ada"))
    assert [(arm.arm, arm.eligible, arm.chance) for arm in flagged.answer.arms] == [
        (arm.arm, arm.eligible, arm.chance) for arm in without.answer.arms
    ]
    assert flagged.event.properties is not None and without.event.properties is not None
    assert flagged.event.properties["holdout"]["held_out"] is False
    assert "holdout" not in without.event.properties


def test_what_is_asked_for_without_a_contact_is_answered(out: Runtime) -> None:
    rules = out.rules.model_copy(update={"holdout_share": 0.0})
    plain = replace(out.answers, rules=rules)
    channel = out.answers.best_channel(BestChannelRequest(customer_id="ada"))
    products, _ = out.answers.next_products(NextProductsRequest(customer_id="ada"))
    assert {channel.rules_version, products.rules_version} == {out.rules.version} != {rules.version}
    as_if = {"rules_version": rules.version}
    assert channel.model_copy(update=as_if) == plain.best_channel(BestChannelRequest(customer_id="ada"))
    assert products.model_copy(update=as_if) == plain.next_products(NextProductsRequest(customer_id="ada"))[0]


def test_http_bulk_and_audiences_contact_nobody_of_them(
    out: Runtime, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post("/v1/decide", {"customer_id": "ada"}).json()["arm"] == NOTHING

    settings = Settings(tmp_path, f"sqlite:///{tmp_path / 'events.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}")
    settings.timeline_path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"customer_id": ["ada"]}), settings.timeline_path)
    found = bulk._decide(out, ["ada"], tmp_path / "d.parquet", True, lambda _: None, 0.0)
    assert found.arms == {NOTHING: 1}

    monkeypatch.setattr(audience, "Runtime", lambda **_: out)
    monkeypatch.setattr(audience, "house_rules", lambda _: out.rules)
    monkeypatch.setattr(audience.Watcher, "refresh", lambda _: None)
    report = audience.export_audience(settings, "n_purchases > 0", tmp_path / "a.csv")
    assert (report.customers, report.chosen, report.held_out) == (1, 0, 1)
    assert (tmp_path / "a.csv").read_text().count("\n") == 1  # the heading


FIRST = ["C000006", "C000036"]
