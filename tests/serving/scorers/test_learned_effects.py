"""From a simulated log to the answer: effects are learned from its decisions, and the service tells and follows them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_world import context_of, differing_world, write_timeline

from features.scoring.effects import load_effects
from features.simulator.world import World
from features.vocabulary import NOTHING, Task
from serving.decision.policy import choice_chances
from serving.decision.rules import Arm, Rules
from serving.runtime import Runtime
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.bundle import Bundle
from training.data.splits import TimeSplit
from training.models.best_channel.effects import EffectsConfig, learn_effects
from training.pipeline import CONFIGS, load_config

NOW = pd.Timestamp("2024-03-11 09:00", tz="UTC").to_pydatetime()
CONFIG: Any = load_config(Task.BEST_CHANNEL, CONFIGS / "best-channel-decisions.toml")
RULES = Rules(overall_cap={"max": 16, "days": 1}, max_unanswered=1_000)  # type: ignore[arg-type]
N_ASKED = 120
Ask = Callable[[str, list[str]], list[dict[str, Any]]]
"""A path and customers to the answers."""


@pytest.fixture(scope="module")
def world() -> World:
    return differing_world(300)


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training writes about the arms' effects."""
    found = tmp_path_factory.mktemp("learned")
    effects = learn_effects(
        context_of(write_timeline(world, found)),
        EffectsConfig(**{**CONFIG.effects.model_dump(), "learner": {"learners": ["two_part"]}}),
        {arm.name: arm.cost for arm in CONFIG.arms},
        {arm.name: arm.channel for arm in CONFIG.arms},
        TimeSplit.at_end_of(NOW, 10),
    )
    assert effects is not None
    assert effects.policy.personal
    effects.write(found)
    return found


@pytest.fixture
def ask(folder: Path, world: World, runtime: Runtime, client: Any) -> Ask:
    """The service with the world's events in its log and the learned effects; probabilities are from one tiny booster."""
    knowledge = runtime.knowledge
    arms = tuple(Arm(arm.name, arm.channel, arm.cost, arm.hours) for arm in CONFIG.arms)
    known = knowledge.bundle.need_channel()
    scorer = ChannelScorer(known.card, arms, known.boosters[:1] * len(arms), load_effects(folder, "the model"))
    runtime.log.append(world.events)
    runtime.clock = replace(runtime.clock, moment=NOW)  # type: ignore[type-var]
    runtime.rules = RULES
    runtime.knowledge = replace(knowledge, bundle=Bundle(channel=scorer, product=knowledge.bundle.product))

    def call(path: str, customers: list[str]) -> list[dict[str, Any]]:
        answers = client.run(*(("POST", path, {"customer_id": customer}) for customer in customers))
        assert [answer.status_code for answer in answers] == [200] * len(customers)
        return [answer.json() for answer in answers]

    return call


def last_moments(world: World) -> pd.Series:
    """Customer to the row of their last decision."""
    rows = world.decisions.reset_index(drop=True)
    return pd.Series(rows.index, index=rows["customer_id"]).groupby(level=0).max()


def test_what_the_service_answers_with_is_worth_more_than_any_one_arm_for_all(ask: Ask, world: World) -> None:
    last = last_moments(world).iloc[:N_ASKED]
    best = [answer["best"] for answer in ask("/v1/best-channel", list(last.index))]
    truth = world.expected()[last.to_numpy()]  # (customers, arms)
    chosen = truth[np.arange(len(last)), [world.arms.index(arm) for arm in best]].mean()
    assert len(set(best)) >= 3
    assert chosen > truth.mean(axis=0).max()


def test_an_answer_is_whole(ask: Ask, world: World) -> None:
    customers = list(last_moments(world).index[:30])
    costs = {arm.name: arm.cost for arm in CONFIG.arms} | {NOTHING: 0.0}
    for answer in ask("/v1/best-channel", customers):
        arms = {row["arm"]: row for row in answer["arms"]}
        assert {name: row["cost"] for name, row in arms.items()} == costs
        allowed = [row for row in answer["arms"] if row["eligible"]]
        assert answer["best"] == allowed[0]["arm"]
        assert [row["value"] for row in allowed] == sorted((row["value"] for row in allowed), reverse=True)
        assert all(row["effect"] == row["value"] for row in allowed if row["arm"] != NOTHING)
        assert sum(row["chance"] for row in allowed) == pytest.approx(1.0)
        assert min(row["chance"] for row in allowed) >= RULES.exploration / len(allowed) - 1e-12
        assert all(row["chance"] == 0.0 and row["reasons"] for row in arms.values() if not row["eligible"])
        refused = [row for row in arms.values() if any("refused" in reason for reason in row["reasons"])]
        assert all(row["effect"] is None for row in refused)
        assert f"of {len(allowed)} allowed ways" in answer["reasons"][0]
        assert answer["best"] == NOTHING or "learned from decisions" in answer["reasons"][1]


def test_a_decision_has_the_chance_that_its_effects_give_it(ask: Ask, world: World) -> None:
    customers = list(last_moments(world).index[:60])
    decisions = ask("/v1/decide", customers)
    for decision in decisions:
        values = {row["arm"]: row["value"] for row in decision["arms"] if row["eligible"]}
        chances = choice_chances(values, exploration=RULES.exploration, temperature=RULES.temperature)
        assert decision["pscore"] == pytest.approx(chances[decision["arm"]])
        assert (decision["action"] == "nothing") == (decision["arm"] == NOTHING)
    highest = [decision["arm"] == decision["arms"][0]["arm"] for decision in decisions]
    expected = np.mean([decision["arms"][0]["chance"] for decision in decisions])
    assert np.mean(highest) == pytest.approx(expected, abs=0.2)
    assert ask("/v1/decide", customers[:5]) == decisions[:5]
